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


@dataclass(frozen=True, kw_only=True)
class CoreConfig(ConditioningConfig):
    """Sizes and options of the core; the defaults are the published model.

    `skip` adds the context to the decoders' inputs. `encoder_attention` other than axial is that of
    model.criss_cross. `unconditional` looks at no gray photograph: then this is the Axial
    Transformer (Ho et al. 2019) with a learned context of each place.

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

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("skip", "unconditional"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be one of true, false, not {getattr(self, name)!r}")
        if self.encoder_attention not in get_args(EncoderAttention):
            wanted = ", ".join(get_args(EncoderAttention))
            raise ValueError(
                f"encoder_attention must be one of {wanted}, not {self.encoder_attention!r}"
            )
        self.size.check_layers(enc=self.enc, outer=self.outer, inner=self.inner)

    @property
    def size(self) -> LayerSize:
        return LayerSize(self.hidden, self.ff, self.heads, self.resolution, self.dropout)


class GrayEncoder(nn.Module):
    """Gray photograph -> context at each position."""

    def __init__(self, config: CoreConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding.from_pretrained(
            fourier_features(256, config.hidden), freeze=False
        )
        self.embedding_bias = nn.Parameter(torch.zeros(config.hidden))
        self.position = PositionEmbedding(config.resolution, config.hidden)
        self.layers = build_encoder(config.size, config.enc, config.encoder_attention)

    def embed(self, gray_BHW: Tensor) -> Tensor:
        """What enters the layers: integers [0, 255] (B, H, W) -> (B, H, W, D)."""
        return self.embedding(gray_BHW) + self.embedding_bias + self.position()

    def forward(self, gray_BHW: Tensor) -> Tensor:
        """Integers [0, 255] (B, H, W) -> (B, H, W, D)."""
        x = self.embed(gray_BHW)
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
        self.encoder = GrayEncoder(config)
        self.parallel_head = linear(config.hidden, NUM_BINS, bias=False)
        self.pixel_embedding = embedding(NUM_BINS, config.hidden)
        self.outer = OuterDecoder(config)
        self.inner = InnerDecoder(config)
        self.norm = nn.LayerNorm(config.hidden, NORM_EPSILON)
        self.head = linear(config.hidden, NUM_BINS)

    def forward(self, bins_BHW: Tensor, gray_BHW: Tensor) -> Tensor:
        """Teacher-forced logits.

        bins_BHW: int64 [0, 511]. gray_BHW: integers [0, 255]. Returns float32 (B, H, W, 512);
        position (i, j) sees the gray photograph, and bins above row i or left of it in row i.

        Raises:
            ValueError: symbols of a wrong type, shape or range.
        """
        return self.decode(bins_BHW, self.encode(gray_BHW))

    def parallel_logits(self, gray_BHW: Tensor) -> Tensor:
        """All pixels at once, each independent of the others: float32 (B, H, W, 512)."""
        return self.parallel_head(self.encode(gray_BHW)).float()

    def encode(self, gray_BHW: Tensor) -> Tensor:
        """Gray context (B, H, W, D) of integers [0, 255] (B, H, W)."""
        return self.encoder(self.seen(gray_BHW))

    def seen(self, gray_BHW: Tensor) -> Tensor:
        """What the encoder is given, int64 (B, H, W): zeros where the model is unconditional.

        Raises:
            ValueError: gray of a wrong type, shape or range.
        """
        check_symbols("gray", gray_BHW, 256, (self.config.resolution,) * 2)
        gray = gray_BHW.long()
        return torch.zeros_like(gray) if self.config.unconditional else gray

    def decode(self, bins_BHW: Tensor, gray_context: Tensor) -> Tensor:
        """The part of `forward` after the encoder."""
        check_symbols("bins", bins_BHW, NUM_BINS, (self.config.resolution,) * 2)
        pixels = self.pixel_embedding(bins_BHW.long())
        upper = self.outer(pixels, gray_context)
        features = self.inner(pixels, upper, gray_context)
        return self.head(self.norm(features)).float()

    def describe(self) -> dict[str, object]:
        """What a weights file carries in its header."""
        return {"stage": "core", **asdict(self.config)}
