"""How color follows the luminance of a master, computed at the size of the prediction.

Between two cells of a prediction, plain interpolation lets colors bleed over a contour. Where the
luminance explains the color nearby, the color moves with it: slope * (gray - interpolated gray).
The slope is that of a line through the nine cells around, times the fourth power of their
correlation, so that textures without a color of their own get none.

Legend: H W rows and columns of the prediction. Whole numbers only: every machine gets the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

GRAY_STEPS = 2**8
SLOPE_STEPS = 2**14
_FLAT = 400.0  # variance of gray below which it says little about color
_NOISE = 4.0  # variance of color that counts as noise
_WHITE, _BLACK = 230, 25
_UNIFORM = 0.9  # of the pixels of a row
_WIDEST_BORDER = 6  # one sixth of the side


@dataclass(frozen=True)
class Guide:
    """All int64 (H, W): color differences in thousandths of a code, without borders; gray in
    GRAY_STEPS of a code; slopes, color differences by gray, in SLOPE_STEPS."""

    differences: tuple[np.ndarray, ...]
    gray: np.ndarray
    slopes: tuple[np.ndarray, ...]


def guide_of(gray_HW: np.ndarray, differences: Sequence[np.ndarray]) -> Guide:
    """gray_HW: 0..255, means of a master over the cells. differences: as in Guide."""
    gray = np.rint(gray_HW * GRAY_STEPS).astype(np.int64)
    top, bottom, left, right = picture_area(gray_HW)
    kept = []
    for plane in differences:
        inside = np.zeros_like(plane, dtype=np.int64)
        inside[top:bottom, left:right] = plane[top:bottom, left:right]
        kept.append(inside)
    slopes = (_slope(gray / GRAY_STEPS, plane / 1000) for plane in kept)
    whole = tuple(np.rint(slope * SLOPE_STEPS).astype(np.int64) for slope in slopes)
    return Guide(tuple(kept), gray, whole)


def picture_area(gray_HW: np.ndarray) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of the picture inside the borders of a print or a negative.

    A border consists of rows at the edge that are each nine tenths white or black, and of at most a
    sixth of the side. A wider area is a sky or a night, and belongs to the picture.
    """
    sides = []
    for plane in (gray_HW, gray_HW[::-1], gray_HW.T, gray_HW.T[::-1]):
        most = len(plane) // _WIDEST_BORDER
        uniform = ((plane >= _WHITE).mean(axis=1) >= _UNIFORM) | (
            (plane <= _BLACK).mean(axis=1) >= _UNIFORM
        )
        run = int(np.argmin(uniform)) if not uniform.all() else len(plane)
        sides.append(run if run <= most else 0)
    height, width = gray_HW.shape
    return sides[0], height - sides[1], sides[2], width - sides[3]


def _slope(gray: np.ndarray, color: np.ndarray) -> np.ndarray:
    """The slope of color by gray around each cell, as far as the correlation can be trusted."""
    mean_gray, mean_color = _around(gray), _around(color)
    variance = np.maximum(_around(gray * gray) - mean_gray * mean_gray, 0)
    spread = np.maximum(_around(color * color) - mean_color * mean_color, 0)
    covariance = _around(gray * color) - mean_gray * mean_color
    explained = covariance**2 / ((variance + 1) * (spread + _NOISE))
    slope: np.ndarray = covariance / (variance + _FLAT) * np.minimum(explained, 1) ** 2
    return slope


def _around(plane: np.ndarray) -> np.ndarray:
    """Means of three by three cells, with the edges repeated."""
    padded = np.pad(plane, 1, mode="edge")
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    total: np.ndarray = (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / 9
    return total
