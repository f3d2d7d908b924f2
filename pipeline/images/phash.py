"""The perceptual hash of a picture: 64 bits that hardly change with encoding and size, but differ
between pictures.

The bits are those of `imagehash.phash`, so that other programs can search for them; a test compares
the two. Only luminance counts: a master, its results and all candidates have nearly the same hash.
"""

import numpy as np

from pipeline.images.chroma import LUMA
from pipeline.images.gray import eight_bits
from pipeline.images.pictures import resize_rgb

BITS = 64
_SIDE, _LOW = 32, 8  # side of the small picture, and of the square of low frequencies that is kept
_LEAST_CONTRAST = 2.0  # codes; in a flatter picture, the bits would only describe noise


def perceptual_hash(picture: np.ndarray) -> str | None:
    """The hash as 16 hexadecimal digits; None for a blank picture.

    picture: uint8 or uint16, gray (H, W) or color (H, W, 3).
    """
    codes = eight_bits(picture.reshape(len(picture), -1)).reshape(picture.shape)
    gray = codes if codes.ndim == 2 else np.rint(codes @ LUMA).astype(np.uint8)
    small = resize_rgb(gray, (_SIDE, _SIDE)).astype(np.float64)
    if small.std() < _LEAST_CONTRAST:
        return None
    places = np.arange(_SIDE)
    waves = np.cos(np.pi * np.outer(np.arange(_LOW), 2 * places + 1) / (2 * _SIDE))
    lowest = waves @ small @ waves.T  # the discrete cosine transform, without its factors
    bits = (lowest > np.median(lowest)).ravel()
    return np.packbits(bits).tobytes().hex()


def distances(phashes: list[str | None], phash: str) -> np.ndarray:
    """The number of bits in which each of these differs from a hash, int (N,); BITS + 1 for
    None."""
    numbers = np.array([int(each or "0", 16) for each in phashes], np.uint64)
    counts = np.bitwise_count(numbers ^ np.uint64(int(phash, 16))).astype(np.int64)
    counts[[each is None for each in phashes]] = BITS + 1
    return counts
