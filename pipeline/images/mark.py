"""A visible mark in the lower right corner of a picture: that a machine has colored it.

White letters on a dark plate, of a size that goes with the picture. The rest of the picture stays
as it is, to the last bit. Legend: H W rows and columns, h rows of one band.
"""

from collections.abc import Iterable, Iterator

import numpy as np

from pipeline.images.pictures import draw_text

TEXT = "AI-colorized"
_OF_SHORTER_SIDE = 40  # letters are so many times lower
_LEAST = 12  # pixels of the font's size, where the picture is wide enough for it
_PLATE, _VEIL = 0.08, 0.72  # brightness of the plate, and how much of it covers the picture


def marked(parts: Iterable[np.ndarray], height: int, width: int) -> Iterator[np.ndarray]:
    """Bands uint8 or uint16 (h, W, 3) of a picture (H, W), with the mark on them."""
    mark = draw_mark(height, width)
    tall, wide = mark.shape
    top, left = place_of_mark(height, width, mark)
    first = 0
    for part in parts:
        above, below = max(top, first), min(top + tall, first + len(part))
        if above < below:
            highest = np.iinfo(part.dtype).max
            letters = mark[above - top : below - top, :, None].astype(np.float32) / 255
            rows, columns = slice(above - first, below - first), slice(left, left + wide)
            part = part.copy()
            veiled = part[rows, columns] * np.float32(1 - _VEIL) + _PLATE * _VEIL * highest
            part[rows, columns] = np.rint(veiled + (highest - veiled) * letters)
        first += len(part)
        yield part


def draw_mark(height: int, width: int) -> np.ndarray:
    """The mark for a picture of this size, uint8 (h, w): 0 is the plate, 255 the letters."""
    size = max(_LEAST, round(min(height, width) / _OF_SHORTER_SIDE))
    mark = _plate(size)
    while size > 1 and (mark.shape[1] > width or mark.shape[0] > height):
        size -= max(1, size // 10)
        mark = _plate(size)
    return mark[:height, :width]


def place_of_mark(height: int, width: int, mark: np.ndarray) -> tuple[int, int]:
    """Its first row and column: a quarter of its height from the corner, if there is room."""
    tall, wide = mark.shape
    margin = tall // 4
    return max(0, height - tall - margin), max(0, width - wide - margin)


def _plate(size: int) -> np.ndarray:
    drawn = draw_text(TEXT, size)
    rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
    letters = drawn[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return np.pad(letters, ((size // 3, size // 3), (size // 2, size // 2)))
