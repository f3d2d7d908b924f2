"""A master's metadata: EXIF fields, XMP and IPTC, from one file into another.

EXIF is a small TIFF. The fields that `carried` lists are written again, little-endian, with their
values unchanged. Damaged fields, and fields beyond a limit of bytes or entries, are left out with a
note; the photograph itself is not affected.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from pipeline.metadata.carried import EXIF_FIELDS, FIELDS, GPS_FIELDS, TEXTS, describes_pixels
from pipeline.metadata.iptc import carried_block
from pipeline.metadata.segments import (
    MOST_BYTES,
    Parts,
    extended_xmp,
    jpeg2000_parts,
    jpeg_parts,
    photoshop_resolution,
    resource,
)
from pipeline.metadata.xmp import left_out

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
_ELSEWHERE = {XMP, IPTC, PHOTOSHOP, *_RESOLUTION}  # carried in another way
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
# Bytes that swapping the byte order reverses, by type.
_UNITS = {3: 2, 4: 4, 5: 4, 8: 2, 9: 4, 10: 4, 11: 4, 12: 8, 13: 4}
_POINTERS = {4: "I", 13: "I", 16: "Q", 18: "Q"}  # to directories; the last two are of BigTIFF
_MOST_ENTRIES = 4_000  # looked at in a directory
_MOST_TEXT = 2**16  # characters of a text of PNG


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


@dataclass(frozen=True)
class Metadata:
    """texts: of a PNG, or the comment of a JPEG, by keyword. dpi: (x, y) as stored, for files whose
    own header may lack it. notes: for people, what was left out."""

    fields: Fields = field(default_factory=dict)
    xmp: bytes | None = None
    iptc: bytes | None = None
    texts: dict[str, str] = field(default_factory=dict)
    dpi: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()
    extended: bytes | None = None  # XMP that goes on in further segments


class _Found(NamedTuple):
    """Blocks of metadata, from wherever a format keeps them. whole: no field was left out."""

    own: Fields
    whole: bool
    xmp: bytes | None
    iptc: bytes | None
    parts: Parts


def metadata_of(format: str, data: bytes, info: Mapping[Any, Any]) -> Metadata:
    """A file's metadata. info: of the image that Pillow opened."""
    own, whole, xmp, iptc, parts = (
        _find_in_tiff(data) if format == "TIFF" else _find_elsewhere(format, data, info)
    )
    extended, unfit = extended_xmp(xmp or b"", parts)
    notes = ["" if whole else "EXIF left out in part: too many or too long fields"]
    for what, why in (("XMP", left_out(xmp)), ("extended XMP", left_out(extended))):
        notes.append(f"{what} left out: {why}" if why else "")
    notes.append("extended XMP left out: incomplete, or not what its digest says" if unfit else "")
    if iptc and len(iptc) > MOST_BYTES:
        iptc, notes = None, [*notes, "IPTC left out: more than 4 MiB"]
    iptc = carried_block(iptc) if iptc else None
    return Metadata(
        {tag: value for tag, value in own.items() if tag not in _ELSEWHERE},
        xmp,
        iptc or None,
        _texts(info, parts.comment),
        _resolution(own) or photoshop_resolution(parts.photoshop),
        tuple(filter(None, notes)),
        extended,
    )


def _find_in_tiff(data: bytes) -> _Found:
    own, whole = _read(data)
    parts = Parts(photoshop=_bytes_of(own, PHOTOSHOP) or b"")
    iptc = _iptc_of(_bytes_of(own, IPTC), parts)
    return _Found(own, whole, _bytes_of(own, XMP) or None, iptc, parts)


def _find_elsewhere(format: str, data: bytes, info: Mapping[Any, Any]) -> _Found:
    parts = {"JPEG": jpeg_parts, "JPEG2000": jpeg2000_parts}.get(format, _no_parts)(data)
    block = info.get("exif") or _raw_profile(info, "exif") or older_exif(info) or parts.exif
    own, whole = _read(block.removeprefix(b"Exif\0\0") if isinstance(block, bytes) else b"")
    xmp = info.get("xmp") or parts.xmp or _raw_profile(info, "xmp")
    iptc = _iptc_of(parts.iptc or _raw_profile(info, "iptc"), parts)
    return _Found(own, whole, xmp if isinstance(xmp, bytes) and xmp else None, iptc, parts)


