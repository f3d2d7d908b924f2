"""Hints: places in a photograph whose color somebody knows, and how they are painted.

A hint keeps its a* and b* (CIE Lab) and takes its lightness from the photograph: the result is the
color whose luma (Rec. 601) is the gray. If no screen can show the color so bright or so dark, its
chroma is reduced, in its own hue, just as far as necessary.

Legend: H W rows and columns of the master, S side of a square that the whole frame is squeezed
into, K hints of a photograph.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

DEFAULT_RADIUS = 0.03
LARGEST_RADIUS = 0.5
NEAR = 6.0  # a color within this CIEDE2000 of the hint counts as reached
_LUMA = np.array([0.299, 0.587, 0.114])
_LEAST_PIXELS = 3.0  # radius in a picture; the coarse color of a JPEG would lose anything smaller
_LIKE, _UNLIKE = 24.0, 72.0  # codes from the hint's gray: below, it has full effect; above, none


@dataclass(frozen=True)
class Hint:
    """x, y: shares of width and height [0, 1] of the upright picture. radius: a share of its
    shorter side (0, 0.5]. color: `#rrggbb`. page: from 1."""

    x: float
    y: float
    radius: float
    color: str
    page: int = 1


@dataclass(frozen=True, eq=False)
class HintColor:
    """A hint, and its color on each gray 0..255: float32 (256, 3), R - gray and B - gray in codes,
    and the CIEDE2000 between this color and the hint."""

    hint: Hint
    by_gray: np.ndarray


def hint_colors(hints: Sequence[Hint]) -> tuple[HintColor, ...]:
    """The colors of hints; loads PyTorch, which comes with model.lab."""
    return tuple(HintColor(hint, _by_gray(hint.color)) for hint in hints)


@lru_cache(maxsize=256)
def _by_gray(color: str) -> np.ndarray:
    """A HintColor's table: on each gray, as much of the color's chroma as sRGB can show there."""
    from model.lab import ciede2000, lab_from_rgb

    grays = np.arange(256.0)
    wanted = lab_from_rgb([int(color[place : place + 2], 16) for place in (1, 3, 5)])[1:]
    least, most = np.zeros(256), np.ones(256)
    for step in range(12):
        share = most if step == 0 else (least + most) / 2
        lab, rgb = _on_grays(share[:, None] * wanted)
        shown = np.abs(lab_from_rgb(rgb) - lab).max(axis=1) < 0.2  # otherwise it was clipped
        least, most = np.where(shown, share, least), np.where(shown, most, share)
    lab, rgb = _on_grays(least[:, None] * wanted)
    asked = np.column_stack((lab[:, 0], np.tile(wanted, (256, 1))))
    missed = ciede2000(asked, lab)
    table = np.column_stack((rgb[:, 0] - grays, rgb[:, 2] - grays, missed)).astype(np.float32)
    table[:, :2][least == 0] = 0
    table.setflags(write=False)  # all hints of this color share it
    return table


def _on_grays(chroma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colors with this chroma, a* and b* (256, 2), whose luma is 0..255: their Lab and their RGB,
    (256, 3). The lightness is found by bisection."""
    from model.lab import rgb_from_lab

    grays, low, high = np.arange(256.0), np.zeros(256), np.full(256, 100.0)
    for _ in range(20):
        lab = np.column_stack(((low + high) / 2, chroma))
        dark = rgb_from_lab(lab) @ _LUMA < grays
        low, high = np.where(dark, lab[:, 0], low), np.where(dark, high, lab[:, 0])
    return lab, rgb_from_lab(lab)


def hinted_cells(hints: Sequence[Hint], width: int, height: int, side: int) -> np.ndarray:
    """The hint of each cell of the square, int64 (S, S); -1 for none.

    A cell gets the nearest hint within whose radius its center lies; the cell in which a hint lies
    always gets that hint. width, height: of the photograph.
    """
    cells = np.full((side, side), -1)
    nearest = np.full((side, side), np.inf)
    centers, shorter = (np.arange(side) + 0.5) / side, min(width, height)
    for number, hint in enumerate(hints):
        across, down = (centers - hint.x) * width, (centers - hint.y) * height
        distance = np.hypot(across, down[:, None]) / shorter
        row, column = _cell(hint, side, side)
        distance[row, column] -= 1e6  # takes precedence over hints that only reach the cell
        within = (distance <= hint.radius) & (distance < nearest)
        cells[within], nearest[within] = number, distance[within]
    return cells


def rgb_on_gray(colors: Sequence[HintColor], cells: np.ndarray, gray_SS: np.ndarray) -> np.ndarray:
    """The colors of cells that have a hint, each on its gray: uint8 (n, 3), in the order of
    cells."""
    place = cells >= 0
    tables = np.stack([color.by_gray for color in colors])
    gray = gray_SS[place]
    red, blue = (tables[cells[place], gray, channel] for channel in (0, 1))
    green = -(_LUMA[0] * red + _LUMA[2] * blue) / _LUMA[1]
    rgb = np.stack((red, green, blue), axis=-1) + gray[:, None]
    return np.rint(rgb).clip(0, 255).astype(np.uint8)


