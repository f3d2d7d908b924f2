"""Color on the luminance of a master, with numpy alone, in bands of rows.

Legend: H W rows and columns of the master, S side of the model's square, h rows of one band.
"""

import math
from collections.abc import Iterable, Iterator

import numpy as np

from pipeline.images.guide import GRAY_STEPS, SLOPE_STEPS, guide_of
from pipeline.images.hints import HintBlend

LUMA_THOUSANDTHS = (299, 587, 114)  # Rec. 601, of R, G and B
LUMA = np.array(LUMA_THOUSANDTHS) / 1000
_RED, _GREEN, _BLUE = LUMA.tolist()
_COLUMNS_AT_ONCE = 2**13
_BAND_PIXELS = 2**16  # a handful of float32 arrays of this size stays in the cache


def put_color_on(gray_HW: np.ndarray, rgb_SS3: np.ndarray) -> np.ndarray:
    """Color of a prediction on the luminance of a master, whole: as color_bands, (H, W, 3)."""
    return np.concatenate(list(color_bands(gray_HW, rgb_SS3)))


def color_bands(
    gray_HW: np.ndarray, rgb_SS3: np.ndarray, hints: HintBlend | None = None
) -> Iterator[np.ndarray]:
    """Color of a prediction on the luminance of a master: bands (h, W, 3) of the gray's type.

    gray_HW uint8 or uint16 and rgb_SS3 uint8, the whole frame squeezed to any size. At every pixel,
    0.299 R + 0.587 G + 0.114 B of the result is the gray within 0.3 codes. The color differences
    to the luma are interpolated linearly (a cubic would put fringes of the opposite color along
    edges), moved along contours of the luminance as `guide` tells, and shrunk, all three by one
    factor, just as far as the gamut asks. Gray stays gray, and so do borders. hints: of this very
    gray; they come last.
    """
    if gray_HW.dtype not in (np.uint8, np.uint16) or gray_HW.ndim != 2:
        raise ValueError(
            f"gray must be uint8 or uint16 (H, W), not {gray_HW.dtype} {gray_HW.shape}"
        )
    if rgb_SS3.dtype != np.uint8 or rgb_SS3.ndim != 3 or rgb_SS3.shape[2] != 3:
        raise ValueError(f"color must be uint8 (S, S, 3), not {rgb_SS3.dtype} {rgb_SS3.shape}")
    height, width = gray_HW.shape
    highest = int(np.iinfo(gray_HW.dtype).max)
    red, green, blue = np.moveaxis(rgb_SS3.astype(np.int32), 2, 0)
    of_red, of_green, of_blue = LUMA_THOUSANDTHS
    # Written as differences of channels, so that they are exactly zero where the color is gray.
    # In thousandths, so that they are whole. Growing to more rows is left to each band.
    differences: tuple[np.ndarray, ...] = (
        of_green * (red - green) + of_blue * (red - blue),
        of_red * (blue - red) + of_green * (blue - green),
    )
    stored = min(height, len(rgb_SS3))

    def widened(plane: np.ndarray, scale: float) -> np.ndarray:
        return (resample(plane, stored, width) * scale).astype(np.float32)

    guide = None
    if height >= 2 * len(red) and width >= 2 * red.shape[1]:
        guide = guide_of(means(gray_HW, *red.shape) * (255 / highest), differences)
        differences = guide.differences
        low = widened(guide.gray, highest / 255 / GRAY_STEPS)
        slopes = [widened(slope, 1 / SLOPE_STEPS) for slope in guide.slopes]
    planes = [widened(plane, highest / 255_000) for plane in differences]
    for rows in bands(height, width):
        colors = [_rows_between(plane, rows, height) for plane in planes]
        if guide is not None:
            detail = gray_HW[rows] - _rows_between(low, rows, height)
            for color, slope in zip(colors, slopes, strict=True):
                color += _rows_between(slope, rows, height) * detail
        if hints is not None:
            hints.apply(rows, gray_HW[rows], *colors)
        yield _compose_band(gray_HW[rows], *colors)


