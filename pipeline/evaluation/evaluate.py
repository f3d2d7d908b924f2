"""Evaluation: scores of a folder of weights on color photographs, which are turned gray here.

Each photograph is read at two sizes: the core and the color upsampler are scored at the low
resolution, the spatial upsampler and the finished pictures at the high one. The large set
(`pictures`) may be smaller, because it takes most of the time. FID reads a third set, of center
crops, after the second has been freed: each set can take gigabytes.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pipeline.errors import UsageError
from pipeline.evaluation.core import load_baselines, score_core_stage
from pipeline.evaluation.fid import FID_PHOTOS, Features, describe_bias, score_other, score_same
from pipeline.evaluation.figures import Evaluation
from pipeline.evaluation.pic import score_pic, shrink
from pipeline.evaluation.pictures import Sets, draw_pictures, score_pictures
from pipeline.evaluation.settings import EvaluationSettings
from pipeline.training.photographs import (
    PhotographSet,
    Wanted,
    describe_skipped,
    read_photographs,
)

if TYPE_CHECKING:
    from model.evaluation.baselines import Baselines
    from model.evaluation.frechet import Inception
    from model.systems import AnyColorizer

OnProgress = Callable[[str, int, int], None]


class Models(NamedTuple):
    """What an evaluation loads before it reads its first photograph.

    fitted_on: digests of the photographs that the histograms of `baselines` were fitted on.
    """

    colorizer: "AnyColorizer"
    inception: "Inception | None"
    baselines: "Baselines | None"
    fitted_on: frozenset[str]


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
    started = time.monotonic()
    settings = settings.resolved()
    steps = _Steps(source, settings, load_models(settings), on_progress)
    small, expected = steps.score_likelihood(on_warning)
    squeezed = steps.score_pictures(small, expected)
    if squeezed:
        steps.score_fid(squeezed, len(small))
    steps.result.figures["seconds"] = round(time.monotonic() - started, 1)
    return steps.result


def load_models(settings: EvaluationSettings) -> Models:
    """The weights and the networks that judge them. Raises UsageError."""
    from model.evaluation.frechet import Inception
    from model.method import Method
    from model.systems import load_colorizer

    device = choose_device(settings.device)
    mean, saturation = settings.method == "mean", settings.saturation
    assert saturation is not None  # resolved
    try:
        method = Method(settings.precision, settings.upsampler, mean, saturation)
        colorizer = load_colorizer(
            settings.model, settings.weights, device, settings.batch_size, method
        )
        inception = Inception(settings.inception, device) if settings.inception else None
        baselines, fitted_on = load_baselines(settings, colorizer.low_resolution)
    except ValueError as error:  # of weights, of the network
        raise UsageError(str(error)) from error
    return Models(colorizer, inception, baselines, fitted_on)


@dataclass
class _Steps:
    """The steps of an evaluation, each of which adds to the result."""

    source: str
    settings: EvaluationSettings
    models: Models
    on_progress: OnProgress
    result: Evaluation = field(default_factory=Evaluation)

    def score_likelihood(
        self, on_warning: Callable[[str], None]
    ) -> tuple[PhotographSet, np.ndarray]:
        """Bits and chroma; returns the small photographs, and the colors expected of them."""
        from model.pic.colorizer import PicColorizer

        colorizer = self.models.colorizer
        large_too = isinstance(colorizer, PicColorizer) or colorizer.core.config.trunk != "none"
        side = colorizer.high_resolution if large_too else colorizer.low_resolution
        seen = read_photographs(self.source, self._wanted(side, self.settings.limit))
        small = shrink(seen, colorizer.low_resolution) if large_too else seen
        self._check_count(len(small))
        self._note_flaws(small, on_warning)
        if isinstance(colorizer, PicColorizer):
            return small, score_pic(self.result, seen.rgb, colorizer, self._progress(1, "PIC"))
        high, tell = seen.rgb if large_too else None, self._progress(1, "core")
        baselines = self.models.baselines
        return small, score_core_stage(self.result, small, high, colorizer, baselines, tell)

    def score_pictures(
        self, small: PhotographSet, expected: np.ndarray
    ) -> tuple[Features, Features] | None:
        """Finished pictures; returns what FID sees of them and of the truth, if it is wanted."""
        colorizer, inception = self.models.colorizer, self.models.inception
        wanted = self._wanted(colorizer.high_resolution, min(len(small), self.settings.pictures))
        sets = Sets(small, read_photographs(self.source, wanted), expected)
        fid = (Features(inception), Features(inception)) if inception else None
        tell = self._progress(2, "pictures")
        score_pictures(self.result, sets, colorizer, self.settings, fid, tell)
        return fid

    def score_fid(self, squeezed: tuple[Features, Features], count: int) -> None:
        """Both protocols: squeezed results and truth, which are seen already, and center crops."""
        colorizer, inception = self.models.colorizer, self.models.inception
        assert inception is not None  # which has seen `squeezed`
        half, tell = (
            min(count // 2, self.settings.pictures, FID_PHOTOS),
            self._progress(3, "center crops"),
        )
        tell(0, half)
        wanted = replace(self._wanted(colorizer.high_resolution, 2 * half), fit="crop")
        crops = read_photographs(self.source, wanted)
        draw = partial(draw_pictures, colorizer, self.settings)
        other = score_other(crops, inception, draw, colorizer.batch_size, tell)
        figures = score_same(*squeezed) | other
        self.result.figures |= figures
        self.result.notes += describe_bias(figures)

    def _wanted(self, side: int, limit: int | None) -> Wanted:
        split, column = self.settings.split, self.settings.split_column
        return Wanted(side, split, limit, split_column=column, group_column=self.settings.by)

    def _progress(self, number: int, name: str) -> Callable[[int, int], None]:
        count = 3 if self.models.inception else 2
        return partial(self.on_progress, f"step {number} of {count}, {name}")

    def _check_count(self, count: int) -> None:
        if self.models.inception and min(count // 2, self.settings.pictures) < 2:
            given = f"{count} and {self.settings.pictures}"
            raise UsageError(f"FID needs at least 4 photographs and --pictures 2, not {given}")

    def _note_flaws(self, small: PhotographSet, on_warning: Callable[[str], None]) -> None:
        notes = self.result.notes
        if small.skipped:
            notes.append(describe_skipped(small.skipped))
        if leaked := sum(digest in self.models.fitted_on for digest in small.digests):
            words = f"the histograms were fitted on {leaked:,} of the {len(small):,} photographs"
            notes.append(f"{words}, which flatters the histograms")
            on_warning(notes[-1])


def choose_device(wanted: str) -> str:
    """cpu or cuda. Raises UsageError."""
    import torch

    if wanted == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: PyTorch finds no GPU here")
    return (
        "cuda" if wanted == "auto" and torch.cuda.is_available() else wanted.replace("auto", "cpu")
    )
