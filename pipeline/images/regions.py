"""Color on a scan that does not belong to its gray photograph: targets, stamps, mounts.

They are small, or lie along the edge of the frame; the rest of the print is gray, or toned by one
curve. Such a picture does not count as a color photograph, and the colored things keep their own
color.

Measured as tones is: of 322 color photographs 0.6 % no longer count as such; of 18 toned
scans with a target, stamp or mount put on them, 16 to 18 are seen for what they are.

Legend: H W rows and columns of the master, S side of the square that is looked at.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.images.tones import Tone, distances, tone_of

_COLORED = 40.0  # a cell further from the tone, in codes, is colored
_VIVID = 64.0  # the same if the whole counts as gray or toned: ignores stains of old prints
_ROUND_IT = 14.0  # the same for cells beside a colored one
_LEAST_CELLS = 24  # fewer are dust, or noise
_MOST_BEYOND = 7.0  # RMS distance of the other cells from the tone; scans of prints lie below
_SMALL = 0.08  # of the frame, wherever it lies
_AT_EDGE = 0.25  # of the frame, along one edge
_AROUND = 0.7  # of the frame, on three of its edges or all
_LINE = 0.4  # colored share that makes a row or column part of a strip or a mount


@dataclass(frozen=True)
class Look:
    """The tone of a picture. cells: bool (S, S), those that keep their color."""

    tone: Tone
    cells: np.ndarray | None = None


@dataclass(frozen=True)
class Kept:
    """Cells bool (S, S) of a master whose color, uint8 or uint16 (H, W, 3), is kept."""

    cells: np.ndarray
    color: np.ndarray


def look_at(rgb_SS3: np.ndarray) -> Look:
    """The tone of a picture uint8 (S, S, 3), apart from targets, stamps and mounts.

    The tone is taken from most of the frame, or from its middle, which no mount reaches.
    """
    small = _quarters(rgb_SS3)
    whole, side = tone_of(small), len(small)
    middle = small[side // 4 : -side // 4, side // 4 : -side // 4]
    least = _COLORED if whole == "color" else _VIVID
    for print_alone in (small, middle):
        beyond = distances(rgb_SS3, print_alone)
        if np.count_nonzero(beyond > least) < _LEAST_CELLS:
            return Look(whole)
        cells = _beside(beyond)
        if cells is not None and np.sqrt(np.square(beyond[~cells]).mean()) <= _MOST_BEYOND:
            tone = tone_of(_quarters(_without(rgb_SS3, cells)))
            if tone != "color":
                return Look("toned_with_color" if tone == "toned" else "gray_with_color", cells)
    return Look(whole)


def keep_color(parts: Iterable[np.ndarray], kept: Kept | None) -> Iterator[np.ndarray]:
    """Bands (h, W, 3) from the top, those cells as they are in the master; bands are used up."""
    top = 0
    for part in parts:
        if kept is not None:
            height, width = kept.color.shape[:2]
            side = len(kept.cells)
            rows = np.arange(top, top + len(part)) * side // height
            inside = kept.cells[rows][:, np.arange(width) * side // width]
            part[inside] = kept.color[top : top + len(part)][inside]
        top += len(part)
        yield part


def _beside(beyond: np.ndarray) -> np.ndarray | None:
    """The cells (S, S) of small things, of a strip along an edge, and of a mount around a print;
    None if more than that is colored."""
    strong = _closed(beyond > _COLORED)
    edges = [_depth(strong[::-1]), _depth(strong), _depth(strong.T[::-1]), _depth(strong.T)]
    bottom, top, right, left = edges
    cells, side = np.ones_like(strong), len(strong)
    cells[top : side - bottom, left : side - right] = False  # with a target's gray patches
    most = _AROUND if sum(map(bool, edges)) >= 3 else _AT_EDGE
    things = _grown(strong & ~cells, (beyond > _ROUND_IT) & ~cells)
    if cells.mean() > most or things[~cells].sum() > _SMALL * cells.size:
        return None
    return _wider(cells, 1) | things  # at the rim of a strip, colors are mixed


def _depth(colored: np.ndarray) -> int:
    """How many rows from the top, at most half, belong to a strip of mostly colored cells."""
    plain = colored[: len(colored) // 2].mean(axis=1) < _LINE
    return int(np.argmax(plain)) if plain.any() else len(plain)


def _quarters(rgb_SS3: np.ndarray) -> np.ndarray:
    """Means of four by four pixels."""
    side = len(rgb_SS3) // 4
    return np.rint(rgb_SS3.reshape(side, 4, side, 4, 3).mean(axis=(1, 3))).astype(np.uint8)


def _without(rgb_SS3: np.ndarray, colored: np.ndarray) -> np.ndarray:
    """The picture with its colored cells replaced by the mean of the others."""
    result = rgb_SS3.copy()
    result[colored] = np.rint(rgb_SS3[~colored].mean(axis=0))
    return result


def _closed(cells: np.ndarray) -> np.ndarray:
    """Cells with gaps of one or two closed, such as those between a target's patches."""
    return ~_wider(~_wider(cells, 2), 2) | cells


def _grown(cells: np.ndarray, into: np.ndarray) -> np.ndarray:
    """Cells, all that is connected to them, and a rim of two cells in which colors are mixed."""
    while True:
        wider = cells | (_wider(cells, 1) & into)
        if wider.sum() == cells.sum():
            return _wider(cells, 1)
        cells = wider


def _wider(cells: np.ndarray, by: int) -> np.ndarray:
    """Cells and their neighbors."""
    for _ in range(by):
        upright = cells.copy()
        upright[1:] |= cells[:-1]
        upright[:-1] |= cells[1:]
        cells = upright.copy()
        cells[:, 1:] |= upright[:, :-1]
        cells[:, :-1] |= upright[:, 1:]
    return cells
