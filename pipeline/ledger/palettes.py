"""Palettes: how often each of 512 coarse colors occurs in a reference picture, as input to the
model.

run.json holds a palette as one text: `bin:count,bin:count`, in the order of bins. A bin is r * 64 +
g * 8 + b, three bits a channel, as in model.color.
"""

import hashlib
import re

import numpy as np

from pipeline.errors import PhotoError, UsageError
from pipeline.images.masters import read_rgb, read_small
from pipeline.storage.open_storage import read_file

NUM_BINS = 512
_TEXT = re.compile(r"\d{1,3}:\d{1,9}(,\d{1,3}:\d{1,9})*")


def read_palette(uri: str, side: int) -> str:
    """Read the palette of a picture, a file or an object, at side x side pixels, as the model sees
    it.

    Raises UsageError (no such file, no picture, no color in it), StorageError.
    """
    return palette_of(uri, read_file(uri), side)


def palette_of(name: str, data: bytes, side: int) -> str:
    """As read_palette, from a file's bytes. name: for messages."""
    try:
        info, _ = read_small(data, (side,))
        rgb = read_rgb(data, side)
    except PhotoError as error:
        raise UsageError(f"palette {name} is not a picture that can be read: {error}") from error
    if info.tone in ("gray", "gray_with_color"):
        raise UsageError(f"the palette {name} is gray, and gives no colors")
    red, green, blue = np.moveaxis(rgb.astype(np.int64) // 32, -1, 0)
    bins, counts = np.unique((red * 8 + green) * 8 + blue, return_counts=True)
    return ",".join(f"{bin}:{count}" for bin, count in zip(bins, counts, strict=True))


def parse_palette(text: str) -> np.ndarray:
    """The share of each bin, float32 (512,); they sum to 1. Raises UsageError."""
    shares = np.zeros(NUM_BINS)
    if _TEXT.fullmatch(text):
        for each in text.split(","):
            bin, count = map(int, each.split(":"))
            shares[bin % NUM_BINS] += count
    if not shares.sum():
        raise UsageError(f"{text[:60]!r} is not a palette")
    return (shares / shares.sum()).astype(np.float32)


def palette_digest(text: str | None) -> str | None:
    """SHA-256 of a palette's text, as recorded in results; None without a palette."""
    return None if text is None else hashlib.sha256(text.encode()).hexdigest()
