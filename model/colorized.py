"""The result of a colorizer, the same for all models: pictures and their scores.

Legend: B batch, R low resolution, S high resolution.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Colorized:
    """Pictures and their scores; the first axis of all arrays is the batch.

    rgb: uint8 (B, S, S, 3), or (B, R, R, 3) without the spatial upsampler. A score that the method
    or model does not compute is NaN.

    log_likelihood: float64 (B,), nats, of the small picture at temperature 1, summed over pixels.
    bits_per_pixel: float64 (B,), -log_likelihood as bits per pixel; ColTran's core with uniform
    probabilities would have 9. color_bits_per_dim, spatial_bits_per_dim: float64 (B,), bits per
    channel value that each upsampler assigns to its own picture, the most likely one. entropy:
    float32 (B, R, R), bits, of the distribution at each pixel, as in `CoreSample` (ColTran: 0 to
    9). excess_bits, mean_distance, chroma_excess: float64 (B,), of drawn pictures, as in
    `model.ranking`.
    """

    rgb: NDArray[np.uint8]
    log_likelihood: NDArray[np.float64]
    bits_per_pixel: NDArray[np.float64]
    color_bits_per_dim: NDArray[np.float64]
    spatial_bits_per_dim: NDArray[np.float64]
    entropy: NDArray[np.float32]
    excess_bits: NDArray[np.float64]
    mean_distance: NDArray[np.float64]
    chroma_excess: NDArray[np.float64]


class Pictures(NamedTuple):
    """Pictures and scores of a batch, as tensors; names, shapes and units as in `Colorized`."""

    rgb: Tensor
    log_likelihood: Tensor
    color_bits_per_dim: Tensor
    spatial_bits_per_dim: Tensor
    entropy: Tensor
    excess_bits: Tensor
    mean_distance: Tensor
    chroma_excess: Tensor


def check_batch(
    gray_low: NDArray[np.uint8], gray_high: NDArray[np.uint8], seeds: Sequence[int]
) -> None:
    """Raise ValueError unless there are equally many of each, and at least one."""
    sizes = len(gray_low), len(gray_high), len(seeds)
    if len(set(sizes)) > 1 or not sizes[0]:
        found = "{}, {} and {}".format(*sizes)
        raise ValueError(f"as many small and large photographs and seeds are needed, not {found}")


def unknown_score(rgb: Tensor) -> Tensor:
    """A score that the method does not compute: NaN for each picture, float64 (B,)."""
    return torch.full((len(rgb),), torch.nan, dtype=torch.float64)
