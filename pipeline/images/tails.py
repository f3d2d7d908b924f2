"""Files whose last blocks are zeros, as a copy that broke off leaves them, and how long a stream of
Deflate really is."""

import zlib
from collections.abc import Iterable

from pipeline.errors import PhotoError
from pipeline.images.boxes import read_box

_BLOCK = 512  # bytes that disks and file systems write at once, or a multiple of it
_FEW = 64  # zeros that no compressed picture has before its end mark
_AT_ONCE = 2**20  # bytes
_BITS = (1, 4, 8, 12, 16, 24, 32, 48)  # of a pixel without compression
_MOST_BOXES = 10_000


def ends_blank(data: bytes, end: int | None = None, zeros: int = _FEW) -> bool:
    """Whether the bytes before `end`, or the last ones, are zeros."""
    end = len(data) if end is None else min(end, len(data))
    return end >= zeros and not any(data[end - zeros : end])


def inflated(parts: Iterable[bytes], most: int) -> tuple[int, bool]:
    """How many bytes a stream of Deflate holds, of which little more than `most` are looked at, and
    whether it ends, or holds that many. Raises zlib.error (damaged)."""
    stream, count = zlib.decompressobj(), 0
    for part in parts:
        for start in range(0, len(part), _AT_ONCE):  # zlib copies the rest each time
            rest, more = part[start : start + _AT_ONCE], _AT_ONCE
            while (rest or more == _AT_ONCE) and not stream.eof and count <= most + _AT_ONCE:
                more = len(stream.decompress(rest, _AT_ONCE))
                count, rest = count + more, stream.unconsumed_tail
            if stream.eof or count > most + _AT_ONCE:
                return count, True
    return count, False


def check_tail(data: bytes) -> None:
    """Raises PhotoError (corrupt) where a WebP or AVIF, which have no end mark, ends in zeros."""
    if not ends_blank(data, zeros=_BLOCK):
        return
    if data[:4] == b"RIFF":
        end = 8 + int.from_bytes(data[4:8], "little")
    elif data[4:8] == b"ftyp":
        end = _end_of_pixels(data)
    else:
        return
    # One tone, or room that Exif reserves, may be zeros, too, but from anywhere on.
    if ends_blank(data, end, _BLOCK) and _zeros_by_blocks(data):
        raise PhotoError("corrupt", "the file ends in zeros, as a copy that broke off does")


def note_on_tail(data: bytes, width: int, height: int) -> str:
    """For people: that pixels without compression end in zeros where no row starts, but a block of
    a disk does. Elsewhere, zeros may be black. Sides of the picture in any order."""
    zeros = _zeros_by_blocks(data)
    rows = {-(-side * bits // 8) for side in (width, height) for bits in _BITS}
    if not zeros or any(zeros % each == 0 for row in rows for each in (row, row + -row % 4)):
        return ""
    return f"its last {zeros:,} bytes are zeros, as if a copy had broken off"


def _zeros_by_blocks(data: bytes) -> int:
    """How many bytes at the end are zeros; 0 where they do not start with a block."""
    end = at = len(data) // _BLOCK * _BLOCK
    if any(data[end:]):
        return 0
    while at and not any(data[at - _BLOCK : at]):
        at -= _BLOCK
    zeros = len(data) - at
    return zeros if zeros >= _BLOCK and at and data[at - 1] else 0


def _end_of_pixels(data: bytes) -> int:
    """Where the last box ends, if it holds pixels; else 0."""
    at, kind, end = 0, b"", 0
    for _ in range(_MOST_BOXES):
        if at + 8 > len(data):
            break
        kind, body, end = read_box(data, at, len(data))
        if end < body:
            break
        at = end
    return end if kind == b"mdat" else 0
