"""The two parallel upsamplers of ColTran (section 4 and figure 2 of the paper).

Legend: B batch, H W rows and columns (both `resolution`), D features, V = 256 values of a channel.
Both run one network on each of the three channels by itself.
"""

from dataclasses import asdict, dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from model.color import COARSE_LEVELS, check_symbols
from model.initialization import embedding, linear
from model.layers import PositionEmbedding, axial_encoder
from model.settings import StackConfig

CHANNELS = 3
NUM_VALUES = 256


@dataclass(frozen=True, kw_only=True)
class ColorUpsamplerConfig(StackConfig):
    """Sizes of the color upsampler; the defaults are the published model."""


@dataclass(frozen=True, kw_only=True)
class SpatialUpsamplerConfig(ColorUpsamplerConfig):
    """Sizes of the spatial upsampler; the defaults are the published model."""

    enc: int = 3
    resolution: int = 256


class ChannelUpsampler(nn.Module):
    """One channel of a coarse or blurry picture, and gray -> logits of the channel's true values.

    stage: its name in weights files. levels: how many values a channel of its input has.
    """

    stage: ClassVar[str]
    levels: ClassVar[int]

    def __init__(self, config: ColorUpsamplerConfig) -> None:
        super().__init__()
        self.config = config
        self.channel_embedding = embedding(CHANNELS * self.levels, config.hidden)
        self.gray_embedding = embedding(256, config.hidden)
        self.input = linear(2 * config.hidden, config.hidden)
        self.position = PositionEmbedding(config.resolution, config.hidden)
        self.layers = axial_encoder(config, config.enc)
        self.head = linear(config.hidden, NUM_VALUES)

    def channel_logits(self, values_BHW: Tensor, gray_BHW: Tensor, channel_B: Tensor) -> Tensor:
        """Logits of one channel per picture, as training computes them.

        values_BHW: integers [0, levels - 1], one channel of each picture; channel_B: int64 [0, 2],
        which one; gray_BHW: integers [0, 255]. Returns float32 (B, H, W, 256).
        """
        symbols = values_BHW.long() + self.levels * channel_B[:, None, None]
        parts = (self.channel_embedding(symbols), self.gray_embedding(gray_BHW.long()))
        x = self.input(torch.cat(parts, dim=-1)) + self.position()
        for layer in self.layers:
            x = layer(x)
        return self.head(x).float()

    def forward(self, values_BHW3: Tensor, gray_BHW: Tensor) -> Tensor:
        """Logits of all channels, float32 (B, H, W, 3, 256).

        values_BHW3: integers [0, levels - 1]. gray_BHW: integers [0, 255].

        Raises:
            ValueError: symbols of a wrong type, shape or range.
        """
        self.check(values_BHW3, gray_BHW)
        batch = gray_BHW.shape[0]
        # The three channels are one batch of 3 B pictures, ordered (channel, picture).
        values = values_BHW3.permute(3, 0, 1, 2).flatten(0, 1)
        channel = torch.arange(CHANNELS, device=gray_BHW.device).repeat_interleave(batch)
        logits = self.channel_logits(values, gray_BHW.repeat(CHANNELS, 1, 1), channel)
        return logits.unflatten(0, (CHANNELS, batch)).permute(1, 2, 3, 0, 4)

    def check(self, values_BHW3: Tensor, gray_BHW: Tensor) -> None:
        """Raise ValueError for symbols of a wrong type, shape or range."""
        sides = (self.config.resolution,) * 2
        check_symbols("values", values_BHW3, self.levels, (*sides, CHANNELS))
        check_symbols("gray", gray_BHW, 256, sides)

    def describe(self) -> dict[str, object]:
        """Stage and configuration, for the header of a weights file."""
        return {"stage": self.stage, **asdict(self.config)}


class ColorUpsampler(ChannelUpsampler):
    """Coarse color, three bits per channel -> eight bits per channel at the same resolution."""

    stage = "color"
    levels = COARSE_LEVELS


class SpatialUpsampler(ChannelUpsampler):
    """Blurry color at the high resolution -> sharp color at the same resolution."""

    stage = "spatial"
    levels = NUM_VALUES
