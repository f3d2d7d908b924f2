"""Masters that Pillow would read with fewer bits, or not at all, and color profiles.

Only this module and its neighbors avif, jpegs, pieces and tiffs know imagecodecs. Legend: H W rows
and columns, C channels.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from pipeline.errors import PhotoError
from pipeline.images.avif import open_avif
from pipeline.images.boxes import CMYK, LAB, SRGB, SYCC, open_container, tiles_missing
from pipeline.images.formats import PNG_SIGNATURE
from pipeline.images.gray import CHANNELS, Kind, Profile, Samples, rgb_of_ycc
from pipeline.images.jpegs import open_jpeg
from pipeline.images.masters import DeepMaster
from pipeline.images.tails import ends_blank
from pipeline.images.tiffs import TIFF_STARTS, open_tiff

_END = b"\xff\xd9"  # of a codestream


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
    return _open_jpeg2000(data) or open_avif(data)


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


def _open_jpeg2000(data: bytes) -> DeepMaster | None:
    import imagecodecs

    container = open_container(data)
    if container is None:
        return None
    if container.palette:
        if container.palette[2:3] not in b"\3\4" or any(container.palette[3:6].strip(b"\7")):
            raise PhotoError("unsupported", "a JPEG 2000 with a palette that is not of RGB")
        return None
    at = container.start + 4
    right, bottom, left, top = (
        int.from_bytes(data[at + place : at + place + 4], "big") for place in (4, 8, 12, 16)
    )
    count = int.from_bytes(data[at + 36 : at + 38], "big")
    parts = data[at + 38 : at + 38 + 3 * count]
    if len(set(parts[::3])) != 1 or set(parts[1::3]) | set(parts[2::3]) != {1}:
        return None  # channels of several depths or resolutions, which Pillow combines
    bits, signed = (parts[0] & 0x7F) + 1, bool(parts[0] & 0x80)
    odd = container.space == LAB or container.order or (container.space == SRGB and count < 3)
    if bits > 32 or (bits == 8 and not signed and not odd):
        return None  # of fewer, Pillow would make a white that is darker than white
    kinds: dict[int | None, Kind] = {CMYK: "cmyk", LAB: "lab"}
    kind = "gray" if count < 3 else kinds.get(container.space, "rgb")
    if container.icc and container.icc[16:20] == b"CMYK" and count >= 4:
        kind = "cmyk"
    white = float(2 ** (bits - signed) - 1)

    def decode() -> Samples:
        check_tiles(data)
        # Given the container, this library would apply the profile, and leave half of gray
        # unwritten.
        values = _as_HWC(imagecodecs.jpeg2k_decode(data[container.start :]))
        if sorted(container.order) == list(range(count)):
            values = values[..., container.order]
        if container.space == SYCC and count >= 3:
            values = rgb_of_ycc(values, 2**bits)
        return Samples(values, kind, white)

    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}.get(count, f"{count}")
    mode = {"cmyk": "CMYK", "lab": "LAB"}.get(kind, mode)
    return DeepMaster(
        *(right - left, bottom - top, f"{mode};{bits}" if bits != 8 else mode, count, "JPEG2000"),
        *(decode, bits, "i" if signed else "u"),
        icc=container.icc,
        header=data,
    )


def check_tiles(data: bytes) -> None:
    """Raises PhotoError (corrupt) where a JPEG 2000 lacks tiles, or ends in zeros."""
    container = open_container(data)
    if container is None:
        return
    if missing := tiles_missing(data, container.start):
        raise PhotoError("corrupt", f"{missing} in the JPEG 2000")
    if ends_blank(data, container.end):
        told = data.rfind(_END, container.start, container.end)
        if told < 0 or any(data[told + 2 : container.end]):
            raise PhotoError("corrupt", "the JPEG 2000 ends in zeros, as a broken copy does")


def _as_HWC(values: np.ndarray) -> np.ndarray:
    return values[..., None] if values.ndim == 2 else values
