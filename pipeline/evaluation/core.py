"""Scores of ColTran's core on color photographs, beside those of histograms."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from pipeline.errors import UsageError
from pipeline.evaluation.figures import Evaluation
from pipeline.evaluation.settings import EvaluationSettings
from pipeline.ledger.results import null_if_nan
from pipeline.training.photographs import PhotographSet, Wanted, read_photographs

if TYPE_CHECKING:
    from model.colorizer import Colorizer
    from model.evaluation.baselines import Baselines
    from model.evaluation.scores import CoreScores


def load_baselines(
    settings: EvaluationSettings, resolution: int
) -> tuple["Baselines | None", frozenset[str]]:
    """Histograms fitted on --baseline, else those of the weights, else of Autochrome, or None.

    Also returns the digests of the photographs that they were fitted on, which are only known if
    they are fitted here.
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


def score_core_stage(
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
    from model.evaluation.scores import CoreScores, explained_variance, score_core

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
    _score_baselines(result, small, scores, baselines)
    return scores.expected_rgb


def _score_baselines(
    result: Evaluation,
    small: PhotographSet,
    scores: "CoreScores",
    baselines: "Baselines | None",
) -> None:
    """Bits and chroma of the histograms on the same photographs; null without histograms."""
    import torch

    from model.color import bin_centers, gray_from_rgb
    from model.evaluation.scores import block_means, explained_variance
    from model.lab import lab_from_rgb

    figures = result.figures
    names = ("marginal_bits_per_pixel", "gray_bits_per_pixel", "neighbor_bits_per_pixel")
    figures |= dict.fromkeys((*names, "gray_chroma_r2", "baseline_photos"))
    if baselines is None:
        side = small.rgb.shape[1]
        result.notes.append(f"no baselines of {side} x {side} pixels: fit some with --baseline SRC")
        return
    bits = baselines.bits(small.rgb)
    figures |= {name: float(each.mean()) for name, each in zip(names, bits, strict=True)}
    table = baselines.given_gray() @ lab_from_rgb(bin_centers())[:, 1:]
    guess = block_means(table[gray_from_rgb(torch.from_numpy(small.rgb)).numpy()])
    figures["gray_chroma_r2"] = null_if_nan(explained_variance(scores.true_chroma, guess))
    figures["baseline_photos"] = baselines.photos
    result.bits["given gray"] = bits.gray
    result.bits["given gray and neighbors"] = bits.neighbor
