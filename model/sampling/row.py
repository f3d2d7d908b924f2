"""One row of the core's inner decoder, drawn pixel by pixel: the loop that all else waits for.

Legend: B batch, W columns, D features, N heads, C features of a head, V = 512 bins.

Whatever does not depend on the row's own pixels comes in as modulations that are ready to be
applied; what is left of a pixel are the products of the inner layers and of the head. The shapes of
a row are always the same, so on a GPU the whole row is one graph, without a word from the host.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from model.core import ColTranCore
from model.layers import AxialLayer, Modulation, NormModulations, PositionModulations
from model.sampling.draw import Drawn, draw
from model.sampling.inference import Dense, attend, fuse_projections

DrawRow = Callable[[Tensor, Tensor | None, Tensor, "Sequence[StepModulations]"], Drawn]


class StepModulations(NamedTuple):
    """What a layer takes from its context at each pixel of a row; None stands for 1 and 0.

    qkv_scale, qkv_shift: (W, B, 3, N, C). mlp_scale, mlp_shift: (W, B, D).
    """

    qkv_scale: Tensor | None
    qkv_shift: Tensor | None
    mlp_scale: Tensor | None
    mlp_shift: Tensor | None

    @classmethod
    def of(cls, row: PositionModulations) -> Self:
        """row: of one row, each (B, 1, W, N, C) or (B, 1, W, D)."""
        parts = (row.q, row.k, row.v)
        scale = _stack([part.scale for part in parts], torch.ones_like)
        shift = _stack([part.shift for part in parts], torch.zeros_like)
        mlp = (None if x is None else x[:, 0].transpose(0, 1).contiguous() for x in row.mlp)
        return cls(scale, shift, *mlp)


def _stack(parts: Sequence[Tensor | None], absent: Callable[[Tensor], Tensor]) -> Tensor | None:
    """q's, k's and v's part as one, (W, B, 3, N, C), the last three side by side in memory."""
    present = [part for part in parts if part is not None]
    if not present:
        return None
    full = [absent(present[0]) if part is None else part for part in parts]
    return torch.stack([part[:, 0].transpose(0, 1) for part in full], dim=2)


def modulate(x: Tensor, scale: Tensor | None, shift: Tensor | None) -> Tensor:
    """x * scale + shift, in one pass where there are both."""
    if scale is not None and shift is not None:
        return torch.addcmul(shift, x, scale)
    return Modulation(scale, shift).apply(x)


@dataclass
class InnerStep:
    """An inner layer at one pixel, (B, D) -> (B, D), on the keys and values of those before it."""

    qkv: Dense
    output: Dense
    mlp_input: Dense
    mlp_output: Dense
    attention_norm: nn.LayerNorm
    mlp_norm: nn.LayerNorm
    norms: NormModulations  # each (B, D)
    bias: Tensor  # (N, L, L)
    cache: Tensor  # keys and values, (B, 2, N, L, C)

    @classmethod
    def of(cls, layer: AxialLayer, norms: NormModulations, batch: int) -> Self:
        attention, mlp = layer.attention, layer.mlp
        weight = fuse_projections(layer)
        heads, length = attention.heads, attention.length
        return cls(
            Dense(weight, None, batch),
            Dense(attention.output.weight, None, batch),
            Dense(mlp.input.weight, mlp.input.bias, batch),
            Dense(mlp.output.weight, mlp.output.bias, batch),
            layer.attention_norm,
            layer.mlp_norm,
            NormModulations(
                *(Modulation(*(x if x is None else x[:, 0, 0] for x in part)) for part in norms)
            ),
            attention.bias().to(weight.dtype),
            weight.new_zeros(batch, 2, heads, length, weight.shape[1] // heads),
        )

    def __call__(self, x: Tensor, column: int, modulations: StepModulations) -> Tensor:
        qkv_scale, qkv_shift, mlp_scale, mlp_shift = (
            None if part is None else part[column] for part in modulations
        )
        batch, _, heads, _, features = self.cache.shape
        qkv = modulate(self.qkv(x).view(batch, 3, heads, features), qkv_scale, qkv_shift)
        self.cache[:, :, :, column] = qkv[:, 1:]
        keys, values = self.cache[:, :, :, : column + 1].unbind(1)
        bias = self.bias[:, column, None, : column + 1]
        mixed = attend(qkv[:, 0, :, None], keys, values, bias).reshape(batch, -1)
        x = self.attention_norm(self.output(mixed) + x)
        x = modulate(x, *self.norms.attention)
        changed = modulate(self.mlp_output(self.mlp_input(x, "relu")), mlp_scale, mlp_shift)
        x = self.mlp_norm(changed + x)
        return modulate(x, *self.norms.mlp)


def row_drawer(
    core: ColTranCore, batch: int, norms: Sequence[NormModulations], temperature: float
) -> DrawRow:
    """A function that draws one row of each picture of a batch.

    norms: each inner layer's, from the whole gray context. The function takes uniforms (B, W), what
    is added to the logits (B, W, V) or None, what is added to each shifted pixel (W, B, D), and
    each layer's modulations; it returns (B, W) each.
    """
    steps = [
        InnerStep.of(layer, part, batch)
        for layer, part in zip(core.inner.layers, norms, strict=True)
    ]
    head = Dense(core.head.weight, core.head.bias, batch)

    def draw_row(
        uniforms_BW: Tensor,
        prior_BWV: Tensor | None,
        start_WBD: Tensor,
        modulations: Sequence[StepModulations],
    ) -> Drawn:
        pixels: list[Drawn] = []
        x = start_WBD[0]
        for column in range(len(start_WBD)):
            if column:
                x = core.pixel_embedding(pixels[-1].bins) + start_WBD[column]
            for step, part in zip(steps, modulations, strict=True):
                x = step(x, column, part)
            logits = head(core.norm(x)).float()
            if prior_BWV is not None:
                logits = logits + prior_BWV[:, column]
            pixels.append(draw(logits, uniforms_BW[:, column], temperature))
        return Drawn(*(torch.stack(parts, dim=1) for parts in zip(*pixels, strict=True)))

    return as_cuda_graph(draw_row) if core.head.weight.is_cuda else draw_row


def as_cuda_graph(draw_row: DrawRow) -> DrawRow:
    """The same function, recorded at its first call and replayed at the next ones.

    A row is some 3,000 small kernels, and starting each from Python takes longer than it runs.
    """
    graph = torch.cuda.CUDAGraph()
    inputs: list[Tensor] = []
    outputs: list[Tensor] = []

    def replay(
        uniforms_BW: Tensor,
        prior_BWV: Tensor | None,
        start_WBD: Tensor,
        modulations: Sequence[StepModulations],
    ) -> Drawn:
        given = [uniforms_BW, start_WBD]
        given += [] if prior_BWV is None else [prior_BWV]
        given += [part for layer in modulations for part in layer if part is not None]
        if not inputs:
            inputs.extend(part.clone() for part in given)
            rest = iter(inputs[2:])
            prior = None if prior_BWV is None else next(rest)
            own = [
                StepModulations(*(None if part is None else next(rest) for part in layer))
                for layer in modulations
            ]
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):  # libraries set themselves up, outside of the record
                draw_row(inputs[0], prior, inputs[1], own)
            torch.cuda.current_stream().wait_stream(stream)
            with torch.cuda.graph(graph):
                outputs.extend(draw_row(inputs[0], prior, inputs[1], own))
        for old, new in zip(inputs, given, strict=True):
            old.copy_(new)
        graph.replay()
        return Drawn(*outputs)

    return replay
