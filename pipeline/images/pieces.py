"""Strips and tiles of a TIFF: where each of them lies, and how long it is."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from pipeline.errors import PhotoError
from pipeline.images.tiff_fields import (
    DEFLATE,
    JPEG,
    LZMA,
    LZW,
    NOTHING,
    OLD_JPEG,
    PACK_BITS,
    YCBCR,
    ZSTD,
    subsampling_of,
    tag_of,
)

Page = Any  # a page of tifffile
_MOST_TILES = 500_000  # which take seconds; those of a photograph are 64 pixels wide or more
# Tags of TIFF: bytes of strips, of tiles; where they start; where the JPEG of old TIFFs does.
_COUNTS, _STARTS, _WHOLE_JPEG = (279, 325), (273, 324), 513
# Tags of GDAL and GeoTIFF, whose programs leave out tiles that hold nothing.
_OF_MAPS = (33550, 33922, 34264, 34735, 42112, 42113)
TURNED = bytes(int(f"{each:08b}"[::-1], 2) for each in range(256))  # bits of bytes
_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"


def lie_as_expected(page: Page, data: bytes) -> bool:
    """Whether a reader that trusts the offsets alone, as Pillow does, finds each piece in full."""
    starts = page.dataoffsets
    if page.compression != NOTHING:  # libtiff looks itself, but wants no piece to go beyond
        ends = map(sum, zip(starts, _counts(page), strict=False))
        return max(ends, default=0) <= len(data) and not (0 in starts and _may_lack_pieces(page))
    if _is_subsampled(page):
        return True
    if len(starts) < _number(page) or 0 in starts:
        return False
    if page.is_tiled and columns_of(page) * page.bitspersample % 8:
        return False
    if any(page.tags[tag].count > _number(page) for tag in _STARTS if tag in page.tags):
        return False  # Pillow begins anew at the top with what is beyond
    counts = _counts(page)
    rooms = _rooms(page, data)
    found = zip(sizes_of(page), rooms, counts, strict=False)
    return all(size <= max(room, count) for size, room, count in found)


def is_in_whole_words(page: Page, data: bytes) -> bool:
    """Whether samples of 9 to 15 bits lie in 16 bits each, and not packed, as the lengths and the
    pixels tell."""
    if page.compression != NOTHING or not 8 < page.bitspersample < 16:
        return False
    packed, stored = sum(sizes_of(page)), sum(_counts(page)[: _number(page)])
    kind = f"{page.parent.byteorder}u2"
    return bool(stored * page.bitspersample == packed * 16) and all(
        int(np.frombuffer(piece, kind, len(piece) // 2).max()) < 1 << page.bitspersample
        for _, piece, _ in pieces_of(page, data)
    )


def find_pieces(page: Page, data: bytes) -> None:
    """Correct the lengths of pieces that a program did not know or wrote wrong.

    Raises PhotoError (corrupt) where pieces are missing or end early.
    """
    if page.compression == NOTHING and not _is_subsampled(page):
        lengths = _plain_lengths(page, data)
    else:
        lengths = _packed_lengths(page, data)
    page.databytecounts = tuple(lengths)


def find_whole_jpeg(page: Page, data: bytes) -> None:
    """Make an old-style JPEG whose pieces are raw scans one piece, where the TIFF says where all of
    the JPEG is.

    Raises PhotoError (unsupported) where only its tables are in the file.
    """
    if all(piece[:2] == _JPEG_START for _, piece, _ in pieces_of(page, data)):
        return
    start, count = (int(np.max(tag_of(page, _WHOLE_JPEG + each) or 0)) for each in (0, 1))
    if data[start : start + 2] != _JPEG_START or page.is_tiled:
        raise PhotoError(
            "unsupported", "a TIFF with the tables and scans of a JPEG of the old kind"
        )
    page.dataoffsets = (start,)
    page.databytecounts = (min(count or len(data), len(data) - start),)
    page.rowsperstrip = page.imagelength


def check_tiles_number(page: Page) -> None:
    """Raises PhotoError (unsupported) where a TIFF has so many tiles that reading takes minutes."""
    if page.is_tiled and _number(page) > _MOST_TILES:
        raise PhotoError("unsupported", f"a TIFF of {_number(page):,} tiles")


def cut_short() -> PhotoError:
    """What a TIFF is whose bytes end before its pixels do."""
    return PhotoError("corrupt", "the TIFF ends before its pixels do")


def pieces_of(page: Page, data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Number, bytes and rows of each piece; the last strip has the rows that are left."""
    starts, counts = page.dataoffsets[: _number(page)], _counts(page)
    down = -(-page.imagelength // rows_of(page))
    for index, (start, count) in enumerate(zip(starts, counts, strict=False)):
        rows = rows_of(page)
        if not page.is_tiled:
            rows = min(rows, page.imagelength - index % down * rows)
        if start and count:
            yield index, data[start : start + count], rows


def in_order(page: Page, piece: bytes) -> bytes:
    """The piece with the highest bit of each byte first."""
    return piece if page.fillorder == 1 else piece.translate(TURNED)


def _plain_lengths(page: Page, data: bytes) -> list[int]:
    """Bytes of each piece without compression: those of its rows. Raises PhotoError (corrupt)."""
    starts, counts, sizes = page.dataoffsets, _counts(page), sizes_of(page)
    if len(starts) == 1 < _number(page) and not page.is_tiled:  # one strip has all rows
        page.rowsperstrip = page.imagelength
        sizes = iter([sum(sizes)])
    else:
        _check_number(page, starts)
    found = list(zip(starts, sizes, counts, _rooms(page, data), strict=False))
    # Where all are short, and yet what follows starts behind the whole of each, they count
    # something else than bytes.
    other = all(0 < count < size <= room for _, size, count, room in found)
    for start, size, count, room in found:
        short = count < size and (room < size if count == 0 else not other)
        if start and (short or start + size > len(data)):
            raise cut_short()
    return [size if start else 0 for start, size, _, _ in found]


def _packed_lengths(page: Page, data: bytes) -> list[int]:
    """Bytes of each piece with compression: those that the file states, or the room that there is
    up to what follows. Raises PhotoError (corrupt)."""
    starts, counts = page.dataoffsets, _counts(page)
    if page.compression != OLD_JPEG:
        _check_number(page, starts)
    alone = len(set(starts)) == len(starts)
    lengths = []
    pieces = zip(starts, counts, _rooms(page, data), sizes_of(page), strict=False)
    for start, count, room, size in pieces:
        length = count if count or not start or not alone else room
        if start + length > len(data):
            length = room
            if not _is_whole(page, data[start : start + room], size):
                raise cut_short()
        if (length == 0) != (start == 0):
            raise cut_short()
        lengths.append(length)
    return lengths


def _is_whole(page: Page, piece: bytes, size: int) -> bool:
    """Whether a piece that is said to go on behind the end of the file has all its pixels."""
    import imagecodecs

    code = int(page.compression)
    if code == JPEG:
        return _JPEG_END in piece  # check_ends looks at its pixels
    if code not in (LZW, PACK_BITS):
        return code in (*DEFLATE, ZSTD, LZMA)  # whose decoders know an end
    unpack = imagecodecs.lzw_decode if code == LZW else imagecodecs.packbits_decode
    return len(unpack(in_order(page, piece))) >= size


def _check_number(page: Page, starts: Sequence[int]) -> None:
    number = _number(page)
    if page.planarconfig == 2:  # what lies beside the colors is not needed
        number -= number // page.samplesperpixel * len(page.extrasamples)
    missing = max(0, number - len(starts))
    missing += 0 if _may_lack_pieces(page) else starts[:number].count(0)
    if missing or not starts:
        what = "tiles" if page.is_tiled else "strips"
        raise PhotoError("corrupt", f"{missing} of {number} {what} of the TIFF are missing")


def _may_lack_pieces(page: Page) -> bool:
    return any(tag in page.tags for tag in _OF_MAPS)


def _is_subsampled(page: Page) -> bool:
    return int(page.photometric) == YCBCR and subsampling_of(page) != (1, 1)


def _counts(page: Page) -> tuple[int, ...]:
    """Stated bytes of each piece; zeros where none are stated."""
    told = any(tag in page.tags for tag in _COUNTS)
    counts = page.databytecounts if told else ()
    return (*counts, *[0] * (len(page.dataoffsets) - len(counts)))


def _rooms(page: Page, data: bytes) -> Iterator[int]:
    """For each piece, the bytes up to what follows it: another piece, the directory, what it
    holds elsewhere, the end."""
    held = {tag.valueoffset for tag in page.tags}
    ends = sorted({*page.dataoffsets, *held, page.offset, len(data)})
    for start in page.dataoffsets:
        place = bisect_right(ends, start)
        yield ends[place] - start if place < len(ends) else 0


def sizes_of(page: Page) -> Iterator[int]:
    """Bytes of each piece without compression."""
    samples = page.samplesperpixel // _planes(page)
    row = -(-columns_of(page) * samples * page.bitspersample // 8)
    rows = rows_of(page)
    for index in range(_number(page)):
        left = page.imagelength - index % -(-page.imagelength // rows) * rows
        yield row * (rows if page.is_tiled else min(rows, left))


def _number(page: Page) -> int:
    across = -(-page.imagewidth // columns_of(page))
    return int(across * -(-page.imagelength // rows_of(page)) * _planes(page))


def _planes(page: Page) -> int:
    return int(page.samplesperpixel) if page.planarconfig == 2 else 1


def rows_of(page: Page) -> int:
    if page.is_tiled:
        return max(1, int(page.tilelength))
    return max(1, min(int(page.rowsperstrip) or page.imagelength, page.imagelength))


def columns_of(page: Page) -> int:
    return max(1, int(page.tilewidth if page.is_tiled else page.imagewidth))
