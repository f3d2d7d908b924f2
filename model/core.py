"""ColTran core: gray photograph -> distribution over coarse color (section 4.2 of the paper).

Legend: B batch, H W rows and columns (both `resolution`), D features, V = 512 bins of color.

The encoder reads the gray photograph; the outer decoder carries finished rows down; the inner
decoder carries finished pixels of a row to the right. Causality comes from two shifts: the outer
decoder's output moves one row down, the inner decoder's input one column to the right.
"""

from dataclasses import asdict, dataclass
from typing import get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.color import NUM_BINS, check_symbols
from model.criss_cross import EncoderAttention, build_encoder
from model.layers import (
    NORM_EPSILON,
    AxialLayer,
    AxialLayers,
    ConditioningConfig,
    LayerSize,
    PositionEmbedding,
    embedding,
    fourier_features,
    linear,
)
from model.trunk import PhotoContext, Trunk, check_high, check_trunk

UNKNOWN = NUM_BINS  # the hint of a pixel whose color nobody knows


@dataclass(frozen=True, kw_only=True)
class CoreConfig(ConditioningConfig):
    """Sizes and options of the core; the defaults are the published model.

    `skip` adds the context to the decoders' inputs. `encoder_attention` other than axial is that of
    model.criss_cross. `unconditional` looks at no gray photograph: then this is the Axial
    Transformer (Ho et al. 2019) with a learned context of each place.

    What the published model has not: `trunk` shows the encoder the photograph at the high
    resolution, through a pretrained network; `trunk_dropout` is the share of that network's
    channels that are dropped in training. `hints` and `palette` let the encoder know colors of
    single pixels and of the whole picture. `histogram` adds log p(bin | gray) of the training
    photographs to both heads, which then start at zero.

    Raises:
        ValueError: a setting that cannot be built, with its name and value.
    """

    hidden: int = 512
    ff: int = 512
    heads: int = 4
    enc: int = 4
    outer: int = 2
    inner: int = 2
    resolution: int = 64
    skip: bool = True
    dropout: float = 0.0
    encoder_attention: EncoderAttention = "axial"
    unconditional: bool = False
    trunk: Trunk = "none"
    trunk_dropout: float = 0.0
    hints: bool = False
    palette: bool = False
    histogram: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("skip", "unconditional", "hints", "palette", "histogram"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be one of true, false, not {getattr(self, name)!r}")
        if self.encoder_attention not in get_args(EncoderAttention):
            wanted = ", ".join(get_args(EncoderAttention))
            raise ValueError(
                f"encoder_attention must be one of {wanted}, not {self.encoder_attention!r}"
            )
        check_trunk(self.trunk, self.trunk_dropout)
        if self.unconditional and self.trunk != "none":
            raise ValueError(f"an unconditional core has no trunk, not {self.trunk!r}")
        self.size.check_layers(enc=self.enc, outer=self.outer, inner=self.inner)

    @property
    def size(self) -> LayerSize:
        return LayerSize(self.hidden, self.ff, self.heads, self.resolution, self.dropout)


class Encoder(nn.Module):
    """Gray photograph, and what is known of its color -> context at each position."""

    def __init__(self, config: CoreConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding.from_pretrained(
            fourier_features(256, config.hidden), freeze=False
        )
        self.embedding_bias = nn.Parameter(torch.zeros(config.hidden))
        self.position = PositionEmbedding(config.resolution, config.hidden)
        self.layers = build_encoder(config.size, config.enc, config.encoder_attention)
        if config.trunk != "none":
            self.photo = PhotoContext(
                config.trunk, config.hidden, config.resolution, config.trunk_dropout
            )
        if config.hints:
            self.hint_embedding = embedding(NUM_BINS + 1, config.hidden)
        if config.palette:
            self.palette_projection = linear(NUM_BINS, config.hidden, bias=False)
            self.no_palette = nn.Parameter(torch.zeros(config.hidden))

    def embed(
        self,
        gray_BHW: Tensor,
        high_BSS: Tensor | None = None,
        hints_BHW: Tensor | None = None,
        palette_BV: Tensor | None = None,
    ) -> Tensor:
        """What enters the layers, (B, H, W, D); inputs as in `ColTranCore.encode`."""
        x = self.embedding(gray_BHW) + self.embedding_bias + self.position()
        if high_BSS is not None:
            x = x + self.photo(high_BSS)
        if self.config.hints:
            known = torch.full_like(gray_BHW, UNKNOWN) if hints_BHW is None else hints_BHW.long()
            x = x + self.hint_embedding(known)
        if self.config.palette:
            x = x + self.embed_palette(palette_BV)[..., None, None, :]
        return x

    def embed_palette(self, palette_BV: Tensor | None) -> Tensor:
        """(B, V), rows of zeros for unknown ones -> (B, D). Roots, so that rare colors count."""
        if palette_BV is None:
            return self.no_palette[None]
        roots = palette_BV.to(self.no_palette.dtype).sqrt()
        known = palette_BV.sum(dim=1, keepdim=True) > 0
        return torch.where(known, self.palette_projection(roots), self.no_palette)

    def forward(
        self,
        gray_BHW: Tensor,
        high_BSS: Tensor | None = None,
        hints_BHW: Tensor | None = None,
        palette_BV: Tensor | None = None,
    ) -> Tensor:
        """Inputs as in `ColTranCore.encode` -> (B, H, W, D)."""
        x = self.embed(gray_BHW, high_BSS, hints_BHW, palette_BV)
        for layer in self.layers:
            x = layer(x)
        return x


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

        bins_BHW: int64 [0, 511]; the others as in `encode`. Returns float32 (B, H, W, 512);
        position (i, j) sees all that the encoder does, and bins above row i or left of it in row i.

        Raises:
            ValueError: symbols of a wrong type, shape or range, or inputs that the model lacks.
        """
        context = self.encode(gray_BHW, high_BSS, hints_BHW, palette_BV)
        return self.decode(bins_BHW, context, gray_BHW)

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
        return self.log_histogram[self.seen(gray)].float() if self.config.histogram else None

    def _with_prior(self, logits: Tensor, gray_BHW: Tensor) -> Tensor:
        prior = self.prior(gray_BHW)
        return logits if prior is None else logits + prior

    def encode(
        self,
        gray_BHW: Tensor,
        high_BSS: Tensor | None = None,
        hints_BHW: Tensor | None = None,
        palette_BV: Tensor | None = None,
    ) -> Tensor:
        """Context (B, H, W, D) of a photograph and of what is known of its color.

        gray_BHW: integers [0, 255]. high_BSS: the same photographs at the high resolution, for the
        trunk, and only for it. hints_BHW: known bins [0, 511], or 512 for unknown. palette_BV:
        a distribution over bins for the whole picture, or a row of zeros for an unknown one.

        Raises:
            ValueError: inputs of a wrong type, shape or range, or inputs that the model lacks.
        """
        self.check(gray_BHW, high_BSS, hints_BHW, palette_BV)
        return self.encoder(self.seen(gray_BHW), high_BSS, hints_BHW, palette_BV)

    def check(
        self,
        gray_BHW: Tensor,
        high_BSS: Tensor | None,
        hints_BHW: Tensor | None,
        palette_BV: Tensor | None,
    ) -> None:
        """Refuse what `encode` refuses."""
        config, square = self.config, (self.config.resolution,) * 2
        check_symbols("gray", gray_BHW, 256, square)
        if (high_BSS is None) != (config.trunk == "none"):
            given = "not given" if high_BSS is None else "given"
            raise ValueError(
                f"a core with trunk {config.trunk} and the high-resolution photograph {given}:"
                " trunks need it, and cores without a trunk cannot use it"
            )
        if high_BSS is not None:
            check_high(high_BSS, len(gray_BHW))
        for name, value in (("hints", hints_BHW), ("palette", palette_BV)):
            if value is not None and not getattr(config, name):
                raise ValueError(f"{name} were given to a core that was built without {name}")
        if hints_BHW is not None:
            check_symbols("hints", hints_BHW, NUM_BINS + 1, square)
        if palette_BV is not None:
            check_palette(palette_BV, len(gray_BHW))

    def seen(self, gray_BHW: Tensor) -> Tensor:
        """The gray that the model is given, int64: zeros where it is unconditional."""
        gray = gray_BHW.long()
        return torch.zeros_like(gray) if self.config.unconditional else gray

    def decode(self, bins_BHW: Tensor, context: Tensor, gray_BHW: Tensor) -> Tensor:
        """The part of `forward` after the encoder."""
        check_symbols("bins", bins_BHW, NUM_BINS, (self.config.resolution,) * 2)
        pixels = self.pixel_embedding(bins_BHW.long())
        upper = self.outer(pixels, context)
        features = self.inner(pixels, upper, context)
        return self._with_prior(self.head(self.norm(features)).float(), gray_BHW)

    def describe(self) -> dict[str, object]:
        """What a weights file carries in its header."""
        return {"stage": "core", **asdict(self.config)}


def check_palette(palette_BV: Tensor, count: int) -> None:
    """Refuse what is no distribution over bins, or nothing (zeros), of each photograph."""
    if tuple(palette_BV.shape) != (count, NUM_BINS):
        found = tuple(palette_BV.shape)
        raise ValueError(f"palette must have shape ({count}, {NUM_BINS}), not {found}")
    totals = palette_BV.sum(dim=1)
    good = ((totals - 1).abs() < 1e-3) | (totals == 0)
    if not bool(good.all()) or bool((palette_BV < 0).any()):
        raise ValueError("each palette must be a distribution over bins, or zeros for none")
