"""What a colorizer gives, whatever its model: pictures and their scores.

Legend: B batch, R low resolution, S high resolution.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Colorized:
    """Pictures and their scores; all arrays have the batch first.

    rgb: uint8 (B, S, S, 3), or (B, R, R, 3) where the spatial upsampler is left out. What a method
    does not compute is NaN. log_likelihood: float64 (B,), nats, of the core's picture at
    temperature 1, summed over pixels. bits_per_pixel: the same as bits, per pixel (uniform: 9).
    color_bits_per_dim, spatial_bits_per_dim: float64 (B,), bits per channel value that the
    upsamplers give to their own, most likely, picture. entropy: float32 (B, R, R), bits [0, 9], as
    in CoreSample. excess_bits, mean_distance, chroma_excess: float64 (B,), as in `model.ranking`,
    of drawn pictures.
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


def check_batch(
    gray_low: NDArray[np.uint8], gray_high: NDArray[np.uint8], seeds: Sequence[int]
) -> None:
    """Raise ValueError where there are not as many of each, or none."""
    sizes = len(gray_low), len(gray_high), len(seeds)
    if len(set(sizes)) > 1 or not sizes[0]:
        found = "{}, {} and {}".format(*sizes)
        raise ValueError(f"as many small and large photographs and seeds are needed, not {found}")
