"""Masters that Pillow would read with fewer bits, and color profiles.

The only file that knows tifffile and imagecodecs. Legend: H W rows and columns, C channels.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import PhotoError
from pipeline.images.gray import Kind, Profile, Samples

if TYPE_CHECKING:
    import tifffile

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PNG = b"\x89PNG\r\n\x1a\n"
_SIZ = b"\xff\x4f\xff\x51"  # how the codestream of JPEG 2000 starts
_MOST_CHANNELS = 8
_CHANNELS = {"gray": 1, "rgb": 3, "cmyk": 4}
_GRAY, _RGB, _CMYK, _LAB = (0, 1), (2,), (5,), (8, 9)  # TIFF's PhotometricInterpretation
_PALETTE = 3


@dataclass(frozen=True)
class DeepMaster:
    """A picture with more bits than Pillow reads of it; `decode` gives its pixels as stored.

    mode: as "RGB;16". channels: alpha counts. orientation, dpi and icc are those of TIFF; else 1,
    None and None.
    """

    width: int
    height: int
    mode: str
    channels: int
    format: str
    decode: Callable[[], Samples]
    orientation: int = 1
    dpi: tuple[float, float] | None = None
    icc: bytes | None = None


def open_deep(data: bytes) -> DeepMaster | None:
    """A PNG, TIFF or JPEG 2000 that Pillow would read with less than its bits; None for others.

    Only the header is read. decode raises PhotoError (unsupported), or whatever a damaged file
    makes decoders raise.
    """
    if data[:8] == _PNG:
        return _open_png(data)
    if data[:4] in _TIFF:
        return _open_tiff(data)
    start = data.find(_SIZ, 0, 1 << 16)
    return None if start < 0 else _open_jpeg2000(data, start + 4)


def color_profile(icc: bytes, kind: Kind) -> Profile | None:
    """What takes pixels of this kind from a profile to sRGB.

    None where the profile is sRGB, which moves nothing by more than a code of 255, or where it is
    damaged or belongs to another kind of pixels: then values count as they are.
    """
    if icc[16:20] != {"gray": b"GRAY", "rgb": b"RGB ", "cmyk": b"CMYK"}.get(kind):
        return None
    steps = np.linspace(0, 255, 256 if kind == "gray" else 6).astype(np.uint8)
    axes = _CHANNELS[kind]
    probe = np.stack(np.meshgrid(*[steps] * axes, indexing="ij"), -1).reshape(1, -1, axes)
    try:
        moved = _to_srgb(probe, icc, kind)
    except Exception:  # of many kinds, by what is damaged
        return None
    if kind != "cmyk" and np.abs(moved.astype(int) - probe).max() <= 1:
        return None
    if kind != "gray":
        return lambda band: _to_srgb(band, icc, kind)
    tables = {
        dtype: _to_srgb(np.arange(np.iinfo(dtype).max + 1, dtype=dtype)[None, :, None], icc, kind)
        for dtype in (np.uint8, np.uint16)
    }
    return lambda band: tables[band.dtype.type][0][band[..., 0]]


def _to_srgb(band: np.ndarray, icc: bytes, kind: Kind) -> np.ndarray:
    """Pixels uint8 or uint16 (h, W, C) in sRGB, (h, W, 3) of the same type."""
    import imagecodecs

    if kind == "cmyk":
        given, highest = band, 1
    else:  # as floats, since the whole numbers of this library lose what is nearly black
        highest = int(np.iinfo(band.dtype).max)
        given = (band[..., 0] if kind == "gray" else band) / np.float32(highest)
    moved = imagecodecs.cms_transform(
        np.ascontiguousarray(given),
        icc,
        imagecodecs.cms_profile("srgb"),
        colorspace=kind,
        outcolorspace="rgb",
        outdtype=str(given.dtype),
        intent=imagecodecs.CMS.INTENT.RELATIVE_COLORIMETRIC,
    )
    return np.rint((moved * np.float32(highest)).clip(0, np.iinfo(band.dtype).max)).astype(
        band.dtype
    )


def deflate(data: bytes) -> bytes:
    """Compressed by Deflate, as zlib does, in a third of its time (libdeflate)."""
    import imagecodecs

    return bytes(imagecodecs.deflate_encode(data, level=6))


def encode_jpeg2000(rgb_HW3: np.ndarray) -> bytes:
    """A lossless JPEG 2000 in sRGB of uint8 or uint16 (H, W, 3), or (H, W, 1)."""
    import imagecodecs

    pixels = rgb_HW3 if rgb_HW3.shape[2] == 3 else rgb_HW3[..., 0]
    return bytes(imagecodecs.jpeg2k_encode(pixels, level=0, reversible=True, codecformat="jp2"))


def _open_png(data: bytes) -> DeepMaster | None:
    import imagecodecs

    depth, color = data[24:25], data[25:26]
    if depth != b"\x10" or color not in (b"\x02", b"\x04", b"\x06"):
        return None  # palettes have 8 bits, and Pillow reads gray alone bit by bit
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    kind: Kind = "gray" if color == b"\x04" else "rgb"

    def decode() -> Samples:
        return Samples(_as_HWC(imagecodecs.png_decode(data)), kind, 65535)

    mode = {b"\x02": "RGB", b"\x04": "LA", b"\x06": "RGBA"}[color]
    return DeepMaster(width, height, f"{mode};16", len(mode), "PNG", decode)


def _open_jpeg2000(data: bytes, at: int) -> DeepMaster | None:
    import imagecodecs

    right, bottom, left, top = (
        int.from_bytes(data[at + place : at + place + 4], "big") for place in (4, 8, 12, 16)
    )
    count = int.from_bytes(data[at + 36 : at + 38], "big")
    depths = {value & 0x7F for value in data[at + 38 : at + 38 + 3 * count : 3]}
    if len(depths) != 1 or not 8 <= (depth := depths.pop()) < 16:
        return None  # 8 bits a sample at most, as the depth is less by one in the file
    kind: Kind = "gray" if count < 3 else "rgb"

    def decode() -> Samples:
        return Samples(_as_HWC(imagecodecs.jpeg2k_decode(data)), kind, 2 ** (depth + 1) - 1)

    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}.get(count, f"{count}")
    mode = f"{mode};{depth + 1}"
    return DeepMaster(right - left, bottom - top, mode, count, "JPEG2000", decode)


def _open_tiff(data: bytes) -> DeepMaster | None:
    import tifffile

    logger = logging.getLogger("tifffile")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page = file.pages.first
            bits, samples = page.bitspersample, page.samplesperpixel
            known = page.dtype is not None and (page.dtype.kind, bits) in {
                ("u", 12), ("u", 16), ("u", 32), ("i", 16), ("i", 32), ("f", 32)
            }  # fmt: skip
            shallow = bits <= 8 or (samples == 1 and known and page.photometric in _GRAY)
            if shallow and data[:4] != b"MM\0+":  # Pillow reads no BigTIFF of this byte order
                return None
            extra = len(page.extrasamples)
            mode = {1: "L", 3: "RGB", 4: "CMYK"}.get(samples - extra, f"{samples}")
            if page.photometric == _PALETTE:
                mode, samples = "P", 3  # as many as it has once it is decoded
            return DeepMaster(
                page.imagewidth,
                page.imagelength,
                f"{mode}{'A' if extra else ''};{bits}",
                samples,
                "TIFF",
                lambda: _decode_tiff(data),
                _number(page, 274, 1),
                _tiff_dpi(page),
                _tag(page, 34675),
            )
    except Exception:  # nearly anything, where a file is damaged: Pillow tells what is wrong
        return None


def _decode_tiff(data: bytes) -> Samples:
    """Pixels of the first page."""
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages.first
        if page.samplesperpixel > _MOST_CHANNELS or page.imagedepth != 1 or page.dtype is None:
            raise PhotoError("unsupported", f"a TIFF with {page.samplesperpixel} channels")
        kinds: dict[tuple[int, ...], Kind] = {_GRAY: "gray", _RGB: "rgb", _CMYK: "cmyk"}
        kinds[_LAB] = "lab"
        kind = next((kind for codes, kind in kinds.items() if page.photometric in codes), None)
        if kind is None:
            palette = page.photometric == _PALETTE and page.samplesperpixel == 1
            colors = page.colormap if palette else None
            if colors is None:
                what = f"{page.bitspersample} bits and kind {page.photometric!r}"
                raise PhotoError("unsupported", f"a TIFF of {what}")
            return Samples(np.moveaxis(colors, 0, -1)[page.asarray(maxworkers=1)], "rgb", 65535)
        values = page.asarray(maxworkers=1)
        if page.planarconfig == 2 and page.samplesperpixel > 1:
            values = np.moveaxis(values, 0, -1)
        bits, sort = page.bitspersample, page.dtype.kind
        white = None if sort == "f" or bits >= 32 else float(2 ** (bits - (sort == "i")) - 1)
        return Samples(
            _as_HWC(values),
            kind,
            white,
            inverted=page.photometric == 0,
            premultiplied=bool(page.extrasamples) and page.extrasamples[0] == 1,
        )


def _as_HWC(values: np.ndarray) -> np.ndarray:
    return values[..., None] if values.ndim == 2 else values


def _tag(page: tifffile.TiffPage, code: int) -> Any:
    tag = page.tags.get(code)
    return None if tag is None else tag.value


def _number(page: tifffile.TiffPage, code: int, absent: int) -> int:
    value = _tag(page, code)
    return int(value) if isinstance(value, int) else absent


def _tiff_dpi(page: tifffile.TiffPage) -> tuple[float, float] | None:
    scale = {2: 1.0, 3: 2.54}.get(_number(page, 296, 2))
    try:
        (x, x_of), (y, y_of) = _tag(page, 282), _tag(page, 283)
        return None if scale is None else (scale * x / x_of, scale * y / y_of)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
