"""What the segments of a JPEG say: its frame, its scans, its colors and where it ends."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

# Kinds of frames by marker, as named in the standard.
PROCESSES = {
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
SCAN, END = b"\xff\xda", b"\xff\xd9"
_LINES = b"\xff\xdc\0\4"  # the segment "define number of lines"
MOST_SEGMENTS = 10_000
_NO_BIT = 15  # the level of a coefficient before the first scan that has it
_ALONE = (0x01, *range(0xD0, 0xD9))  # markers without a length
_MARKER = re.compile(rb"\xff[^\0\xd0-\xd7\xff]")  # that ends the data of a scan


@dataclass(frozen=True)
class Frame:
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


def frame_of(data: bytes) -> Frame | None:
    """The first frame; None where this is no JPEG, or one that is damaged before its first scan."""
    found: tuple[int, int, int, int, int, int] | None = None
    jfif, transform, at = False, None, 2
    if data[:2] != b"\xff\xd8":
        return None
    for _ in range(MOST_SEGMENTS):
        at = data.find(b"\xff", at)
        if at < 0 or at + 4 > len(data):
            return None
        marker = data[at + 1]
        if marker in (0x00, 0xFF) or marker in _ALONE:
            at += 1 if marker == 0xFF else 2
            continue
        [length] = struct.unpack_from(">H", data, at + 2)
        body = data[at + 4 : at + 2 + length]
        if marker in PROCESSES and found is None:
            if len(body) < 6:
                return None
            bits, height, width, channels = struct.unpack_from(">BHHB", body)
            found = (marker, bits, height, width, channels, at)
        jfif = jfif or (marker == 0xE0 and body.startswith(b"JFIF"))
        if marker == 0xEE and body.startswith(b"Adobe") and len(body) >= 12:
            transform = body[11]
        if marker == 0xDA:
            return Frame(*found, at, at + 2 + length, jfif, transform) if found else None
        at += 2 + length
    return None


def segments_behind(data: bytes, frame: Frame) -> Iterator[tuple[bytes, int, int]]:
    """Marker, start and end of each segment behind the data of the first scan, up to the end
    mark."""
    end = frame.scan
    for _ in range(MOST_SEGMENTS):
        found = _MARKER.search(data, end)
        if found is None:
            return
        at, end = found.span()
        if found[0] == END:
            yield END, at, end
            return
        end += int.from_bytes(data[end : end + 2], "big")
        yield found[0], at, end


def is_refined(data: bytes, frame: Frame) -> bool:
    """Whether a progressive JPEG has all bits of all coefficients, if its last scan is whole, and
    that one does no more than add the last bits."""
    levels = dict.fromkeys(channels_of(data, frame), [_NO_BIT] * 64)
    later = (at for marker, at, _ in segments_behind(data, frame) if marker == SCAN)
    before = 0
    for at in (frame.first, *later):
        names = channels_of_scan(data, at)
        first, last, level = data[at + 5 + 2 * len(names) :][:3]
        before = level >> 4
        for name in names:
            known = levels.get(name, [_NO_BIT] * 64)
            levels[name] = [*known[:first], *[level & 15] * (last + 1 - first), *known[last + 1 :]]
    return before > 0 and not any(map(any, levels.values()))


def channels_of(data: bytes, frame: Frame) -> bytes:
    """Names of the channels in a frame."""
    return data[frame.at + 10 : frame.at + 10 + 3 * frame.channels : 3]


def channels_of_scan(data: bytes, at: int) -> bytes:
    """Names of the channels in the scan whose marker is there."""
    return data[at + 5 : at + 5 + 2 * data[at + 4] : 2]


def end_of(data: bytes, frame: Frame) -> int:
    """Where the end mark is, or the file ends."""
    marks = (at for marker, at, _ in segments_behind(data, frame) if marker == END)
    return next(marks, len(data))


def size_of(data: bytes) -> tuple[int, int] | None:
    """Width and height by the header of a JPEG; None if it is damaged."""
    frame = frame_of(data)
    return (frame.width, frame.height) if frame else None


def color_of_jpeg(data: bytes) -> tuple[str | None, tuple[int, int]]:
    """What a JPEG of three channels says its colors are, "rgb", "ycc" or None, and how many lights
    share one of them, across and down; None and (0, 0) for all others."""
    frame = frame_of(data)
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


def with_height(data: bytes) -> bytes:
    """A JPEG whose height follows its first scan, as of scanners that did not know it before, with
    it in its header; any other file as it is."""
    frame = frame_of(data)
    if frame is None or frame.height:
        return data
    told = data.find(_LINES, frame.scan) + len(_LINES)
    if told < len(_LINES) or told + 2 > len(data):
        return data
    place = frame.at + 5
    return data[:place] + data[told : told + 2] + data[place + 2 :]