class ColorMeter:
    """How colorful a picture is, told from its bands uint8 or uint16 (h, W, 3)."""

    def __init__(self) -> None:
        self._sums, self._pixels = np.zeros(4), 0

    def watch(self, parts: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The same bands, looked at while they pass."""
        for part in parts:
            codes = np.float32(255 / np.iinfo(part.dtype).max)
            red, green, blue = np.moveaxis(part.astype(np.float32) * codes, 2, 0)
            for index, opponent in enumerate((red - green, (red + green) / 2 - blue)):
                self._sums[2 * index] += opponent.sum(dtype=np.float64)
                self._sums[2 * index + 1] += np.square(opponent).sum(dtype=np.float64)
            self._pixels += red.size
            yield part

    def colorfulness(self) -> float:
        """Hasler and Suesstrunk 2003: 0 is gray, above 80 is vivid."""
        means = self._sums / self._pixels
        variance = max(0.0, means[1] - means[0] ** 2 + means[3] - means[2] ** 2)
        return math.sqrt(variance) + 0.3 * math.hypot(means[0], means[2])


def colorfulness(rgb_HW3: np.ndarray) -> float:
    """How colorful a picture looks, as ColorMeter tells."""
    meter = ColorMeter()
    for _ in meter.watch(rgb_HW3[rows] for rows in bands(*rgb_HW3.shape[:2])):
        pass
    return meter.colorfulness()


def bands(height: int, width: int) -> Iterator[slice]:
    """Slices of rows that hold some 65,000 pixels each."""
    step = max(1, _BAND_PIXELS // max(1, width))
    for start in range(0, height, step):
        yield slice(start, min(start + step, height))


def resample(plane_HW: np.ndarray, height: int, width: int) -> np.ndarray:
    """A plane of whole numbers below 2**19 at another size, as float64 (height, width).

    Means of areas where it shrinks, linear where it grows. Weights are whole numbers too: every
    sum is exact, and so the result has the same bits on any machine and with any number of threads.
    """
    result = plane_HW.astype(np.float64)
    shares = np.float64(1)
    if result.shape[0] != height:
        rows = _weights(result.shape[0], height, slice(0, height))
        result, shares = rows @ result, rows.sum(axis=1)[:, None]
    if result.shape[1] == width:
        return result / shares
    parts = []  # of a very wide picture, weights for all columns at once would take gigabytes
    for start in range(0, width, _COLUMNS_AT_ONCE):
        part = slice(start, min(start + _COLUMNS_AT_ONCE, width))
        columns = _weights(result.shape[1], width, part)
        parts.append(result @ columns.T / (shares * columns.sum(axis=1)))
    return np.concatenate(parts, axis=1)


def means(plane_HW: np.ndarray, height: int, width: int) -> np.ndarray:
    """Means of whole numbers over a grid of blocks, float64 (height, width), none of them empty."""
    tops = np.arange(height + 1) * plane_HW.shape[0] // height
    lefts = np.arange(width + 1) * plane_HW.shape[1] // width
    result = np.empty((height, width))
    for row, (top, bottom) in enumerate(zip(tops, tops[1:], strict=False)):
        columns = plane_HW[top:bottom].sum(axis=0, dtype=np.uint64)
        result[row] = np.add.reduceat(columns, lefts[:-1]) / ((bottom - top) * np.diff(lefts))
    return result


def _weights(stored: int, wanted: int, part: slice) -> np.ndarray:
    """float64 (of the part, stored), whole numbers: what each old cell gives to some of the new."""
    new = np.arange(part.start, part.stop)[:, None]
    if stored >= wanted:
        cells = np.arange(stored)
        ends = np.minimum((new + 1) * (stored / wanted), cells + 1)
        overlaps = ends - np.maximum(new * (stored / wanted), cells)
        weights = overlaps.clip(0) * (wanted / stored)
    else:
        centers = ((new + 0.5) * (stored / wanted) - 0.5).clip(0, stored - 1)
        weights = (1 - np.abs(centers - np.arange(stored))).clip(0)
    return np.rint(weights * 2**16)


def _rows_between(plane: np.ndarray, rows: slice, height: int) -> np.ndarray:
    """Those rows of a plane float32 (h, W) that is stretched linearly to `height` rows."""
    centers = (np.arange(rows.start, rows.stop) + 0.5) * (len(plane) / height) - 0.5
    centers = np.clip(centers, 0, len(plane) - 1)
    above = centers.astype(np.intp)
    weight = (centers - above).astype(np.float32)[:, None]
    upper = plane[above]
    lower = plane[np.minimum(above + 1, len(plane) - 1)]
    lower -= upper
    lower *= weight
    lower += upper
    return lower


def _compose_band(stored: np.ndarray, red: np.ndarray, blue: np.ndarray) -> np.ndarray:
    """(h, w, 3) from gray uint8 or uint16, R - gray and B - gray, float32 (h, w) and used up."""
    highest_code, gray = np.float32(np.iinfo(stored.dtype).max), stored.astype(np.float32)
    green = red * -(_RED / _GREEN) - blue * (_BLUE / _GREEN)  # the three weighted sum to zero
    highest = np.maximum(np.maximum(red, green), blue)
    lowest = np.minimum(np.minimum(red, green), blue)
    tiny = np.float32(1e-6)  # keeps 0 / 0 out
    room = np.minimum((highest_code - gray) / (highest + tiny), gray / (tiny - lowest))
    np.minimum(room, 1, out=room)
    red *= room
    red += gray
    np.rint(red, out=red)
    blue *= room
    blue += gray
    np.rint(blue, out=blue)
    # Green is what the rounded red and blue leave of the luminance. Its own rounding is all that
    # is lost (0.587 / 2), and it never leaves the gamut by more than rounding takes back.
    gray -= _RED * red
    gray -= _BLUE * blue
    gray /= _GREEN
    np.rint(gray, out=gray)
    result = np.empty((*gray.shape, 3), stored.dtype)
    result[..., 0] = red
    result[..., 1] = gray
    result[..., 2] = blue
    return result
