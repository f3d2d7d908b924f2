"""The models that colorize, by their names: which files they are, and how they are loaded."""

from pathlib import Path

import torch

from model.colorizer import Colorizer
from model.method import PUBLISHED_METHOD, Method
from model.pic.colorizer import PicColorizer
from model.pic.network import Pic
from model.weights import MODELS, WeightsError, load_stage, stage_path

AnyColorizer = Colorizer | PicColorizer


def load_colorizer(
    model: str,
    folder: Path | str,
    device: torch.device | str = "cpu",
    batch_size: int = 8,
    method: Method = PUBLISHED_METHOD,
) -> AnyColorizer:
    """The colorizer `coltran` or `pic` of a folder of weights; only coltran has methods.

    Raises:
        WeightsError: no such model, or its files are missing, unreadable or do not fit.
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
    return PicColorizer(pic, batch_size)
