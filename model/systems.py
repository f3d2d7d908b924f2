"""Loading a model that colorizes by its name: coltran or pic."""

from pathlib import Path

import torch

from model.colorizer import Colorizer
from model.method import PUBLISHED_METHOD, Method
from model.pic.colorizer import PicColorizer
from model.pic.network import Pic
from model.sampling.sampler import LANES
from model.weights import MODELS, WeightsError, load_stage, stage_path

AnyColorizer = Colorizer | PicColorizer


def load_colorizer(
    model: str,
    folder: Path | str,
    device: torch.device | str = "cpu",
    batch_size: int | None = None,
    method: Method = PUBLISHED_METHOD,
) -> AnyColorizer:
    """Load the colorizer "coltran" or "pic" from a folder of weights.

    batch_size: photographs per batch; None: as many as pay. method: how coltran's stages are run;
    pic takes only the default.

    Raises:
        WeightsError: an unknown model, a method that it lacks, or files that are missing,
            unreadable or do not fit each other.
    """
    if model not in MODELS:
        raise WeightsError(f"unknown model {model!r}; the models are {', '.join(MODELS)}")
    if model == "coltran":
        return Colorizer.load(folder, device, batch_size, method)
    if method != PUBLISHED_METHOD:
        raise WeightsError(f"model {model} has no {method}")
    pic = load_stage(stage_path(folder, "pic"), device)
    if not isinstance(pic, Pic):
        raise WeightsError(f"{folder} must hold the stage pic, not {type(pic).__name__}")
    return PicColorizer(pic, LANES if batch_size is None else batch_size)
