"""ColTran and PIC in PyTorch: models, samplers and the training loop. Runs without Ray."""

from model.colorized import Colorized
from model.colorizer import Colorizer
from model.core import ColTranCore, CoreConfig
from model.pic.colorizer import PicColorizer
from model.pic.network import Pic, PicConfig
from model.pic.pixelcnn import PixelCnn, PixelCnnConfig
from model.systems import load_colorizer
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
    "Pic",
    "PicColorizer",
    "PicConfig",
    "PixelCnn",
    "PixelCnnConfig",
    "SpatialUpsampler",
    "SpatialUpsamplerConfig",
    "WeightsError",
    "load_colorizer",
    "load_stage",
    "save_stage",
]
