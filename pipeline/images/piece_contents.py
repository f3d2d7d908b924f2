"""Whether what lies in the strips and tiles of a TIFF is all there, and what it should be.

Decoders fill what is missing with black, white or gray, and tell nobody.
"""

from __future__ import annotations

import zlib

from pipeline.errors import PhotoError
from pipeline.images.boxes import open_container, tiles_missing
from pipeline.images.formats import PNG_SIGNATURE
from pipeline.images.jpeg_frames import color_of_jpeg, size_of
from pipeline.images.jpegs import ends_early
from pipeline.images.piece_ends import check_fax, check_jpeg_xr
from pipeline.images.pieces import (
    Page,
    columns_of,
    cut_short,
    in_order,
    pieces_of,
    rows_of,
    sizes_of,
)
from pipeline.images.tails import ends_blank, inflated
from pipeline.images.tiff_fields import (
    DEFLATE,
    FAX,
    FILES,
    JPEG,
    JPEG_XR,
    LZW,
    OLD_JPEG,
    PACK_BITS,
    RGB,
    SUBSAMPLING,
    YCBCR,
    is_for_libtiff,
    subsampling_of,
)

_SPARE = 2**20  # pixels by which the picture in a piece may be larger


def says_other_colors(page: Page, data: bytes) -> bool:
    """Whether the first JPEG in a TIFF contradicts it, about its colors or how many share one."""
    stated = int(page.photometric)
    if page.compression != JPEG or page.samplesperpixel != 3 or page.planarconfig != 1:
        return False
    _, piece, _ = next(pieces_of(page, data), (0, b"", 0))
    kind, shared = color_of_jpeg(piece)
    if stated != YCBCR:
        return stated == RGB and kind == "ycc"
    told = SUBSAMPLING in page.tags and subsampling_of(page) != shared
    return kind == "rgb" or (told and shared != (0, 0))


def check_ends(page: Page, data: bytes) -> None:
    """Raises PhotoError (corrupt) where a JPEG, a JPEG XR or a fax in a piece ends early, as more
    bytes behind it would become pixels; or where a JPEG is smaller than the piece."""
    code = int(page.compression)
    for index, piece, rows in pieces_of(page, data):
        if code in (OLD_JPEG, JPEG) and page.planarconfig == 1:
            _check_jpeg(page, piece, *_seen(page, index, rows))
        elif code in FAX:
            check_fax(page, piece, index, *_seen(page, index, rows)[1:])
        elif code in JPEG_XR:
            check_jpeg_xr(page, piece, index)
        else:
            return


def check_sums(page: Page, data: bytes) -> None:
    """Raises PhotoError (corrupt) where what Deflate unpacks to has another checksum than it says:
    libtiff stops where the rows are full."""
    if int(page.compression) not in DEFLATE:
        return
    sizes = list(sizes_of(page))
    for index, piece, _ in pieces_of(page, data):
        stream = in_order(page, piece)
        try:
            if _is_sound_deflate(stream, sizes[index]):
                continue
            _, ended = inflated([stream], sizes[index])
        except zlib.error as error:
            raise PhotoError("corrupt", "a piece of the TIFF is damaged") from error
        if not ended and ends_blank(piece):
            raise cut_short()


def check_lengths(page: Page, data: bytes) -> None:
    """Raises PhotoError (corrupt) where a piece of YCbCr ends early: libtiff, which is asked for
    RGB, makes up the rest."""
    if not is_for_libtiff(page) or page.planarconfig != 1:
        return
    for _, piece, rows in pieces_of(page, data):
        length = _unpacked(page, in_order(page, piece))
        if length is not None and length < bytes_of_ycbcr(page, columns_of(page), rows):
            raise cut_short()


def bytes_of_ycbcr(page: Page, columns: int, rows: int) -> int:
    """Without compression."""
    across, down = subsampling_of(page)
    return -(-columns // across) * -(-rows // down) * (across * down + 2)


def _unpacked(page: Page, piece: bytes) -> int | None:
    """How many bytes a piece unpacks to; None where a decoder is stricter than libtiff."""
    import imagecodecs

    code = int(page.compression)
    if code in DEFLATE:
        return inflated([piece], bytes_of_ycbcr(page, columns_of(page), rows_of(page)))[0]
    unpack = {LZW: imagecodecs.lzw_decode, PACK_BITS: imagecodecs.packbits_decode}.get(code)
    return len(unpack(piece)) if unpack else None


def _is_sound_deflate(stream: bytes, size: int) -> bool:
    """Whether a stream holds no more than so many bytes and has their checksum: found in half of
    zlib's time."""
    import imagecodecs

    try:
        imagecodecs.deflate_decode(stream, out=size, raw=False)
    except imagecodecs.DeflateError:
        return False
    return True


def check_padding(page: Page, data: bytes) -> None:
    """Raises PhotoError (corrupt) where PackBits have more behind their rows than zeros, as damaged
    ones do. Zstandard tells by itself."""
    import imagecodecs

    if int(page.compression) != PACK_BITS:
        return
    sizes = list(sizes_of(page))
    for index, piece, _ in pieces_of(page, data):
        if any(imagecodecs.packbits_decode(piece)[sizes[index] :]):
            raise PhotoError("corrupt", "a piece of the TIFF has more pixels than rows for them")


def check_pictures(page: Page, data: bytes) -> None:
    """Raises PhotoError (corrupt) where a piece is a file of its own that is larger than a piece,
    and would take memory for all of it, or lacks tiles."""
    if int(page.compression) not in FILES:  # pixels may look like the start of a JPEG
        return
    most = rows_of(page) * columns_of(page) + _SPARE
    for _, piece, _ in pieces_of(page, data):
        width, height = _stated_size(piece)
        if width * height > most:
            raise PhotoError("corrupt", f"a piece of the TIFF is a picture of {width} x {height}")
        container = open_container(piece)
        if container and (missing := tiles_missing(piece, container.start)):
            raise PhotoError("corrupt", missing)


def _seen(page: Page, index: int, rows: int) -> tuple[int, int]:
    """Columns and rows of a piece inside of the picture: some programs cut tiles at its edges."""
    if not page.is_tiled:
        return columns_of(page), rows
    across = -(-page.imagewidth // columns_of(page))
    left, top = index % across * columns_of(page), index // across * rows_of(page)
    return min(columns_of(page), page.imagewidth - left), min(rows, page.imagelength - top)


def _check_jpeg(page: Page, piece: bytes, columns: int, rows: int) -> None:
    size = size_of(piece)
    if size is None or size[0] * size[1] > rows_of(page) * columns_of(page) + _SPARE:
        return
    if size[0] < columns or 0 < size[1] < rows:
        raise PhotoError("corrupt", f"a JPEG in the TIFF has {size[0]} x {size[1]} pixels")
    if ends_early(piece, page.jpegtables, only_if_filled=True):
        raise cut_short()


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
    return _size_of_webp(piece) if piece[8:15] == b"WEBPVP8" else (0, 0)


def _size_of_webp(piece: bytes) -> tuple[int, int]:
    if piece[15:16] == b"X":
        around = [int.from_bytes(piece[at : at + 3], "little") for at in (24, 27)]
        return around[0] + 1, around[1] + 1
    if piece[15:16] == b"L":
        bits = int.from_bytes(piece[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = (int.from_bytes(piece[at : at + 2], "little") for at in (26, 28))
    return width & 0x3FFF, height & 0x3FFF
