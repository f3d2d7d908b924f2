"""Evaluation: scores of a folder of weights on color photographs, which are turned gray here.

Each photograph is read at two sizes: the core and the color upsampler are scored at the low
resolution, the spatial upsampler and the finished pictures at the high one. The large set
(`pictures`) may be smaller, because it takes most of the time. FID reads a third set, of center
crops, after the second has been freed: each set can take gigabytes.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from pipeline.errors import UsageError
from pipeline.evaluation.core import load_baselines, score_core_stage
from pipeline.evaluation.fid import FID_PHOTOS, Features, describe_bias, score_other, score_same
from pipeline.evaluation.figures import Evaluation
from pipeline.evaluation.pic import score_pic, shrink
from pipeline.evaluation.pictures import draw_pictures, score_pictures
from pipeline.evaluation.settings import EvaluationSettings
from pipeline.training.photographs import (
    PhotographSet,
    Wanted,
    describe_skipped,
    read_photographs,
)

if TYPE_CHECKING:
    from model.evaluation.frechet import Inception
    from model.systems import AnyColorizer

OnProgress = Callable[[str, int, int], None]


def evaluate(
    source: str,
    settings: EvaluationSettings,
    on_progress: OnProgress,
    on_warning: Callable[[str], None],
) -> Evaluation:
    """Score the weights. Raises AutochromeError.

    on_progress(step, done, all) counts the photographs of a step. on_warning is told before the
    work starts what makes figures unfair.
    """
    from model.evaluation.frechet import Inception
    from model.method import Method
    from model.pic.colorizer import PicColorizer
    from model.systems import load_colorizer

    started = time.monotonic()
    settings = settings.resolved()
    device = choose_device(settings.device)
    try:
        mean, saturation = settings.method == "mean", settings.saturation
        assert saturation is not None  # resolved
        method = Method(settings.precision, settings.upsampler, mean, saturation)
        colorizer = load_colorizer(
            settings.model, settings.weights, device, settings.batch_size, method
        )
        inception = settings.inception and Inception(settings.inception, device)
        baselines, fitted_on = load_baselines(settings, colorizer.low_resolution)
    except ValueError as error:  # of weights, of the network
        raise UsageError(str(error)) from error
    large_too = isinstance(colorizer, PicColorizer) or colorizer.core.config.trunk != "none"
    side = colorizer.high_resolution if large_too else colorizer.low_resolution
    wanted = Wanted(
        side,
        settings.split,
        settings.limit,
        split_column=settings.split_column,
        group_column=settings.by,
    )
    seen = read_photographs(source, wanted)  # what the likelihood is scored on
    small = shrink(seen, colorizer.low_resolution) if large_too else seen
    if inception and min(len(small) // 2, settings.pictures) < 2:
        given = f"{len(small)} and {settings.pictures}"
        raise UsageError(f"FID needs at least 4 photographs and --pictures 2, not {given}")
    result = Evaluation()
    if small.skipped:
        result.notes.append(describe_skipped(small.skipped))
    if leaked := sum(digest in fitted_on for digest in small.digests):
        words = f"the histograms were fitted on {leaked:,} of the {len(small):,} photographs"
        result.notes.append(f"{words}, which flatters the histograms")
        on_warning(result.notes[-1])
    steps = 3 if inception else 2
    if isinstance(colorizer, PicColorizer):
        tell_pic = partial(on_progress, f"step 1 of {steps}, PIC")
        expected = score_pic(result, seen.rgb, colorizer, tell_pic)
    else:
        tell_core = partial(on_progress, f"step 1 of {steps}, core")
        high = seen.rgb if large_too else None
        expected = score_core_stage(result, small, high, colorizer, baselines, tell_core)
    shown = min(len(small), settings.pictures)
    wanted = replace(wanted, side=colorizer.high_resolution, limit=shown)
    large = read_photographs(source, wanted)
    fid = (Features(inception), Features(inception)) if inception else None
    tell_pictures = partial(on_progress, f"step 2 of {steps}, pictures")
    score_pictures(result, small, large, expected, colorizer, settings, fid, tell_pictures)
    del large
    if inception and fid:
        half = min(len(small) // 2, settings.pictures, FID_PHOTOS)
        tell_crops = partial(on_progress, f"step 3 of {steps}, center crops")
        tell_crops(0, half)
        crops = read_photographs(source, replace(wanted, limit=2 * half, fit="crop"))
        _score_fid(result, fid, crops, colorizer, settings, inception, tell_crops)
    result.figures["seconds"] = round(time.monotonic() - started, 1)
    return result


def choose_device(wanted: str) -> str:
    """cpu or cuda. Raises UsageError."""
    import torch

    if wanted == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: PyTorch finds no GPU here")
    return (
        "cuda" if wanted == "auto" and torch.cuda.is_available() else wanted.replace("auto", "cpu")
    )


def _score_fid(
    result: Evaluation,
    squeezed: tuple[Features, Features],
    crops: PhotographSet,
    colorizer: "AnyColorizer",
    settings: EvaluationSettings,
    inception: "Inception",
    on_progress: Callable[[int, int], None],
) -> None:
    """Both protocols: squeezed results and truth, which are seen already, and center crops."""
    draw = partial(draw_pictures, colorizer, settings)
    other = score_other(crops, inception, draw, colorizer.batch_size, on_progress)
    figures = score_same(*squeezed) | other
    result.figures |= figures
    result.notes += describe_bias(figures)
