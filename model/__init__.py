"""ColTran in PyTorch: the model, its sampler and its training loop. Runs without Ray."""

from model.colorizer import Colorized, Colorizer
from model.core import ColTranCore, CoreConfig
from model.upsamplers import (
    ColorUpsampler,
    ColorUpsamplerConfig,
    SpatialUpsampler,
    SpatialUpsamplerConfig,
)
from model.weights import WEIGHTS, WeightsError, load_stage, save_stage

__all__ = [
    "WEIGHTS",
    "ColTranCore",
    "ColorUpsampler",
    "ColorUpsamplerConfig",
    "Colorized",
    "Colorizer",
    "CoreConfig",
    "SpatialUpsampler",
    "SpatialUpsamplerConfig",
    "WeightsError",
    "load_stage",
    "save_stage",
]
