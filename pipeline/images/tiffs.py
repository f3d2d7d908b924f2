"""TIFFs that Pillow would read with fewer bits, as other numbers, or not at all: by tifffile.

The only file that knows tifffile. Legend: H W rows and columns, C channels.
"""

from __future__ import annotations

import io
import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import PhotoError
from pipeline.images.gray import CHANNELS, Samples
from pipeline.images.masters import DeepMaster
from pipeline.images.pieces import (
    check_ends,
    check_padding,
    check_pictures,
    check_sums,
    check_tiles_number,
    cut_short,
    find_pieces,
    find_whole_jpeg,
    is_in_whole_words,
    lie_as_expected,
    says_other_colors,
)
from pipeline.images.stated import CURVE_TAGS, tiff_curve
from pipeline.images.tiff_fields import (
    CIELAB,
    INVERTED,
    PALETTE,
    PHOTOMETRIC,
    YCBCR,
    dpi_of,
    is_for_libtiff,
    is_raw_ycbcr,
    kind_of,
    orientation_of_page,
    photometric_of,
    stated_white,
    subsampling_of,
    tag_of,
)
from pipeline.metadata.exif import ICC, ORIENTATION

if TYPE_CHECKING:
    import tifffile

TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_MOST_CHANNELS = 8
_LENGTH, _NODATA = 257, 42113  # tags
_PILLOWS = (INVERTED, 1, 2, PALETTE, 4, 5, YCBCR)  # kinds, where samples have 8 bits at most
_BEYOND_LIGHT = 1e30  # what a float above this stands for is no brightness
_OLD_JPEG, _JPEGS, _END = 6, (6, 7), b"\xff\xd9"
_FAX = (2, 3, 4)  # of which zero is white, where nothing else is said
# What Pillow reads wherever it runs: where it fails at one of these, the bytes are damaged.
_STRICT = (32773, 50000)  # PackBits and Zstandard, whose decoders want nothing behind their data
_EVERYWHERE = (1, 2, 3, 4, 5, 7, 8, 32773, 32946)


