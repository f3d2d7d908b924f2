"""Whether a piece of a TIFF ends early whose decoder does not tell: a fax, or a JPEG XR."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import numpy as np

from pipeline.images.pieces import Page, columns_of, cut_short, in_order
from pipeline.images.tiff_fields import GROUP_3, tag_of

_MORE = bytes(range(1, 250)) * 8
_T4_OPTIONS = 292  # a tag
_END_OF_LINE = bytes(11) + b"\1"  # bits, one a byte
_MOST_BITS, _FILLING = 5, 512  # of a fax: bits for a pixel, bytes that make a row longer
_END_OF_FAX = 32  # bytes in which the end mark is looked for
# What no whole fax has behind its last row: runs of three, after the end of a line or without it.
_RUNS = (b"\x8a\x28\xa2" * 40, b"\0\x18\xa2\x8a\x28" * 40, b"\x31\x05\x18\x82\x8c\x41" * 40)


def check_fax(page: Page, piece: bytes, index: int, rows: int) -> None:
    """Raises PhotoError (corrupt) where a fax has fewer rows than these."""
    if page.compression == GROUP_3 and (tag_of(page, _T4_OPTIONS) or 0) & 1:
        most = rows * (columns_of(page) * _MOST_BITS // 8 + _FILLING)
        if _rows_of_fax(in_order(page, piece[:most])) < rows:
            raise cut_short()
        return
    if _decoded(page, piece, index)[-1].any():
        return
    _check_ending(page, piece, index, [piece + runs for runs in _RUNS])
    _check_ending(page, piece, index, _with_more_rows(page, piece))


def check_jpeg_xr(page: Page, piece: bytes, index: int) -> None:
    """Raises PhotoError (corrupt) where a JPEG XR ends early."""
    _check_ending(page, piece, index, [piece + _MORE])


def _rows_of_fax(piece: bytes) -> int:
    """How many rows of two dimensions there are, each of which starts with an end of line and a
    bit for its kind; an end mark has no more than these."""
    bits = np.unpackbits(np.frombuffer(piece, np.uint8)).tobytes()
    return sum(1 in row[1:] for row in bits.split(_END_OF_LINE))


def _with_more_rows(page: Page, piece: bytes) -> Iterator[bytes]:
    """The piece of a fax without its end mark and the zeros behind it, and with more in their
    place. Three zeros stay, as codes may end with them."""
    body = in_order(page, piece).rstrip(b"\0")
    end = "".join(f"{each:08b}" for each in body[-_END_OF_FAX:])
    kept = re.sub("(0{11,}1[01]?)*0*$", "", end)
    for runs in _RUNS:
        bits = kept + "000" + "".join(f"{each:08b}" for each in runs)
        bits = bits[: len(bits) // 8 * 8]
        more = body[:-_END_OF_FAX] + int(bits, 2).to_bytes(len(bits) // 8, "big")
        yield in_order(page, more)


def _check_ending(page: Page, piece: bytes, index: int, longer: Iterable[bytes]) -> None:
    plain = _decoded(page, piece, index)
    if any((_decoded(page, more, index) != plain).any() for more in longer):
        raise cut_short()


def _decoded(page: Page, piece: bytes, index: int) -> np.ndarray:
    """Rows of a piece, (H, W C)."""
    values = page.decode(piece, index)[0]
    return np.asarray(values).reshape(values.shape[-3], -1)
