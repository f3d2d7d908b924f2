"""Strips and tiles of a TIFF: where each of them lies, and whether all of it is there.

Decoders fill what is missing with black, white or gray, and tell nobody.
"""

from __future__ import annotations

import re
import zlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np

from pipeline.errors import PhotoError
from pipeline.images.boxes import open_container, tiles_missing
from pipeline.images.formats import PNG_SIGNATURE
from pipeline.images.jpegs import color_of_jpeg, ends_early, size_of
from pipeline.images.tails import ends_blank
from pipeline.images.tiff_fields import SUBSAMPLING, YCBCR, subsampling_of, tag_of

Page = Any  # a page of tifffile
# Compressions.
_RGB = 2  # PhotometricInterpretation
_NOTHING, _LZW, _OLD_JPEG, _JPEG, _PACK_BITS = 1, 5, 6, 7, 32773
_LZMA, _ZSTD, DEFLATE = 34925, 50000, (8, 32946)
_FAX, _JPEG_XR = (2, 3, 4), (22610, 34934)
# Compressions whose pieces are files of their own: JPEG, JPEG 2000, PNG, WebP.
_FILES = (6, 7, 33003, 33004, 33005, 33007, 34712, 34892, 34933, 34927, 50001)
_MOST_TILES = 500_000  # which take seconds; those of a photograph are 64 pixels wide or more
_MORE = bytes(range(1, 250)) * 8
# Tags of TIFF: bytes of strips, of tiles; where they start; where the JPEG of old TIFFs does.
_COUNTS, _STARTS, _WHOLE_JPEG = (279, 325), (273, 324), 513
# Tags of GDAL and GeoTIFF, whose programs leave out tiles that hold nothing.
_OF_MAPS = (33550, 33922, 34264, 34735, 42112, 42113)
_AT_ONCE = 2**20  # bytes
_TURNED = bytes(int(f"{each:08b}"[::-1], 2) for each in range(256))  # FillOrder 2
_END_OF_FAX = 32  # bytes in which the end mark is looked for
_JPEG_START = b"\xff\xd8"
_SPARE = 2**20  # pixels by which the picture in a piece may be larger
# What no whole fax has behind its last row: runs of three, after the end of a line or without it.
_RUNS = (b"\x8a\x28\xa2" * 40, b"\0\x18\xa2\x8a\x28" * 40, b"\x31\x05\x18\x82\x8c\x41" * 40)


def lie_as_expected(page: Page, data: bytes) -> bool:
    """Whether a reader that trusts the offsets alone, as Pillow does, finds each piece in full."""
    starts = page.dataoffsets
    if page.compression != _NOTHING:  # libtiff looks itself, but wants no piece to go beyond
        ends = map(sum, zip(starts, _counts(page), strict=False))
        return max(ends, default=0) <= len(data) and not (0 in starts and _may_lack_pieces(page))
    if _is_subsampled(page):
        return True
    if len(starts) < _number(page) or 0 in starts:
        return False
    if page.is_tiled and _columns(page) * page.bitspersample % 8:
        return False
    if any(page.tags[tag].count > _number(page) for tag in _STARTS if tag in page.tags):
        return False  # Pillow begins anew at the top with what is beyond
    counts = _counts(page)
    rooms = _rooms(page, data)
    found = zip(_sizes(page), rooms, counts, strict=False)
    return all(size <= max(room, count) for size, room, count in found)


