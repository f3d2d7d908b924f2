"""JPEGs that Pillow does not read: 12 bits, lossless, JPEG-LS.

Legend: H W rows and columns, C channels.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.errors import PhotoError
from pipeline.images.gray import Kind, Samples
from pipeline.images.masters import DeepMaster

# Kinds of frames by marker, as named in the standard.
_PROCESSES = {
    0xC0: "baseline",
    0xC1: "extended sequential",
    0xC2: "progressive",
    0xC3: "lossless",
    0xC5: "hierarchical sequential",
    0xC6: "hierarchical progressive",
    0xC7: "hierarchical lossless",
    0xC9: "arithmetic sequential",
    0xCA: "arithmetic progressive",
    0xCB: "arithmetic lossless",
    0xCD: "arithmetic hierarchical sequential",
    0xCE: "arithmetic hierarchical progressive",
    0xCF: "arithmetic hierarchical lossless",
    0xF7: "JPEG-LS",
}
_PILLOWS = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)  # where samples have 8 bits
_END, _LINES = b"\xff\xd9", b"\xff\xdc\0\4"  # the segment "define number of lines"
_LOSSLESS, _JPEG_LS = 0xC3, 0xF7
_MORE = bytes(range(1, 250))
_ALONE = (0x01, *range(0xD0, 0xD9))  # markers without a length
_MOST_SEGMENTS = 10_000
_MOST_SCANS = 500  # encoders make 20 at most
_MARKER = re.compile(rb"\xff[^\0\xd0-\xd7\xff]")  # that ends the data of a scan


@dataclass(frozen=True)
class _Frame:
    """A frame's header, and the positions of its marker and of the first scan's data."""

    process: int
    bits: int
    height: int
    width: int
    channels: int
    at: int
    scan: int
    adobe: bool  # CMYK is stored inverted


def open_jpeg(data: bytes) -> DeepMaster | None:
    """Open a JPEG that Pillow does not read; None for all others, and if the header is damaged."""
    frame = _frame(data)
    if frame is None or 0 in (frame.height, frame.width):
        return None
    if frame.process in _PILLOWS and frame.bits == 8:
        return None
    kinds: dict[int, Kind] = {1: "gray", 3: "rgb", 4: "cmyk"}
    kind = kinds.get(frame.channels)
    name = _PROCESSES[frame.process]
    mode = {1: "L", 3: "RGB", 4: "CMYK"}.get(frame.channels, f"{frame.channels}")

    def decode() -> Samples:
        decoders = _decoders(frame)
        if kind is None or not decoders:
            what = f"a JPEG of {frame.bits} bits and {frame.channels} channels, {name}"
            raise PhotoError("unsupported", what)
        check_scans(data)
        if data.find(_END, frame.scan) < 0:  # which these decoders fill up, and tell nobody
            raise PhotoError("corrupt", "the JPEG ends before its pixels do")
        pixels = _first_that_reads(decoders, data)
        values = pixels[..., None] if pixels.ndim == 2 else pixels
        return Samples(values, kind, 2**frame.bits - 1, inverted=kind == "cmyk" and frame.adobe)

    # Pillow, which only reads the header, is shown a baseline JPEG of 8 bits.
    header = bytearray(data[: frame.scan])
    header[frame.at + 1], header[frame.at + 4] = 0xC0, 8
    mode = mode if frame.bits == 8 else f"{mode};{frame.bits}"
    return DeepMaster(
        *(frame.width, frame.height, mode, frame.channels, "JPEG", decode, frame.bits),
        header=bytes(header),
    )


def with_height(data: bytes) -> bytes:
    """A JPEG whose height follows its first scan, as of scanners that did not know it before, with
    it in its header; any other file as it is."""
    frame = _frame(data)
    if frame is None or frame.height:
        return data
    told = data.find(_LINES, frame.scan) + len(_LINES)
    if told < len(_LINES) or told + 2 > len(data):
        return data
    place = frame.at + 5
    return data[:place] + data[told : told + 2] + data[place + 2 :]


def ends_early(data: bytes, tables: bytes | None = None, only_if_filled: bool = False) -> bool:
    """Whether a JPEG has fewer blocks than its header says, in spite of its end: then, more bytes
    before that become pixels. tables: of a TIFF.

    only_if_filled: false at once unless the last pixel is middle gray, as what libjpeg fills in is.
    """
    import imagecodecs

    frame = _frame(data)
    if frame is None:
        return False
    end = data.find(_END, frame.scan)
    end = end if end >= 0 else len(data)
    try:
        found = imagecodecs.jpeg8_decode(data, tables=tables)
        if only_if_filled and (found[-1, -1] != 1 << (frame.bits - 1)).any():
            return False
        first = zlib.crc32(found.data)
        del found  # of a large picture, two would take much memory
        more = imagecodecs.jpeg8_decode(data[:end] + _MORE + data[end:], tables=tables)
    except imagecodecs.Jpeg8Error:  # of a kind that other decoders read
        return False
    return zlib.crc32(more.data) != first


def check_scans(data: bytes) -> None:
    """Raises PhotoError (unsupported) where a JPEG has so many scans that decoding takes hours."""
    frame = _frame(data)
    at, scans = frame.scan if frame else len(data), 1
    for _ in range(_MOST_SEGMENTS):
        found = _MARKER.search(data, at)
        if found is None or found[0] == _END or scans > _MOST_SCANS:
            break
        at, scans = found.start(), scans + (found[0] == b"\xff\xda")
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    else:
        scans = _MOST_SCANS + 1  # what has so many segments may have more scans behind them
    if scans > _MOST_SCANS:
        raise PhotoError("unsupported", f"a JPEG of more than {_MOST_SCANS} scans")


def size_of(data: bytes) -> tuple[int, int] | None:
    """Width and height by the header of a JPEG; None if it is damaged."""
    frame = _frame(data)
    return (frame.width, frame.height) if frame else None


def _frame(data: bytes) -> _Frame | None:
    found: tuple[int, int, int, int, int, int] | None = None
    adobe, at = False, 2
    if data[:2] != b"\xff\xd8":
        return None
    for _ in range(_MOST_SEGMENTS):
        at = data.find(b"\xff", at)
        if at < 0 or at + 4 > len(data):
            return None
        marker = data[at + 1]
        if marker in (0x00, 0xFF) or marker in _ALONE:
            at += 1 if marker == 0xFF else 2
            continue
        [length] = struct.unpack_from(">H", data, at + 2)
        body = data[at + 4 : at + 2 + length]
        if marker in _PROCESSES and found is None:
            if len(body) < 6:
                return None
            bits, height, width, channels = struct.unpack_from(">BHHB", body)
            found = (marker, bits, height, width, channels, at)
        adobe = adobe or (marker == 0xEE and body.startswith(b"Adobe"))
        at += 2 + length
        if marker == 0xDA:
            return _Frame(*found, at, adobe) if found else None
    return None


def _decoders(frame: _Frame) -> list[Callable[[bytes], np.ndarray]]:
    """The decoders to try on such a frame, in order."""
    import imagecodecs

    if frame.process == _JPEG_LS:
        return [imagecodecs.jpegls_decode]
    if frame.process == _LOSSLESS:
        return [imagecodecs.jpeg8_decode, imagecodecs.jpegsof3_decode, imagecodecs.ljpeg_decode]
    return [imagecodecs.jpeg8_decode] if frame.process in _PILLOWS and frame.bits == 12 else []


def _first_that_reads(decoders: list[Callable[[bytes], np.ndarray]], data: bytes) -> np.ndarray:
    """The result of the first decoder that reads the file; if none does, raises the first one's
    error."""
    first: Exception | None = None
    for decoder in decoders:
        try:
            return decoder(data)
        except Exception as error:  # each decoder has error classes of its own
            first = first or error
    assert first is not None
    raise first
