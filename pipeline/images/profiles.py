"""Color profiles (ICC): where files keep them, and their pixels in sRGB.

Legend: h W rows and columns of a band, C channels.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from pipeline.images.boxes import open_container
from pipeline.images.gray import CHANNELS, Kind, Profile


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