def is_in_whole_words(page: Page, data: bytes) -> bool:
    """Whether samples of 9 to 15 bits lie in 16 bits each, and not packed, as the lengths and the
    pixels tell."""
    if page.compression != _NOTHING or not 8 < page.bitspersample < 16:
        return False
    packed, stored = sum(_sizes(page)), sum(_counts(page)[: _number(page)])
    kind = f"{page.parent.byteorder}u2"
    return bool(stored * page.bitspersample == packed * 16) and all(
        int(np.frombuffer(piece, kind, len(piece) // 2).max()) < 1 << page.bitspersample
        for _, piece, _ in _pieces(page, data)
    )


def find_pieces(page: Page, data: bytes) -> None:
    """Correct the lengths of pieces that a program did not know or wrote wrong.

    Raises PhotoError (corrupt) where pieces are missing or end early.
    """
    if page.compression == _NOTHING and not _is_subsampled(page):
        lengths = _plain_lengths(page, data)
    else:
        lengths = _packed_lengths(page, data)
    page.databytecounts = tuple(lengths)


def says_other_colors(page: Page, data: bytes) -> bool:
    """Whether the first JPEG in a TIFF contradicts it, about its colors or how many share one."""
    stated = int(page.photometric)
    if page.compression != _JPEG or page.samplesperpixel != 3 or page.planarconfig != 1:
        return False
    _, piece, _ = next(_pieces(page, data), (0, b"", 0))
    kind, shared = color_of_jpeg(piece)
    if stated != YCBCR:
        return stated == _RGB and kind == "ycc"
    told = SUBSAMPLING in page.tags and subsampling_of(page) != shared
    return kind == "rgb" or (told and shared != (0, 0))


def find_whole_jpeg(page: Page, data: bytes) -> None:
    """Make an old-style JPEG whose pieces are raw scans one piece, where the TIFF says where all of
    the JPEG is.

    Raises PhotoError (unsupported) where only its tables are in the file.
    """
    if all(piece[:2] == _JPEG_START for _, piece, _ in _pieces(page, data)):
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


def check_ends(page: Page, data: bytes) -> None:
    """Raises PhotoError (corrupt) where a JPEG, a JPEG XR or a fax in a piece ends early, as more
    bytes behind it would become pixels; or where a JPEG is smaller than the piece."""
    code = int(page.compression)
    if code in (_OLD_JPEG, _JPEG) and page.planarconfig == 1:
        for index, piece, rows in _pieces(page, data):
            _check_jpeg(page, piece, *_seen(page, index, rows))
    elif code in _FAX:
        for index, piece, _ in _pieces(page, data):
            plain = _decoded(page, piece, index)
            if not plain[-1].any():
                _check_ending(page, piece, index, _RUNS)
                for more in _with_more_rows(piece, page.fillorder):
                    if (_decoded(page, more, index) != plain).any():
                        raise cut_short()
    elif code in _JPEG_XR:
        for index, piece, _ in _pieces(page, data):
            _check_ending(page, piece, index, (_MORE,))


def check_sums(page: Page, data: bytes) -> None:
    """Raises PhotoError (corrupt) where what Deflate unpacks to has another checksum than it says:
    libtiff stops where the rows are full."""
    if int(page.compression) not in DEFLATE:
        return
    for _, piece, _ in _pieces(page, data):
        stream = zlib.decompressobj()
        rest = piece if page.fillorder == 1 else piece.translate(_TURNED)
        try:
            while rest and not stream.eof:
                stream.decompress(rest, _AT_ONCE)
                rest = stream.unconsumed_tail
        except zlib.error as error:
            raise PhotoError("corrupt", "a piece of the TIFF is damaged") from error
        if not stream.eof and ends_blank(piece):
            raise cut_short()


def check_padding(page: Page, data: bytes) -> None:
    """Raises PhotoError (corrupt) where PackBits have more behind their rows than zeros, as damaged
    ones do. Zstandard tells by itself."""
    import imagecodecs

    if int(page.compression) != _PACK_BITS:
        return
    sizes = list(_sizes(page))
    for index, piece, _ in _pieces(page, data):
        if any(imagecodecs.packbits_decode(piece)[sizes[index] :]):
            raise PhotoError("corrupt", "a piece of the TIFF has more pixels than rows for them")


def check_pictures(page: Page, data: bytes) -> None:
    """Raises PhotoError (corrupt) where a piece is a file of its own that is larger than a piece,
    and would take memory for all of it, or lacks tiles."""
    if int(page.compression) not in _FILES:  # pixels may look like the start of a JPEG
        return
    most = _rows(page) * _columns(page) + _SPARE
    for _, piece, _ in _pieces(page, data):
        width, height = _stated_size(piece)
        if width * height > most:
            raise PhotoError("corrupt", f"a piece of the TIFF is a picture of {width} x {height}")
        container = open_container(piece)
        if container and (missing := tiles_missing(piece, container.start)):
            raise PhotoError("corrupt", missing)


def _seen(page: Page, index: int, rows: int) -> tuple[int, int]:
    """Columns and rows of a piece inside of the picture: some programs cut tiles at its edges."""
    if not page.is_tiled:
        return _columns(page), rows
    across = -(-page.imagewidth // _columns(page))
    left, top = index % across * _columns(page), index // across * _rows(page)
    return min(_columns(page), page.imagewidth - left), min(rows, page.imagelength - top)


def _check_jpeg(page: Page, piece: bytes, columns: int, rows: int) -> None:
    size = size_of(piece)
    if size is None or size[0] * size[1] > _rows(page) * _columns(page) + _SPARE:
        return
    if size[0] < columns or 0 < size[1] < rows:
        raise PhotoError("corrupt", f"a JPEG in the TIFF has {size[0]} x {size[1]} pixels")
    if ends_early(piece, page.jpegtables, only_if_filled=True):
        raise cut_short()


def _check_ending(page: Page, piece: bytes, index: int, others: Sequence[bytes]) -> None:
    plain = _decoded(page, piece, index)
    if any((_decoded(page, piece + more, index) != plain).any() for more in others):
        raise cut_short()


def _with_more_rows(piece: bytes, order: int) -> Iterator[bytes]:
    """The piece of a fax without its end mark and the zeros behind it, and with more in their
    place. Three zeros stay, as codes may end with them."""
    body = (piece if order == 1 else piece.translate(_TURNED)).rstrip(b"\0")
    end = "".join(f"{each:08b}" for each in body[-_END_OF_FAX:])
    kept = re.sub("(0{11,}1[01]?)*0*$", "", end)
    for zeros, runs in product((3, 4, 5), _RUNS):
        bits = kept + "0" * zeros + "".join(f"{each:08b}" for each in runs)
        bits = bits[: len(bits) // 8 * 8]
        more = body[:-_END_OF_FAX] + int(bits, 2).to_bytes(len(bits) // 8, "big")
        yield more if order == 1 else more.translate(_TURNED)


def _decoded(page: Page, piece: bytes, index: int) -> np.ndarray:
    """Rows of a piece, (H, W C)."""
    values = page.decode(piece, index)[0]
    return np.asarray(values).reshape(values.shape[-3], -1)


def _stated_size(piece: bytes) -> tuple[int, int]:
    """Width and height of a JPEG, PNG, WebP or JPEG 2000; zeros for all else."""
    container = open_container(piece)
    if container is not None:
        at = container.start + 8
        right, bottom, left, top = (
            int.from_bytes(piece[at + place : at + place + 4], "big") for place in (0, 4, 8, 12)
        )
        return right - left, bottom - top
    if piece[:2] == b"\xff\xd8":
        return size_of(piece) or (0, 0)
    if piece[:8] == PNG_SIGNATURE:
        return int.from_bytes(piece[16:20], "big"), int.from_bytes(piece[20:24], "big")
    if piece[8:15] == b"WEBPVP8":
        if piece[15:16] == b"X":
            around = [int.from_bytes(piece[at : at + 3], "little") for at in (24, 27)]
            return around[0] + 1, around[1] + 1
        if piece[15:16] == b"L":
            bits = int.from_bytes(piece[21:25], "little")
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        width, height = (int.from_bytes(piece[at : at + 2], "little") for at in (26, 28))
        return width & 0x3FFF, height & 0x3FFF
    return 0, 0


def _plain_lengths(page: Page, data: bytes) -> list[int]:
    starts, counts, sizes = page.dataoffsets, _counts(page), _sizes(page)
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
    starts, counts = page.dataoffsets, _counts(page)
    if page.compression != _OLD_JPEG:
        _check_number(page, starts)
    alone = len(set(starts)) == len(starts)
    lengths = []
    pieces = zip(starts, counts, _rooms(page, data), _sizes(page), strict=False)
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
    if code == _JPEG:
        return b"\xff\xd9" in piece  # check_ends looks at its pixels
    if code not in (_LZW, _PACK_BITS):
        return code in (*DEFLATE, _ZSTD, _LZMA)  # whose decoders know an end
    unpack = imagecodecs.lzw_decode if code == _LZW else imagecodecs.packbits_decode
    return len(unpack(piece if page.fillorder == 1 else piece.translate(_TURNED))) >= size


def _check_number(page: Page, starts: Sequence[int]) -> None:
    number = _number(page)
    if page.planarconfig == 2:  # what lies beside the colors is not needed
        number -= number // page.samplesperpixel * len(page.extrasamples)
    missing = max(0, number - len(starts))
    missing += 0 if _may_lack_pieces(page) else starts[:number].count(0)
    if missing or not starts:
        what = "tiles" if page.is_tiled else "strips"
        raise PhotoError("corrupt", f"{missing} of {number} {what} of the TIFF are missing")


def cut_short() -> PhotoError:
    """What a TIFF is whose bytes end before its pixels do."""
    return PhotoError("corrupt", "the TIFF ends before its pixels do")


def _may_lack_pieces(page: Page) -> bool:
    return any(tag in page.tags for tag in _OF_MAPS)


def _is_subsampled(page: Page) -> bool:
    return int(page.photometric) == YCBCR


def _pieces(page: Page, data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Number, bytes and rows of each piece; the last strip has the rows that are left."""
    starts, counts = page.dataoffsets[: _number(page)], _counts(page)
    down = -(-page.imagelength // _rows(page))
    for index, (start, count) in enumerate(zip(starts, counts, strict=False)):
        rows = _rows(page)
        if not page.is_tiled:
            rows = min(rows, page.imagelength - index % down * rows)
        if start and count:
            yield index, data[start : start + count], rows


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


def _sizes(page: Page) -> Iterator[int]:
    """Bytes of each piece without compression."""
    samples = page.samplesperpixel // _planes(page)
    row = -(-_columns(page) * samples * page.bitspersample // 8)
    rows = _rows(page)
    for index in range(_number(page)):
        left = page.imagelength - index % -(-page.imagelength // rows) * rows
        yield row * (rows if page.is_tiled else min(rows, left))


def _number(page: Page) -> int:
    across = -(-page.imagewidth // _columns(page))
    return int(across * -(-page.imagelength // _rows(page)) * _planes(page))


def _planes(page: Page) -> int:
    return int(page.samplesperpixel) if page.planarconfig == 2 else 1


def _rows(page: Page) -> int:
    if page.is_tiled:
        return max(1, int(page.tilelength))
    return max(1, min(int(page.rowsperstrip) or page.imagelength, page.imagelength))


def _columns(page: Page) -> int:
    return max(1, int(page.tilewidth if page.is_tiled else page.imagewidth))
