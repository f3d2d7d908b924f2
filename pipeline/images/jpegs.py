"""JPEGs that Pillow does not read, as of 12 bits or lossless, and whether any JPEG is whole.

Legend: H W rows and columns, C channels.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from functools import partial

import numpy as np

from pipeline.errors import PhotoError
from pipeline.images.deep_masters import DeepMaster
from pipeline.images.gray import Kind, Samples
from pipeline.images.jpeg_frames import (
    END,
    MOST_SEGMENTS,
    PROCESSES,
    SCAN,
    Frame,
    channels_of,
    channels_of_scan,
    end_of,
    frame_of,
    is_refined,
    segments_behind,
)
from pipeline.images.tails import ends_blank

_PILLOWS = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)  # where samples have 8 bits
_PROGRESSIVE = 0xC2
_ARITHMETIC = (0xC9, 0xCA)
_LOSSLESS, _JPEG_LS = 0xC3, 0xF7
_MORE = bytes(range(1, 250))
_MOST_SCANS = 500  # encoders make 20 at most
_INTERVAL, _RESTART = b"\xff\xdd\0\x04", re.compile(rb"\xff[\xd0-\xd7]")
_IN_TURN = b"".join(bytes((0xFF, 0xD0 + each)) for each in range(8))


def open_jpeg(data: bytes) -> DeepMaster | None:
    """Open a JPEG that Pillow does not read; None for all others, and if the header is damaged."""
    frame = frame_of(data)
    if frame is None or 0 in (frame.height, frame.width):
        return None
    if frame.process in _PILLOWS and frame.bits == 8:
        return None
    mode = {1: "L", 3: "RGB", 4: "CMYK"}.get(frame.channels, f"{frame.channels}")

    # Pillow, which only reads the header, is shown a baseline JPEG of 8 bits.
    header = bytearray(data[: frame.scan])
    header[frame.at + 1], header[frame.at + 4] = 0xC0, 8
    mode = mode if frame.bits == 8 else f"{mode};{frame.bits}"
    return DeepMaster(
        *(
            frame.width,
            frame.height,
            mode,
            frame.channels,
            "JPEG",
            partial(_decode, data, frame),
            frame.bits,
        ),
        header=bytes(header),
    )


def _decode(data: bytes, frame: Frame) -> Samples:
    kinds: dict[int, Kind] = {1: "gray", 3: "rgb", 4: "cmyk"}
    kind, decoders = kinds.get(frame.channels), _decoders(frame)
    if kind is None or not decoders:
        name = PROCESSES[frame.process]
        what = f"a JPEG of {frame.bits} bits and {frame.channels} channels, {name}"
        raise PhotoError("unsupported", what)
    check_scans(data)
    if data.find(END, frame.scan) < 0:  # which these decoders fill up, and tell nobody
        raise _cut_short()
    pixels = _first_that_reads(decoders, data)
    if frame.process != _JPEG_LS and _goes_on(decoders, data, frame, pixels):
        raise _cut_short()
    values = pixels[..., None] if pixels.ndim == 2 else pixels
    white, note = 2**frame.bits - 1, note_on_inks(data)
    return Samples(values, kind, white, inverted=kind == "cmyk", note=note)


def ends_early(data: bytes, tables: bytes | None = None, only_if_filled: bool = False) -> bool:
    """Whether a JPEG has fewer blocks than its header says, in spite of its end: then, more bytes
    before that become pixels. tables: of a TIFF.

    only_if_filled: false at once unless the last pixel is middle gray, as what libjpeg fills in is.
    """
    import imagecodecs

    frame = frame_of(data)
    if frame is None or frame.process in _ARITHMETIC:  # which may end before its last zeros
        return False
    if _goes_on_in_zeros(data, frame):
        return True
    end = end_of(data, frame)
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
    corrupt where none of them has one of its channels, or a part between restarts is lost, or
    zeros took the place of its end: these may be codes, too."""
    frame = frame_of(data)
    if frame is None:
        return
    if _goes_on_in_zeros(data, frame):
        raise _cut_short()
    segments, scans, seen = 0, 1, set(channels_of_scan(data, frame.first))
    start, restarts = frame.scan, _INTERVAL in data[: frame.scan]
    for marker, at, end in segments_behind(data, frame):
        if restarts:
            _check_restarts(data, start, at)
        start = end
        segments += 1
        if marker == SCAN:
            scans += 1
            seen.update(channels_of_scan(data, at))
        if scans > _MOST_SCANS or segments == MOST_SEGMENTS:  # more scans may be behind them
            raise PhotoError("unsupported", f"a JPEG of more than {_MOST_SCANS} scans")
    if set(channels_of(data, frame)) - seen:
        raise PhotoError("corrupt", "the JPEG ends before its colors do")


def _goes_on_in_zeros(data: bytes, frame: Frame) -> bool:
    return ends_blank(data) and end_of(data, frame) == len(data)


def _cut_short() -> PhotoError:
    return PhotoError("corrupt", "the JPEG ends before its pixels do")


def _check_restarts(data: bytes, start: int, end: int) -> None:
    marks = b"".join(_RESTART.findall(data, start, end))
    if marks != (_IN_TURN * (len(marks) // 16 + 1))[: len(marks)]:
        raise PhotoError("corrupt", "a part of the JPEG is lost or displaced")


def may_lack_detail(data: bytes) -> bool:
    """Whether a progressive JPEG may have lost more than last bits without any sign of it in its
    pixels. Others fill up with gray."""
    frame = frame_of(data)
    return frame is not None and frame.process == _PROGRESSIVE and not is_refined(data, frame)


def note_on_inks(data: bytes) -> str:
    """For people: that a JPEG of four channels does not say how they are stored."""
    frame = frame_of(data)
    if frame is None or frame.channels != 4 or frame.adobe:
        return ""
    return "its four inks are taken as inverted, as most programs store them; it does not say so"


def _decoders(frame: Frame) -> list[Callable[[bytes], np.ndarray]]:
    """The decoders to try on such a frame, in order."""
    import imagecodecs

    if frame.process == _JPEG_LS:
        return [imagecodecs.jpegls_decode]
    if frame.process == _LOSSLESS:
        return [imagecodecs.jpeg8_decode, imagecodecs.jpegsof3_decode, imagecodecs.ljpeg_decode]
    return [imagecodecs.jpeg8_decode] if frame.process in _PILLOWS and frame.bits == 12 else []


def _goes_on(
    decoders: list[Callable[[bytes], np.ndarray]], data: bytes, frame: Frame, pixels: np.ndarray
) -> bool:
    """Whether more bytes before the end mark become pixels."""
    end = end_of(data, frame)
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
