"""Directories of fields, as in TIFF and EXIF: read within limits, and written.

Damaged fields, and fields beyond a limit of bytes or entries, are left out. Values are kept as
little-endian bytes, otherwise unchanged.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.metadata.carried import EXIF_FIELDS, FIELDS, GPS_FIELDS, describes_pixels
from pipeline.metadata.segments import MOST_BYTES

ORIENTATION, X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 274, 282, 283, 296
XMP, IPTC, PHOTOSHOP, ICC = 700, 33723, 34377, 34675
EXIF, GPS = 34665, 34853
MAKER_NOTE, COLOR_SPACE, WIDTH, HEIGHT = 37500, 40961, 40962, 40963
_DESCRIPTION, _USER_COMMENT = 270, 37510
_IN_UNICODE = {_USER_COMMENT, 27, 28}  # texts that name their encoding; 27 and 28 are of GPS
_RESOLUTION = {X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT}
_MADE_TRUE = {COLOR_SPACE, WIDTH, HEIGHT}  # carried, with what is true of the result
# Which directories are read from which; no others, so that depth is bounded.
_WANTED = {
    0: FIELDS | _RESOLUTION | {XMP, IPTC, PHOTOSHOP, EXIF, GPS},
    EXIF: EXIF_FIELDS | _MADE_TRUE,
    GPS: GPS_FIELDS,
}
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
# Bytes that swapping the byte order reverses, by type.
_UNITS = {3: 2, 4: 4, 5: 4, 8: 2, 9: 4, 10: 4, 11: 4, 12: 8, 13: 4}
_POINTERS = {4: "I", 13: "I", 16: "Q", 18: "Q"}  # to directories; the last two are of BigTIFF
_MOST_ENTRIES = 4_000  # looked at in a directory


@dataclass(frozen=True)
class Value:
    """One field's value as TIFF stores it, little-endian. kind: TIFF's type, 1..12."""

    kind: int
    data: bytes

    @property
    def count(self) -> int:
        return len(self.data) // _SIZES[self.kind]


# By tag; EXIF and GPS lead to directories.
Fields = dict[int, "Value | Fields"]


def short(*numbers: int) -> Value:
    return Value(3, struct.pack(f"<{len(numbers)}H", *numbers))


def long(*numbers: int) -> Value:
    return Value(4, struct.pack(f"<{len(numbers)}I", *numbers))


def write_fields(fields: Fields, start: int = 8) -> bytes:
    """A directory to be placed at byte `start` of a little-endian TIFF, followed by its values."""
    entries, values = b"", b""
    after = start + 2 + 12 * len(fields) + 4
    for tag in sorted(fields):
        value = fields[tag]
        if isinstance(value, dict):
            place = after + len(values)
            values += write_fields(value, place)
            value = long(place)
        data = value.data
        if len(data) > 4:
            data = struct.pack("<I", after + len(values))
            values += value.data + b"\0" * (len(value.data) % 2)
        entries += struct.pack("<HHI", tag, value.kind, value.count) + data.ljust(4, b"\0")
    return struct.pack("<H", len(fields)) + entries + b"\0" * 4 + values


def read_directories(data: bytes) -> tuple[Fields, bool]:
    """Fields of the known directories, and whether all could be read."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or len(data) < 8:
        return {}, True
    try:
        big = struct.unpack_from(f"{order}H", data, 2)[0] == 43
        [start] = struct.unpack_from(f"{order}{'Q' if big else 'I'}", data, 8 if big else 4)
    except struct.error:
        return {}, True
    reader = _Reader(data, order, big, min(len(data), MOST_BYTES))
    return reader.directory(start, 0), reader.whole


@dataclass
class _Reader:
    """Reads directories. left: how many bytes of values may still be read, a limit because fields
    can share bytes. whole: nothing was left out because of the limit."""

    data: bytes
    order: str
    big: bool
    left: int
    whole: bool = True

    def directory(self, start: int, which: int) -> Fields:
        """The wanted fields of a directory. which: the directory's tag, 0 for the first."""
        fields = Fields()
        for tag, kind, place, length in self._entries(start):
            if tag not in _WANTED[which] or tag in fields:
                continue
            if tag in (EXIF, GPS):
                if kind in _POINTERS:
                    [there] = struct.unpack_from(self.order + _POINTERS[kind], self.data, place)
                    fields[tag] = self.directory(there, tag)
            elif length > self.left:
                self.whole = False
            elif kind in _SIZES and kind != 13:
                self.left -= length
                self._add(fields, tag, kind, self.data[place : place + length])
        return fields

    def _entries(self, start: int) -> Iterator[tuple[int, int, int, int]]:
        """Tag, kind, place and length of each value of a directory that lies within the file."""
        data, order = self.data, self.order
        head, entry, inline = ("Q", "HHQ", 8) if self.big else ("H", "HHI", 4)
        first = start + struct.calcsize(order + head)
        if first > len(data):
            return
        [count] = struct.unpack_from(order + head, data, start)
        size = struct.calcsize(order + entry) + inline
        for at in range(first, first + size * min(count, _MOST_ENTRIES), size):
            if at + size > len(data):
                break
            tag, kind, number = struct.unpack_from(order + entry, data, at)
            each = 8 if kind in (16, 18) else _SIZES.get(kind, 0)
            length, place = number * each, at + size - inline
            if length > inline:
                [place] = struct.unpack_from(f"{order}{'Q' if self.big else 'I'}", data, place)
            if length and place + length <= len(data):
                yield tag, kind, place, length
        self.whole &= count <= _MOST_ENTRIES or first + size * _MOST_ENTRIES > len(data)

    def _add(self, fields: Fields, tag: int, kind: int, value: bytes) -> None:
        if tag == _DESCRIPTION and describes_pixels(value):
            return
        if tag in (XMP, IPTC, PHOTOSHOP):  # bytes, whatever kind of numbers they are said to be
            kind = 7
        if tag in _IN_UNICODE and value.startswith(b"UNICODE\0"):
            value = _turned_text(value, self.order)
        fields[tag] = Value(kind, _little_endian(value, kind, self.order))


def _turned_text(value: bytes, order: str) -> bytes:
    """A text that declares UTF-16, in the byte order of a little-endian file.

    Without a byte order mark, the file's own order is assumed unless the other makes more sense.
    """
    head, body = value[:8], value[8 : 8 + (len(value) - 8) // 2 * 2]
    text_order = {b"\xfe\xff": ">", b"\xff\xfe": "<"}.get(body[:2])
    if text_order is None:
        high, low = body[0::2].count(0), body[1::2].count(0)
        text_order = order if high == low else (">" if high > low else "<")
    if text_order == "<":
        return value
    return head + np.frombuffer(body, ">u2").astype("<u2").tobytes()


def _little_endian(value: bytes, kind: int, order: str) -> bytes:
    if order == "<" or kind not in _UNITS:
        return value
    return np.frombuffer(value, f">u{_UNITS[kind]}").astype(f"<u{_UNITS[kind]}").tobytes()
