"""Augmentation that imitates aged prints, so that the model learns to colorize scans of these.

Training photographs are modern, with full contrast and without grain; a model that has seen nothing
else mistakes a faded print for fog. Only the luminance of a photograph is degraded, while its
colors stay, so the model learns to color a faded scan as if it were not faded.
"""

import torch
from torch import Tensor
from torch.nn import functional

from model.color import gray_from_rgb

GAMMA_STOPS = 0.7  # exponents of tone curves lie between 2 ** -0.7 and 2 ** 0.7
FADING = 0.25  # black rises and white falls by at most this share of the range
GRAIN = 0.04  # largest standard deviation of grain, as a share of the range
BLUR = 0.008  # largest radius of blur, as a share of the side
BORDERS = 0.3  # share of degraded pictures that get a border
BORDER = 0.15  # largest width of a border, as a share of the side


def degrade_some(rgb_BHW3: Tensor, share: float, seeds_B: Tensor) -> Tensor:
    """Degrade pictures at random, each with the probability `share`: uint8 (B, H, W, 3), a copy.

    seeds_B: int64; what happens to a picture depends on nothing but its seed.
    """
    faded = rgb_BHW3.clone()
    for picture, seed in zip(faded, seeds_B.tolist(), strict=True):
        generator = torch.Generator().manual_seed(seed)
        if torch.rand((), generator=generator) < share:
            picture.copy_(degrade(picture, generator))
    return faded


def degrade(rgb_HW3: Tensor, generator: torch.Generator) -> Tensor:
    """Random blur, tone curve, contrast, grain and border: uint8 (H, W, 3) -> uint8 (H, W, 3)."""
    gamma, dark, light, grain, blurred, framed = torch.rand(6, generator=generator).tolist()
    low, high = FADING * dark, 1 - FADING * light
    gray_HW = gray_from_rgb(rgb_HW3) / 255
    soft_HW = blur(gray_HW, round(BLUR * len(gray_HW) * blurred))
    faded_HW = low + (high - low) * soft_HW ** (2 ** (GAMMA_STOPS * (2 * gamma - 1)))
    faded_HW += GRAIN * grain * torch.randn(gray_HW.shape, generator=generator)
    change_HW1 = (255 * (faded_HW - gray_HW))[..., None]
    faded = (rgb_HW3 + change_HW1).round().clamp(0, 255).to(torch.uint8)
    return add_border(faded, generator) if framed < BORDERS else faded


def blur(gray_HW: Tensor, radius: int) -> Tensor:
    """Average squares with a side of 2 * radius + 1, like a lens out of focus: float (H, W)."""
    if not radius:
        return gray_HW
    padded = functional.pad(gray_HW[None, None], (radius,) * 4, mode="replicate")
    return functional.avg_pool2d(padded, 2 * radius + 1, stride=1)[0, 0]


def add_border(rgb_HW3: Tensor, generator: torch.Generator) -> Tensor:
    """Cover the edges with one gray, like a mount or film, so that borders are learned as gray."""
    side = min(rgb_HW3.shape[:2])
    top, bottom, left, right = (
        (BORDER * side * torch.rand(4, generator=generator) ** 2).long().tolist()
    )
    level = torch.rand((), generator=generator)
    level = (0.08 * level if torch.rand((), generator=generator) < 0.5 else 0.6 + 0.4 * level) * 255
    bordered = torch.full_like(rgb_HW3, int(level))
    height, width = rgb_HW3.shape[:2]
    inside = slice(top, height - bottom), slice(left, width - right)
    bordered[inside] = rgb_HW3[inside]
    return bordered
