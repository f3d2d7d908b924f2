"""What the small systems draw, and how near their color comes to that of the photographs.

The bits of two systems count different symbols. These scores are common to all: they compare
pictures of 16 x 16 pixels, put on the luma of the photograph as `autochrome evaluate` does.

Legend: B N photographs, K draws of each, S side of the gray photograph, R = 16 side of the color,
8 x 8 blocks.
"""

from typing import NamedTuple, TypeGuard

import numpy as np
import torch
from torch import Tensor

from model.color import COARSE_STEP, coarse_from_rgb, gray_from_rgb, rgb_from_bins
from model.core import ColTranCore
from model.evaluation.pic import PicScores
from model.evaluation.pic import score as score_pic
from model.evaluation.scores import (
    CoreScores,
    Floats,
    Pixels,
    block_means,
    compare,
    explained_variance,
    score_core,
)
from model.lab import lab_from_rgb
from model.pic.colorizer import put_chroma_on
from model.pic.network import CHROMA_ZERO, Pic, chroma_from_rgb
from model.pic.pixelcnn import PixelCnn
from model.pic.sampling import sample_pixels
from model.sampling.cached import sample_core
from model.scaling import scale_by_area
from model.weights import Stage
from pipeline.images.chroma import LUMA, colorfulness, put_color_on
from small_systems import RESOLUTION

BATCH = 32
Colorizing = ColTranCore | Pic


class Drawn(NamedTuple):
    """A system's own pictures, uint8 (B, R, R, 3), and their a* and b*, (B, R, R, 2)."""

    rgb: Pixels
    chroma: Floats


@torch.inference_mode()
def draw(stage: Stage, rgb_BSS3: Tensor, seeds: list[int], temperature: float) -> Drawn:
    """One picture for each photograph, of which a system is shown the gray, if anything."""
    if isinstance(stage, PixelCnn):
        values = sample_pixels(stage, seeds, None, temperature).values_BHWC
        return _with_chroma(values.numpy().astype(np.uint8))
    small = gray_from_rgb(scale_by_area(rgb_BSS3, RESOLUTION))
    if isinstance(stage, Pic):
        embedding = stage.encode(gray_from_rgb(rgb_BSS3))
        values = sample_pixels(stage.pixelcnn, seeds, embedding, temperature).values_BHWC
        return _from_chroma(small, values)
    assert isinstance(stage, ColTranCore)
    high = trunk_gray(stage, rgb_BSS3)
    return _from_bins(sample_core(stage, small, seeds, temperature, high).bins_BHW)


def colorizes(stage: Stage) -> TypeGuard[Colorizing]:
    """Whether a system is shown a photograph."""
    if isinstance(stage, ColTranCore):
        return not stage.config.unconditional
    return isinstance(stage, Pic)


def trunk_gray(core: ColTranCore, rgb_BSS3: Tensor) -> Tensor | None:
    """Photographs as the trunk of a core sees them; none without a trunk."""
    return None if core.config.trunk == "none" else gray_from_rgb(rgb_BSS3)


def _with_chroma(rgb_BRR3: Pixels) -> Drawn:
    return Drawn(rgb_BRR3, lab_from_rgb(rgb_BRR3)[..., 1:])


def _from_bins(bins_BRR: Tensor) -> Drawn:
    centers = rgb_from_bins(bins_BRR) + COARSE_STEP // 2
    return _with_chroma(centers.numpy().astype(np.uint8))


def _from_chroma(gray_BRR: Tensor, symbols_BRR2: Tensor) -> Drawn:
    chroma = (symbols_BRR2 - CHROMA_ZERO).double().numpy()
    pairs = zip(gray_BRR.numpy().astype(np.uint8), chroma, strict=True)
    return Drawn(np.stack([put_chroma_on(*pair) for pair in pairs]), chroma)


def in_symbols(stage: Colorizing, rgb_BSS3: Tensor) -> Drawn:
    """True color as exactly as the symbols of a system can tell it."""
    small = scale_by_area(rgb_BSS3, RESOLUTION)
    if isinstance(stage, Pic):
        return _from_chroma(gray_from_rgb(small), chroma_from_rgb(rgb_BSS3, stage.config.factor))
    coarse = coarse_from_rgb(small) * COARSE_STEP + COARSE_STEP // 2
    return _with_chroma(coarse.numpy().astype(np.uint8))


