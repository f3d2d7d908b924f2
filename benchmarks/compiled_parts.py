"""Parts of the model in forms that Inductor can compile as a whole, for compiling.py.

Legend: B batch, H W rows and columns, D features, N heads, C features of a head, L length.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.conditioning import Modulation, NormModulations, PositionModulations
from model.core import ColTranCore
from model.encoder import Encoder, Extras
from model.layers import AxialLayer
from model.sampling.draw import Drawn, draw
from model.sampling.inference import attend_masked, fuse_projections
from model.sampling.row import FusedModulation, RowInputs, StepInputs
from model.upsamplers import CHANNELS, ChannelUpsampler

AT_ONCE = 2**14  # pixels whose logits an upsampler computes together


class WholeEncoder(nn.Module):
    """`encode` of one photograph, without checks and hints."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, gray_BHW: Tensor, high_BSS: Tensor | None) -> Tensor:
        """Integers [0, 255] -> (B, H, W, D)."""
        x = self.encoder.embed(gray_BHW, Extras(high_BSS))
        for layer in self.encoder.layers:
            x = layer(x)
        return x


class WholeUpsampler(nn.Module):
    """`most_likely` without its check, and with all lines of a layer at once."""

    def __init__(self, upsampler: ChannelUpsampler) -> None:
        super().__init__()
        self.upsampler = upsampler

    def forward(self, values_HW3: Tensor, gray_HW: Tensor) -> tuple[Tensor, Tensor]:
        """Values, int64 (H, W, 3), and their mean bits, float64 ()."""
        upsampler = self.upsampler
        first = upsampler.levels * torch.arange(CHANNELS)
        symbols = values_HW3.permute(2, 0, 1) + first[:, None, None]
        of_gray = upsampler.gray_embedding(gray_HW).expand(CHANNELS, -1, -1, -1)
        parts = torch.cat((upsampler.channel_embedding(symbols), of_gray), dim=-1)
        x = upsampler.input(parts) + upsampler.position()
        for layer in upsampler.layers:
            x = layer(x)
        best, cost = [], []
        for part in x.flatten(0, -2).split(AT_ONCE):
            logits = upsampler.head(part)
            highest = logits.max(dim=-1)
            best.append(highest.indices)
            cost.append((torch.logsumexp(logits, dim=-1) - highest.values).double().sum())
        values = torch.cat(best).view(x.shape[:-1])
        return values.permute(1, 2, 0), torch.stack(cost).sum() / values.numel() / math.log(2)


class InnerPixel(nn.Module):
    """`InnerStep` in float32 with the column as a tensor, so that one compilation fits them all."""

    def __init__(self, layer: AxialLayer, batch: int) -> None:
        super().__init__()
        self.layer, attention = layer, layer.attention
        self.qkv: Tensor
        self.bias: Tensor
        self.cache: Tensor
        shape = (batch, 2, attention.heads, attention.length, -1)
        features = 2 * batch * attention.length * attention.output.in_features
        self.register_buffer("qkv", fuse_projections(layer))
        self.register_buffer("bias", attention.bias())
        self.register_buffer("cache", torch.zeros(features).view(shape))

    def forward(self, x: Tensor, column: Tensor, inputs: StepInputs) -> Tensor:
        """(B, D) -> (B, D). column: int64 (1,)."""
        batch, _, heads, _, features = self.cache.shape
        qkv = functional.linear(x, self.qkv).view(batch, 3, heads, features)
        qkv = pick(inputs.qkv, column).apply(qkv)
        self.cache.index_copy_(3, column, qkv[:, 1:, :, None])
        keys, values = self.cache.unbind(1)
        bias = self.bias.index_select(1, column)
        mixed = attend_masked(qkv[:, 0, :, None], keys, values, bias).reshape(batch, -1)
        norms = NormModulations(inputs.attention_norm, inputs.mlp_norm)
        positions = PositionModulations(mlp=pick(inputs.mlp, column))
        return self.layer.finish(x, self.layer.attention.output(mixed), positions, norms)


def pick(modulation: Modulation, column: Tensor) -> FusedModulation:
    """The modulation at a column, int64 (1,)."""
    parts = (None if part is None else part.index_select(0, column)[0] for part in modulation)
    return FusedModulation(*parts)


class Pixel(nn.Module):
    """One pixel of each picture: all inner layers, the head and the draw at temperature 1."""

    def __init__(self, core: ColTranCore, batch: int) -> None:
        super().__init__()
        self.core = core
        self.layers = nn.ModuleList(InnerPixel(layer, batch) for layer in core.inner.layers)

    def forward(self, left_B: Tensor, column: Tensor, given: RowInputs) -> Drawn:
        """left_B: the bins to the left, int64 (B,). column: int64 (1,)."""
        left = self.core.pixel_embedding(left_B) * (column > 0)
        x = given.start_WBD.index_select(0, column)[0] + left
        for layer, inputs in zip(self.layers, given.steps, strict=True):
            x = layer(x, column, inputs)
        logits = self.core.head(self.core.norm(x))
        if given.prior_BWV is not None:
            logits = logits + given.prior_BWV.index_select(1, column)[:, 0]
        return draw(logits, given.uniforms_BW.index_select(1, column)[:, 0], 1.0)


class PixelRow:
    """Draws rows as `RowRunner` does, by one call of a compiled pixel after the other."""

    def __init__(
        self, core: ColTranCore, batch: int, compiled: Callable[[nn.Module], Callable[..., Any]]
    ) -> None:
        self._pixel = compiled(Pixel(core, batch))
        self._columns = torch.arange(core.config.resolution).split(1)
        self._first = torch.zeros(batch, dtype=torch.long)
        self._buffers: RowInputs | None = None

    def __call__(self, given: RowInputs) -> Drawn:
        """Draw a row, (B, W) each."""
        if self._buffers is None:  # strides that never change, or it would be compiled again
            self._buffers = given.copy()
        self._buffers.fill(given)
        left, pixels = self._first, list[Drawn]()
        for column in self._columns:
            pixels.append(self._pixel(left, column, self._buffers))
            left = pixels[-1].bins
        return Drawn(*(torch.stack(parts, dim=1) for parts in zip(*pixels, strict=True)))
