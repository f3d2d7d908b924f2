"""TIFFs that Pillow would read with fewer bits, as other numbers, or not at all: which these are.

Only this file and tiff_samples know tifffile.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pipeline.errors import PhotoError
from pipeline.images.deep_masters import DeepMaster
from pipeline.images.gray import CHANNELS
from pipeline.images.piece_contents import check_ends, check_lengths, check_sums, says_other_colors
from pipeline.images.pieces import check_tiles_number, lie_as_expected
from pipeline.images.stated_curves import CURVE_TAGS, tiff_curve
from pipeline.images.tiff_fields import (
    DEFLATE,
    FAX,
    INVERTED,
    JPEG,
    LZW,
    NOTHING,
    PACK_BITS,
    PALETTE,
    PHOTOMETRIC,
    YCBCR,
    dpi_of,
    has_packed_differences,
    is_raw_ycbcr,
    kind_of,
    orientation_of_page,
    photometric_of,
    tag_of,
)
from pipeline.images.tiff_samples import decode_tiff
from pipeline.metadata.directories import ICC

if TYPE_CHECKING:
    import tifffile

TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PILLOWS = (INVERTED, 1, 2, PALETTE, 4, 5, YCBCR)  # kinds, where samples have 8 bits at most
# What Pillow reads wherever it runs: where it fails at one of these, the bytes are damaged.
_EVERYWHERE = (NOTHING, *FAX, LZW, JPEG, PACK_BITS, *DEFLATE)


def open_tiff(data: bytes) -> DeepMaster | None:
    """The first page, where Pillow would read less than its bits. Raises as _open does."""
    return _open(data, lambda page: _beyond_pillow(page, data))


def open_refused(data: bytes, error: Exception) -> DeepMaster | None:
    """What Pillow has refused with this error; None where that tells of damage."""
    unknown = "raw mode" in str(error) or "cannot identify" in str(error)
    if data[:4] not in TIFF_STARTS:
        return None
    return _open(data, lambda page: unknown or int(page.compression) not in _EVERYWHERE)


def check_pieces(data: bytes) -> None:
    """Raises PhotoError (corrupt) where libtiff has read a first page without the end of a strip or
    a tile."""
    import tifffile

    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            for check in (check_ends, check_sums, check_lengths):
                check(file.pages.first, data)
    except (PhotoError, MemoryError):
        raise
    except Exception:  # what libtiff has read, tifffile may not know
        return


def _open(data: bytes, wanted: Callable[[tifffile.TiffPage], bool]) -> DeepMaster | None:
    """The first page of a TIFF, if it is wanted; None if not, and where its header is damaged.

    Raises PhotoError (unsupported) for a camera's raw file whose first page is but a preview, and
    where there are far too many tiles.
    """
    import tifffile

    if data[8:10] == b"CR":
        raise PhotoError("unsupported", "a camera's raw file (CR2)")
    logger = logging.getLogger("tifffile")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page = file.pages.first
            check_tiles_number(page)
            return _described(page, data) if wanted(page) else None
    except PhotoError:
        raise
    except Exception:  # nearly anything, where a file is damaged: Pillow tells what is wrong
        return None


def _beyond_pillow(page: tifffile.TiffPage, data: bytes) -> bool:
    if data[:4] == b"MM\0+":  # Pillow reads no BigTIFF of this byte order
        return True
    bits: Any = page.bitspersample
    if not isinstance(bits, int):  # they differ, as in 5, 6 and 5
        return False
    if PHOTOMETRIC not in page.tags:  # Pillow takes zero for white then
        return int(page.compression) not in FAX
    if not lie_as_expected(page, data):
        return True
    if _has_odd_planes(page) or says_other_colors(page, data) or has_packed_differences(page):
        return True
    few, unsigned = bits <= 8, page.sampleformat in (1, 4)
    known = int(page.photometric) in _PILLOWS and not is_raw_ycbcr(page)
    return not (few and unsigned and known)


def _has_odd_planes(page: tifffile.TiffPage) -> bool:
    """Whether it has planes that Pillow mixes up: of fewer than 8 bits, beyond the colors without a
    word on what they are, several of them, or gray with its alpha multiplied in."""
    if page.planarconfig != 2 or page.samplesperpixel == 1:
        return False
    kind = kind_of(page) or ("gray" if photometric_of(page) == PALETTE else "rgb")
    beyond = page.samplesperpixel - CHANNELS[kind]
    multiplied = kind == "gray" and page.extrasamples == (1,)
    return multiplied or page.bitspersample < 8 or len(page.extrasamples) != beyond or beyond > 1


def _described(page: tifffile.TiffPage, data: bytes) -> DeepMaster:
    bits, samples, extra = page.bitspersample, page.samplesperpixel, len(page.extrasamples)
    mode = {1: "L", 3: "RGB", 4: "CMYK"}.get(samples - extra, f"{samples}")
    kind = kind_of(page)
    if kind == "lab":
        mode = "LAB"
    if kind == "rgb" and samples == 4:
        mode, extra = "RGB", 1  # whether it is stated or not
    palette = photometric_of(page) == PALETTE
    if palette:
        mode, samples = "P", 3  # as many as it has once it is decoded
    mode += "A" if extra else ""
    return DeepMaster(
        page.imagewidth,
        page.imagelength,
        mode if bits == 8 else f"{mode};{bits}",
        samples,
        "TIFF",
        lambda: decode_tiff(data),
        16 if palette else bits,
        "u" if palette or page.dtype is None else page.dtype.kind.replace("b", "u"),
        orientation_of_page(page),
        dpi_of(page),
        tag_of(page, ICC),
        tiff_curve({code: tag_of(page, code) for code in CURVE_TAGS if code in page.tags}),
    )
