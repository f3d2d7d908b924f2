"""TIFFs that Pillow would read with fewer bits, as other numbers, or not at all: by tifffile.

The only file that knows tifffile. Legend: H W rows and columns, C channels.
"""

from __future__ import annotations

import io
import logging
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import PhotoError
from pipeline.images.gray import Kind, Samples
from pipeline.images.masters import DeepMaster
from pipeline.images.stated import CURVE_TAGS, tiff_curve
from pipeline.metadata.exif import ICC, ORIENTATION, XMP

if TYPE_CHECKING:
    import tifffile

TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_MOST_CHANNELS = 8
_LEAST_CHANNELS = {"gray": 1, "rgb": 3, "cmyk": 4, "lab": 3}
# PhotometricInterpretation.
_INVERTED, _PALETTE, _YCBCR, _CIELAB, _ICCLAB = 0, 3, 6, 8, 9
_PHOTOMETRIC, _COLOR_MAP, _SUBSAMPLING, _BLACK_AND_WHITE, _NODATA = 262, 320, 530, 532, 42113
_KINDS: dict[int, Kind] = {
    **{_INVERTED: "gray", 1: "gray", 2: "rgb", 5: "cmyk"},
    **{_CIELAB: "lab", _ICCLAB: "lab"},
}
_PILLOWS = (_INVERTED, 1, 2, _PALETTE, 4, 5, _YCBCR)  # kinds, where samples have 8 bits at most
# Compressions whose decoders turn YCbCr into RGB by themselves: JPEG, PNG, WebP, JPEG XL.
_MANAGED = (6, 7, 34933, 34934, 50001, 50002, 52546)
_FULL_RANGE = (0, 1, 255, 1, 128, 1, 255, 1, 128, 1, 255, 1)  # of YCbCr, as fractions
_BEYOND_LIGHT = 1e30  # what a float above this stands for is no brightness
_JPEGS, _END = (6, 7), b"\xff\xd9"
# What Pillow reads wherever it runs: where it fails at one of these, the bytes are damaged.
_FAX = (2, 3, 4)  # of which zero is white, where nothing else is said
_EVERYWHERE = (1, 2, 3, 4, 5, 7, 8, 32773, 32946)


