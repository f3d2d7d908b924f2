"""PNG and TIFF of 8 or 16 bits a sample, written band by band.

Legend: H W rows and columns, h rows of one band, C channels: 1 (gray) or 3. The same pixels give
the same bytes. Both are lossless and compressed by Deflate.
"""

import io
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np

from pipeline.images.codecs import deflate
from pipeline.images.formats import PNG_SIGNATURE
from pipeline.metadata.directories import (
    ICC,
    IPTC,
    XMP,
    Fields,
    Value,
    long,
    short,
    write_fields,
)
from pipeline.metadata.exif import exif_block, photoshop_block
from pipeline.metadata.segments import extension_segments

IPTC_IN_JPEG = 65_506  # bytes: what is left of a segment beside its heads
_LEVEL = 6  # of Deflate in PNG, whose bands are one stream


@dataclass(frozen=True)
class Labels:
    """What a result says of itself. dpi: dots per inch (x, y). texts: as in metadata.exif.
    extension: of XMP, for JPEG alone."""

    fields: Fields
    xmp: bytes | None = None
    iptc: bytes | None = None
    icc: bytes | None = None
    dpi: tuple[float, float] | None = None
    texts: Mapping[str, str] = field(default_factory=dict)
    extension: bytes | None = None


def encode_png(bands: Iterable[np.ndarray], height: int, width: int, labels: Labels) -> bytes:
    """A PNG of bands uint8 or uint16 (h, W, C)."""
    rows = iter(bands)
    first = next(rows)
    channels, bits = first.shape[2], 8 * first.dtype.itemsize
    color = {1: 0, 3: 2}[channels]
    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    file = io.BytesIO()  # hands its content out without a copy
    file.writelines([PNG_SIGNATURE, _chunk(b"IHDR", header), *_png_labels(labels)])
    packer = zlib.compressobj(_LEVEL)
    above = np.zeros((width, channels * bits // 8), np.uint8)
    for band in _with(first, rows):
        stored = band.astype(">u2") if bits == 16 else band
        octets = np.ascontiguousarray(stored).view(np.uint8).reshape(len(band), width, -1)
        if packed := packer.compress(_filtered(octets, above)):
            file.write(_chunk(b"IDAT", packed))
        above = octets[-1]
    file.writelines([_chunk(b"IDAT", packer.flush()), _chunk(b"IEND", b"")])
    return file.getvalue()


def encode_tiff(bands: Iterable[np.ndarray], height: int, width: int, labels: Labels) -> bytes:
    """A TIFF of bands uint8 or uint16 (h, W, C), all of the same height but the last."""
    rows = iter(bands)
    first = next(rows)
    channels, bits = first.shape[2], 8 * first.dtype.itemsize
    file = io.BytesIO()  # hands its content out without a copy
    file.write(b"II*\0" + b"\0" * 4)
    places, sizes = _write_strips(file, _with(first, rows))
    fields = labels.fields | {
        256: long(width),
        257: long(height),
        258: short(*[bits] * channels),  # bits of a sample
        259: short(8),  # compression: Deflate
        262: short({1: 1, 3: 2}[channels]),  # zero is black, or RGB
        273: long(*places),  # of strips
        277: short(channels),
        278: long(len(first)),  # rows of a strip
        279: long(*sizes),  # bytes of strips
        284: short(1),  # channels side by side
        317: short(2),  # pixels as differences
        339: short(*[1] * channels),  # unsigned
    }
    for tag, kind, data in ((XMP, 1, labels.xmp), (IPTC, 7, labels.iptc), (ICC, 7, labels.icc)):
        if data:
            fields[tag] = Value(kind, data)
    place = file.tell()
    file.write(write_fields(fields, place))
    file.seek(4)
    file.write(struct.pack("<I", place))
    return file.getvalue()


def _write_strips(file: BinaryIO, bands: Iterable[np.ndarray]) -> tuple[list[int], list[int]]:
    """Write each band as a strip; returns where they lie, and how long they are."""
    places, sizes = [], []
    for band in bands:
        little = band.astype(band.dtype.newbyteorder("<"))
        little[:, 1:] -= band[:, :-1]  # each pixel as its difference to the one before
        packed = deflate(little.tobytes())
        packed += b"\0" * (len(packed) % 2)
        places.append(file.tell())
        sizes.append(file.write(packed))
    return places, sizes


def jpeg_extra(labels: Labels) -> bytes:
    """The segments in which JPEG holds extended XMP, IPTC and a comment, as far as they fit."""
    photoshop = b"Photoshop 3.0\0" + photoshop_block(labels.iptc) if labels.iptc else b""
    bodies = ((0xED, photoshop), (0xFE, labels.texts.get("Comment", "").encode()))
    extension = extension_segments(labels.extension) if labels.extension else b""
    return extension + b"".join(
        struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body
        for marker, body in bodies
        if 0 < len(body) <= 65_533
    )


def jp2_boxes(labels: Labels) -> bytes:
    """What follows the picture in a JPEG 2000 file: EXIF, XMP and IPTC."""
    iptc = "33c7a4d2b81d4723a0baf1a3e097ad38"
    parts = [
        (b"JpgTiffExif->JP2", exif_block(labels.fields) if labels.fields else None),
        (bytes.fromhex("be7acfcb97a942e89c71999491e3afac"), labels.xmp),
        (bytes.fromhex(iptc), labels.iptc),
    ]
    return b"".join(
        struct.pack(">I", 24 + len(data)) + b"uuid" + kind + data for kind, data in parts if data
    )


def _png_labels(labels: Labels) -> Iterator[bytes]:
    if labels.icc:
        yield _chunk(b"iCCP", b"sRGB\0\0" + zlib.compress(labels.icc))
    if labels.dpi:
        x, y = (round(value / 0.0254) for value in labels.dpi)
        yield _chunk(b"pHYs", struct.pack(">IIB", x, y, 1))
    if labels.fields:
        yield _chunk(b"eXIf", exif_block(labels.fields))
    if labels.xmp:
        yield _chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + labels.xmp)
    for keyword, text in labels.texts.items():
        yield _chunk(b"iTXt", keyword.encode() + b"\0\0\0\0\0" + text.encode())
    if labels.iptc:  # as ImageMagick does, for want of a standard
        block = photoshop_block(labels.iptc)
        text = f"\niptc\n{len(block):8}\n{block.hex()}\n"
        yield _chunk(b"zTXt", b"Raw profile type iptc\0\0" + zlib.compress(text.encode()))


def _filtered(octets: np.ndarray, above: np.ndarray) -> bytes:
    """Rows as differences to Paeth's prediction. octets uint8 (h, W, bytes of a pixel)."""
    upper = np.concatenate([above[None], octets[:-1]]).astype(np.int16)
    nothing = np.zeros_like(upper[:, :1])
    left = np.concatenate([nothing, octets[:, :-1].astype(np.int16)], axis=1)
    corner = np.concatenate([nothing, upper[:, :-1]], axis=1)
    to_left, to_upper = np.abs(upper - corner), np.abs(left - corner)
    to_corner = np.abs(upper + left - 2 * corner)
    best = np.where(to_upper <= to_corner, upper, corner)
    best = np.where((to_left <= to_upper) & (to_left <= to_corner), left, best)
    rows = octets.reshape(len(octets), -1) - best.astype(np.uint8).reshape(len(octets), -1)
    return np.concatenate([np.full((len(rows), 1), 4, np.uint8), rows], axis=1).tobytes()


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _with(first: np.ndarray, rest: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    yield first
    yield from rest
