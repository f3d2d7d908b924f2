"""How strong a picture's watermark has to be: a small copy is marked, handled, and read.

What JPEG leaves of the mark differs from picture to picture: one that is flat keeps less of it than
one with texture. The same strength for all would be too weak for some and stronger than needed for
most, so each gets the least that is still read.
"""

import numpy as np

from pipeline.images.chroma import resample
from pipeline.images.masters import read_rgb
from pipeline.images.pictures import resize_rgb, save
from pipeline.images.watermark import READ_AT, STRENGTH, read_watermark, watermarked

TRIED_AT = 1024  # pixels of the longer side; a larger picture loses less to JPEG than such a copy
STRENGTHS = (0.4, 0.45, 0.5, 0.56, 0.63, 0.7, 0.8, 0.9, 1.0, 1.2)
_ENCODED = (75, 0), (70, 5), (75, 10)  # qualities of JPEG, and pixels that are cut off before, as
# what is read from some of JPEG's blocks may by chance not be read from others
_CROP = 0.8
_FOR_CROPS = 0.56  # the strength that may be spent on crops that are encoded, too


def least_strength(rgb_HW3: np.ndarray, payload: int) -> float:
    """The first of STRENGTHS with which the mark is read after JPEG and at half the size, and up to
    _FOR_CROPS after a crop and JPEG, too; STRENGTH where none is enough.

    rgb_HW3: uint8, the picture or a copy of at most TRIED_AT.
    """
    height, width = rgb_HW3.shape[:2]
    survives = False
    for strength in STRENGTHS:
        [marked] = watermarked([rgb_HW3], height, width, payload, strength)
        if np.array_equal(marked, rgb_HW3):
            continue  # gray all over, or so near it that rounding leaves nothing
        survives = survives or (
            all(_read_moved(marked, *each) == payload for each in _ENCODED)
            and _read_halved(marked) == payload
        )
        if survives and (strength >= _FOR_CROPS or _read_cropped(marked) == payload):
            return strength
    return STRENGTH


def _read_encoded(rgb_HW3: np.ndarray, quality: int, share: float = 1) -> int | None:
    height, width = rgb_HW3.shape[:2]
    file = save([rgb_HW3], height, width, "JPEG", quality=quality)
    return read_watermark(read_rgb(file, READ_AT), height, width, share)


def _read_moved(rgb_HW3: np.ndarray, quality: int, less: int) -> int | None:
    """After JPEG whose blocks lie so many pixels further down and right."""
    height, width = rgb_HW3.shape[:2]
    if min(height, width) <= less:
        return None
    share = max(height - less, width - less) / max(height, width)
    return _read_encoded(rgb_HW3[less:, less:], quality, share)


def _read_cropped(rgb_HW3: np.ndarray) -> int | None:
    rows, columns = (round(side * (1 - _CROP) / 2) for side in rgb_HW3.shape[:2])
    middle = rgb_HW3[rows : len(rgb_HW3) - rows, columns : rgb_HW3.shape[1] - columns]
    return _read_encoded(middle, _ENCODED[0][0], _CROP)


def _read_halved(rgb_HW3: np.ndarray) -> int | None:
    height, width = (max(1, side // 2) for side in rgb_HW3.shape[:2])
    half = resize_rgb(rgb_HW3, (width, height))
    planes = [resample(half[..., channel], READ_AT, READ_AT) for channel in range(3)]
    return read_watermark(np.rint(np.stack(planes, axis=-1)).astype(np.uint8), height, width)
