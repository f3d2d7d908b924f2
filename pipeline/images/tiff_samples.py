"""Pixels of the first page of a TIFF, by tifffile, or by libtiff where that knows better.

Legend: H W rows and columns, C channels.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from pipeline.errors import PhotoError
from pipeline.images.gray import CHANNELS, Samples
from pipeline.images.piece_contents import (
    bytes_of_ycbcr,
    check_ends,
    check_lengths,
    check_padding,
    check_pictures,
    says_other_colors,
)
from pipeline.images.pieces import cut_short, find_pieces, find_whole_jpeg, is_in_whole_words
from pipeline.images.tiff_fields import (
    CIELAB,
    INVERTED,
    JPEG,
    NOTHING,
    OLD_JPEG,
    PACK_BITS,
    PALETTE,
    YCBCR,
    ZSTD,
    has_packed_differences,
    is_for_libtiff,
    kind_of,
    photometric_of,
    stated_white,
    tag_of,
)
from pipeline.metadata.directories import ORIENTATION

if TYPE_CHECKING:
    import tifffile

_MOST_CHANNELS = 8
_LENGTH, _NODATA = 257, 42113  # tags
_BEYOND_LIGHT = 1e30  # what a float above this stands for is no brightness
_END_OF_JPEG = b"\xff\xd9"
_STRICT = (PACK_BITS, ZSTD)  # whose decoders want nothing behind their data


def decode_tiff(data: bytes) -> Samples:
    """Pixels of the first page.

    Raises PhotoError (unsupported, corrupt), and whatever damaged files make decoders raise.
    """
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages.first
        _check_supported(page)
        bits = page.bitspersample
        _correct(page, data)
        _check_whole(page, data)
        if is_for_libtiff(page):
            return Samples(_rgb_by_libtiff(data, page), "rgb", 255)
        values = _values(page, data)
        if page.planarconfig == 2 and page.samplesperpixel > 1:
            values = np.moveaxis(values, 0, -1)
        values = values[..., None] if values.ndim == 2 else values
        if photometric_of(page) == PALETTE:
            return Samples(_looked_up(page, values), "rgb", 65535)
        return _samples(page, _as_meant(page, values, bits), bits)


def _correct(page: tifffile.TiffPage, data: bytes) -> None:
    """Let a page say what its pixels are, where it says something else."""
    import tifffile

    if is_in_whole_words(page, data):
        page.bitspersample = 16
    if says_other_colors(page, data):
        page.photometric = tifffile.PHOTOMETRIC.YCBCR  # so that the JPEG's own word counts
    if page.compression == OLD_JPEG and kind_of(page) == "gray":
        find_whole_jpeg(page, data)
    if page.compression == NOTHING:
        page.predictor = 1  # which goes with compression


def _check_supported(page: tifffile.TiffPage) -> None:
    """Raises PhotoError (unsupported)."""
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
    if has_packed_differences(page):
        raise PhotoError("unsupported", "a TIFF of PackBits with a predictor")
    if page.bitspersample == 24 and page.predictor != 1 and page.compression != 1:
        raise PhotoError("unsupported", "a TIFF of differences of 24 bits")


def _not_decoded(page: tifffile.TiffPage) -> PhotoError:
    name = getattr(page.compression, "name", page.compression)
    return PhotoError("unsupported", f"a TIFF compressed by {name}")


def _check_whole(page: tifffile.TiffPage, data: bytes) -> None:
    """What lies outside of the file, or after the end of a JPEG that was cut, would be filled with
    black or gray, and nobody told."""
    find_pieces(page, data)
    spans = list(zip(page.dataoffsets, page.databytecounts, strict=False))
    if page.compression == NOTHING and page.photometric == YCBCR:
        size = bytes_of_ycbcr(page, page.imagewidth, page.imagelength)
        if sum(count for _, count in spans) < size:
            raise cut_short()
    elif int(page.compression) in (OLD_JPEG, JPEG):
        if any(
            data.find(_END_OF_JPEG, start, start + count) < 0 for start, count in spans if count
        ):
            raise cut_short()
    check_pictures(page, data)
    check_ends(page, data)
    check_lengths(page, data)


def _values(page: tifffile.TiffPage, data: bytes) -> np.ndarray:
    """Numbers as stored."""
    if page.predictor == 3 and page.sampleformat != 3:
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


def _rgb_by_libtiff(data: bytes, page: tifffile.TiffPage) -> np.ndarray:
    """uint8 (H, W, 3) as stored."""
    import imagecodecs

    values: np.ndarray = imagecodecs.tiff_decode(data, asrgb=True)[..., :3]
    turned = tag_of(page, ORIENTATION)  # of which libtiff has applied the mirroring alone
    if turned in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values[::-1] if turned in (3, 4, 7, 8) else values


def _as_meant(page: tifffile.TiffPage, values: np.ndarray, bits: int) -> np.ndarray:
    """Values (H, W, C) as the TIFF means them, not as tifffile gives them. bits: as stated."""
    if values.dtype.kind == "f":
        _forget_no_data(values, page)
    if values.dtype.kind == "u":
        if bits == 24:
            values = _in_byte_order(values, page)
        if page.predictor == 2 and bits < 8 * values.itemsize:  # differences wrap at the depth
            values = values & values.dtype.type(2**bits - 1)
    return _offset_lab(values, page) if kind_of(page) == "lab" else values


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


def _offset_lab(values: np.ndarray, page: tifffile.TiffPage) -> np.ndarray:
    """CIE Lab whose a and b have their zero in the middle; CIELAB stores them with a sign."""
    if page.photometric == CIELAB and values.dtype.kind == "u":
        values[..., 1:3] ^= np.array(1 << (page.bitspersample - 1), values.dtype)
    return values


def _looked_up(page: tifffile.TiffPage, values: np.ndarray) -> np.ndarray:
    """Colors (H, W, 3) of a palette, which some programs write as 0..255, not 0..65535."""
    assert page.colormap is not None  # _check_supported has seen to it
    colors = np.moveaxis(page.colormap, 0, -1)
    index = values[..., 0].astype(np.uint16, copy=False)  # a mask, where it has one bit
    return (colors if colors.max() > 255 else colors * np.uint16(257))[index]


def _samples(page: tifffile.TiffPage, values: np.ndarray, bits: int) -> Samples:
    kind, sort = kind_of(page), values.dtype.kind
    assert kind is not None  # _check_supported has seen to it
    white = None if sort == "f" or bits >= 32 else float(2 ** (bits - (sort == "i")) - 1)
    fewer = stated_white(page, values)
    return Samples(
        values,
        kind,
        fewer or white,
        inverted=photometric_of(page) == INVERTED,
        premultiplied=bool(page.extrasamples) and page.extrasamples[0] == 1,
        note=f"its white is {fewer:,.0f}, as it states" if fewer else "",
    )
