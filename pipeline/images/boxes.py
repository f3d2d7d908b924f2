"""Boxes, the building blocks of JPEG 2000 and AVIF files.

For JPEG 2000, also where the codestream is, which colors the container declares, and whether all
tiles are there.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

CODESTREAM = b"\xff\x4f\xff\x51"  # SOC, SIZ: how every codestream starts
_SIGNATURE = b"\0\0\0\x0cjP  "
_TILE_PART = b"\xff\x90"
_FOLDERS = (b"jp2h", b"jplh", b"cgrp")  # boxes of boxes
_MOST_BOXES = 10_000
_MOST_SEGMENTS = 100_000  # of a codestream's header
_DEEPEST = 4
CMYK, SRGB, GRAY, SYCC, LAB = 12, 16, 17, 18, 14  # enumerated color spaces


@dataclass(frozen=True)
class Container:
    """Where the codestream starts and ends, and its colors: an enumerated color space, or a
    profile, or neither."""

    start: int
    end: int
    space: int | None = None
    icc: bytes | None = None
    palette: bytes = b""  # content of the box: numbers of entries and columns, depths, values
    order: tuple[int, ...] = ()  # of channels, colors first; empty where they lie as numbered


def open_container(data: bytes) -> Container | None:
    """What a JPEG 2000 file declares outside its codestream; None for other files."""
    if data[:4] == CODESTREAM:
        return Container(0, len(data))
    if data[:8] != _SIGNATURE:
        return None
    start, stop, space, icc, palette = -1, 0, None, None, b""
    order: tuple[int, ...] = ()
    for kind, body, end in _boxes(data):
        if kind == b"jp2c" and start < 0:
            start, stop = body, end
        elif kind == b"pclr":
            palette = data[body:end]
        elif kind == b"cdef":
            order = _order(data[body:end])
        elif kind == b"colr" and space is None and icc is None and end - body > 3:
            if data[body] == 1:
                space = int.from_bytes(data[body + 3 : body + 7], "big")
            elif data[body] in (2, 3):
                icc = data[body + 3 : end]
    if start < 0 or data[start : start + 4] != CODESTREAM:
        return None
    return Container(start, stop, space, icc, palette, order)


def _order(definitions: bytes) -> tuple[int, ...]:
    """Numbers of channels by their definitions: those of colors in their order, then the rest."""
    body = definitions[2:]
    channels = list(struct.iter_unpack(">HHH", body[: len(body) // 6 * 6]))
    colors = sorted((color, number) for number, kind, color in channels if kind == 0)
    others = [number for number, kind, _ in channels if kind != 0]
    order = (*(number for _, number in colors), *others)
    return order if order != tuple(range(len(order))) else ()


def tiles_missing(data: bytes, start: int) -> str:
    """Which tiles a JPEG 2000 codestream lacks, for people; empty if none. OpenJPEG leaves them
    black.

    start: of the codestream. Raises struct.error (cut in its header).
    """
    sides = struct.unpack_from(">8I", data, start + 8)
    width, height, across, down = sides[0], sides[1], sides[4], sides[5]
    if not across or not down:
        return ""
    number = -(-(width - sides[6]) // across) * -(-(height - sides[7]) // down)
    found: dict[int, list[int]] = {}  # of each tile: its parts, and how many there should be
    at = start + 2
    for _ in range(_MOST_SEGMENTS):
        if data[at : at + 2] in (_TILE_PART, b""):
            break
        at += 2 + max(2, *struct.unpack_from(">H", data, at + 2))
    else:
        raise struct.error("a JPEG 2000 whose header does not end")
    while data[at : at + 2] == _TILE_PART and at + 12 <= len(data):
        tile, length, _, parts = struct.unpack_from(">HIBB", data, at + 4)
        seen, told = found.get(tile, (0, 0))
        found[tile] = [seen + 1, max(told, parts)]
        if length < 14:  # the last one, up to the end
            break
        at += length
    if len(found) < number:
        return f"{number - len(found):,} of {number:,} tiles are missing"
    lacking = sum(seen < told for seen, told in found.values())
    return f"{lacking:,} of {number:,} tiles are incomplete" if lacking else ""


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
