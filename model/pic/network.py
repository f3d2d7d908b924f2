"""PIC, probabilistic image colorization: chroma by a PixelCNN++ conditioned on the gray photograph.

Royer, Kolesnikov and Lampert, "Probabilistic Image Colorization", BMVC 2017. A convolutional
network embeds the lightness L*; the embedding conditions a PixelCNN++ over the channels a* and b*
of CIE Lab at a reduced resolution. Both are trained by maximum likelihood.

A parallel head, which the paper does not have, predicts each pixel from the embedding without any
neighbor, as in ColTran's core.

Legend: B batch, S side of the gray photograph, R = S / factor side of its chroma, F features.
Chroma is discretized by rounding a* and b* to whole numbers: symbol = value + 128, 0..255.
"""

import math
from dataclasses import asdict, dataclass
from typing import ClassVar, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from model.color import check_symbols, gray_from_rgb
from model.lab import lab_from_rgb
from model.pic.convolutions import Convolution
from model.pic.embedding import MOST_HALVINGS, GatedEmbedding, lightness_table
from model.pic.mixture import Mixture, log_prob
from model.pic.pixelcnn import PixelCnn, PixelCnnConfig, mixture_head
from model.settings import check_choice, check_dropout, check_whole_numbers
from model.trunk import STRIDE, PhotoContext, Trunk

Form = Literal["small", "published"]
CHROMA = 2  # channels
CHROMA_ZERO = 128  # symbol of a* = 0
_DILATIONS = (1, 2, 4)
_GROUPS = 8  # of features that are normalized together


@dataclass(frozen=True, kw_only=True)
class PicConfig:
    """Sizes of PIC.

    hidden: F, also the features of the PixelCNN++. enc: residual blocks of the embedding. inner:
    blocks of the PixelCNN++, as in `PixelCnnConfig`. mixtures: K. resolution: S; no weight depends
    on it. factor: S / R, a power of two. dropout: share of features that training drops. trunk: a
    pretrained network that also sees the photograph, as in the paper. trunk_dropout: share of its
    channels that training drops.

    form: "small", or "published": the PixelCNN++ of the published code, with the embedding of that
    code (model/pic/embedding.py; `embedding` is the number of features of its first part, and enc
    is not used), or, if there is a trunk, with that of the small form.

    Raises:
        ValueError: a setting that cannot be built, with its name and value.
    """

    hidden: int = 160
    enc: int = 6
    inner: int = 4
    mixtures: int = 10
    resolution: int = 128
    factor: int = 4
    dropout: float = 0.0
    trunk: Trunk = "none"
    trunk_dropout: float = 0.0
    form: Form = "small"
    embedding: int = 64

    def __post_init__(self) -> None:
        check_choice(self, "form", get_args(Form))
        check_choice(self, "trunk", get_args(Trunk))
        check_dropout(self, "trunk_dropout")
        if self.trunk != "none" and self.resolution % STRIDE:
            raise ValueError(
                f"a trunk needs a resolution that is a multiple of {STRIDE}, not {self.resolution}"
            )
        whole = ("hidden", "enc", "inner", "mixtures", "resolution", "factor", "embedding")
        check_whole_numbers(self, *whole)
        check_dropout(self)
        if self.hidden % _GROUPS:
            raise ValueError(f"hidden must be a multiple of {_GROUPS}, not {self.hidden}")
        if self.factor & (self.factor - 1) or self.resolution % self.factor:
            pair = f"{self.factor} with resolution {self.resolution}"
            raise ValueError(f"factor must be a power of two that divides resolution, not {pair}")
        if self.form == "published" and self.halvings > MOST_HALVINGS:
            raise ValueError(f"factor must be at most 4 in the published form, not {self.factor}")

    @property
    def halvings(self) -> int:
        """How often the photograph's side is halved to get that of its chroma."""
        return self.factor.bit_length() - 1

    @property
    def chroma_resolution(self) -> int:
        """R."""
        return self.resolution // self.factor


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions, each after a norm and a ReLU."""

    def __init__(self, features: int, dilation: int, dropout: float) -> None:
        super().__init__()
        pad = (dilation,) * 4
        self.first_norm = nn.GroupNorm(_GROUPS, features)
        self.first = Convolution(features, features, (3, 3), pad, dilation=dilation)
        self.second_norm = nn.GroupNorm(_GROUPS, features)
        self.dropout = nn.Dropout(dropout)
        self.second = Convolution(features, features, (3, 3), (1, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, R, R, F) -> (B, R, R, F)."""
        inner = self.first(torch.relu(normalized(self.first_norm, x)))
        return x + self.second(self.dropout(torch.relu(normalized(self.second_norm, inner))))


