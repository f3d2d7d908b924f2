"""JPEG 2000 that Pillow would read with fewer bits or wrong colors, and whether one is all there.

Legend: H W rows and columns, C channels.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from pipeline.errors import PhotoError
from pipeline.images.boxes import CMYK, LAB, SRGB, SYCC, Container, open_container, tiles_missing
from pipeline.images.deep_masters import DeepMaster
from pipeline.images.gray import Kind, Samples, rgb_of_ycc
from pipeline.images.tails import ends_blank

_END = b"\xff\xd9"  # of a codestream
_MOST_BITS = 32


@dataclass(frozen=True)
class _Channels:
    """What a codestream says of its picture, whose channels are all alike."""

    width: int
    height: int
    count: int
    bits: int
    signed: bool


def open_jpeg2000(data: bytes) -> DeepMaster | None:
    """Open a JPEG 2000 that Pillow reads wrong; None for all others, and other files.

    Raises PhotoError (unsupported) for a palette of which Pillow makes no colors.
    """
    container = open_container(data)
    if container is None:
        return None
    if container.palette:
        _check_palette(container.palette)
        return None
    found = _channels(data, container.start)
    if found is None or found.bits > _MOST_BITS or _is_for_pillow(found, container):
        return None
    kind, bits = _kind(found, container), found.bits
    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}.get(found.count, f"{found.count}")
    mode = {"cmyk": "CMYK", "lab": "LAB"}.get(kind, mode)
    return DeepMaster(
        *(found.width, found.height, f"{mode};{bits}" if bits != 8 else mode, found.count),
        *("JPEG2000", lambda: _decode(data, container, found), bits, "i" if found.signed else "u"),
        icc=container.icc,
        header=data,
    )


def check_codestream(data: bytes) -> None:
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


def _channels(data: bytes, start: int) -> _Channels | None:
    """None for channels of several depths or resolutions, which Pillow combines."""
    right, bottom, left, top = struct.unpack_from(">4I", data, start + 8)
    [count] = struct.unpack_from(">H", data, start + 40)
    parts = data[start + 42 : start + 42 + 3 * count]
    if len(set(parts[::3])) != 1 or set(parts[1::3]) | set(parts[2::3]) != {1}:
        return None
    bits, signed = (parts[0] & 0x7F) + 1, bool(parts[0] & 0x80)
    return _Channels(right - left, bottom - top, count, bits, signed)


def _is_for_pillow(found: _Channels, container: Container) -> bool:
    """Whether Pillow reads all of it: where samples have fewer than 8 bits, it would make a white
    that is darker than white."""
    plain = found.bits == 8 and not found.signed and not container.order
    return plain and container.space != LAB and not (container.space == SRGB and found.count < 3)


def _check_palette(palette: bytes) -> None:
    columns, depths = palette[2:3], palette[3:6]
    if columns not in (b"\3", b"\4") or depths != b"\7\7\7":
        raise PhotoError("unsupported", "a JPEG 2000 with a palette that is not of RGB")


def _kind(found: _Channels, container: Container) -> Kind:
    if found.count < 3:
        return "gray"
    if container.icc and container.icc[16:20] == b"CMYK" and found.count >= 4:
        return "cmyk"
    kinds: dict[int | None, Kind] = {CMYK: "cmyk", LAB: "lab"}
    return kinds.get(container.space, "rgb")


def _decode(data: bytes, container: Container, found: _Channels) -> Samples:
    import imagecodecs

    check_codestream(data)
    # Given the container, this library would apply the profile, and leave half of gray unwritten.
    values: np.ndarray = imagecodecs.jpeg2k_decode(data[container.start :])
    values = values[..., None] if values.ndim == 2 else values
    if sorted(container.order) == list(range(found.count)):
        values = values[..., container.order]
    if container.space == SYCC and found.count >= 3:
        values = rgb_of_ycc(values, 2**found.bits)
    return Samples(values, _kind(found, container), float(2 ** (found.bits - found.signed) - 1))
