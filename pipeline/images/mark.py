"""A visible mark in the lower right corner of a picture, which says that a machine colored it.

White letters on a dark plate, scaled with the picture. The rest of the picture stays the same, bit
by bit. Legend: H W rows and columns, h rows of one band.
"""

from collections.abc import Iterable, Iterator

import numpy as np

from pipeline.images.gray import eight_bits
from pipeline.images.pictures import draw_text, resize_rgb

TEXT = "AI-colorized"
_OF_SHORTER_SIDE = 40  # divided by the height of letters
_LEAST = 12  # font size in pixels, if the picture is wide enough
FOUND = 0.7  # a likeness that unmarked pictures do not reach, see docs/provenance.md
_SURE = 0.9
_TALL_ENOUGH = 24  # pixels; a taller mark is searched for in a smaller copy
_LOWEST = 6  # pixels; smaller letters cannot be recognized
_FACTORS = (1.0, *(1 + step / 50 for step in (-1, 1, -2, 2, -3, 3, -4, 4, -5, 5)))
_SMALLER = tuple(step / 50 for step in range(44, 24, -1))
_PLATE, _VEIL = 0.08, 0.72  # brightness of the plate, and how much of it covers the picture


def marked(parts: Iterable[np.ndarray], height: int, width: int) -> Iterator[np.ndarray]:
    """The bands uint8 or uint16 (h, W, 3) of a picture (H, W), with the mark drawn on them."""
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
    """The mark's first row and column: a quarter of its height from the corner, if there is
    room."""
    tall, wide = mark.shape
    margin = tall // 4
    return max(0, height - tall - margin), max(0, width - wide - margin)


def _plate(size: int) -> np.ndarray:
    drawn = draw_text(TEXT, size)
    rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
    letters = drawn[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return np.pad(letters, ((size // 3, size // 3), (size // 2, size // 2)))


def find_mark(gray_HW: np.ndarray) -> float:
    """How similar the lower right corner of a picture is to the mark: -1 to 1, see FOUND.

    gray_HW: uint8 or uint16. The picture may have been encoded anew or scaled since.
    """
    height, width = gray_HW.shape
    mark = draw_mark(height, width)
    tall, wide = mark.shape
    corner = eight_bits(gray_HW[-3 * tall :, -(wide + 2 * tall) :])
    shrunk = max(1, tall // _TALL_ENOUGH)
    if shrunk > 1:
        smaller = (corner.shape[1] // shrunk, corner.shape[0] // shrunk)
        corner = resize_rgb(corner, smaller)
    # A picture that was scaled down may have a smaller mark than is drawn for its size.
    smallest = min(height, width) < _LEAST * _OF_SHORTER_SIDE
    best = -1.0
    for factor in _FACTORS + (_SMALLER if smallest else ()):
        size = (round(wide * factor / shrunk), round(tall * factor / shrunk))
        if min(size) >= _LOWEST and size[0] <= corner.shape[1] and size[1] <= corner.shape[0]:
            best = max(best, _likeness(corner.astype(np.float32), resize_rgb(mark, size) / 255))
        if best > _SURE:
            break
    return best


def _likeness(picture: np.ndarray, part: np.ndarray) -> float:
    """The highest correlation of a part (h, w) with any place of a picture (H, W)."""
    part = part - part.mean()
    spectrum = np.fft.rfft2(picture) * np.fft.rfft2(part, picture.shape).conj()
    rows, columns = (whole - own + 1 for whole, own in zip(picture.shape, part.shape, strict=True))
    products = np.fft.irfft2(spectrum, picture.shape)[:rows, :columns]
    first, second = (_sums(each, part.shape) for each in (picture, np.square(picture)))
    energy = second - np.square(first) / part.size
    scale = np.sqrt(np.maximum(energy, 1.0) * np.square(part).sum())
    return float((products / scale).max())


def _sums(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Of all windows of a shape (h, w) in an array (H, W)."""
    total = np.pad(values.astype(np.float64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    tall, wide = shape
    return np.asarray(
        total[tall:, wide:] - total[:-tall, wide:] - total[tall:, :-wide] + total[:-tall, :-wide]
    )
