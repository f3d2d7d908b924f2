"""Where files without a profile state their curve: chunks of PNG, fields of TIFF and BMP, AVIF."""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from pipeline.images.avif import avif_picture
from pipeline.images.boxes import CMYK, GRAY, LAB, SRGB, SYCC, open_container
from pipeline.images.curves import Curve, numbered_curve, power_curve, table_curve
from pipeline.images.formats import PNG_SIGNATURE

_MOST_CHUNKS = 10_000
_UNSPECIFIED = 2  # a transfer function of ITU-T H.273
_PHOTOMETRIC, _BITS, _DENSITIES, _TABLES = 262, 258, 291, 301  # tags of TIFF
CURVE_TAGS = (_PHOTOMETRIC, _BITS, _DENSITIES, _TABLES)
_NOT_APPLIED = "its gray response curve is not applied"


def stated_curve(data: bytes) -> Curve | None:
    """The curve that a PNG, BMP, AVIF or JPEG 2000 states; None if it states none."""
    if data[:8] == PNG_SIGNATURE:
        return _of_png(data)
    if data[:2] == b"BM":
        return _of_bitmap(data)
    if (picture := avif_picture(data)) is not None:
        return numbered_curve(*picture.transfer) if picture.transfer else None
    container = open_container(data)
    if container and container.space not in (None, CMYK, SRGB, GRAY, SYCC, LAB):
        return Curve(note=f"its colors are of kind {container.space}, and taken as those of sRGB")
    return None


def tiff_curve(tags: Mapping[int, Any]) -> Curve | None:
    """The curve that a TIFF states, given its fields by tag.

    Optical densities by code (GrayResponseCurve) are noted, but not applied: the programs that
    wrote them disagree about their unit, and no program that reads them is known.
    """
    photometric, bits = tags.get(_PHOTOMETRIC), tags.get(_BITS)
    count = bits if isinstance(bits, int) else (bits or (1,))[0]
    tables = tags.get(_TABLES)
    if photometric in (0, 1, 2) and isinstance(tables, tuple | np.ndarray) and count <= 16:
        values, length = np.asarray(tables), 2**count
        if values.dtype.kind in "ui" and len(values) in (length, 3 * length):
            curve = table_curve(list(values.reshape(-1, length)), photometric == 0)
            if curve is not None:
                return curve
    return Curve(note=_NOT_APPLIED) if photometric in (0, 1) and _DENSITIES in tags else None


def _of_png(data: bytes) -> Curve | None:
    """In the order of the PNG specification: cICP, then iCCP, then sRGB, then gAMA with cHRM."""
    found: dict[bytes, bytes] = {}
    for kind, body in _chunks(data):
        found.setdefault(kind, body)
    numbers = found.get(b"cICP", b"")
    if len(numbers) == 4:
        curve = numbered_curve(numbers[0], numbers[1], bool(numbers[3]))
        # If tones cannot be shown here, or are unspecified, a profile decides.
        return replace(curve, above_profile=not curve.note and numbers[1] != _UNSPECIFIED)
    if b"sRGB" in found or len(gamma := found.get(b"gAMA", b"")) != 4:
        return None
    [hundred_thousandths] = struct.unpack(">I", gamma)
    colors = found.get(b"cHRM", b"")
    primaries = None
    if len(colors) == 32:
        primaries = tuple(number / 100_000 for number in struct.unpack(">8I", colors))
    return power_curve(100_000 / hundred_thousandths, primaries) if hundred_thousandths else None


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Short chunks of a PNG before its pixels."""
    at = len(PNG_SIGNATURE)
    for _ in range(_MOST_CHUNKS):
        if at + 8 > len(data):
            return
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IDAT":
            return
        if length <= 32:
            yield kind, data[at + 8 : at + 8 + length]
        at += 12 + length


def _of_bitmap(data: bytes) -> Curve | None:
    """The curve of a BMP of version 4 or 5 with calibrated colors: XYZ of red, green, blue, and
    gamma."""
    if len(data) < 122 or struct.unpack_from("<I", data, 14)[0] < 108 or any(data[70:74]):
        return None
    ends = np.frombuffer(data, "<i4", 9, 74).reshape(3, 3) / 2**30
    gammas = np.frombuffer(data, "<u4", 3, 110) / 2**16
    if not gammas.all():
        return None  # programs write zeros for unknown values
    sums = ends.sum(axis=1)
    primaries = None
    if (sums > 0).all() and ends.sum() > 0:
        white = ends.sum(axis=0)
        xy = np.concatenate([[white], ends])[:, :2] / np.concatenate([[white.sum()], sums])[:, None]
        primaries = tuple(xy.ravel().tolist())
    return power_curve(float(gammas.mean()), primaries)
