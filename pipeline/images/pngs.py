"""Whether the pixels of a PNG are all there.

Where its stream ends in good order, but too early, as that of an interrupted scan may, Pillow
leaves the rest black and tells nobody.
"""

import struct
import zlib

import numpy as np
from PIL import Image

from pipeline.errors import PhotoError

_START = 8  # bytes of the signature
_AT_ONCE = 2**20
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by the type of color
# Adam7: first column and row of each pass, and the steps between its pixels.
_PASSES = (
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8)),
    *((2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)


def check_whole(data: bytes, image: Image.Image) -> None:
    """Raises PhotoError (corrupt) where a PNG, loaded as this image, holds fewer pixels.

    Only where one of the last two rows is black is this counted, as the stream is read once more.
    """
    last = image.crop((0, max(0, image.height - 2), image.width, image.height))
    if np.asarray(last).reshape(last.height, -1).any(axis=1).all():
        return
    if _stored(data) < _needed(data):
        raise PhotoError("corrupt", "the PNG ends before its pixels do")


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


def _stored(data: bytes) -> int:
    """Bytes that the stream holds."""
    stream, count, at = zlib.decompressobj(), 0, _START
    while at + 8 <= len(data) and not stream.eof:
        length, kind = struct.unpack_from(">I4s", data, at)
        rest = data[at + 8 : at + 8 + length] if kind == b"IDAT" else b""
        part = b""
        while (rest or len(part) == _AT_ONCE) and not stream.eof:
            part = stream.decompress(rest, _AT_ONCE)
            count, rest = count + len(part), stream.unconsumed_tail
        at += 12 + length
    return count
