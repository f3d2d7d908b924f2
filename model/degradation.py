"""What time does to a photograph: training on it prepares for scans of old prints.

Photographs to train on are modern: full contrast, no grain. A model that has only seen those takes
a faded print for fog. Only the brightness of a photograph is changed, not its colors, so that what
is learned is to color a faded scan as if it were not faded.
"""

import torch
from torch import Tensor

from model.color import gray_from_rgb

GAMMA_STOPS = 0.7  # tone curves between powers of 2 ** -0.7 and 2 ** 0.7
FADING = 0.25  # the darkest value rises, and the lightest falls, by at most this share of the range
GRAIN = 0.04  # largest standard deviation of the grain, as a share of the range


def degrade_some(rgb_BHW3: Tensor, share: float, seeds_B: Tensor) -> Tensor:
    """Fade about `share` of the pictures at random: uint8 (B, H, W, 3) -> uint8 (B, H, W, 3).

    What happens to a picture depends on its own seed, int64 (B,), alone.
    """
    faded = rgb_BHW3.clone()
    for picture, seed in zip(faded, seeds_B.tolist(), strict=True):
        generator = torch.Generator().manual_seed(seed)
        if torch.rand((), generator=generator) < share:
            picture.copy_(degrade(picture, generator))
    return faded


def degrade(rgb_HW3: Tensor, generator: torch.Generator) -> Tensor:
    """A tone curve, a narrower range, and grain, at random: uint8 (H, W, 3) -> uint8 (H, W, 3)."""
    gamma, dark, light, grain = torch.rand(4, generator=generator).tolist()
    low, high = FADING * dark, 1 - FADING * light
    gray_HW = gray_from_rgb(rgb_HW3) / 255
    faded_HW = low + (high - low) * gray_HW ** (2 ** (GAMMA_STOPS * (2 * gamma - 1)))
    faded_HW += GRAIN * grain * torch.randn(gray_HW.shape, generator=generator)
    change_HW1 = (255 * (faded_HW - gray_HW))[..., None]
    return (rgb_HW3 + change_HW1).round().clamp(0, 255).to(torch.uint8)
