"""The loss of each stage in training and validation, in bits.

Legend: B batch, S side of the photographs, R the core's resolution.
"""

from dataclasses import dataclass
from functools import singledispatch

import torch
from torch import Tensor, nn

from model.color import bins_from_coarse, coarse_from_rgb, gray_from_rgb
from model.core import ColTranCore
from model.likelihood import bits
from model.pic.network import Pic
from model.pic.pixelcnn import PixelCnn
from model.scaling import blur, scale_by_area
from model.training.known_color import draw_known_color
from model.upsamplers import CHANNELS, ChannelUpsampler, ColorUpsampler


@dataclass(frozen=True)
class LossInputs:
    """Inputs of the losses other than the photographs; each stage uses some of them.

    autoregressive: compute the autoregressive losses of core and PIC, too. known_seeds_B: int64,
    seeds of the core's random hints and palettes; None for no hints and palettes. channel_B: int64
    [0, 2], the channel of each picture that an upsampler predicts (published: a random one); None
    for the mean over all three. low_resolution: side of the picture that the spatial upsampler
    enlarges.
    """

    autoregressive: bool = True
    known_seeds_B: Tensor | None = None
    channel_B: Tensor | None = None
    low_resolution: int = 64


@singledispatch
def stage_losses(
    model: nn.Module, rgb_BSS3: Tensor, inputs: LossInputs = LossInputs()
) -> dict[str, Tensor]:
    """Losses by name, scalars in bits.

    The core has `core` and `parallel`, PIC `pic` and `parallel`, per pixel; others have their own
    name, per channel value. rgb_BSS3: true photographs, integers [0, 255], at the high resolution
    for a core with a trunk, else at the stage's own.

    Raises:
        TypeError: the model is not a stage.
    """
    raise TypeError(f"{type(model).__name__} is not a stage that can be trained")


@stage_losses.register
def _(model: ColTranCore, rgb_BSS3: Tensor, inputs: LossInputs = LossInputs()) -> dict[str, Tensor]:
    high = None
    rgb_BRR3 = rgb_BSS3
    if model.config.trunk != "none":
        high, rgb_BRR3 = gray_from_rgb(rgb_BSS3), scale_by_area(rgb_BSS3, model.config.resolution)
    gray, targets = gray_from_rgb(rgb_BRR3), bins_from_coarse(coarse_from_rgb(rgb_BRR3))
    hints = palette = None
    if inputs.known_seeds_B is not None and (model.config.hints or model.config.palette):
        known = draw_known_color(rgb_BRR3.cpu(), inputs.known_seeds_B)
        hints = known.hints_BRR.to(gray.device) if model.config.hints else None
        palette = known.palette_BV.to(gray.device) if model.config.palette else None
    context = model.encode(gray, high, hints, palette)
    losses = {"parallel": bits(model.parallel_from(context, gray), targets)}
    if inputs.autoregressive:
        losses["core"] = bits(model.decode(targets, context, gray), targets)
    return losses


@stage_losses.register
def _(model: Pic, rgb_BSS3: Tensor, inputs: LossInputs = LossInputs()) -> dict[str, Tensor]:
    return model.losses(rgb_BSS3, inputs.autoregressive)


@stage_losses.register
def _(model: PixelCnn, rgb_BSS3: Tensor, inputs: LossInputs = LossInputs()) -> dict[str, Tensor]:
    return model.losses(rgb_BSS3)


@stage_losses.register
def _(
    model: ChannelUpsampler, rgb_BSS3: Tensor, inputs: LossInputs = LossInputs()
) -> dict[str, Tensor]:
    if inputs.channel_B is None:
        every = (torch.full((len(rgb_BSS3),), channel) for channel in range(CHANNELS))
        found = [_channel_loss(model, rgb_BSS3, each, inputs.low_resolution) for each in every]
        return {model.stage: torch.stack(found).mean()}
    return {model.stage: _channel_loss(model, rgb_BSS3, inputs.channel_B, inputs.low_resolution)}


def _channel_loss(
    model: ChannelUpsampler, rgb_BSS3: Tensor, channel_B: Tensor, low_resolution: int
) -> Tensor:
    """Mean bits per value of one channel of each picture."""
    coarse = isinstance(model, ColorUpsampler)
    poor = coarse_from_rgb(rgb_BSS3) if coarse else blur(rgb_BSS3, low_resolution)
    picture, channel_B = torch.arange(len(rgb_BSS3)), channel_B.to(rgb_BSS3.device)
    logits = model.channel_logits(
        poor[picture, :, :, channel_B], gray_from_rgb(rgb_BSS3), channel_B
    )
    return bits(logits, rgb_BSS3[picture, :, :, channel_B].long())
