"""Resizing of color pictures for training and evaluation.

Legend: B batch, H W rows and columns, R resolution.
"""

import torch
from torch import Tensor
from torch.nn import functional


def scale_by_area(rgb_BHW3: Tensor, resolution: int) -> Tensor:
    """Average areas, or enlarge linearly: uint8 (B, H, W, 3) -> uint8 (B, R, R, 3), rounded."""
    planes = rgb_BHW3.permute(0, 3, 1, 2).float()
    size = (resolution, resolution)
    if min(rgb_BHW3.shape[1:3]) < resolution:
        scaled = functional.interpolate(planes, size, mode="bilinear", antialias=True)
    else:
        scaled = functional.interpolate(planes, size, mode="area")
    return scaled.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def blur(rgb_BHW3: Tensor, low_resolution: int) -> Tensor:
    """The spatial upsampler's input: uint8 (B, S, S, 3), averaged to the low resolution, repeated.

    S is a multiple of low_resolution. Returns uint8 (B, S, S, 3).
    """
    factor = rgb_BHW3.shape[1] // low_resolution
    low = scale_by_area(rgb_BHW3, low_resolution)
    return low.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