def _iptc_of(block: bytes | None, parts: Parts) -> bytes | None:
    """A block of IPTC, out of Photoshop's resources where it is among these."""
    if block and block.startswith(b"8BIM"):
        block = resource(block, 0x0404)
    return block or resource(parts.photoshop, 0x0404)


def read_fields(data: bytes) -> Fields:
    """The fields to carry from the first directory of a TIFF or BigTIFF and those that it leads
    to."""
    return {tag: value for tag, value in _read(data)[0].items() if tag not in _ELSEWHERE}


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


def exif_block(fields: Fields) -> bytes:
    """Fields as an EXIF block for JPEG, PNG, WebP and AVIF."""
    return b"II*\0" + struct.pack("<I", 8) + write_fields(fields)


def result_fields(
    metadata: Metadata, width: int, height: int, dpi: tuple[float, float] | None
) -> Fields:
    """A master's fields, corrected for its result: upright, sRGB, of this size."""
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
    """Fields that fit: if they are too long, without the maker note, then without the longest."""
    if most_bytes is None or len(exif_block(fields)) <= most_bytes:
        return fields
    fields = {tag: dict(each) if isinstance(each, dict) else each for tag, each in fields.items()}
    inner = [each for each in fields.values() if isinstance(each, dict)]
    lengths = {
        (place, tag): (tag == MAKER_NOTE, len(value.data))
        for place, directory in enumerate((fields, *inner))
        for tag, value in directory.items()
        if isinstance(value, Value)
    }
    for place, tag in sorted(lengths, key=lengths.__getitem__, reverse=True):
        del (fields, *inner)[place][tag]
        if len(exif_block(fields)) <= most_bytes:
            break
    return fields


def short(*numbers: int) -> Value:
    return Value(3, struct.pack(f"<{len(numbers)}H", *numbers))


def long(*numbers: int) -> Value:
    return Value(4, struct.pack(f"<{len(numbers)}I", *numbers))


def photoshop_block(iptc: bytes) -> bytes:
    """IPTC as the Photoshop resource that JPEG and PNG hold."""
    return b"8BIM\x04\x04\0\0" + struct.pack(">I", len(iptc)) + iptc + b"\0" * (len(iptc) % 2)


def _no_parts(data: bytes) -> Parts:
    return Parts()


def _read(data: bytes) -> tuple[Fields, bool]:
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


def _bytes_of(fields: Fields, tag: int) -> bytes | None:
    value = fields.get(tag)
    return value.data if isinstance(value, Value) else None


def _resolution(fields: Fields) -> tuple[float, float] | None:
    """Dots per inch (x, y) of a directory."""
    unit, values = fields.get(RESOLUTION_UNIT), []
    scale = 1.0
    if isinstance(unit, Value) and unit.kind == 3:
        scale = {2: 1.0, 3: 2.54}.get(struct.unpack_from("<H", unit.data)[0], 0.0)
    for tag in (X_RESOLUTION, Y_RESOLUTION):
        value = fields.get(tag)
        if not isinstance(value, Value) or value.kind != 5:
            return None
        above, below = struct.unpack_from("<II", value.data)
        values.append(scale * above / below if below else 0.0)
    return (values[0], values[1]) if all(1 < value <= 65535 for value in values) else None


def _texts(info: Mapping[Any, Any], comment: bytes) -> dict[str, str]:
    """Texts that people wrote into a PNG, and the comment of a JPEG or GIF."""
    found = {
        keyword: str(info[keyword]).replace("\0", "")
        for keyword in TEXTS
        if isinstance(info.get(keyword), str) and 0 < len(info[keyword]) <= _MOST_TEXT
    }
    comment = comment.rstrip(b"\0 \t\r\n")
    if comment and "Comment" not in found:
        try:
            found["Comment"] = comment.decode("utf-8")
        except UnicodeDecodeError:
            found["Comment"] = comment.decode("cp1252", errors="replace")
    return found


def older_exif(info: Mapping[Any, Any]) -> bytes | None:
    """EXIF as ImageMagick once wrote it into PNG, under a name that XMP had too."""
    block = _raw_profile(info, "APP1")
    return block if block and block.startswith(b"Exif\0\0") else None


def _raw_profile(info: Mapping[Any, Any], name: str) -> bytes | None:
    """Decode ImageMagick's text in PNG: a name, a length and hexadecimal digits."""
    text = info.get(f"Raw profile type {name}")
    if not isinstance(text, str) or len(text) > 3 * MOST_BYTES:
        return None
    try:
        return bytes.fromhex("".join(text.split()[2:]))
    except ValueError:
        return None
