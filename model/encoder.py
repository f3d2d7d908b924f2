"""The core's encoder: gray photographs, and known colors if there are any -> context.

Legend: B batch, H W rows and columns (both `resolution`), S the high resolution, D features,
V = 512 bins of color.
"""

from dataclasses import dataclass
from typing import NamedTuple, get_args

import torch
from torch import Tensor, nn

from model.color import NUM_BINS, check_symbols
from model.criss_cross import EncoderAttention, build_encoder
from model.initialization import embedding, fourier_features, linear
from model.layers import PositionEmbedding
from model.settings import StackConfig, check_booleans, check_choice, check_dropout
from model.trunk import PhotoContext, Trunk, check_high

UNKNOWN = NUM_BINS  # the hint of a pixel whose color is not known


class Extras(NamedTuple):
    """Inputs of the encoder other than the small gray photographs.

    high_BSS: integers [0, 255], the same photographs at the high resolution; required by a core
    with a trunk, refused by all others. hints_BHW: integers [0, 512], the bins of known pixels and
    512 elsewhere. palette_BV: float, each picture's distribution over bins, or a row of zeros if it
    is unknown.
    """

    high_BSS: Tensor | None = None
    hints_BHW: Tensor | None = None
    palette_BV: Tensor | None = None

    def of_photo(self, photo: int) -> "Extras":
        """The inputs of one photograph, as a batch of one."""
        return Extras(*(None if part is None else part[photo, None] for part in self))

    def to(self, device: torch.device) -> "Extras":
        """The inputs on a device."""
        return Extras(*(None if part is None else part.to(device) for part in self))


@dataclass(frozen=True, kw_only=True)
class EncoderConfig(StackConfig):
    """Sizes of all parts of the core, and the encoder's inputs; defaults are the published model.

    enc: layers of the encoder; an axial one is a pair, one along rows and one along columns.
    encoder_attention: axial, or one of model.criss_cross.

    unconditional: ignore the gray photograph. The core is then the Axial Transformer (Ho et al.
    2019) with a learned context at each position.

    The published model has none of the following. trunk: add features of the photograph at the
    high resolution from a pretrained network (model.trunk). trunk_dropout: share of that
    network's channels that training drops. hints, palette: give the encoder the colors of single
    pixels, and of the whole picture.

    Raises:
        ValueError: a setting that cannot be built, with its name and value.
    """

    encoder_attention: EncoderAttention = "axial"
    unconditional: bool = False
    trunk: Trunk = "none"
    trunk_dropout: float = 0.0
    hints: bool = False
    palette: bool = False

    def __post_init__(self) -> None:
        check_booleans(self, "unconditional", "hints", "palette")
        check_choice(self, "encoder_attention", get_args(EncoderAttention))
        check_choice(self, "trunk", get_args(Trunk))
        check_dropout(self, "trunk_dropout")
        if self.unconditional and self.trunk != "none":
            raise ValueError(f"an unconditional core has no trunk, not {self.trunk!r}")
        super().__post_init__()


class Encoder(nn.Module):
    """Gray photographs, and known colors -> context at each position."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding.from_pretrained(
            fourier_features(256, config.hidden), freeze=False
        )
        self.embedding_bias = nn.Parameter(torch.zeros(config.hidden))
        self.position = PositionEmbedding(config.resolution, config.hidden)
        self.layers = build_encoder(config, config.enc, config.encoder_attention)
        if config.trunk != "none":
            self.photo = PhotoContext(
                config.trunk, config.hidden, config.resolution, config.trunk_dropout
            )
        if config.hints:
            self.hint_embedding = embedding(NUM_BINS + 1, config.hidden)
        if config.palette:
            self.palette_projection = linear(NUM_BINS, config.hidden, bias=False)
            self.no_palette = nn.Parameter(torch.zeros(config.hidden))

    def forward(self, gray_BHW: Tensor, extras: Extras) -> Tensor:
        """gray_BHW: integers [0, 255] -> (B, H, W, D).

        Raises:
            ValueError: inputs of a wrong type, shape or range, or extras that this core was not
                built for.
        """
        self.check(gray_BHW, extras)
        x = self.embed(gray_BHW, extras)
        for layer in self.layers:
            x = layer(x)
        return x

    def embed(self, gray_BHW: Tensor, extras: Extras) -> Tensor:
        """The input of the first layer, (B, H, W, D)."""
        x = self.embedding(self.visible_gray(gray_BHW)) + self.embedding_bias + self.position()
        if extras.high_BSS is not None:
            x = x + self.photo(extras.high_BSS)
        if self.config.hints:
            hints = extras.hints_BHW
            known = torch.full_like(gray_BHW, UNKNOWN) if hints is None else hints
            x = x + self.hint_embedding(known.long())
        if self.config.palette:
            x = x + self.embed_palette(extras.palette_BV)[..., None, None, :]
        return x

    def visible_gray(self, gray_BHW: Tensor) -> Tensor:
        """The gray that the model sees, int64: zeros if it is unconditional."""
        gray = gray_BHW.long()
        return torch.zeros_like(gray) if self.config.unconditional else gray

    def embed_palette(self, palette_BV: Tensor | None) -> Tensor:
        """(B, V) -> (B, D), or (1, D) for None; rows of zeros are unknown palettes.

        It projects the square roots of the shares, which gives rare colors more weight.
        """
        if palette_BV is None:
            return self.no_palette[None]
        roots = palette_BV.to(self.no_palette.dtype).sqrt()
        known = palette_BV.sum(dim=1, keepdim=True) > 0
        return torch.where(known, self.palette_projection(roots), self.no_palette)

    def check(self, gray_BHW: Tensor, extras: Extras) -> None:
        """Raise the ValueError of `forward`."""
        config, square = self.config, (self.config.resolution,) * 2
        check_symbols("gray", gray_BHW, 256, square)
        high, hints, palette = extras
        if (high is None) != (config.trunk == "none"):
            given = "not given" if high is None else "given"
            raise ValueError(
                f"a core with trunk {config.trunk} and the high-resolution photograph {given}:"
                " trunks need it, and cores without a trunk cannot use it"
            )
        if high is not None:
            check_high(high, len(gray_BHW))
        for name, value in (("hints", hints), ("palette", palette)):
            if value is not None and not getattr(config, name):
                raise ValueError(f"{name} were given to a core that was built without {name}")
        if hints is not None:
            check_symbols("hints", hints, NUM_BINS + 1, square)
        if palette is not None:
            check_palette(palette, len(gray_BHW))


def check_palette(palette_BV: Tensor, count: int) -> None:
    """Raise ValueError unless each photograph has a distribution over bins, or a row of zeros."""
    if tuple(palette_BV.shape) != (count, NUM_BINS):
        found = tuple(palette_BV.shape)
        raise ValueError(f"palette must have shape ({count}, {NUM_BINS}), not {found}")
    totals = palette_BV.sum(dim=1)
    good = ((totals - 1).abs() < 1e-3) | (totals == 0)
    if not bool(good.all()) or bool((palette_BV < 0).any()):
        raise ValueError("each palette must be a distribution over bins, or zeros for none")
