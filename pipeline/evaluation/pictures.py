"""Finished pictures of color photographs that were turned gray, compared with the truth."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

import numpy as np

from pipeline.errors import UsageError
from pipeline.evaluation.fid import Features
from pipeline.evaluation.figures import SHOWN, Evaluation, Figures, Shown
from pipeline.evaluation.groups import PictureScores, choose_examples, score_groups
from pipeline.evaluation.settings import EvaluationSettings
from pipeline.images.chroma import LUMA, colorfulness, put_color_on
from pipeline.ledger.results import null_if_nan
from pipeline.ledger.seeds import photo_seed
from pipeline.training.photographs import PhotographSet

if TYPE_CHECKING:
    from model.systems import AnyColorizer

Values = TypeVar("Values")


class Sets(NamedTuple):
    """Photographs at both of the model's sizes; some may be in one of them only.

    expected: the colors that the parallel head expects of the small ones, uint8 (N, R, R, 3).
    """

    small: PhotographSet
    large: PhotographSet
    expected: np.ndarray

    def in_both(self) -> list[tuple[int, int]]:
        """Places in the large and in the small set. Raises UsageError if there are none."""
        place_of = {name: place for place, name in enumerate(self.small.names)}
        # A photograph at the edge of being gray may be in one set only.
        names = enumerate(self.large.names)
        both = [(place, place_of[name]) for place, name in names if name in place_of]
        if not both:
            raise UsageError("no photograph could be read in both of the model's sizes")
        return both


class Scores(NamedTuple, Generic[Values]):
    """The scores of a finished picture, or of many as columns."""

    color_bits: Values
    spatial_bits: Values
    colorfulness_true: Values
    colorfulness_result: Values
    ciede2000: Values
    chroma_error: Values
    a_shift: Values
    b_shift: Values


def score_pictures(
    result: Evaluation,
    sets: Sets,
    colorizer: "AnyColorizer",
    settings: EvaluationSettings,
    fid: tuple[Features, Features] | None,
    on_progress: Callable[[int, int], None],
) -> None:
    """Upsamplers and finished pictures; fid sees the model's own, and the truth."""
    both = sets.in_both()
    drawn, by_picture = _draw_all(sets, both, colorizer, settings, fid, on_progress)
    columns = Scores(*by_picture.T)

    def shown(number: int) -> Shown:
        return _show(result, sets, both[number], drawn[number], columns.ciede2000[number])

    groups = [sets.large.groups[place] for place, _ in both]
    every = max(1, len(both) // SHOWN)
    result.shown = [shown(number) for number in range(0, len(both), every)][:SHOWN]
    best = choose_examples(groups, columns.ciede2000)
    result.examples = [(words, shown(number)) for words, number in best]
    result.figures |= _figures(len(both), settings, Scores(*by_picture.T.mean(axis=1)))
    if settings.by:
        shifts = by_picture[:, 6:]
        true, drawn_color = columns.colorfulness_true, columns.colorfulness_result
        pictures = PictureScores(groups, columns.ciede2000, true, drawn_color, shifts)
        score_groups(result, sets.small.groups, pictures)


def _draw_all(
    sets: Sets,
    both: list[tuple[int, int]],
    colorizer: "AnyColorizer",
    settings: EvaluationSettings,
    fid: tuple[Features, Features] | None,
    on_progress: Callable[[int, int], None],
) -> tuple[np.ndarray, np.ndarray]:
    """Finished pictures, uint8 (M, S, S, 3), and their scores, a row for each."""
    large = sets.large
    scores: list[Scores[float]] = []
    drawn = np.empty((len(both), *large.rgb.shape[1:]), np.uint8)  # as large as the truth
    on_progress(0, len(both))
    for start in range(0, len(both), colorizer.batch_size):
        places, small_places = map(
            list, zip(*both[start : start + colorizer.batch_size], strict=True)
        )
        low, true = sets.small.rgb[small_places], large.rgb[places]
        raw = draw_pictures(colorizer, settings, true, [large.digests[k] for k in places], low)
        for seen, each in zip(fid or (), (raw, true), strict=False):
            seen.add(each)
        luma = np.rint(true @ LUMA).astype(np.uint8)
        pictures = np.stack([put_color_on(*pair) for pair in zip(luma, raw, strict=True)])
        drawn[start : start + len(places)] = pictures
        scores += _compare_pictures(colorizer, low, true, pictures)
        on_progress(start + len(places), len(both))
    return drawn, np.array(scores)


def _show(
    result: Evaluation, sets: Sets, places: tuple[int, int], drawn: np.ndarray, ciede2000: float
) -> Shown:
    large, small = places
    name, bits = next(iter(result.bits.items()))  # of core or PIC
    words = f"{name} {bits[small]:.2f} bits per pixel · CIEDE2000 {ciede2000:.1f}"
    true = sets.large.rgb[large]
    guess = put_color_on(np.rint(true @ LUMA).astype(np.uint8), sets.expected[small])
    return Shown(sets.large.names[large], true.copy(), drawn.copy(), guess, words)


def _figures(count: int, settings: EvaluationSettings, means: Scores[float]) -> Figures:
    return {
        "pictures": count,
        "method": settings.method,
        "temperature": settings.temperature,
        "saturation": settings.saturation,
        "color_bits_per_dim": null_if_nan(means.color_bits),
        "spatial_bits_per_dim": null_if_nan(means.spatial_bits),
        "colorfulness_true": float(means.colorfulness_true),
        "colorfulness_result": float(means.colorfulness_result),
        "colorfulness_difference": float(means.colorfulness_result - means.colorfulness_true),
        "ciede2000_mean": float(means.ciede2000),
        "chroma_rmse": math.sqrt(means.chroma_error),
        "a_shift": float(means.a_shift),
        "b_shift": float(means.b_shift),
    }


def _compare_pictures(
    colorizer: "AnyColorizer", low: np.ndarray, true: np.ndarray, pictures: np.ndarray
) -> list[Scores[float]]:
    from model.colorizer import Colorizer
    from model.evaluation.scores import compare, score_upsampler

    difference = compare(true, pictures)
    color_bits = spatial_bits = np.full(len(true), np.nan)
    if isinstance(colorizer, Colorizer):
        color_bits = score_upsampler(colorizer.color, low, colorizer.low_resolution)
        spatial_bits = score_upsampler(colorizer.spatial, true, colorizer.low_resolution)
    return [
        Scores(
            color_bits[i],
            spatial_bits[i],
            colorfulness(true[i]),
            colorfulness(pictures[i]),
            difference.ciede2000[i],
            difference.chroma_error[i],
            *difference.shift[i],
        )
        for i in range(len(true))
    ]


def draw_pictures(
    colorizer: "AnyColorizer",
    settings: EvaluationSettings,
    high_NSS3: np.ndarray,
    digests: Sequence[str],
    low_NRR3: np.ndarray | None = None,
) -> np.ndarray:
    """The model's own pictures, uint8 (N, S, S, 3), of photographs that are turned gray.

    Without the small size, the large one is scaled by areas, as published.
    """
    import torch

    from model.color import gray_from_rgb
    from model.scaling import scale_by_area

    high = torch.from_numpy(high_NSS3)
    if low_NRR3 is None:
        low = scale_by_area(high, colorizer.low_resolution)
    else:
        low = torch.from_numpy(low_NRR3)
    gray_low, gray_high = (gray_from_rgb(each).numpy().astype(np.uint8) for each in (low, high))
    seeds = [photo_seed(settings.seed, digest, 0) for digest in digests]
    assert settings.temperature is not None  # resolved
    rgb = colorizer.colorize(gray_low, gray_high, seeds, settings.temperature).rgb
    if rgb.shape[1] == gray_high.shape[1]:
        return rgb
    return np.stack([put_color_on(*pair) for pair in zip(gray_high, rgb, strict=True)])
