"""Small stages with random weights in which every parameter matters, for tests of all layers."""

from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from model.core import ColTranCore, CoreConfig
from model.pic.network import Pic, PicConfig
from model.upsamplers import (
    ColorUpsampler,
    ColorUpsamplerConfig,
    SpatialUpsampler,
    SpatialUpsamplerConfig,
)
from model.weights import save_stage, stage_path

M = TypeVar("M", bound=nn.Module)


def perturb(model: M, amount: float = 0.2) -> M:
    """Move every parameter away from its start, so that no gain, bias or table is trivial.

    Less so in a trunk, whose sixteen blocks would turn the last bits of sums into large numbers.
    """
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(noise, alpha=amount / 10 if ".trunk." in name else amount)
    return model.eval()


def tiny_core(resolution: int = 8, **options: object) -> ColTranCore:
    torch.manual_seed(0)
    sizes: dict[str, object] = {"hidden": 16, "ff": 24, "heads": 2, "enc": 1}
    return perturb(ColTranCore(CoreConfig(**sizes | {"resolution": resolution} | options)))  # type: ignore[arg-type]


def tiny_color(resolution: int = 8) -> ColorUpsampler:
    torch.manual_seed(1)
    return perturb(
        ColorUpsampler(ColorUpsamplerConfig(hidden=8, ff=12, heads=2, enc=1, resolution=resolution))
    )


def tiny_spatial(resolution: int = 16) -> SpatialUpsampler:
    torch.manual_seed(2)
    config = SpatialUpsamplerConfig(hidden=8, ff=12, heads=2, enc=1, resolution=resolution)
    return perturb(SpatialUpsampler(config))


def tiny_pic(resolution: int = 16, factor: int = 4) -> Pic:
    torch.manual_seed(3)
    sizes = {"hidden": 8, "enc": 2, "inner": 1, "mixtures": 2}
    return perturb(Pic(PicConfig(**sizes, resolution=resolution, factor=factor)), 0.1)  # type: ignore[arg-type]


def write_tiny_weights(folder: Path, low: int = 8, high: int = 16, **options: object) -> Path:
    """A folder of weights of three tiny stages that fit each other. options: of the core."""
    folder.mkdir(parents=True, exist_ok=True)
    save_stage(tiny_core(low, **options), stage_path(folder, "core"))
    save_stage(tiny_color(low), stage_path(folder, "color"))
    save_stage(tiny_spatial(high), stage_path(folder, "spatial"))
    return folder
