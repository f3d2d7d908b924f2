"""The scores of a folder of weights on color photographs, which are turned gray here.

Two sizes of each photograph are read: the core and the color upsampler are scored at their own
resolution, the spatial upsampler and the finished pictures at theirs. Photographs of the second
kind (`pictures`) can be fewer, because they take most of the time. FID reads a third set, of center
crops, after the second has gone: each can have gigabytes.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.errors import UsageError
from pipeline.evaluation.fid import FID_PHOTOS, Features, describe_bias, score_other, score_same
from pipeline.evaluation.figures import SHOWN, Evaluation, Shown
from pipeline.evaluation.groups import PictureScores, choose_examples, score_groups
from pipeline.evaluation.pic import score_pic, shrink
from pipeline.images.chroma import LUMA, colorfulness, put_color_on
from pipeline.ledger.results import null_if_nan
from pipeline.ledger.seeds import photo_seed
from pipeline.run.options import TEMPERATURES, default_method, default_saturation
from pipeline.training.photographs import (
    PhotographSet,
    Split,
    Wanted,
    describe_skipped,
    read_photographs,
)

if TYPE_CHECKING:
    from model.colorizer import Colorizer
    from model.evaluation.baselines import Baselines
    from model.evaluation.frechet import Inception
    from model.systems import AnyColorizer

OnProgress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class EvaluationSettings:
    """What a command asks for; device "auto", "cpu" or "cuda". pictures: at most so many.

    method: mean or sample, None: as a single candidate is made. temperature, saturation None:
    those of the method. by: a column of a Parquet file, whose groups get figures of their own.
    """

    weights: Path
    split: Split = "all"
    split_column: str | None = None
    by: str | None = None
    limit: int | None = None
    pictures: int = 200
    seed: int = 0
    temperature: float | None = None
    saturation: float | None = None
    batch_size: int = 8
    device: str = "auto"
    baseline: str | None = None
    save_baseline: Path | None = None
    inception: Path | None = None
    model: str = "coltran"
    precision: str = "float32"
    upsampler: str = "spatial"
    method: str | None = None

    def resolved(self) -> "EvaluationSettings":
        """The same with a method and a temperature. Raises UsageError."""
        default = default_method(self.model, self.upsampler)
        if self.method == "mean" and default != "mean":
            raise UsageError("--method mean is for the model coltran, without --upsampler")
        method = self.method or default
        temperature = TEMPERATURES[method] if self.temperature is None else self.temperature
        saturation = default_saturation(self.model, method)
        if self.saturation is not None:
            saturation = self.saturation
        return replace(self, method=method, temperature=temperature, saturation=saturation)


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
        expected = _score_core(result, small, high, colorizer, baselines, tell_core)
    shown = min(len(small), settings.pictures)
    wanted = replace(wanted, side=colorizer.high_resolution, limit=shown)
    large = read_photographs(source, wanted)
    fid = (Features(inception), Features(inception)) if inception else None
    tell_pictures = partial(on_progress, f"step 2 of {steps}, pictures")
    _score_pictures(result, small, large, expected, colorizer, settings, fid, tell_pictures)
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


def load_baselines(
    settings: EvaluationSettings, resolution: int
) -> tuple["Baselines | None", frozenset[str]]:
    """Fitted on --baseline, else those of the weights, else those of Autochrome; None: no fit.

    With the digests of what they were fitted on: files do not hold these, so none are known then.
    """
    from model.evaluation.baselines import BASELINES, Baselines
    from model.weights import WEIGHTS

    if settings.model == "pic":
        return None, frozenset()  # they count bins, which PIC does not know
    if settings.baseline:
        wanted = Wanted(resolution, "train", split_column=settings.split_column)
        photographs = read_photographs(settings.baseline, wanted)
        fitted = Baselines.fit(photographs.rgb)
        if settings.save_baseline:
            try:
                fitted.save(settings.save_baseline)
            except OSError as error:
                place = settings.save_baseline
                raise UsageError(f"{place} cannot be written: {error.strerror}") from error
        return fitted, frozenset(photographs.digests)
    for folder in (settings.weights, WEIGHTS):
        path = folder / BASELINES
        if path.exists() and (found := Baselines.load(path)).resolution == resolution:
            return found, frozenset()
    return None, frozenset()


def _score_core(
    result: Evaluation,
    small: PhotographSet,
    high_NSS3: np.ndarray | None,
    colorizer: "Colorizer",
    baselines: "Baselines | None",
    on_progress: Callable[[int, int], None],
) -> np.ndarray:
    """Bits and chroma; returns the parallel head's expected colors, uint8 (N, R, R, 3).

    high_NSS3: the same photographs at the high resolution, for cores with a trunk.
    """
    import torch

    from model.color import gray_from_rgb
    from model.evaluation.scores import (
        CoreScores,
        bin_centers,
        block_means,
        explained_variance,
        score_core,
    )
    from model.lab import lab_from_rgb

    parts = []
    on_progress(0, len(small))
    for start in range(0, len(small), colorizer.batch_size):
        batch = slice(start, start + colorizer.batch_size)
        seen = None if high_NSS3 is None else gray_from_rgb(torch.from_numpy(high_NSS3[batch]))
        parts.append(score_core(colorizer.core, small.rgb[batch], seen))
        on_progress(min(start + colorizer.batch_size, len(small)), len(small))
    scores = CoreScores(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
    result.chroma = scores.true_chroma, scores.expected_chroma
    figures = result.figures
    figures["photos"] = len(small)
    figures["core_resolution"] = colorizer.low_resolution
    figures["core_bits_per_pixel"] = float(scores.core_bits.mean())
    figures["parallel_bits_per_pixel"] = float(scores.parallel_bits.mean())
    figures["chroma_r2"] = null_if_nan(
        explained_variance(scores.true_chroma, scores.expected_chroma)
    )
    result.bits["core"] = scores.core_bits
    result.bits["parallel head"] = scores.parallel_bits
    names = ("marginal_bits_per_pixel", "gray_bits_per_pixel", "neighbor_bits_per_pixel")
    figures |= dict.fromkeys((*names, "gray_chroma_r2", "baseline_photos"))
    if baselines is None:
        size = f"{colorizer.low_resolution} x {colorizer.low_resolution}"
        result.notes.append(f"no baselines of {size} pixels: fit some with --baseline SRC")
        return scores.expected_rgb
    bits = baselines.bits(small.rgb)
    figures |= {name: float(each.mean()) for name, each in zip(names, bits, strict=True)}
    table = baselines.given_gray() @ lab_from_rgb(bin_centers())[:, 1:]
    guess = block_means(table[gray_from_rgb(torch.from_numpy(small.rgb)).numpy()])
    figures["gray_chroma_r2"] = null_if_nan(explained_variance(scores.true_chroma, guess))
    figures["baseline_photos"] = baselines.photos
    result.bits["given gray"] = bits.gray
    result.bits["given gray and neighbors"] = bits.neighbor
    return scores.expected_rgb


def _score_pictures(
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
    from model.colorizer import Colorizer
    from model.evaluation.scores import compare, score_upsampler

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
        raw = _draw(colorizer, settings, true, [large.digests[k] for k in chosen], low)
        for seen, each in zip(fid or (), (raw, true), strict=False):
            seen.add(each)
        luma = np.rint(true @ LUMA).astype(np.uint8)
        pictures = np.stack([put_color_on(*pair) for pair in zip(luma, raw, strict=True)])
        drawn[start : start + len(chosen)] = pictures
        difference = compare(true, pictures)
        color_bits = spatial_bits = np.full(len(chosen), np.nan)
        if isinstance(colorizer, Colorizer):
            color_bits = score_upsampler(colorizer.color, low, colorizer.low_resolution)
            spatial_bits = score_upsampler(colorizer.spatial, true, colorizer.low_resolution)
        for i in range(len(chosen)):
            scores.append(
                (
                    color_bits[i],
                    spatial_bits[i],
                    colorfulness(true[i]),
                    colorfulness(pictures[i]),
                    difference.ciede2000[i],
                    difference.chroma_error[i],
                    *difference.shift[i],
                )
            )
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
    draw = partial(_draw, colorizer, settings)
    other = score_other(crops, inception, draw, colorizer.batch_size, on_progress)
    figures = score_same(*squeezed) | other
    result.figures |= figures
    result.notes += describe_bias(figures)


def _draw(
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