def normalized(norm: nn.GroupNorm, x: Tensor) -> Tensor:
    """Apply a norm, which wants channels first, to a picture with channels last."""
    return norm(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class LightnessEncoder(nn.Module):
    """Gray photographs -> embedding at the resolution of chroma: the small form."""

    lightness: Tensor

    def __init__(self, config: PicConfig) -> None:
        super().__init__()
        hidden, halvings = config.hidden, config.halvings
        self.register_buffer("lightness", lightness_table(), persistent=False)
        self.input = Convolution(1, hidden, (3, 3), (1, 1, 1, 1), stride=2 if halvings else 1)
        stack: list[nn.Module] = [
            Convolution(hidden, hidden, (3, 3), (1, 1, 1, 1), stride=2) for _ in range(1, halvings)
        ]
        stack += [
            ResidualBlock(hidden, _DILATIONS[place % len(_DILATIONS)], config.dropout)
            for place in range(config.enc)
        ]
        self.layers = nn.ModuleList(stack)
        self.norm = nn.GroupNorm(_GROUPS, hidden)
        self.photo: PhotoContext | None = None
        if config.trunk != "none":
            self.photo = PhotoContext(
                config.trunk, hidden, config.chroma_resolution, config.trunk_dropout
            )

    def forward(self, gray_BSS: Tensor) -> Tensor:
        """Integers [0, 255] (B, S, S) -> (B, R, R, F)."""
        x = self.input(self.lightness[gray_BSS][..., None])
        seen = None if self.photo is None else self.photo(gray_BSS)
        for layer in self.layers:
            if isinstance(layer, ResidualBlock) and seen is not None:
                x, seen = x + seen, None  # before the first block, at the resolution of chroma
            x = layer(torch.relu(x) if isinstance(layer, Convolution) else x)
        return torch.relu(normalized(self.norm, x))


class Pic(nn.Module):
    """The embedding of gray, the PixelCNN++ that it conditions, and the parallel head."""

    stage: ClassVar[str] = "pic"

    def __init__(self, config: PicConfig) -> None:
        super().__init__()
        self.config = config
        published = config.form == "published"
        self.encoder: LightnessEncoder | GatedEmbedding
        if published and config.trunk == "none":
            sizes = (config.embedding, config.hidden, config.halvings)
            self.encoder = GatedEmbedding(*sizes, config.dropout)
        else:
            self.encoder = LightnessEncoder(config)
        self.parallel_head = mixture_head(config.hidden, CHROMA, config.mixtures)
        size = PixelCnnConfig(
            hidden=config.hidden,
            inner=config.inner,
            mixtures=config.mixtures,
            channels=CHROMA,
            resolution=config.chroma_resolution,
            dropout=config.dropout,
        )
        self.pixelcnn = PixelCnn(size, config.hidden, one_way=published)

    def encode(self, gray_BSS: Tensor) -> Tensor:
        """Integers [0, 255] (B, S, S) -> embedding (B, R, R, F).

        Raises:
            ValueError: gray of a wrong type, shape or range.
        """
        check_symbols("gray", gray_BSS, 256, (self.config.resolution,) * 2)
        return self.encoder(gray_BSS.long())

    def forward(self, chroma_BRR2: Tensor, gray_BSS: Tensor) -> Tensor:
        """Log-likelihood of chroma, integers [0, 255], in nats per pixel: float32 (B, R, R).

        Raises:
            ValueError: symbols of a wrong type, shape or range.
        """
        return self.pixelcnn.log_likelihood(chroma_BRR2, self.encode(gray_BSS))

    def parallel_mixture(self, embedding: Tensor) -> Mixture:
        """The parallel head's distribution of each pixel. embedding: (B, R, R, F)."""
        return Mixture.read(self.parallel_head(embedding).float(), CHROMA)

    def log_likelihoods(self, rgb_BSS3: Tensor, autoregressive: bool = True) -> dict[str, Tensor]:
        """Log-likelihoods of true chroma, nats (B, R, R): `pic`, and `parallel` of that head.

        rgb_BSS3: integers [0, 255]. autoregressive: compute `pic`, too.
        """
        chroma = chroma_from_rgb(rgb_BSS3, self.config.factor)
        embedding = self.encode(gray_from_rgb(rgb_BSS3))
        found = {"parallel": log_prob(self.parallel_mixture(embedding), chroma)}
        if autoregressive:
            found["pic"] = self.pixelcnn.log_likelihood(chroma, embedding)
        return found

    def losses(self, rgb_BSS3: Tensor, autoregressive: bool = True) -> dict[str, Tensor]:
        """Mean bits per pixel, of a* and b* together; uniform probabilities would have 16."""
        found = self.log_likelihoods(rgb_BSS3, autoregressive)
        return {name: -nats.mean() / math.log(2) for name, nats in found.items()}

    def describe(self) -> dict[str, object]:
        """Stage and configuration, for the header of a weights file."""
        return {"stage": self.stage, **asdict(self.config)}


def chroma_from_rgb(rgb_BSS3: Tensor, factor: int) -> Tensor:
    """The chroma of the mean color of each block of factor x factor pixels, as symbols.

    rgb_BSS3: integers [0, 255]. Returns int64 [0, 255] (B, R, R, 2): a* and b*, plus 128.
    """
    planes = rgb_BSS3.permute(0, 3, 1, 2).double()
    blocks = functional.avg_pool2d(planes, factor).permute(0, 2, 3, 1)
    chroma = lab_from_rgb(blocks.cpu().numpy())[..., 1:]
    symbols = np.rint(chroma).astype(np.int64) + CHROMA_ZERO
    return torch.from_numpy(symbols.clip(0, 255)).to(rgb_BSS3.device)


def bits_per_pixel(nats: Tensor) -> Tensor:
    """Log-likelihoods (B, R, R), nats -> mean bits per pixel of each picture, float64 (B,)."""
    return -nats.double().mean(dim=(1, 2)) / math.log(2)
