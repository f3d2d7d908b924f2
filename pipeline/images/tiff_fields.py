"""What a page of a TIFF states of itself: kind of pixels, white, orientation, resolution."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from pipeline.images.gray import Kind, brightest
from pipeline.metadata.directories import ORIENTATION, XMP

Page = Any  # a page of tifffile
# PhotometricInterpretation.
INVERTED, RGB, PALETTE, YCBCR, CIELAB, _ICCLAB = 0, 2, 3, 6, 8, 9
PHOTOMETRIC, SUBSAMPLING, _COLOR_MAP, _BLACK_AND_WHITE = 262, 530, 320, 532  # tags
_HIGHEST = (281, 341)  # MaxSampleValue, SMaxSampleValue
_FEWER_BITS = [2**bits - 1 for bits in range(9, 16)]
_KINDS: dict[int, Kind] = {
    **{INVERTED: "gray", 1: "gray", RGB: "rgb", 5: "cmyk"},
    **{CIELAB: "lab", _ICCLAB: "lab"},
}
# Compression.
NOTHING, LZW, OLD_JPEG, JPEG, PACK_BITS, LZMA, ZSTD = 1, 5, 6, 7, 32773, 34925, 50000
GROUP_3, FAX, DEFLATE, JPEG_XR = 3, (2, 3, 4), (8, 32946), (22610, 34934)
_JPEG_2000, _PNG, _WEBP = (33003, 33004, 33005, 33007, 34712), 34933, (34927, 50001)
_JPEG_XL = (50002, 52546)
# Those whose pieces are files of their own.
FILES = (OLD_JPEG, JPEG, 34892, *_JPEG_2000, _PNG, *_WEBP)
# Those whose decoders turn YCbCr into RGB by themselves.
_MANAGED = (OLD_JPEG, JPEG, _PNG, JPEG_XR[1], 50001, *_JPEG_XL)
_FULL_RANGE = (0, 1, 255, 1, 128, 1, 255, 1, 128, 1, 255, 1)  # of YCbCr, as fractions


def tag_of(page: Page, code: int) -> Any:
    """The value of a field; None where there is none."""
    tag = page.tags.get(code)
    return None if tag is None else tag.value


def photometric_of(page: Page) -> int:
    """What a page states, or else what it must be."""
    if PHOTOMETRIC in page.tags:
        return int(page.photometric)
    if _COLOR_MAP in page.tags:
        return PALETTE
    return 2 if page.samplesperpixel - len(page.extrasamples) >= 3 else 1


def kind_of(page: Page) -> Kind | None:
    photometric = photometric_of(page)
    if photometric == YCBCR and (int(page.compression) in _MANAGED or is_for_libtiff(page)):
        return "rgb"
    return _KINDS.get(photometric)


def stated_white(page: Page, values: np.ndarray) -> float | None:
    """The white of samples of fewer bits than theirs, such as 4095 of those of 16 bits, where both
    the file and its pixels say so."""
    if page.bitspersample < 16 or page.dtype.kind not in "uf" or kind_of(page) == "lab":
        return None
    for code in _HIGHEST:
        stated = set(np.atleast_1d(tag_of(page, code) or 0).tolist())
        if len(stated) == 1 and (white := stated.pop()) in _FEWER_BITS:
            colors = values[..., : page.samplesperpixel - len(page.extrasamples)]
            return float(white) if brightest(colors) <= white else None
    return None


def orientation_of_page(page: Page) -> int:
    value = tag_of(page, ORIENTATION)
    if value is None:
        packet = tag_of(page, XMP)
        value = xmp_orientation(packet) if isinstance(packet, bytes) else 1
    return int(value) if value in range(1, 9) else 1


def xmp_orientation(packet: bytes) -> int:
    """The orientation that an XMP packet states, 1..8; 1 where it states none."""
    found = re.search(rb"tiff:Orientation\s?(?:=\s?[\"']|>)\s?([1-8])", packet)
    return int(found[1]) if found else 1


def dpi_of(page: Page) -> tuple[float, float] | None:
    unit = tag_of(page, 296)
    scale = {2: 1.0, 3: 2.54}.get(2 if unit is None else unit)
    try:
        (x, x_of), (y, y_of) = tag_of(page, 282), tag_of(page, 283)
        return None if scale is None else (scale * x / x_of, scale * y / y_of)
    except (TypeError, ValueError, ZeroDivisionError):
        return None


def is_for_libtiff(page: Page) -> bool:
    """YCbCr whose decoder makes no RGB of it; libtiff does."""
    eight = page.bitspersample == 8 and page.samplesperpixel == 3
    return page.photometric == YCBCR and eight and int(page.compression) not in _MANAGED


def is_raw_ycbcr(page: Page) -> bool:
    """Whether it is YCbCr without compression that Pillow reads wrong: of fewer colors than lights,
    in planes, or with another black and white."""
    if page.photometric != YCBCR or page.compression != NOTHING:
        return False
    plain = page.planarconfig == 1 and subsampling_of(page) == (1, 1)
    return not plain or tag_of(page, _BLACK_AND_WHITE) not in (None, _FULL_RANGE)


def has_packed_differences(page: Page) -> bool:
    """Whether PackBits hold differences, or do not: libtiff takes the pixels for values, tifffile
    for differences, and each writes what it reads."""
    return page.compression == PACK_BITS and page.predictor != 1


def subsampling_of(page: Page) -> tuple[int, int]:
    found = tag_of(page, SUBSAMPLING)
    return (2, 2) if found is None else (int(found[0]), int(found[1]))
