"""Where containers keep metadata: segments of JPEG, boxes of JPEG 2000, resources of Photoshop.
Each file is walked once, from start to end."""

import hashlib
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

MOST_BYTES = 2**22  # of one kind, all its parts together
_MOST_PARTS = 10_000
_SIGNATURES = (b"8BIM", b"MeSa", b"AgHg", b"PHUT", b"DCSR")  # of Photoshop's resources
_PHOTOSHOP = b"Photoshop 3.0\0"
_EXTENDED = b"http://ns.adobe.com/xmp/extension/\0"
_POINTER = re.compile(rb"""HasExtendedXMP\s?(?:=\s?["']|>)\s?([0-9A-Fa-f]{32})""")
_IN_SEGMENT = 65_533 - len(_EXTENDED) - 40
_UUIDS = {
    b"JpgTiffExif->JP2": "exif",
    bytes.fromhex("0537cdab9d0c4431a72afa561f2a113e"): "exif",
    bytes.fromhex("be7acfcb97a942e89c71999491e3afac"): "xmp",
    bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38"): "iptc",
    bytes.fromhex("2c4c0100850440b9a03e562148d6dfeb"): "photoshop",
}


@dataclass(frozen=True)
class Parts:
    """The metadata that was found; empty where there is none. extensions: further segments of XMP
    by the digest of the extension that they are parts of: the extension's length, and place and
    bytes of each segment.
    """

    exif: bytes = b""
    xmp: bytes = b""
    iptc: bytes = b""
    photoshop: bytes = b""
    comment: bytes = b""
    extensions: Mapping[bytes, list[tuple[int, int, bytes]]] = field(default_factory=dict)


def jpeg_parts(data: bytes) -> Parts:
    """Photoshop's resources, extended XMP and the comment of a JPEG, before its first scan."""
    photoshop, comment, size = [], b"", 0
    extensions: dict[bytes, list[tuple[int, int, bytes]]] = {}
    room = MOST_BYTES
    for marker, body in _jpeg_segments(data):
        if marker == 0xED and body.startswith(_PHOTOSHOP) and size < MOST_BYTES:
            photoshop.append(body[len(_PHOTOSHOP) :])
            size += len(body)
        elif marker == 0xE1 and body.startswith(_EXTENDED):
            digest, place = body[len(_EXTENDED) :][:32], len(_EXTENDED) + 32
            some = extensions.setdefault(digest, [])
            if len(body) >= place + 8 and room >= len(body):
                room -= len(body)
                some.append((*struct.unpack_from(">II", body, place), body[place + 8 :]))
        elif marker == 0xFE and not comment:
            comment = body
    return Parts(photoshop=b"".join(photoshop), comment=comment, extensions=extensions)


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and content of each segment of a JPEG before its first scan."""
    at = 2
    for _ in range(_MOST_PARTS):
        while data[at : at + 1] == b"\xff" and data[at + 1 : at + 2] == b"\xff":
            at += 1  # filling
        head = data[at : at + 4]
        if len(head) < 4 or head[0] != 0xFF or head[1] in (0xD9, 0xDA):
            return
        if head[1] == 0x01 or 0xD0 <= head[1] <= 0xD8:  # which have no content
            at += 2
            continue
        [length] = struct.unpack(">H", head[2:])
        yield head[1], data[at + 4 : at + 2 + length]
        at += 2 + max(length, 2)


def extended_xmp(xmp: bytes, parts: Parts) -> tuple[bytes | None, bool]:
    """The part of a JPEG's XMP that lies in further segments, and whether there is one that cannot
    be used because the packet does not name it, it is incomplete, or its digest differs."""
    named = _POINTER.search(xmp)
    if named is None:
        return None, bool(parts.extensions)
    some = sorted(parts.extensions.get(named[1], ()), key=lambda part: part[1])
    whole, lengths, at = [], {part[0] for part in some}, 0
    for _, place, data in some:
        if place == at:  # repeated parts are caught by the digest
            whole.append(data)
            at += len(data)
    joined = b"".join(whole)
    if lengths != {at} or _digest(joined) != named[1].upper():
        return None, True
    return joined, False


def extension_segments(extension: bytes) -> bytes:
    """The segments in which a JPEG holds an XMP extension."""
    parts = []
    for place in range(0, len(extension), _IN_SEGMENT):
        data = extension[place : place + _IN_SEGMENT]
        numbers = struct.pack(">II", len(extension), place)
        body = _EXTENDED + _digest(extension) + numbers + data
        parts.append(struct.pack(">BBH", 0xFF, 0xE1, len(body) + 2) + body)
    return b"".join(parts)


def extension_pointer(extension: bytes) -> str:
    """The property by which a packet names its extension."""
    return (
        '<rdf:Description xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" rdf:about=""'
        ' xmlns:xmpNote="http://ns.adobe.com/xmp/note/"'
        f' xmpNote:HasExtendedXMP="{_digest(extension).decode()}"/>'
    )


def _digest(extension: bytes) -> bytes:
    return hashlib.md5(extension, usedforsecurity=False).hexdigest().upper().encode()


def jpeg2000_parts(data: bytes) -> Parts:
    """Metadata from the boxes of a JPEG 2000 file."""
    found: dict[str, bytes] = {}
    at = 0 if data[4:8] == b"jP  " else len(data)
    for _ in range(_MOST_PARTS):
        if at + 8 > len(data):
            break
        length, kind = struct.unpack_from(">I4s", data, at)
        start = at + 8
        if length == 1 and at + 16 <= len(data):
            [length] = struct.unpack_from(">Q", data, start)
            start += 8
        end = len(data) if length == 0 else at + length
        if end < start:
            break
        if kind == b"uuid" and end - start <= MOST_BYTES:
            name = _UUIDS.get(data[start : start + 16])
            if name:
                found.setdefault(name, data[start + 16 : end])
        at = end
    return Parts(**found)  # type: ignore[arg-type]


def resource(block: bytes, wanted: int) -> bytes | None:
    """One of Photoshop's image resources."""
    for number, value in _resources(block):
        if number == wanted:
            return value
    return None


def photoshop_resolution(block: bytes) -> tuple[float, float] | None:
    """Dots per inch (x, y) from the resolution resource."""
    value = resource(block, 0x03ED)
    if value is None or len(value) < 16:
        return None
    x, _, _, y = struct.unpack_from(">IHHI", value)
    return (x / 65536, y / 65536) if min(x, y) > 65536 else None  # programs write 0 or 1 for none


def _resources(block: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    for _ in range(_MOST_PARTS):
        if block[at : at + 4] not in _SIGNATURES or at + 12 > len(block):
            return
        [number] = struct.unpack_from(">H", block, at + 4)
        at += 6 + (block[at + 6] // 2 + 1) * 2  # past a name of even length
        if at + 4 > len(block):
            return
        [size] = struct.unpack_from(">I", block, at)
        yield number, block[at + 4 : at + 4 + size]
        at += 4 + size + size % 2
