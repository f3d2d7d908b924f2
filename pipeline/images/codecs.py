"""Masters that Pillow would read with fewer bits, or not at all, and color profiles.

Only this module and its neighbors for JPEG, JPEG 2000, AVIF and TIFF know imagecodecs. Legend: H W
rows and columns, C channels.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from pipeline.images.avif import open_avif
from pipeline.images.boxes import open_container
from pipeline.images.formats import PNG_SIGNATURE
from pipeline.images.gray import CHANNELS, Kind, Profile, Samples
from pipeline.images.jpeg2000 import open_jpeg2000
from pipeline.images.jpegs import open_jpeg
from pipeline.images.masters import DeepMaster
from pipeline.images.tiffs import TIFF_STARTS, open_tiff


def open_deep(data: bytes) -> DeepMaster | None:
    """Open a master that Pillow cannot read, or would read with fewer bits; None for all others.

    Only the header is read. It and decode raise PhotoError (unsupported), and decode whatever a
    damaged file makes decoders raise.
    """
    if data[:8] == PNG_SIGNATURE:
        return _open_png(data)
    if data[:4] in TIFF_STARTS:
        return open_tiff(data)
    if data[:2] == b"\xff\xd8":
        return open_jpeg(data)
    return open_jpeg2000(data) or open_avif(data)


def own_profile(data: bytes, found: Mapping[Any, Any]) -> bytes | None:
    """The color profile of a file that Pillow has opened. found: Pillow's `info`."""
    container = open_container(data)
    if container is not None:
        return container.icc
    icc = found.get("icc_profile") or (_bitmap_profile(data) if data[:2] == b"BM" else None)
    return icc if isinstance(icc, bytes) else None


def _bitmap_profile(data: bytes) -> bytes | None:
    """The profile embedded in a BMP of version 5, where there is one."""
    [header] = struct.unpack_from("<I", data, 14) if len(data) >= 138 else [0]
    if header < 124 or data[70:74] != b"DEBM":
        return None
    place, size = struct.unpack_from("<II", data, 14 + 112)
    return data[14 + place : 14 + place + size] or None


def color_profile(icc: bytes, kind: Kind) -> Profile | None:
    """A function that converts pixels of this kind from a profile to sRGB.

    None if the values are to be used as they are: the profile is sRGB (changes nothing by more than
    a code of 255), or is damaged, or belongs to another kind of pixels.
    """
    if icc[16:20] != {"gray": b"GRAY", "rgb": b"RGB ", "cmyk": b"CMYK"}.get(kind):
        return None
    steps = np.linspace(0, 255, 256 if kind == "gray" else 6).astype(np.uint8)
    axes = CHANNELS[kind]
    probe = np.stack(np.meshgrid(*[steps] * axes, indexing="ij"), -1).reshape(1, -1, axes)
    try:
        moved = _to_srgb(probe, icc, kind)
    except Exception:  # the type depends on what is damaged
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
    else:  # as floats: with integers, this library loses detail in dark tones
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
    """Compress by Deflate with libdeflate, in a third of zlib's time."""
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
        return None  # palettes have 8 bits, and Pillow reads gray with all its bits
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    kind: Kind = "gray" if color == b"\x04" else "rgb"

    def decode() -> Samples:
        values = _as_HWC(imagecodecs.png_decode(data))
        return Samples(values[..., : len(mode)], kind, 65535)  # one color may be transparent

    mode = {b"\x02": "RGB", b"\x04": "LA", b"\x06": "RGBA"}[color]
    return DeepMaster(width, height, f"{mode};16", len(mode), "PNG", decode, 16, header=data)


def _as_HWC(values: np.ndarray) -> np.ndarray:
    return values[..., None] if values.ndim == 2 else values