def pin(
    rgb_SS3: np.ndarray, gray_SS: np.ndarray, colors: Sequence[HintColor], width: int, height: int
) -> np.ndarray:
    """A small picture, uint8, whose hinted cells have the hints' colors."""
    if not colors:
        return rgb_SS3
    cells = hinted_cells([color.hint for color in colors], width, height, len(gray_SS))
    pinned = rgb_SS3.copy()
    pinned[cells >= 0] = rgb_on_gray(colors, cells, gray_SS)
    return pinned


class _Place(NamedTuple):
    """A hint in a picture: its pixel, its radius in pixels, and the gray of its pixel and the usual
    gray around it, in codes 0..255."""

    row: int
    column: int
    radius: float
    own: float
    usual: float


class HintBlend:
    """Blends the hints' colors into the color differences of a full-size picture.

    Within a hint's radius the color is the hint's, and from there to twice the radius it fades into
    the prediction, but only where the gray is similar to that at the hint. Where two hints reach a
    pixel, the nearer one has more weight. The pixel of a hint has exactly its color.
    """

    def __init__(self, gray_HW: np.ndarray, colors: Sequence[HintColor]) -> None:
        self._colors, self._codes = colors, np.float32(255 / np.iinfo(gray_HW.dtype).max)
        (height, width), self._notes = gray_HW.shape, list[str]()
        self._places = list[_Place]()
        for color in colors:
            row, column = _cell(color.hint, height, width)
            radius = max(_LEAST_PIXELS, color.hint.radius * min(height, width))
            around = max(1, min(32, int(radius / 2)))
            patch = gray_HW[max(0, row - around) : row + around + 1]
            usual = float(np.median(patch[:, max(0, column - around) : column + around + 1]))
            own = float(gray_HW[row, column] * self._codes)
            self._places.append(_Place(row, column, radius, own, usual * float(self._codes)))

    def notes(self) -> list[str]:
        """Notes on hints whose color the luminance does not allow, with the color used instead."""
        found = []
        for color, place in zip(self._colors, self._places, strict=True):
            gray, hint = round(place.own), color.hint
            if color.by_gray[gray, 2] > NEAR:
                one = np.zeros((1, 1), np.int64)
                red, green, blue = rgb_on_gray([color], one, one + gray)[0].tolist()
                where = f"{hint.color} at {hint.x:g}, {hint.y:g}"
                near = f"#{red:02x}{green:02x}{blue:02x}"
                found.append(f"hint {where}: the luminance there allows {near} at most")
        return found

    def apply(self, rows: slice, gray: np.ndarray, red: np.ndarray, blue: np.ndarray) -> None:
        """Change R - gray and B - gray of these rows, float32 (h, W), in the gray's codes."""
        weights = np.zeros(gray.shape, np.float32)
        shares, sums = np.zeros_like(weights), np.zeros((2, *gray.shape), np.float32)
        for color, place in zip(self._colors, self._places, strict=True):
            self._add(rows, gray, color, place, weights, shares, sums)
        hinted = weights > 0
        for plane, total in ((red, sums[0]), (blue, sums[1])):
            wanted = total[hinted] / shares[hinted] / self._codes
            plane[hinted] += weights[hinted] * (wanted - plane[hinted])

    def _add(
        self,
        rows: slice,
        gray: np.ndarray,
        color: HintColor,
        place: _Place,
        weights: np.ndarray,
        shares: np.ndarray,
        sums: np.ndarray,
    ) -> None:
        """Add one hint to what is known of these rows, all float32 (h, W). weights: how much hints
        count. shares: how much each pixel takes from all hints, the nearest most. sums: of what it
        takes, R - gray and B - gray, (2, h, W)."""
        row, column, radius, own, usual = place
        reach = int(2 * radius) + 1
        top, bottom = max(rows.start, row - reach), min(rows.stop, row + reach + 1)
        if top >= bottom:
            return
        left, right = max(0, column - reach), min(gray.shape[1], column + reach + 1)
        part = slice(top - rows.start, bottom - rows.start), slice(left, right)
        down, across = np.arange(top, bottom) - row, np.arange(left, right) - column
        squared = (down[:, None] ** 2 + across**2) / np.float32(radius**2)
        codes = gray[part] * self._codes
        unlike = np.minimum(np.abs(codes - np.float32(own)), np.abs(codes - np.float32(usual)))
        weight = _smooth(2 - np.sqrt(squared)) * _smooth((_UNLIKE - unlike) / (_UNLIKE - _LIKE))
        weight = weight.astype(np.float32)
        share = weight / (squared.astype(np.float32) + np.float32(1e-6))
        level = np.rint(codes).astype(np.intp)
        sums[0][part] += share * color.by_gray[level, 0]
        sums[1][part] += share * color.by_gray[level, 1]
        shares[part] += share
        np.maximum(weights[part], weight, out=weights[part])


def _smooth(share: np.ndarray) -> np.ndarray:
    """A smooth step: 0 up to 0, 1 from 1 on."""
    share = share.clip(0, 1)
    smooth: np.ndarray = share * share * (3 - 2 * share)
    return smooth


def _cell(hint: Hint, height: int, width: int) -> tuple[int, int]:
    """Row and column that a hint lies in."""
    return min(int(hint.y * height), height - 1), min(int(hint.x * width), width - 1)
