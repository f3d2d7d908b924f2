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
    _check_pair(gray_HW, rgb_SS3)
    height, width = gray_HW.shape
    highest = int(np.iinfo(gray_HW.dtype).max)
    differences = _differences(rgb_SS3)
    guide, (rows_seen, columns_seen) = None, rgb_SS3.shape[:2]
    if height >= 2 * rows_seen and width >= 2 * columns_seen:
        gray = means(gray_HW, rows_seen, columns_seen) * (255 / highest)
        guide = guide_of(gray, differences)
        differences = guide.differences
        low = Stretched(guide.gray, highest / 255 / GRAY_STEPS, height, width)
        slopes = [Stretched(slope, 1 / SLOPE_STEPS, height, width) for slope in guide.slopes]
    planes = [Stretched(plane, highest / 255_000, height, width) for plane in differences]
    for rows in bands(height, width):
        colors = [plane.band(rows) for plane in planes]
        if guide is not None:
            detail = gray_HW[rows] - low.band(rows)
            for color, slope in zip(colors, slopes, strict=True):
                color += slope.band(rows) * detail
        if hints is not None:
            hints.apply(rows, gray_HW[rows], *colors)
        yield _compose_band(gray_HW[rows], *colors)


def _check_pair(gray_HW: np.ndarray, rgb_SS3: np.ndarray) -> None:
    if gray_HW.dtype not in (np.uint8, np.uint16) or gray_HW.ndim != 2:
        raise ValueError(
            f"gray must be uint8 or uint16 (H, W), not {gray_HW.dtype} {gray_HW.shape}"
        )
    if rgb_SS3.dtype != np.uint8 or rgb_SS3.ndim != 3 or rgb_SS3.shape[2] != 3:
        raise ValueError(f"color must be uint8 (S, S, 3), not {rgb_SS3.dtype} {rgb_SS3.shape}")


def _differences(rgb_SS3: np.ndarray) -> tuple[np.ndarray, ...]:
    """How far red and blue lie from the luma, in thousandths, so that they are whole: int32 (S, S).

    Written as differences of channels, so that they are exactly zero where the color is gray.
    Growing to more rows is left to each band.
    """
    red, green, blue = np.moveaxis(rgb_SS3.astype(np.int32), 2, 0)
    of_red, of_green, of_blue = LUMA_THOUSANDTHS
    return (
        of_green * (red - green) + of_blue * (red - blue),
        of_red * (blue - red) + of_green * (blue - green),
    )


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
    sums, shares = _to_rows(plane_HW, height)
    if sums.shape[1] != width:
        columns = _weights(sums.shape[1], width)
        sums, shares = sums @ columns.T, shares * columns.sum(axis=1)
    return sums / shares


class Stretched:
    """A plane of whole numbers (h, S), times a scale, as large as a picture (H, W): its bands
    float32, to be asked for from the top to the bottom.

    Bit by bit what resample makes of it at min(h, H) rows and W columns, linear between these rows.
    Only those are held that the last band needed: of a picture that is far wider than high, all of
    them would take several times as much as the picture.
    """

    def __init__(self, plane: np.ndarray, scale: float, height: int, width: int) -> None:
        self._height, self._scale = height, scale
        self._sums, self._shares = _to_rows(plane, min(height, len(plane)))
        stored = plane.shape[1]
        self._columns = _Columns(stored, width) if stored < width else _weights(stored, width)
        self._first, self._held = 0, np.empty((0, width), np.float32)

    def band(self, rows: slice) -> np.ndarray:
        """(h, W), to be changed at will."""
        stored = len(self._sums)
        if stored == self._height:
            return self._widened(rows.start, rows.stop)
        centers = (np.arange(rows.start, rows.stop) + 0.5) * (stored / self._height) - 0.5
        centers = np.clip(centers, 0, stored - 1)
        above = centers.astype(np.intp)
        below = np.minimum(above + 1, stored - 1)
        weight = (centers - above).astype(np.float32)[:, None]
        self._hold(int(above[0]), int(below[-1]) + 1)
        upper = self._held[above - self._first]
        lower = self._held[below - self._first]
        lower -= upper
        lower *= weight
        lower += upper
        return lower

    def _hold(self, first: int, end: int) -> None:
        known = self._first + len(self._held)
        kept = self._held[first - self._first :]
        if end > known:
            kept = np.concatenate([kept, self._widened(max(first, known), end)])
        self._first, self._held = first, kept

    def _widened(self, first: int, end: int) -> np.ndarray:
        sums, shares = self._sums[first:end], self._shares[first:end]
        if isinstance(self._columns, _Columns):
            sums, shares = self._columns.of(sums), shares * self._columns.shares
        elif self._columns.shape[0] != self._columns.shape[1]:
            sums, shares = sums @ self._columns.T, shares * self._columns.sum(axis=1)
        return (sums / shares * self._scale).astype(np.float32)


class _Columns:
    """_weights where a plane grows, of which all but two in a row are zero; shares: their sums.
    float32 (W), which holds these whole numbers."""

    def __init__(self, stored: int, wanted: int) -> None:
        centers = _centers(stored, wanted)
        self._left = centers.astype(np.int32)
        self._right = np.minimum(self._left + 1, stored - 1)
        self._near = _parts(1 - np.abs(centers - self._left)).astype(np.float32)
        self._far = _parts(1 - np.abs(centers - (self._left + 1))).astype(np.float32)
        self.shares = self._near + self._far

    def of(self, plane: np.ndarray) -> np.ndarray:
        """plane @ weights.T"""
        product: np.ndarray = plane[:, self._left] * self._near
        product += plane[:, self._right] * self._far
        return product


def means(plane_HW: np.ndarray, height: int, width: int) -> np.ndarray:
    """Means of whole numbers over a grid of blocks, float64 (height, width), none of them empty."""
    tops = np.arange(height + 1) * plane_HW.shape[0] // height
    lefts = np.arange(width + 1) * plane_HW.shape[1] // width
    result = np.empty((height, width))
    for row, (top, bottom) in enumerate(zip(tops, tops[1:], strict=False)):
        columns = plane_HW[top:bottom].sum(axis=0, dtype=np.uint64)
        result[row] = np.add.reduceat(columns, lefts[:-1]) / ((bottom - top) * np.diff(lefts))
    return result


def _to_rows(plane: np.ndarray, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Weighted sums of a plane's rows (height, W), and the weights' own (height, 1): float64."""
    sums = plane.astype(np.float64)
    if len(plane) == height:
        return sums, np.ones((height, 1))
    rows = _weights(len(plane), height)
    return rows @ sums, rows.sum(axis=1)[:, None]


def _weights(stored: int, wanted: int) -> np.ndarray:
    """float64 (wanted, stored), whole numbers: what each old cell gives to each new one."""
    if stored < wanted:
        return _parts(1 - np.abs(_centers(stored, wanted)[:, None] - np.arange(stored)))
    new, cells = np.arange(wanted)[:, None], np.arange(stored)
    ends = np.minimum((new + 1) * (stored / wanted), cells + 1)
    overlaps = ends - np.maximum(new * (stored / wanted), cells)
    return _parts(overlaps.clip(0) * (wanted / stored))


def _centers(stored: int, wanted: int) -> np.ndarray:
    """Where the centers of new cells lie among those of the old, float64 (wanted)."""
    return ((np.arange(wanted) + 0.5) * (stored / wanted) - 0.5).clip(0, stored - 1)


def _parts(weights: np.ndarray) -> np.ndarray:
    """Weights 0..1 as whole numbers, those below as zero."""
    return np.rint(weights.clip(0) * 2**16)


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