def open_tiff(data: bytes, wanted: bool = False) -> DeepMaster | None:
    """The first page, where Pillow would read less than its bits; or any, if it is wanted.

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
            return _described(page, data) if wanted or _beyond_pillow(page, data) else None
    except PhotoError:
        raise
    except Exception:  # nearly anything, where a file is damaged: Pillow tells what is wrong
        return None


def open_refused(data: bytes, error: Exception) -> DeepMaster | None:
    """What Pillow has refused with this error; None where that tells of damage."""
    deep = open_tiff(data, wanted=True) if data[:4] in TIFF_STARTS else None
    if deep is None or "raw mode" in str(error) or "cannot identify" in str(error):
        return deep
    return None if _compression(data) in _EVERYWHERE else deep


def _beyond_pillow(page: tifffile.TiffPage, data: bytes) -> bool:
    if data[:4] == b"MM\0+":  # Pillow reads no BigTIFF of this byte order
        return True
    bits: Any = page.bitspersample
    if not isinstance(bits, int):  # they differ, as in 5, 6 and 5
        return False
    if PHOTOMETRIC not in page.tags:  # Pillow takes zero for white then
        return int(page.compression) not in _FAX
    if not lie_as_expected(page, data):
        return True
    if _has_odd_planes(page) or says_other_colors(page, data) or _has_packed_differences(page):
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


def _has_packed_differences(page: tifffile.TiffPage) -> bool:
    """Whether PackBits hold differences, or do not: libtiff takes the pixels for values, tifffile
    for differences, and each writes what it reads."""
    return int(page.compression) == _STRICT[0] and page.predictor != 1


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
        lambda: _decode_tiff(data),
        16 if palette else bits,
        "u" if palette or page.dtype is None else page.dtype.kind.replace("b", "u"),
        orientation_of_page(page),
        dpi_of(page),
        tag_of(page, ICC),
        tiff_curve({code: tag_of(page, code) for code in CURVE_TAGS if code in page.tags}),
    )


def _compression(data: bytes) -> int:
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data)) as file:
        return int(file.pages.first.compression)


def _decode_tiff(data: bytes) -> Samples:
    """Pixels of the first page."""
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages.first
        _check_supported(page)
        stated = page.bitspersample
        if is_in_whole_words(page, data):
            page.bitspersample = 16
        if says_other_colors(page, data):
            page.photometric = tifffile.PHOTOMETRIC.YCBCR  # so that the JPEG's own word counts
        if int(page.compression) == _OLD_JPEG and kind_of(page) == "gray":
            find_whole_jpeg(page, data)
        _check_whole(page, data)
        if is_for_libtiff(page):
            return Samples(_rgb_by_libtiff(data, page), "rgb", 255)
        values = _values(page, data)
        if page.planarconfig == 2 and page.samplesperpixel > 1:
            values = np.moveaxis(values, 0, -1)
        values = values[..., None] if values.ndim == 2 else values
        if photometric_of(page) == PALETTE:
            return Samples(_looked_up(page, values), "rgb", 65535)
        kind = kind_of(page)
        assert kind is not None  # _check_supported has seen to it
        bits, sort = stated, values.dtype.kind
        white = None if sort == "f" or bits >= 32 else float(2 ** (bits - (sort == "i")) - 1)
        if sort == "f":
            _forget_no_data(values, page)
        if bits == 24 and sort == "u":
            values = _in_byte_order(values, page)
        if page.predictor == 2 and bits < 8 * values.itemsize and sort == "u":
            values = values & values.dtype.type(2**bits - 1)  # differences wrap at the stated depth
        fewer = stated_white(page, values)
        return Samples(
            _offset_lab(values, page) if kind == "lab" else values,
            kind,
            fewer or white,
            inverted=photometric_of(page) == INVERTED,
            premultiplied=bool(page.extrasamples) and page.extrasamples[0] == 1,
            note=f"its white is {fewer:,.0f}, as it states" if fewer else "",
        )


def _check_supported(page: tifffile.TiffPage) -> None:
    import tifffile

    if page.samplesperpixel > _MOST_CHANNELS or page.imagedepth != 1:
        raise PhotoError("unsupported", f"a TIFF with {page.samplesperpixel} channels")
    kind = kind_of(page)
    known = kind is not None and page.samplesperpixel >= CHANNELS[kind]
    if photometric_of(page) == PALETTE:
        known = page.colormap is not None and page.samplesperpixel <= 2
    if not known or page.dtype is None or page.dtype.kind == "c":
        what = f"{page.bitspersample} bits and kind {page.photometric!r}"
        raise PhotoError("unsupported", f"a TIFF of {what}")
    if page.compression not in tifffile.TIFF.DECOMPRESSORS:
        raise _not_decoded(page)
    if _has_packed_differences(page):
        raise PhotoError("unsupported", "a TIFF of PackBits with a predictor")
    if page.bitspersample == 24 and page.predictor != 1 and page.compression != 1:
        raise PhotoError("unsupported", "a TIFF of differences of 24 bits")


def _not_decoded(page: tifffile.TiffPage) -> PhotoError:
    name = getattr(page.compression, "name", page.compression)
    return PhotoError("unsupported", f"a TIFF compressed by {name}")


def _values(page: tifffile.TiffPage, data: bytes) -> np.ndarray:
    """Numbers as stored."""
    if page.compression == 1:
        page.predictor = 1  # which goes with compression
    elif page.predictor == 3 and page.sampleformat != 3:
        raise PhotoError("corrupt", "a TIFF of whole numbers whose predictor is that of floats")
    try:
        return np.asarray(page.asarray(maxworkers=1))
    except ImportError as error:  # a codec that this build of imagecodecs lacks
        raise _not_decoded(page) from error
    except MemoryError:
        raise
    except Exception as error:
        whole = page.is_tiled or page.imagelength % page.rowsperstrip == 0
        padded = int(page.compression) in _STRICT
        if whole and not padded:
            raise
        try:
            return _with_padding(page, data) if padded else _with_whole_last_strip(page, data)
        except MemoryError:
            raise
        except Exception as second:
            raise error from second  # the first explains more to people


def _with_padding(page: tifffile.TiffPage, data: bytes) -> np.ndarray:
    """Numbers of a TIFF by libtiff, which stops in each piece where its rows are full."""
    import imagecodecs

    check_padding(page, data)
    values: np.ndarray = imagecodecs.tiff_decode(data)
    if values.shape != page.shape:
        raise PhotoError(
            "corrupt", f"a TIFF of {page.shape} numbers, of which libtiff reads others"
        )
    return values


def _with_whole_last_strip(page: tifffile.TiffPage, data: bytes) -> np.ndarray:
    """Numbers of a TIFF whose last strip has as many rows as the others, some below the picture."""
    import tifffile

    strips = -(-page.imagelength // page.rowsperstrip)
    file = io.BytesIO(data)
    with tifffile.TiffFile(file) as longer:
        longer.pages.first.tags[_LENGTH].overwrite(strips * page.rowsperstrip)
    file.seek(0)
    with tifffile.TiffFile(file) as longer:
        find_pieces(longer.pages.first, file.getvalue())
        values = longer.pages.first.asarray(maxworkers=1)
        rows = slice(page.imagelength)
        return np.asarray(values[rows] if page.planarconfig == 1 else values[..., rows, :])


def check_pieces(data: bytes) -> None:
    """Raises PhotoError (corrupt) where libtiff has read a first page without the end of a strip or
    a tile."""
    import tifffile

    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            check_ends(file.pages.first, data)
            check_sums(file.pages.first, data)
    except (PhotoError, MemoryError):
        raise
    except Exception:  # what libtiff has read, tifffile may not know
        return


def _check_whole(page: tifffile.TiffPage, data: bytes) -> None:
    """What lies outside of the file, or after the end of a JPEG that was cut, would be filled with
    black or gray, and nobody told."""
    find_pieces(page, data)
    spans = list(zip(page.dataoffsets, page.databytecounts, strict=False))
    if page.compression == 1 and page.photometric == YCBCR:
        if sum(count for _, count in spans) < _bytes_of(page):
            raise cut_short()
    elif int(page.compression) in _JPEGS:
        if any(data.find(_END, start, start + count) < 0 for start, count in spans if count):
            raise cut_short()
    check_pictures(page, data)
    check_ends(page, data)


def _bytes_of(page: tifffile.TiffPage) -> int:
    """Of all pixels of YCbCr without compression."""
    width, height = page.imagewidth, page.imagelength
    across, down = subsampling_of(page)
    return int(-(-width // across) * -(-height // down) * (across * down + 2))


def _rgb_by_libtiff(data: bytes, page: tifffile.TiffPage) -> np.ndarray:
    """uint8 (H, W, 3) as stored."""
    import imagecodecs

    values: np.ndarray = imagecodecs.tiff_decode(data, asrgb=True)[..., :3]
    turned = tag_of(page, ORIENTATION)  # of which libtiff has applied the mirroring alone
    if turned in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values[::-1] if turned in (3, 4, 7, 8) else values


def _forget_no_data(values: np.ndarray, page: tifffile.TiffPage) -> None:
    """What stands for no value becomes none: as the brightest of all, it would be the white."""
    if float(np.finfo(values.dtype).max) > _BEYOND_LIGHT:
        values[values > _BEYOND_LIGHT] = np.nan
    try:
        none = float(tag_of(page, _NODATA))
    except (TypeError, ValueError):  # there is no such value, or it is no number
        return
    with np.errstate(over="ignore"):
        values[values == values.dtype.type(none)] = np.nan


def _in_byte_order(values: np.ndarray, page: tifffile.TiffPage) -> np.ndarray:
    """Whole numbers of 24 bits, which tifffile reads as if they were big-endian, and then turns
    those that are."""
    if page.parent.byteorder == ">":
        return values.byteswap()
    return (values & 255) << 16 | (values & 0xFF00) | values >> 16


def _looked_up(page: tifffile.TiffPage, values: np.ndarray) -> np.ndarray:
    """Colors (H, W, 3) of a palette, which some programs write as 0..255, not 0..65535."""
    assert page.colormap is not None  # _check_supported has seen to it
    colors = np.moveaxis(page.colormap, 0, -1)
    index = values[..., 0].astype(np.uint16, copy=False)  # a mask, where it has one bit
    return (colors if colors.max() > 255 else colors * np.uint16(257))[index]


def _offset_lab(values: np.ndarray, page: tifffile.TiffPage) -> np.ndarray:
    """CIE Lab whose a and b have their zero in the middle; CIELAB stores them with a sign."""
    if page.photometric == CIELAB and values.dtype.kind == "u":
        values[..., 1:3] ^= np.array(1 << (page.bitspersample - 1), values.dtype)
    return values
