"""What Pillow does not tell of a PNG, and what it stumbles over.

Where its stream ends in good order, but too early, as that of an interrupted scan may, Pillow
leaves the rest black and tells nobody. Where texts or a profile are very long, it refuses the
picture too.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from pipeline.errors import PhotoError
from pipeline.images.formats import PNG_SIGNATURE
from pipeline.images.tails import ends_blank, inflated

MOST_TEXT = 2**24  # bytes of a text or a profile
_MOST_TEXTS = 3 * MOST_TEXT  # of all of them
_LONG = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
_END = b"IEND"
_START = 8  # bytes of the signature
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by the type of color
# Adam7: first column and row of each pass, and the steps between its pixels.
_PASSES = (
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8)),
    *((2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)


def check_whole(data: bytes, image: Image.Image) -> None:
    """Raises PhotoError (corrupt) where a PNG, loaded as this image, holds fewer pixels.

    Only where one of the last two rows is black, or zeros took the place of its end, is this
    counted, as the stream is read once more.
    """
    last = image.crop((0, max(0, image.height - 2), image.width, image.height))
    blank = ends_blank(data) and _END not in data
    if np.asarray(last).reshape(last.height, -1).any(axis=1).all() and not blank:
        return
    needed = _needed(data)
    count, ended = inflated(_parts(data), needed)
    if count < needed or (blank and not ended):
        raise PhotoError("corrupt", "the PNG ends before its pixels do")


def without_long_texts(data: bytes) -> bytes:
    """A PNG without texts and profiles that are too long, once they are inflated; any other file as
    it is."""
    if data[:_START] != PNG_SIGNATURE:
        return data
    parts, kept, room = [], 0, _MOST_TEXTS
    for kind, at, end in _chunks(data):
        if kind in _LONG:
            size = _inflated(data[at:end], min(room, MOST_TEXT))
            if size > min(room, MOST_TEXT):
                parts.append(data[kept : at - 8])
                kept, size = end + 4, 0
            room -= size
    return b"".join((*parts, data[kept:])) if parts else data


def _inflated(body: bytes, most: int) -> int:
    """Bytes of a text or a profile, or one more than `most`. Text without compression counts as it
    is."""
    start = body.find(b"\x78", body.find(b"\0"))  # how a stream of zlib starts
    if start < 0 or len(body) > most:
        return len(body)
    try:
        return max(len(body), len(zlib.decompressobj().decompress(body[start:], most + 1)))
    except zlib.error:
        return len(body)


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind of each chunk, and where its content starts and ends."""
    at = _START
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        yield kind, at + 8, at + 8 + length
        at += 12 + length


def _needed(data: bytes) -> int:
    """Bytes of all rows, each with its filter."""
    width, height, depth, color, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    bits = depth * _SAMPLES[color]
    sizes = [(width, height)]
    if interlaced:
        sizes = [
            (-(-max(0, width - left) // across), -(-max(0, height - top) // down))
            for left, top, across, down in _PASSES
        ]
    return sum(rows * (1 + (bits * columns + 7) // 8) for columns, rows in sizes if columns)


def _parts(data: bytes) -> Iterator[bytes]:
    """The stream, in parts."""
    return (data[at:end] for kind, at, end in _chunks(data) if kind == b"IDAT")
