"""Scores of ColTran's stages, and of results, on color photographs.

Legend: N photographs, R S low and high resolution of the model, 8 x 8 blocks of a photograph.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from model.color import bin_centers, bins_from_coarse, coarse_from_rgb, gray_from_rgb
from model.core import ColTranCore
from model.lab import ciede2000, lab_from_rgb
from model.likelihood import BITS_PER_NAT
from model.scaling import blur
from model.upsamplers import ChannelUpsampler, ColorUpsampler

BLOCKS = 8  # a side

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float64]


class CoreScores(NamedTuple):
    """Scores of each photograph.

    core_bits, parallel_bits: bits per pixel (N,) that the autoregressive model and the parallel
    head assign to the truth (uniform: 9). true_chroma, expected_chroma: (N, 8, 8, 2), means of a*
    and b* over blocks, of the truth and of the parallel head's expected color. expected_rgb: uint8
    (N, R, R, 3), the parallel head's mean RGB.
    """

    core_bits: Floats
    parallel_bits: Floats
    true_chroma: Floats
    expected_chroma: Floats
    expected_rgb: Pixels


class ColorDifference(NamedTuple):
    """Means over the pixels of each picture.

    ciede2000: (N,). chroma_error: (N,), the squared error in a* and b*, added. shift: (N, 2), a*
    and b* of the result minus those of the truth.
    """

    ciede2000: Floats
    chroma_error: Floats
    shift: Floats


@torch.inference_mode()
def score_core(
    core: ColTranCore, rgb_NRR3: Pixels, gray_high_NSS: Tensor | None = None
) -> CoreScores:
    """Teacher-forced scores of the core on photographs, uint8 (N, R, R, 3), which are one batch.

    gray_high_NSS: integers [0, 255], the same photographs for the trunk, if there is one.

    The parallel head's expected a* and b* are the means over bin centers, weighted by its
    probabilities: its prediction with the smallest expected squared error.
    """
    rgb = torch.from_numpy(rgb_NRR3).to(core.head.weight.device)
    bins = bins_from_coarse(coarse_from_rgb(rgb))
    gray = gray_from_rgb(rgb)
    high = None if gray_high_NSS is None else gray_high_NSS.to(rgb.device)
    context = core.encode(gray, high)
    core_bits = _bits(core.decode(bins, context, gray), bins)
    logits = core.parallel_from(context, gray)
    probabilities = logits.double().softmax(dim=-1).cpu().numpy()
    centers = bin_centers().numpy()
    expected = probabilities @ np.concatenate((lab_from_rgb(centers)[:, 1:], centers), axis=1)
    return CoreScores(
        core_bits,
        _bits(logits, bins),
        block_means(lab_from_rgb(rgb_NRR3)[..., 1:]),
        block_means(expected[..., :2]),
        np.rint(expected[..., 2:]).astype(np.uint8),
    )


@torch.inference_mode()
def score_upsampler(upsampler: ChannelUpsampler, rgb_NHW3: Pixels, low: int) -> Floats:
    """Bits per channel value that an upsampler assigns to true photographs (N,).

    rgb_NHW3: uint8, at the upsampler's resolution. low: side of the picture that a spatial
    upsampler enlarges. The upsampler's input is made from the true photograph, not by the stage
    before.
    """
    result = np.empty(len(rgb_NHW3))
    for place, one in enumerate(rgb_NHW3):  # one at a time, as attention needs much memory
        rgb = torch.from_numpy(one[None]).to(upsampler.head.weight.device)
        poor = coarse_from_rgb(rgb) if isinstance(upsampler, ColorUpsampler) else blur(rgb, low)
        result[place] = _bits(upsampler(poor, gray_from_rgb(rgb)), rgb.long())[0]
    return result


def compare(true_NHW3: Pixels, result_NHW3: Pixels) -> ColorDifference:
    """How much results differ from the truth; both uint8 (N, H, W, 3)."""
    differences, errors = np.empty(len(true_NHW3)), np.empty(len(true_NHW3))
    shifts = np.empty((len(true_NHW3), 2))
    for place, (true, result) in enumerate(zip(true_NHW3, result_NHW3, strict=True)):
        first, second = lab_from_rgb(true), lab_from_rgb(result)
        differences[place] = ciede2000(first, second).mean()
        errors[place] = np.square(first - second)[..., 1:].sum(axis=-1).mean()
        shifts[place] = (second - first)[..., 1:].mean(axis=(0, 1))
    return ColorDifference(differences, errors, shifts)


def explained_variance(truth: Floats, guess: Floats) -> float:
    """R²: the share of the variance of truth (..., C), over all C channels, that a guess explains.

    1 is perfect, 0 is as good as the mean of the truth, and below 0 is worse; NaN if the truth does
    not vary. Means are taken over all axes but the last.
    """
    total = np.square(truth - truth.reshape(-1, truth.shape[-1]).mean(axis=0)).sum()
    return float(1 - np.square(truth - guess).sum() / total) if total > 0 else float("nan")


def block_means(values_NRRC: Floats) -> Floats:
    """(N, R, R, C) -> (N, 8, 8, C): means over blocks of R / 8 x R / 8 pixels."""
    planes = torch.from_numpy(values_NRRC).permute(0, 3, 1, 2)
    return functional.adaptive_avg_pool2d(planes, BLOCKS).permute(0, 2, 3, 1).numpy()


def _bits(logits: Tensor, targets: Tensor) -> Floats:
    """Mean cross-entropy in bits of each photograph: logits (N, ..., V), targets (N, ...)."""
    nats = functional.cross_entropy(logits.flatten(0, -2), targets.flatten(), reduction="none")
    bits = nats.double().view(targets.shape).flatten(1).mean(dim=1) * BITS_PER_NAT
    return bits.cpu().numpy()
