"""JPEGs that Pillow does not read: 12 bits, lossless, JPEG-LS.

Legend: H W rows and columns, C channels.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator
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
_PROGRESSIVE = (0xC2, 0xCA)
_SCAN, _END, _LINES = (
    b"\xff\xda",
    b"\xff\xd9",
    b"\xff\xdc\0\4",
)  # the segment "define number of lines"
_LOSSLESS, _JPEG_LS = 0xC3, 0xF7
_MORE = bytes(range(1, 250))
_ALONE = (0x01, *range(0xD0, 0xD9))  # markers without a length
_MOST_SEGMENTS = 10_000
_MOST_SCANS = 500  # encoders make 20 at most
_INTERVAL, _RESTART = b"\xff\xdd\0\x04", re.compile(rb"\xff[\xd0-\xd7]")
_MARKER = re.compile(rb"\xff[^\0\xd0-\xd7\xff]")  # that ends the data of a scan


@dataclass(frozen=True)
class _Frame:
    """A frame's header, and the positions of its marker, of the first scan's and of its data."""

    process: int
    bits: int
    height: int
    width: int
    channels: int
    at: int
    first: int
    scan: int
    jfif: bool
    transform: int | None  # of colors, by Adobe's marker

    @property
    def adobe(self) -> bool:
        """Whether it has Adobe's marker."""
        return self.transform is not None


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
        if frame.process != _JPEG_LS and _goes_on(decoders, data, frame, pixels):
            raise PhotoError("corrupt", "the JPEG ends before its pixels do")
        values = pixels[..., None] if pixels.ndim == 2 else pixels
        white, note = 2**frame.bits - 1, note_on_inks(data)
        return Samples(values, kind, white, inverted=kind == "cmyk", note=note)

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
    end = _end_of(data, frame)
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
    """Raises PhotoError: unsupported where a JPEG has so many scans that decoding takes hours,
    corrupt where none of them has one of its channels, or a part between restarts is lost."""
    frame = _frame(data)
    if frame is None:
        return
    segments, scans, seen = 0, 1, set(_channels_of_scan(data, frame.first))
    start, restarts = frame.scan, _INTERVAL in data[: frame.scan]
    for marker, at in _segments_behind(data, frame):
        if restarts:
            _check_restarts(data, start, at)
            start = at
        segments += 1
        if marker == _SCAN:
            scans += 1
            seen.update(_channels_of_scan(data, at))
        if scans > _MOST_SCANS or segments == _MOST_SEGMENTS:  # more scans may be behind them
            raise PhotoError("unsupported", f"a JPEG of more than {_MOST_SCANS} scans")
    names = data[frame.at + 10 : frame.at + 10 + 3 * frame.channels : 3]
    if set(names) - seen:
        raise PhotoError("corrupt", "the JPEG ends before its colors do")


def _check_restarts(data: bytes, start: int, end: int) -> None:
    for place, found in enumerate(_RESTART.finditer(data, start, end)):
        if found[0][1] & 7 != place & 7:
            raise PhotoError("corrupt", "a part of the JPEG is lost or displaced")


def is_progressive(data: bytes) -> bool:
    frame = _frame(data)
    return frame is not None and frame.process in _PROGRESSIVE


def note_on_inks(data: bytes) -> str:
    """For people: that a JPEG of four channels does not say how they are stored."""
    frame = _frame(data)
    if frame is None or frame.channels != 4 or frame.adobe:
        return ""
    return "its four inks are taken as inverted, as most programs store them; it does not say so"


def _segments_behind(data: bytes, frame: _Frame) -> Iterator[tuple[bytes, int]]:
    """Marker and position of what follows the data of the first scan, up to the end mark."""
    at = frame.scan
    for _ in range(_MOST_SEGMENTS):
        found = _MARKER.search(data, at)
        if found is None:
            return
        yield found[0], found.start()
        if found[0] == _END:
            return
        at = found.start() + 2
        at += int.from_bytes(data[at : at + 2], "big")


def _channels_of_scan(data: bytes, at: int) -> bytes:
    """Names of the channels in the scan whose marker is there."""
    return data[at + 5 : at + 5 + 2 * data[at + 4] : 2]


def _end_of(data: bytes, frame: _Frame) -> int:
    """Where the end mark is, or the file ends."""
    marks = (at for marker, at in _segments_behind(data, frame) if marker == _END)
    return next(marks, len(data))


def size_of(data: bytes) -> tuple[int, int] | None:
    """Width and height by the header of a JPEG; None if it is damaged."""
    frame = _frame(data)
    return (frame.width, frame.height) if frame else None


def color_of_jpeg(data: bytes) -> tuple[str | None, tuple[int, int]]:
    """What a JPEG of three channels says its colors are, "rgb", "ycc" or None, and how many lights
    share one of them, across and down; None and (0, 0) for all others."""
    frame = _frame(data)
    if frame is None or frame.channels != 3:
        return None, (0, 0)
    parts = data[frame.at + 10 : frame.at + 19]
    lights, others = parts[1], parts[4]
    if len(parts) < 9 or not (others & 15 and others >> 4):
        return None, (0, 0)
    shared = (lights >> 4) // (others >> 4), (lights & 15) // (others & 15)
    if frame.jfif or shared != (1, 1):
        return "ycc", shared
    if frame.adobe:
        return "ycc" if frame.transform else "rgb", shared
    return "rgb" if parts[::3] == b"RGB" else None, shared


def _frame(data: bytes) -> _Frame | None:
    found: tuple[int, int, int, int, int, int] | None = None
    jfif, transform, at = False, None, 2
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
        jfif = jfif or (marker == 0xE0 and body.startswith(b"JFIF"))
        if marker == 0xEE and body.startswith(b"Adobe") and len(body) >= 12:
            transform = body[11]
        if marker == 0xDA:
            return _Frame(*found, at, at + 2 + length, jfif, transform) if found else None
        at += 2 + length
    return None


def _decoders(frame: _Frame) -> list[Callable[[bytes], np.ndarray]]:
    """The decoders to try on such a frame, in order."""
    import imagecodecs

    if frame.process == _JPEG_LS:
        return [imagecodecs.jpegls_decode]
    if frame.process == _LOSSLESS:
        return [imagecodecs.jpeg8_decode, imagecodecs.jpegsof3_decode, imagecodecs.ljpeg_decode]
    return [imagecodecs.jpeg8_decode] if frame.process in _PILLOWS and frame.bits == 12 else []


def _goes_on(
    decoders: list[Callable[[bytes], np.ndarray]], data: bytes, frame: _Frame, pixels: np.ndarray
) -> bool:
    """Whether more bytes before the end mark become pixels."""
    end = _end_of(data, frame)
    try:
        more = _first_that_reads(decoders, data[:end] + _MORE + data[end:])
    except Exception:  # each decoder has error classes of its own
        return False
    return more.shape == pixels.shape and bool((more != pixels).any())


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
