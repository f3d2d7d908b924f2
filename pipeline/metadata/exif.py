"""A master's metadata: EXIF fields, XMP and IPTC, from one file into another.

EXIF is a small TIFF. The fields that `carried` lists are written again with their values unchanged.
What is left out, as damaged or beyond a limit, becomes a note; the photograph itself is unaffected.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pipeline.metadata.carried import TEXTS
from pipeline.metadata.directories import (
    COLOR_SPACE,
    EXIF,
    HEIGHT,
    IPTC,
    MAKER_NOTE,
    ORIENTATION,
    PHOTOSHOP,
    RESOLUTION_UNIT,
    WIDTH,
    X_RESOLUTION,
    XMP,
    Y_RESOLUTION,
    Fields,
    Value,
    long,
    read_directories,
    short,
    write_fields,
)
from pipeline.metadata.iptc import carried_block
from pipeline.metadata.kept_xmp import why_left_out
from pipeline.metadata.segments import (
    MOST_BYTES,
    Parts,
    extended_xmp,
    jpeg2000_parts,
    jpeg_parts,
    photoshop_resolution,
    resource,
)

# Carried in another way than as fields.
_ELSEWHERE = {XMP, IPTC, PHOTOSHOP, X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT}
_MOST_TEXT = 2**16  # characters of a text of PNG


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
    for what, why in (("XMP", why_left_out(xmp)), ("extended XMP", why_left_out(extended))):
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
    own, whole = read_directories(data)
    parts = Parts(photoshop=_bytes_of(own, PHOTOSHOP) or b"")
    iptc = _iptc_of(_bytes_of(own, IPTC), parts)
    return _Found(own, whole, _bytes_of(own, XMP) or None, iptc, parts)


def _find_elsewhere(format: str, data: bytes, info: Mapping[Any, Any]) -> _Found:
    parts = {"JPEG": jpeg_parts, "JPEG2000": jpeg2000_parts}.get(format, _no_parts)(data)
    block = info.get("exif") or _raw_profile(info, "exif") or older_exif(info) or parts.exif
    exif = block.removeprefix(b"Exif\0\0") if isinstance(block, bytes) else b""
    own, whole = read_directories(exif)
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
    return {tag: value for tag, value in read_directories(data)[0].items() if tag not in _ELSEWHERE}


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


def photoshop_block(iptc: bytes) -> bytes:
    """IPTC as the Photoshop resource that JPEG and PNG hold."""
    return b"8BIM\x04\x04\0\0" + struct.pack(">I", len(iptc)) + iptc + b"\0" * (len(iptc) % 2)


def _no_parts(data: bytes) -> Parts:
    return Parts()


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
