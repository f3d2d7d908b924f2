"""Boxes, the building blocks of JPEG 2000 and AVIF files.

For JPEG 2000, also where the codestream is and which colors the container declares.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

CODESTREAM = b"\xff\x4f\xff\x51"  # SOC, SIZ: how every codestream starts
_SIGNATURE = b"\0\0\0\x0cjP  "
_FOLDERS = (b"jp2h", b"jplh", b"cgrp")  # boxes of boxes
_MOST_BOXES = 10_000
_DEEPEST = 4
CMYK, SRGB, GRAY, SYCC, LAB = 12, 16, 17, 18, 14  # enumerated color spaces


@dataclass(frozen=True)
class Container:
    """Where the codestream starts, and its colors: an enumerated color space, or a profile, or
    neither."""

    start: int
    space: int | None = None
    icc: bytes | None = None
    palette: bool = False


def open_container(data: bytes) -> Container | None:
    """What a JPEG 2000 file declares outside its codestream; None for other files."""
    if data[:4] == CODESTREAM:
        return Container(0)
    if data[:8] != _SIGNATURE:
        return None
    start, space, icc, palette = -1, None, None, False
    for kind, body, end in _boxes(data):
        if kind == b"jp2c" and start < 0:
            start = body
        elif kind == b"pclr":
            palette = True
        elif kind == b"colr" and space is None and icc is None and end - body > 3:
            if data[body] == 1:
                space = int.from_bytes(data[body + 3 : body + 7], "big")
            elif data[body] in (2, 3):
                icc = data[body + 3 : end]
    if start < 0 or data[start : start + 4] != CODESTREAM:
        return None
    return Container(start, space, icc, palette)


def _boxes(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of the content of each box, including nested boxes."""
    spans, seen = [(0, len(data), 0)], 0
    while spans:
        at, last, depth = spans.pop()
        if at + 8 > last or seen >= _MOST_BOXES:
            continue
        seen += 1
        kind, body, end = read_box(data, at, last)
        end = min(end, last)
        if end < body:
            continue
        spans.append((end, last, depth))
        if kind in _FOLDERS and depth < _DEEPEST:
            spans.append((body, end, depth + 1))
        else:
            yield kind, body, end


def read_box(data: bytes, at: int, last: int) -> tuple[bytes, int, int]:
    """Kind of the box at a position, and start and end of its content. last: the end of its parent.

    The end is what the box states: beyond `last` in a truncated file, before the start if the
    length is wrong. Raises struct.error (fewer than 8 bytes are left in the file).
    """
    length, kind = struct.unpack_from(">I4s", data, at)
    body = at + 8
    if length == 1 and at + 16 <= last:
        [length] = struct.unpack_from(">Q", data, body)
        body = at + 16
    return kind, body, last if length == 0 else at + length
