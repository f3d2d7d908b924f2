"""What time does to a photograph's gray values: training on it prepares for scans of old prints.

Photographs to train on are modern: full contrast, no grain. A core that has only seen those takes
a faded scan for fog.
"""

import torch
from torch import Tensor

GAMMA_STOPS = 0.7  # tone curves between powers of 2 ** -0.7 and 2 ** 0.7
FADING = 0.25  # the darkest value rises, and the lightest falls, by at most this share of the range
GRAIN = 0.04  # largest standard deviation of the grain, as a share of the range


def degrade_some(gray_BHW: Tensor, share: float, seeds_B: Tensor) -> Tensor:
    """Fade about `share` of the pictures: int64 (B, H, W), values 0..254 -> the same.

    What happens to a picture depends on its own seed, int64 (B,), alone.
    """
    faded = gray_BHW.clone()
    for picture, seed in zip(faded, seeds_B.tolist(), strict=True):
        generator = torch.Generator().manual_seed(seed)
        if torch.rand((), generator=generator) < share:
            picture.copy_(degrade(picture.cpu(), generator))
    return faded


def degrade(gray_HW: Tensor, generator: torch.Generator) -> Tensor:
    """A tone curve, a narrower range, and grain, at random: int64 (H, W), 0..254 -> the same."""
    gamma, dark, light, grain = torch.rand(4, generator=generator).tolist()
    low, high = FADING * dark, 1 - FADING * light
    values = (gray_HW / 254) ** (2 ** (GAMMA_STOPS * (2 * gamma - 1)))
    noise = torch.randn(gray_HW.shape, generator=generator)
    values = low + (high - low) * values + GRAIN * grain * noise
    return (254 * values).round().clamp(0, 254).long()
