"""ColTran core: gray photograph -> distribution over coarse color (section 4.1 of the paper).

Legend: B batch, H W rows and columns (both `resolution`), D features, V = 512 bins of color.

The encoder (model.encoder) reads the gray photograph. The outer decoder turns finished rows into a
context for the rows below. The inner decoder turns the finished pixels of a row into features for
its next pixel. Masks and two shifts make the model autoregressive: the outer decoder's output moves
down by one row, and the inner decoder's input moves right by one column.
"""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.color import NUM_BINS, check_symbols
from model.conditioning import ConditioningConfig
from model.encoder import Encoder, EncoderConfig, Extras
from model.initialization import embedding, linear
from model.layers import (
    NORM_EPSILON,
    AxialLayer,
    AxialLayers,
    PositionEmbedding,
)
from model.settings import check_booleans, check_whole_numbers


@dataclass(frozen=True, kw_only=True)
class CoreConfig(EncoderConfig, ConditioningConfig):
    """Sizes and options of the core; the defaults are the published model.

    outer, inner: layers of the decoders; a layer of the outer decoder is a pair, one along rows
    and one along columns. skip: add the context to the decoders' inputs. histogram (not in the
    published model): add the training photographs' log p(bin | gray) to the logits of both heads,
    which are initialized to zero.

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
        check_whole_numbers(self, "outer", "inner")


class OuterDecoder(nn.Module):
    """Finished rows -> context for the rows below: unmasked rows, masked columns, a shift down."""

    def __init__(self, config: CoreConfig) -> None:
        super().__init__()
        self.skip = config.skip
        self.position = PositionEmbedding(config.resolution, config.hidden)
        self.layers = AxialLayers()
        for _ in range(config.outer):
            self.layers.append(AxialLayer(config, "row", False, config, config.hidden))
            self.layers.append(AxialLayer(config, "column", True, config, config.hidden))

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
    """Finished pixels of a row, context from above, gray context -> features of the next pixel."""

    def __init__(self, config: CoreConfig) -> None:
        super().__init__()
        self.skip = config.skip
        self.position = PositionEmbedding(config.resolution, config.hidden)
        self.layers = AxialLayers(
            AxialLayer(config, "row", True, config, 2 * config.hidden) for _ in range(config.inner)
        )

    def forward(self, pixels: Tensor, upper: Tensor, gray_context: Tensor) -> Tensor:
        """All (B, H, W, D); position (i, j) sees pixels above row i and left of column j."""
        x = functional.pad(pixels, (0, 0, 1, 0))[:, :, :-1] + self.position()
        if self.skip:
            x = x + gray_context + upper
        context = torch.cat((gray_context, upper), dim=-1)
        for layer in self.layers:
            # Norms take a mean over the picture; over `upper` it would leak later rows.
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
        """Teacher-forced logits of the autoregressive head.

        bins_BHW: integers [0, 511], the true bins; gray_BHW: integers [0, 255]; the others are as
        in `Extras`. Returns float32 (B, H, W, 512); position (i, j) depends on the encoder's inputs
        and on bins above row i or left of column j in row i.

        Raises:
            ValueError: inputs of a wrong type, shape or range, or that this core was not built for.
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
        """The encoder's context, (B, H, W, D), which depends on no bins; inputs as in `forward`."""
        context: Tensor = self.encoder(gray_BHW, Extras(high_BSS, hints_BHW, palette_BV))
        return context

    def decode(self, bins_BHW: Tensor, context: Tensor, gray_BHW: Tensor) -> Tensor:
        """The logits of `forward`, given the encoder's context (B, H, W, D)."""
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
        """Logits of the parallel head, where pixels are independent: float32 (B, H, W, 512).

        Inputs as in `forward`.
        """
        context = self.encode(gray_BHW, high_BSS, hints_BHW, palette_BV)
        return self.parallel_from(context, gray_BHW)

    def parallel_from(self, context: Tensor, gray_BHW: Tensor) -> Tensor:
        """`parallel_logits`, given the encoder's context (B, H, W, D): float32 (B, H, W, 512)."""
        return self._with_prior(self.parallel_head(context).float(), gray_BHW)

    def prior(self, gray: Tensor) -> Tensor | None:
        """The training photographs' log p(bin | gray), or None without a histogram.

        gray: integers [0, 255] (...). Returns float32 (..., 512).
        """
        if not self.config.histogram:
            return None
        return self.log_histogram[self.encoder.visible_gray(gray)].float()

    def _with_prior(self, logits: Tensor, gray_BHW: Tensor) -> Tensor:
        prior = self.prior(gray_BHW)
        return logits if prior is None else logits + prior

    def describe(self) -> dict[str, object]:
        """Stage and configuration, for the header of a weights file."""
        return {"stage": "core", **asdict(self.config)}
