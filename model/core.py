"""ColTran core: gray photograph -> distribution over coarse color (section 4.2 of the paper).

Legend: B batch, H W rows and columns (both `resolution`), D features, V = 512 bins of color.

The encoder (model.encoder) reads the gray photograph; the outer decoder carries finished rows down;
the inner decoder carries finished pixels of a row to the right. Causality comes from two shifts:
the outer decoder's output moves one row down, the inner decoder's input one column to the right.
"""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.color import NUM_BINS, check_symbols
from model.encoder import Encoder, EncoderConfig, Extras, check_booleans
from model.layers import (
    NORM_EPSILON,
    AxialLayer,
    AxialLayers,
    ConditioningConfig,
    PositionEmbedding,
    embedding,
    linear,
)


@dataclass(frozen=True, kw_only=True)
class CoreConfig(EncoderConfig, ConditioningConfig):
    """Sizes and options of the core; the defaults are the published model.

    `outer` and `inner` count the decoders' layers; `skip` adds the context to their inputs.
    `histogram`, which the published model lacks, adds log p(bin | gray) of the training photographs
    to both heads, which then start at zero.

    Raises:
        ValueError: a setting that cannot be built, with its name and value.
    """

    outer: int = 2
    inner: int = 2
    skip: bool = True
    histogram: bool = False

    def __post_init__(self) -> None:
        ConditioningConfig.__post_init__(self)
        EncoderConfig.__post_init__(self)
        check_booleans(self, "skip", "histogram")
        self.size.check_layers(outer=self.outer, inner=self.inner)


class OuterDecoder(nn.Module):
    """Finished rows -> context for the rows below: unmasked rows, masked columns, shift down."""

    def __init__(self, config: CoreConfig) -> None:
        super().__init__()
        self.skip = config.skip
        self.position = PositionEmbedding(config.resolution, config.hidden)
        self.layers = AxialLayers()
        for _ in range(config.outer):
            self.layers.append(AxialLayer(config.size, "row", False, config, config.hidden))
            self.layers.append(AxialLayer(config.size, "column", True, config, config.hidden))

    def forward(self, pixels: Tensor, gray_context: Tensor) -> Tensor:
        """Pixel embeddings and gray context (B, H, W, D) -> (B, H, W, D); row i sees rows < i."""
        x = pixels + self.position()
        if self.skip:
            x = x + gray_context
        for layer in self.layers:
            positions = layer.modulate_positions(gray_context)
            x = layer(x, positions, layer.modulate_norms(gray_context))
        return functional.pad(x, (0, 0, 0, 0, 1, 0))[:, :-1]


class InnerDecoder(nn.Module):
    """Finished pixels of a row, above and gray context -> features of the next pixel."""

    def __init__(self, config: CoreConfig) -> None:
        super().__init__()
        self.skip = config.skip
        self.position = PositionEmbedding(config.resolution, config.hidden)
        self.layers = AxialLayers(
            AxialLayer(config.size, "row", True, config, 2 * config.hidden)
            for _ in range(config.inner)
        )

    def forward(self, pixels: Tensor, upper: Tensor, gray_context: Tensor) -> Tensor:
        """All (B, H, W, D); position (i, j) sees pixels above row i and left of column j."""
        x = functional.pad(pixels, (0, 0, 1, 0))[:, :, :-1] + self.position()
        if self.skip:
            x = x + gray_context + upper
        context = torch.cat((gray_context, upper), dim=-1)
        for layer in self.layers:
            # The norms look at gray alone: a mean over `upper` would let later rows leak in.
            x = layer(x, layer.modulate_positions(context), layer.modulate_norms(gray_context))
        return x


class ColTranCore(nn.Module):
    """The autoregressive model of coarse color, with its auxiliary parallel head."""

    def __init__(self, config: CoreConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.parallel_head = linear(config.hidden, NUM_BINS, bias=False)
        self.pixel_embedding = embedding(NUM_BINS, config.hidden)
        self.outer = OuterDecoder(config)
        self.inner = InnerDecoder(config)
        self.norm = nn.LayerNorm(config.hidden, NORM_EPSILON)
        self.head = linear(config.hidden, NUM_BINS)
        self.log_histogram: Tensor
        if config.histogram:
            self.register_buffer("log_histogram", torch.zeros(256, NUM_BINS))
            nn.init.zeros_(self.parallel_head.weight)
            nn.init.zeros_(self.head.weight)

    def forward(
        self,
        bins_BHW: Tensor,
        gray_BHW: Tensor,
        high_BSS: Tensor | None = None,
        hints_BHW: Tensor | None = None,
        palette_BV: Tensor | None = None,
    ) -> Tensor:
        """Teacher-forced logits.

        bins_BHW: int64 [0, 511]; gray_BHW: integers [0, 255]; the others are as in Extras. Returns
        float32 (B, H, W, 512); position (i, j) sees all that the encoder does, and bins above row i
        or left of it in row i.

        Raises:
            ValueError: inputs of a wrong type, shape or range, or for which the core was not built.
        """
        context = self.encode(gray_BHW, high_BSS, hints_BHW, palette_BV)
        return self.decode(bins_BHW, context, gray_BHW)

    def encode(
        self,
        gray_BHW: Tensor,
        high_BSS: Tensor | None = None,
        hints_BHW: Tensor | None = None,
        palette_BV: Tensor | None = None,
    ) -> Tensor:
        """The part of `forward` that sees no color, (B, H, W, D): needed once per photograph."""
        context: Tensor = self.encoder(gray_BHW, Extras(high_BSS, hints_BHW, palette_BV))
        return context

    def decode(self, bins_BHW: Tensor, context: Tensor, gray_BHW: Tensor) -> Tensor:
        """The part of `forward` after the encoder."""
        check_symbols("bins", bins_BHW, NUM_BINS, (self.config.resolution,) * 2)
        pixels = self.pixel_embedding(bins_BHW.long())
        upper = self.outer(pixels, context)
        features = self.inner(pixels, upper, context)
        return self._with_prior(self.head(self.norm(features)).float(), gray_BHW)

    def parallel_logits(
        self,
        gray_BHW: Tensor,
        high_BSS: Tensor | None = None,
        hints_BHW: Tensor | None = None,
        palette_BV: Tensor | None = None,
    ) -> Tensor:
        """All pixels at once, each independent of the others: float32 (B, H, W, 512)."""
        context = self.encode(gray_BHW, high_BSS, hints_BHW, palette_BV)
        return self.parallel_from(context, gray_BHW)

    def parallel_from(self, context: Tensor, gray_BHW: Tensor) -> Tensor:
        """The parallel head on the encoder's context: float32 (B, H, W, 512)."""
        return self._with_prior(self.parallel_head(context).float(), gray_BHW)

    def prior(self, gray: Tensor) -> Tensor | None:
        """log p(bin | gray) of the training photographs, (...) -> float32 (..., 512); or None."""
        if not self.config.histogram:
            return None
        return self.log_histogram[self.encoder.seen(gray)].float()

    def _with_prior(self, logits: Tensor, gray_BHW: Tensor) -> Tensor:
        prior = self.prior(gray_BHW)
        return logits if prior is None else logits + prior

    def describe(self) -> dict[str, object]:
        """What a weights file carries in its header."""
        return {"stage": "core", **asdict(self.config)}
