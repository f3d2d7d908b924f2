"""Color on a gray photograph that is not of the photograph: targets, stamps, mounts.

They are small, or lie along the edge of the frame; beyond them the print is gray, or toned by one
curve. Such a picture is not in color, and what was printed in color keeps its own.

Legend: H W rows and columns of the master, S side of the square that is looked at.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.images.tones import Tone, distances, tone_of

_COLORED = 28.0  # codes beyond the tone that make a cell colored
_ROUND_IT = 10.0  # and those beside it
_LEAST_CELLS = 24  # fewer are dust, or noise
_MOST_BEYOND = 3.0  # mean square root of what is left, in codes: the print is gray or toned
_SMALL = 0.08  # of the frame, wherever it lies
_AT_EDGE = 0.25  # of the frame, along one edge
_AROUND = 0.7  # of the frame, on three of its edges or all
_STRAIGHT = 0.93  # of the rectangle that is left inside of a mount


@dataclass(frozen=True)
class Look:
    """What was seen of a picture's colors. cells: bool (S, S), those that keep theirs."""

    tone: Tone
    cells: np.ndarray | None = None


@dataclass(frozen=True)
class Kept:
    """Cells bool (S, S) of a master whose color, uint8 or uint16 (H, W, 3), is kept."""

    cells: np.ndarray
    color: np.ndarray


def look_at(rgb_SS3: np.ndarray) -> Look:
    """What a picture uint8 (S, S, 3), S = LOOK, is, apart from targets, stamps and mounts."""
    whole = tone_of(_quarters(rgb_SS3))
    beyond = distances(rgb_SS3)
    if np.count_nonzero(beyond > _COLORED) < _LEAST_CELLS:
        return Look(whole)
    colored = _grown(_closed(beyond > _COLORED), beyond > _ROUND_IT)
    rest = ~colored
    if not _is_beside(colored) or not rest.any():
        return Look(whole)
    if np.sqrt(np.square(beyond[rest]).mean()) > _MOST_BEYOND:
        return Look(whole)
    tone = tone_of(_quarters(_without(rgb_SS3, colored)))
    if tone == "color":
        return Look(whole)
    return Look("toned_with_color" if tone == "toned" else "gray_with_color", colored)


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


def _is_beside(colored: np.ndarray) -> bool:
    """Whether colored cells are a small thing, a strip along an edge, or a mount around a print."""
    share = colored.mean()
    if share <= _SMALL:
        return True
    rows, columns = (np.flatnonzero((~colored).any(axis)) for axis in (1, 0))
    if not rows.size or not columns.size:
        return False
    inside = ~colored[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    if inside.mean() < _STRAIGHT:
        return False
    last = len(colored) - 1
    edges = [rows[0] > 0, rows[-1] < last, columns[0] > 0, columns[-1] < last]
    return bool(share <= (_AROUND if sum(edges) >= 3 else _AT_EDGE))


def _quarters(rgb_SS3: np.ndarray) -> np.ndarray:
    """Means of four by four cells."""
    side = len(rgb_SS3) // 4
    return np.rint(rgb_SS3.reshape(side, 4, side, 4, 3).mean(axis=(1, 3))).astype(np.uint8)


def _without(rgb_SS3: np.ndarray, colored: np.ndarray) -> np.ndarray:
    """The picture with the mean of its other cells where it is colored."""
    result = rgb_SS3.copy()
    result[colored] = np.rint(rgb_SS3[~colored].mean(axis=0))
    return result


def _closed(cells: np.ndarray) -> np.ndarray:
    """Cells without gaps of one or two between them, as those between a target's patches."""
    return ~_wider(~_wider(cells, 2), 2) | cells


def _grown(cells: np.ndarray, into: np.ndarray) -> np.ndarray:
    """Cells and what is connected to them, and a rim of two, where colors are mixed."""
    while True:
        wider = cells | (_wider(cells, 1) & into)
        if wider.sum() == cells.sum():
            return _wider(cells, 1)
        cells = wider


def _wider(cells: np.ndarray, by: int) -> np.ndarray:
    """Cells and their neighbors."""
    for _ in range(by):
        framed = np.pad(cells, 1)
        upright = framed[:-2, 1:-1] | framed[2:, 1:-1] | framed[1:-1, 1:-1]
        framed = np.pad(upright, 1)
        cells = framed[1:-1, :-2] | framed[1:-1, 2:] | upright
    return cells