def open_tiff(data: bytes, wanted: bool = False) -> DeepMaster | None:
    """The first page, where Pillow would read less than its bits; or any, if it is wanted.

    Raises PhotoError (unsupported) for a camera's raw file whose first page is but a preview.
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
            return _described(page, data) if wanted or _beyond_pillow(page, data) else None
    except Exception:  # nearly anything, where a file is damaged: Pillow tells what is wrong
        return None


def open_refused(data: bytes, error: Exception) -> DeepMaster | None:
    """What Pillow has refused with this error; None where that tells of damage."""
    deep = open_tiff(data, wanted=True) if data[:4] in TIFF_STARTS else None
    if deep is None or "raw mode" in str(error) or "cannot identify" in str(error):
        return deep
    return None if _compression(data) in _EVERYWHERE else deep


def xmp_orientation(packet: bytes) -> int:
    """The orientation that an XMP packet states, 1..8; 1 where it states none."""
    found = re.search(rb"tiff:Orientation\s?(?:=\s?[\"']|>)\s?([1-8])", packet)
    return int(found[1]) if found else 1


def _beyond_pillow(page: tifffile.TiffPage, data: bytes) -> bool:
    if data[:4] == b"MM\0+":  # Pillow reads no BigTIFF of this byte order
        return True
    bits: Any = page.bitspersample
    if not isinstance(bits, int):  # they differ, as in 5, 6 and 5
        return False
    if _PHOTOMETRIC not in page.tags:  # Pillow takes zero for white then
        return int(page.compression) not in _FAX
    few, unsigned = bits <= 8, page.sampleformat in (1, 4)
    known = int(page.photometric) in _PILLOWS and not _is_raw_ycbcr(page)
    return not (few and unsigned and known)


def _is_raw_ycbcr(page: tifffile.TiffPage) -> bool:
    """Whether it is YCbCr without compression that Pillow reads wrong: of fewer colors than lights,
    in planes, or with another black and white."""
    if page.photometric != _YCBCR or page.compression != 1:
        return False
    plain = page.planarconfig == 1 and _subsampling(page) == (1, 1)
    return not plain or _tag(page, _BLACK_AND_WHITE) not in (None, _FULL_RANGE)


def _subsampling(page: tifffile.TiffPage) -> tuple[int, int]:
    found = _tag(page, _SUBSAMPLING)
    return (2, 2) if found is None else (int(found[0]), int(found[1]))


def _photometric(page: tifffile.TiffPage) -> int:
    """What a page states, or else what it must be."""
    if _PHOTOMETRIC in page.tags:
        return int(page.photometric)
    if _COLOR_MAP in page.tags:
        return _PALETTE
    return 2 if page.samplesperpixel - len(page.extrasamples) >= 3 else 1


def _described(page: tifffile.TiffPage, data: bytes) -> DeepMaster:
    bits, samples, extra = page.bitspersample, page.samplesperpixel, len(page.extrasamples)
    mode = {1: "L", 3: "RGB", 4: "CMYK"}.get(samples - extra, f"{samples}")
    kind = _kind(page)
    if kind == "lab":
        mode = "LAB"
    palette = _photometric(page) == _PALETTE
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
        _orientation(page),
        _dpi(page),
        _tag(page, ICC),
        tiff_curve({code: _tag(page, code) for code in CURVE_TAGS if code in page.tags}),
    )


def _kind(page: tifffile.TiffPage) -> Kind | None:
    photometric = _photometric(page)
    if photometric == _YCBCR and (int(page.compression) in _MANAGED or _is_for_libtiff(page)):
        return "rgb"
    return _KINDS.get(photometric)


def _is_for_libtiff(page: tifffile.TiffPage) -> bool:
    """YCbCr whose decoder makes no RGB of it; libtiff does."""
    eight = page.bitspersample == 8 and page.samplesperpixel == 3
    return page.photometric == _YCBCR and eight and int(page.compression) not in _MANAGED


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
        _check_whole(page, data)
        if _is_for_libtiff(page):
            return Samples(_rgb_by_libtiff(data, page), "rgb", 255)
        try:
            values = page.asarray(maxworkers=1)
        except ImportError as error:  # a codec that this build of imagecodecs lacks
            raise _not_decoded(page) from error
        if page.planarconfig == 2 and page.samplesperpixel > 1:
            values = np.moveaxis(values, 0, -1)
        values = values[..., None] if values.ndim == 2 else values
        if _photometric(page) == _PALETTE:
            return Samples(_looked_up(page, values), "rgb", 65535)
        kind = _kind(page)
        assert kind is not None  # _check_supported has seen to it
        bits, sort = page.bitspersample, values.dtype.kind
        white = None if sort == "f" or bits >= 32 else float(2 ** (bits - (sort == "i")) - 1)
        if sort == "f":
            _forget_no_data(values, page)
        if bits == 24 and sort == "u":
            values = _in_byte_order(values, page)
        return Samples(
            _offset_lab(values, page) if kind == "lab" else values,
            kind,
            white,
            inverted=_photometric(page) == _INVERTED,
            premultiplied=bool(page.extrasamples) and page.extrasamples[0] == 1,
        )


def _check_supported(page: tifffile.TiffPage) -> None:
    import tifffile

    if page.samplesperpixel > _MOST_CHANNELS or page.imagedepth != 1:
        raise PhotoError("unsupported", f"a TIFF with {page.samplesperpixel} channels")
    kind = _kind(page)
    known = kind is not None and page.samplesperpixel >= _LEAST_CHANNELS[kind]
    if _photometric(page) == _PALETTE:
        known = page.colormap is not None and page.samplesperpixel <= 2
    if not known or page.dtype is None:
        what = f"{page.bitspersample} bits and kind {page.photometric!r}"
        raise PhotoError("unsupported", f"a TIFF of {what}")
    if page.compression not in tifffile.TIFF.DECOMPRESSORS:
        raise _not_decoded(page)


def _not_decoded(page: tifffile.TiffPage) -> PhotoError:
    name = getattr(page.compression, "name", page.compression)
    return PhotoError("unsupported", f"a TIFF compressed by {name}")


def _check_whole(page: tifffile.TiffPage, data: bytes) -> None:
    """What lies outside of the file, or after the end of a JPEG that was cut, would be filled with
    black or gray, and nobody told."""
    spans = list(zip(page.dataoffsets, page.databytecounts, strict=False))
    missing = not spans
    if page.compression == 1 and not page.is_tiled:
        needed = _bytes_of(page)
        if len(spans) == 1:  # some programs write nothing, or too much, for the length of all
            spans = [(start, needed) for start, count in spans if start and not 0 < count < needed]
        missing = sum(count for _, count in spans) < needed
    elif int(page.compression) in _JPEGS:
        missing = any(data.find(_END, start, start + count) < 0 for start, count in spans if count)
    if missing or any(
        start + count > len(data) or (count == 0) != (start == 0) for start, count in spans
    ):
        raise PhotoError("corrupt", "the TIFF ends before its pixels do")


def _bytes_of(page: tifffile.TiffPage) -> int:
    """Of all pixels without compression."""
    width, height = page.imagewidth, page.imagelength
    across, down = _subsampling(page) if page.photometric == _YCBCR else (1, 1)
    if across * down > 1:
        return int(-(-width // across) * -(-height // down) * (across * down + 2))
    return int(width * height * page.samplesperpixel * page.bitspersample // 8)


def _rgb_by_libtiff(data: bytes, page: tifffile.TiffPage) -> np.ndarray:
    """uint8 (H, W, 3) as stored."""
    import imagecodecs

    values: np.ndarray = imagecodecs.tiff_decode(data, asrgb=True)[..., :3]
    turned = _tag(page, ORIENTATION)  # of which libtiff has applied the mirroring alone
    if turned in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values[::-1] if turned in (3, 4, 7, 8) else values


def _forget_no_data(values: np.ndarray, page: tifffile.TiffPage) -> None:
    """What stands for no value becomes none: as the brightest of all, it would be the white."""
    if float(np.finfo(values.dtype).max) > _BEYOND_LIGHT:
        values[values > _BEYOND_LIGHT] = np.nan
    try:
        none = float(_tag(page, _NODATA))
    except (TypeError, ValueError):  # there is no such value, or it is no number
        return
    with np.errstate(over="ignore"):
        values[values == values.dtype.type(none)] = np.nan


def _in_byte_order(values: np.ndarray, page: tifffile.TiffPage) -> np.ndarray:
    """Whole numbers of 24 bits, which tifffile reads as if they were big-endian."""
    if page.parent.byteorder == ">" or page.predictor != 1:
        return values
    return (values & 255) << 16 | (values & 0xFF00) | values >> 16


def _looked_up(page: tifffile.TiffPage, values: np.ndarray) -> np.ndarray:
    """Colors (H, W, 3) of a palette, which some programs write as 0..255, not 0..65535."""
    assert page.colormap is not None  # _check_supported has seen to it
    colors = np.moveaxis(page.colormap, 0, -1)
    return (colors if colors.max() > 255 else colors * np.uint16(257))[values[..., 0]]


def _offset_lab(values: np.ndarray, page: tifffile.TiffPage) -> np.ndarray:
    """CIE Lab whose a and b have their zero in the middle; CIELAB stores them with a sign."""
    if page.photometric == _CIELAB and values.dtype.kind == "u":
        values[..., 1:3] ^= np.array(1 << (page.bitspersample - 1), values.dtype)
    return values


def _orientation(page: tifffile.TiffPage) -> int:
    value = _tag(page, ORIENTATION)
    if value is None:
        packet = _tag(page, XMP)
        value = xmp_orientation(packet) if isinstance(packet, bytes) else 1
    return int(value) if value in range(1, 9) else 1


def _tag(page: tifffile.TiffPage, code: int) -> Any:
    tag = page.tags.get(code)
    return None if tag is None else tag.value


def _dpi(page: tifffile.TiffPage) -> tuple[float, float] | None:
    unit = _tag(page, 296)
    scale = {2: 1.0, 3: 2.54}.get(2 if unit is None else unit)
    try:
        (x, x_of), (y, y_of) = _tag(page, 282), _tag(page, 283)
        return None if scale is None else (scale * x / x_of, scale * y / y_of)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
