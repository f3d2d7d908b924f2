"""What a master says of itself: EXIF fields, XMP and IPTC, from one file into another.

EXIF is a small TIFF; its directories are read field by field and written again, little-endian, with
their values as they were. What belongs to the stored pixels (their layout, thumbnails, the
orientation, which is applied by then) stays behind. Damaged fields are left out.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

ORIENTATION, X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 274, 282, 283, 296
XMP, IPTC, PHOTOSHOP, ICC = 700, 33723, 34377, 34675
EXIF, GPS, INTEROPERABILITY = 34665, 34853, 40965
MAKER_NOTE, COLOR_SPACE, WIDTH, HEIGHT = 37500, 40961, 40962, 40963
_DIRECTORIES = {EXIF, GPS, INTEROPERABILITY}
# Of a TIFF's first directory: how its pixels lie, resolutions, thumbnails, and what is carried in
# another way; what signs the file (52545, C2PA). All else describes the photograph.
_LEFT_BEHIND = {
    *range(254, 267), *range(273, 275), *range(277, 285), *range(288, 294), RESOLUTION_UNIT, 297,
    301, 317, 318, 319, *range(320, 334), *range(336, 348), *range(512, 522), *range(529, 533),
    XMP, IPTC, PHOTOSHOP, ICC, 37724, 330, 400, 50341, 50838, 50839, 52545, 65000,
}  # fmt: skip
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_UNITS = {3: 2, 4: 4, 5: 4, 8: 2, 9: 4, 10: 4, 11: 4, 12: 8, 13: 4}  # what a byte order turns
_MOST_FIELDS = 2000


@dataclass(frozen=True)
class Value:
    """One field's value as TIFF stores it, little-endian. kind: TIFF's type, 1..12."""

    kind: int
    data: bytes

    @property
    def count(self) -> int:
        return len(self.data) // _SIZES[self.kind]


# By tag; EXIF, GPS and INTEROPERABILITY lead to directories.
Fields = dict[int, "Value | Fields"]


@dataclass(frozen=True)
class Metadata:
    fields: Fields = field(default_factory=dict)
    xmp: bytes | None = None
    iptc: bytes | None = None


def metadata_of(format: str, data: bytes, info: Mapping[Any, Any]) -> Metadata:
    """What a file says of itself. info: what Pillow found in it."""
    xmp = info.get("xmp")
    if format == "TIFF":
        own = read_fields(data, everything=True)
        xmp, iptc = _bytes_of(own, XMP), _bytes_of(own, IPTC)
        iptc = iptc or _resource(_bytes_of(own, PHOTOSHOP) or b"", 0x0404)
        fields = {tag: value for tag, value in own.items() if tag not in _LEFT_BEHIND}
    else:
        block = info.get("exif") or _raw_profile(info, "exif") or b""
        fields = read_fields(block.removeprefix(b"Exif\0\0"))
        resources = info.get("photoshop")
        iptc = resources.get(0x0404) if isinstance(resources, dict) else None
        iptc = iptc or _raw_profile(info, "iptc")
        if iptc and iptc.startswith(b"8BIM"):
            iptc = _resource(iptc, 0x0404)
    return Metadata(fields, xmp if isinstance(xmp, bytes) else None, iptc or None)


def read_fields(data: bytes, everything: bool = False) -> Fields:
    """The first directory of a TIFF or BigTIFF, and those that it leads to.

    everything: what belongs to the stored pixels too.
    """
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or len(data) < 8:
        return {}
    try:
        big = struct.unpack_from(f"{order}H", data, 2)[0] == 43
        [start] = struct.unpack_from(f"{order}{'Q' if big else 'I'}", data, 8 if big else 4)
    except struct.error:
        return {}
    fields = _read_directory(data, start, order, big, set())
    if everything:
        return fields
    return {tag: value for tag, value in fields.items() if tag not in _LEFT_BEHIND}


def write_fields(fields: Fields, start: int = 8) -> bytes:
    """A directory whose first byte lies at `start` of a little-endian TIFF, its values after it."""
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


def exif_block(fields: Fields) -> bytes:
    """Fields as the file that JPEG, PNG, WebP and AVIF hold as EXIF."""
    return b"II*\0" + struct.pack("<I", 8) + write_fields(fields)


def result_fields(
    metadata: Metadata, width: int, height: int, dpi: tuple[float, float] | None
) -> Fields:
    """A master's fields as they are true of its result: upright, sRGB, of this size."""
    fields = dict(metadata.fields)
    fields[ORIENTATION] = short(1)
    if dpi is not None:
        for tag, value in ((X_RESOLUTION, dpi[0]), (Y_RESOLUTION, dpi[1])):
            fields[tag] = Value(5, struct.pack("<II", round(value * 10_000), 10_000))
        fields[RESOLUTION_UNIT] = short(2)
    if isinstance(exif := fields.get(EXIF), dict):
        now = {COLOR_SPACE: short(1), WIDTH: long(width), HEIGHT: long(height)}
        fields[EXIF] = exif | {tag: value for tag, value in now.items() if tag in exif}
    return fields


