"""A stage copied to another resolution, to continue its training with larger photographs.

Legend: N heads, D features, L length of an axis.
"""

import dataclasses
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from model.core import ColTranCore
from model.pic.network import Pic
from model.pic.pixelcnn import PixelCnn
from model.upsamplers import ColorUpsampler, SpatialUpsampler

StageT = TypeVar("StageT", ColTranCore, ColorUpsampler, SpatialUpsampler, Pic, PixelCnn)


@torch.no_grad()
def grow(model: StageT, resolution: int) -> StageT:
    """Copy a stage to another resolution, and interpolate all weights that depend on position.

    Position embeddings and spatial averages are interpolated to the new grid, and relative biases
    to the new distances, so that the stage sees a photograph of the new size as it saw the old
    size.
    """
    grown = type(model)(dataclasses.replace(model.config, resolution=resolution))
    old, new = model.state_dict(), grown.state_dict()
    scale = resolution / model.config.resolution
    for name, value in old.items():
        if name.endswith("relative_bias"):
            new[name] = stretch_relative_bias(value, scale)
        elif name.endswith("spatial_average"):
            size = (resolution, resolution)
            planes = functional.interpolate(value.permute(0, 3, 1, 2), size, mode="bilinear")
            new[name] = planes.permute(0, 2, 3, 1)
        elif name.endswith(("position.row", "position.column")):
            line = value.flatten(0, -2).T[None]  # (1, D, length)
            stretched = functional.interpolate(line, resolution, mode="linear")[0].T
            new[name] = stretched.reshape(new[name].shape)
        else:
            new[name] = value
    grown.load_state_dict(new)
    return grown


def stretch_relative_bias(bias: Tensor, scale: float) -> Tensor:
    """(N, 2 L) -> (N, 2 L'): the new bias at distance d is the old one at d / scale."""
    length = bias.shape[1] // 2
    new_length = round(length * scale)
    distance = torch.arange(2 * new_length, device=bias.device) - (new_length - 1)
    place = (distance / scale + length - 1).clamp(0, 2 * length - 2)
    low = place.floor().long()
    return torch.lerp(bias[:, low], bias[:, (low + 1).clamp(max=2 * length - 1)], place - low)
