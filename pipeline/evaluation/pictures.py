"""Finished pictures of color photographs that were turned gray, compared with the truth."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipeline.errors import UsageError
from pipeline.evaluation.fid import Features
from pipeline.evaluation.figures import SHOWN, Evaluation, Shown
from pipeline.evaluation.groups import PictureScores, choose_examples, score_groups
from pipeline.evaluation.settings import EvaluationSettings
from pipeline.images.chroma import LUMA, colorfulness, put_color_on
from pipeline.ledger.results import null_if_nan
from pipeline.ledger.seeds import photo_seed
from pipeline.training.photographs import PhotographSet

if TYPE_CHECKING:
    from model.systems import AnyColorizer


def score_pictures(
    result: Evaluation,
    small: PhotographSet,
    large: PhotographSet,
    expected: np.ndarray,
    colorizer: "AnyColorizer",
    settings: EvaluationSettings,
    fid: tuple[Features, Features] | None,
    on_progress: Callable[[int, int], None],
) -> None:
    """Upsamplers and finished pictures; fid sees the model's own, and the truth."""
    place_of = {name: place for place, name in enumerate(small.names)}
    # A photograph at the edge of being gray may be in one set only.
    both = [k for k, name in enumerate(large.names) if name in place_of]
    if not both:
        raise UsageError("no photograph could be read in both of the model's sizes")
    scores: list[tuple[float, ...]] = []
    drawn = np.empty((len(both), *large.rgb.shape[1:]), np.uint8)  # as large as the truth
    every = max(1, len(both) // SHOWN)
    on_progress(0, len(both))
    for start in range(0, len(both), colorizer.batch_size):
        chosen = both[start : start + colorizer.batch_size]
        places = [place_of[large.names[k]] for k in chosen]
        low, true = small.rgb[places], large.rgb[chosen]
        raw = draw_pictures(colorizer, settings, true, [large.digests[k] for k in chosen], low)
        for seen, each in zip(fid or (), (raw, true), strict=False):
            seen.add(each)
        luma = np.rint(true @ LUMA).astype(np.uint8)
        pictures = np.stack([put_color_on(*pair) for pair in zip(luma, raw, strict=True)])
        drawn[start : start + len(chosen)] = pictures
        scores += _compare_pictures(colorizer, low, true, pictures)
        on_progress(start + len(chosen), len(both))
    columns = np.array(scores).T
    color, spatial, true_c, result_c, ciede, error, a_shift, b_shift = columns.mean(axis=1)
    groups = [large.groups[k] for k in both]
    by_picture = PictureScores(groups, columns[4], columns[2], columns[3], columns[6:].T)

    def shown(place: int) -> Shown:
        k = both[place]
        small_place = place_of[large.names[k]]
        name, bits = next(iter(result.bits.items()))  # of core or PIC
        words = f"{name} {bits[small_place]:.2f} bits per pixel"
        words += f" · CIEDE2000 {columns[4, place]:.1f}"
        luma = np.rint(large.rgb[k] @ LUMA).astype(np.uint8)
        guess = put_color_on(luma, expected[small_place])
        return Shown(large.names[k], large.rgb[k].copy(), drawn[place].copy(), guess, words)

    result.shown = [shown(place) for place in range(0, len(both), every)][:SHOWN]
    best = choose_examples(groups, by_picture.ciede2000)
    result.examples = [(words, shown(place)) for words, place in best]
    result.figures |= {
        "pictures": len(both),
        "method": settings.method,
        "temperature": settings.temperature,
        "saturation": settings.saturation,
        "color_bits_per_dim": null_if_nan(color),
        "spatial_bits_per_dim": null_if_nan(spatial),
        "colorfulness_true": float(true_c),
        "colorfulness_result": float(result_c),
        "colorfulness_difference": float(result_c - true_c),
        "ciede2000_mean": float(ciede),
        "chroma_rmse": math.sqrt(error),
        "a_shift": float(a_shift),
        "b_shift": float(b_shift),
    }
    if settings.by:
        score_groups(result, small.groups, by_picture)


def _compare_pictures(
    colorizer: "AnyColorizer", low: np.ndarray, true: np.ndarray, pictures: np.ndarray
) -> list[tuple[float, ...]]:
    """The scores of each picture, in the order in which `score_pictures` reads their columns."""
    from model.colorizer import Colorizer
    from model.evaluation.scores import compare, score_upsampler

    difference = compare(true, pictures)
    color_bits = spatial_bits = np.full(len(true), np.nan)
    if isinstance(colorizer, Colorizer):
        color_bits = score_upsampler(colorizer.color, low, colorizer.low_resolution)
        spatial_bits = score_upsampler(colorizer.spatial, true, colorizer.low_resolution)
    return [
        (
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