def fitting(fields: Fields, most_bytes: int | None) -> Fields:
    """Fields without the camera's own note, or without all but resolution, where it is too long."""
    if most_bytes is None or len(exif_block(fields)) <= most_bytes:
        return fields
    if isinstance(exif := fields.get(EXIF), dict):
        fields = fields | {EXIF: {tag: exif[tag] for tag in exif if tag != MAKER_NOTE}}
    if len(exif_block(fields)) <= most_bytes:
        return fields
    kept = (ORIENTATION, X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT)
    return {tag: fields[tag] for tag in kept if tag in fields}


def short(*numbers: int) -> Value:
    return Value(3, struct.pack(f"<{len(numbers)}H", *numbers))


def long(*numbers: int) -> Value:
    return Value(4, struct.pack(f"<{len(numbers)}I", *numbers))


def photoshop_block(iptc: bytes) -> bytes:
    """IPTC as the resource in which JPEG and PNG hold it."""
    return b"8BIM\x04\x04\0\0" + struct.pack(">I", len(iptc)) + iptc + b"\0" * (len(iptc) % 2)


def _read_directory(data: bytes, start: int, order: str, big: bool, seen: set[int]) -> Fields:
    head, entry = ("Q", "HHQ") if big else ("H", "HHI")
    inline = 8 if big else 4
    size = struct.calcsize(order + entry) + inline
    fields: Fields = {}
    if start in seen or start + struct.calcsize(order + head) > len(data):
        return fields
    seen.add(start)
    [count] = struct.unpack_from(order + head, data, start)
    first = start + struct.calcsize(order + head)
    for at in range(first, first + size * min(count, _MOST_FIELDS), size):
        if at + size > len(data):
            break
        tag, kind, number = struct.unpack_from(order + entry, data, at)
        place = at + size - inline
        if number * _SIZES.get(kind, 1) > inline:
            [place] = struct.unpack_from(f"{order}{'Q' if big else 'I'}", data, place)
        if kind not in _SIZES or place + number * _SIZES[kind] > len(data) or not number:
            continue
        if tag in _DIRECTORIES and kind in (4, 13):
            [there] = struct.unpack_from(f"{order}I", data, place)
            fields[tag] = _read_directory(data, there, order, big, seen)
        elif kind != 13:  # directories that we do not know
            value = data[place : place + number * _SIZES[kind]]
            fields[tag] = Value(kind, _little_endian(value, kind, order))
    return fields


def _little_endian(value: bytes, kind: int, order: str) -> bytes:
    if order == "<" or kind not in _UNITS:
        return value
    return np.frombuffer(value, f">u{_UNITS[kind]}").astype(f"<u{_UNITS[kind]}").tobytes()


def _bytes_of(fields: Fields, tag: int) -> bytes | None:
    value = fields.get(tag)
    return value.data if isinstance(value, Value) else None


def _resource(block: bytes, wanted: int) -> bytes | None:
    """One of Photoshop's image resources."""
    at = 0
    while block[at : at + 4] == b"8BIM" and at + 12 <= len(block):
        [number] = struct.unpack_from(">H", block, at + 4)
        at += 6 + (block[at + 6] // 2 + 1) * 2  # past a name of even length
        if at + 4 > len(block):
            break
        [size] = struct.unpack_from(">I", block, at)
        if number == wanted:
            return block[at + 4 : at + 4 + size]
        at += 4 + size + size % 2
    return None


def _raw_profile(info: Mapping[Any, Any], name: str) -> bytes | None:
    """What ImageMagick writes into PNG: a name, a length and hexadecimal digits, as text."""
    text = info.get(f"Raw profile type {name}")
    if not isinstance(text, str):
        return None
    try:
        return bytes.fromhex("".join(text.split()[2:]))
    except ValueError:
        return None