def put_on_luma(true_NRR3: Pixels, rgb_NRR3: Pixels) -> Pixels:
    """Color of pictures on the luma of the true ones."""
    luma = np.rint(true_NRR3 @ LUMA).astype(np.uint8)
    return np.stack([put_color_on(*pair) for pair in zip(luma, rgb_NRR3, strict=True)])


def teacher_forced(stage: Colorizing, rgb_NSS3: Tensor) -> CoreScores | PicScores:
    """Bits of true colors, and what the parallel head expects."""
    parts: list[CoreScores] | list[PicScores]
    if isinstance(stage, Pic):
        parts = [score_pic(stage, some.numpy()) for some in rgb_NSS3.split(BATCH)]
        return PicScores(*map(np.concatenate, zip(*parts, strict=True)))
    parts = [
        score_core(stage, scale_by_area(some, RESOLUTION).numpy(), trunk_gray(stage, some))
        for some in rgb_NSS3.split(BATCH)
    ]
    return CoreScores(*map(np.concatenate, zip(*parts, strict=True)))


def draw_all(stage: Stage, rgb_NSS3: Tensor, draws: int, temperature: float) -> list[Drawn]:
    """K draws of each photograph."""
    found = []
    for k in range(draws):
        seeds = torch.arange(len(rgb_NSS3)) * draws + k
        pairs = zip(rgb_NSS3.split(BATCH), seeds.split(BATCH), strict=True)
        parts = [draw(stage, some, those.tolist(), temperature) for some, those in pairs]
        found.append(Drawn(*map(np.concatenate, zip(*parts, strict=True))))
    return found


def variance_of_mean(truth: Floats, draws_KN882: Floats) -> tuple[float, float]:
    """R2 of the mean of K draws, and of the mean of all that could be drawn.

    The squared error of a mean of K is that of the true mean and a K-th of the draws' variance.
    """
    of_few = explained_variance(truth, draws_KN882.mean(axis=0))
    total = np.square(truth - truth.reshape(-1, truth.shape[-1]).mean(axis=0)).sum()
    noise = draws_KN882.var(axis=0, ddof=1).sum() / len(draws_KN882)
    return of_few, of_few + float(noise / total)


def mean_colorfulness(pictures: Pixels) -> float:
    return float(np.mean([colorfulness(each) for each in pictures]))


def score_colors(
    stage: Colorizing, rgb_NSS3: Tensor, draws: int, temperature: float
) -> dict[str, float]:
    """All scores of a system that colorizes. R2 is of a* and b*, means over 8 x 8 blocks."""
    true = scale_by_area(rgb_NSS3, RESOLUTION).numpy()
    forced = teacher_forced(stage, rgb_NSS3)
    drawn = draw_all(stage, rgb_NSS3, draws, temperature)
    of_few, of_all = variance_of_mean(
        forced.true_chroma, np.stack([block_means(each.chroma) for each in drawn])
    )
    pictures = [put_on_luma(true, each.rgb) for each in drawn]
    guess = put_on_luma(true, forced.expected_rgb)
    gray = put_on_luma(true, np.full_like(true, 128))
    exact = put_on_luma(true, in_symbols(stage, rgb_NSS3).rgb)
    differences = np.stack([compare(true, each).ciede2000 for each in pictures])
    true_color = mean_colorfulness(true)
    return {
        "bits_per_pixel": float(forced[0].mean()),
        "parallel_bits_per_pixel": float(forced.parallel_bits.mean()),
        "parallel_r2": explained_variance(forced.true_chroma, forced.expected_chroma),
        "drawn_r2": of_all,
        "drawn_r2_of_few": of_few,
        "parallel_ciede2000": float(compare(true, guess).ciede2000.mean()),
        "drawn_ciede2000": float(differences.mean()),
        "best_ciede2000": float(differences.min(axis=0).mean()),
        "gray_ciede2000": float(compare(true, gray).ciede2000.mean()),
        "symbols_ciede2000": float(compare(true, exact).ciede2000.mean()),
        "true_colorfulness": true_color,
        "parallel_colorfulness_difference": mean_colorfulness(guess) - true_color,
        "drawn_colorfulness_difference": mean_colorfulness(np.concatenate(pictures)) - true_color,
    }
