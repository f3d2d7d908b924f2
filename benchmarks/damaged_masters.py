"""Masters damaged in their segments, directories, chunks and boxes.

An input is a seed, one of the sound masters of sound_masters.py, with some of its pieces dropped,
doubled, swapped, cut, grown, renamed, nested, or with other numbers in them. The same number gives
the same bytes.
"""

import random
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sound_masters import sound_masters

_FOLDERS = {
    *(b"jp2h", b"jplh", b"res ", b"asoc", b"cgrp", b"meta", b"iprp", b"ipco", b"moov", b"trak"),
    *(b"mdia", b"minf", b"stbl", b"dinf", b"iinf", b"iref"),
}
_HEADS = {b"meta": 4, b"iinf": 6, b"iref": 4}  # bytes before the first inner box
_NUMBERS = (
    *(0, 1, 2, 3, 4, 7, 8, 12, 16, 32, 64, 100, 127, 128, 255, 256, 1000, 4095, 32_767, 32_768),
    *(65_535, 65_536, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63, 2**64 - 1),
)
_MOST = 2**23  # bytes of an input


@dataclass(frozen=True)
class Piece:
    """A segment, chunk, box or directory entry: from start to end, with its content from `body` on.

    length: where its length is, in which form of struct, and what of it is not content. kind: where
    its name is, and of how many bytes. above: lengths that hold its own, as `length` has them.
    """

    start: int
    end: int
    body: int
    length: tuple[int, str, int]
    kind: tuple[int, int]
    above: tuple[tuple[int, str, int], ...] = ()


def damaged(number: int, seed: int = 0) -> tuple[str, bytes]:
    """What an input is, in words, and its bytes."""
    chance = random.Random(f"{seed}/{number}")
    name = chance.choice(sorted(sound_masters()))
    data, done = bytearray(sound_masters()[name]), []
    for _ in range(chance.choice((1, 1, 1, 2, 2, 3, 5))):
        change = chance.choice(_CHANGES)
        pieces = list(pieces_of(bytes(data)))
        if not pieces or len(data) > _MOST:
            break
        change(data, pieces, chance)
        done.append(change.__name__.strip("_"))
    if data[1:4] == b"PNG" and chance.random() < 0.95:
        _mend_sums(data)
    return f"{name}: {', '.join(done)}", bytes(data[:_MOST])


def pieces_of(data: bytes) -> Iterator[Piece]:
    """The pieces of a file, as far as they can be followed."""
    if data[:2] == b"\xff\xd8":
        return _segments(data)
    if data[1:4] == b"PNG":
        return _chunks(data)
    if data[:4] == b"RIFF":
        return _riff(data)
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return _entries(data)
    if data[4:8] in (b"jP  ", b"ftyp"):
        return _boxes(data, 0, len(data), ())
    if data[:4] == b"\xff\x4f\xff\x51":
        return _segments(data)
    return iter([Piece(0, len(data), 2, (2, "<I", 0), (0, 2))])


def _segments(data: bytes) -> Iterator[Piece]:
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        [length] = struct.unpack_from(">H", data, at + 2)
        end = min(at + 2 + length, len(data))
        if data[at + 1] in (0xDA, 0x93):  # a scan or a tile: all that follows
            end = len(data)
        yield Piece(at, end, at + 4, (at + 2, ">H", 2), (at + 1, 1))
        at = max(end, at + 2)


def _chunks(data: bytes) -> Iterator[Piece]:
    at = 8
    while at + 12 <= len(data):
        [length] = struct.unpack_from(">I", data, at)
        end = min(at + 12 + length, len(data))
        yield Piece(at, end, at + 8, (at, ">I", -4), (at + 4, 4))
        at = end


def _riff(data: bytes) -> Iterator[Piece]:
    at, whole = 12, (4, "<I", 0)
    yield Piece(0, len(data), 12, (4, "<I", 4), (8, 4))
    while at + 8 <= len(data):
        [length] = struct.unpack_from("<I", data, at + 4)
        end = min(at + 8 + length + length % 2, len(data))
        yield Piece(at, end, at + 8, (at + 4, "<I", 0), (at, 4), (whole,))
        at = end


def _boxes(data: bytes, at: int, last: int, above: tuple[Any, ...]) -> Iterator[Piece]:
    while at + 8 <= last and len(above) < 8:
        length, kind = struct.unpack_from(">I4s", data, at)
        end = min(at + length if length >= 8 else last, last)
        own = (at, ">I", 8)
        yield Piece(at, end, at + 8, own, (at + 4, 4), above)
        if kind in _FOLDERS:
            yield from _boxes(data, at + 8 + _HEADS.get(kind, 0), end, (*above, own))
        at = end


def _entries(data: bytes) -> Iterator[Piece]:
    """Entries of all directories that can be found."""
    order, big = "<" if data[:2] == b"II" else ">", 43 in data[2:4]
    offset, size, head = ("Q", 20, 8) if big else ("I", 12, 2)
    [first] = struct.unpack_from(order + offset, data.ljust(16, b"\0"), 8 if big else 4)
    places, seen = [first], set[int]()
    while places:
        place = places.pop()
        if place < 8 or place in seen or place + head > len(data) or len(seen) > 50:
            continue
        seen.add(place)
        [count] = struct.unpack_from(order + ("Q" if big else "H"), data, place)
        at = place + head
        for _ in range(min(count, 200)):
            if at + size > len(data):
                break
            tag, _kind = struct.unpack_from(order + "HH", data, at)
            [value] = struct.unpack_from(order + offset, data, at + size - (8 if big else 4))
            yield Piece(at, at + size, at + size - (8 if big else 4),
                        (at + 4, order + offset, 0), (at, 2))  # fmt: skip
            if tag in (330, 34665, 34853):
                places.append(value)
            at += size
        if at + 8 <= len(data):
            places.append(struct.unpack_from(order + offset, data.ljust(at + 8, b"\0"), at)[0])


def _is_tiff(data: bytearray) -> bool:
    return data.startswith((b"II", b"MM"))


def _put(data: bytearray, place: int, form: str, number: int) -> None:
    size = struct.calcsize(form)
    if place + size <= len(data):
        struct.pack_into(form, data, place, number % 2 ** (8 * size))


def _exchange(data: bytearray, start: int, end: int, content: bytes, piece: Piece,
              chance: random.Random) -> None:  # fmt: skip
    """Other bytes in a place; lengths around it follow, or do not."""
    if chance.random() < 0.8:
        for place, form, _ in piece.above:
            [length] = struct.unpack_from(form, data, place)
            _put(data, place, form, length + len(content) - (end - start))
    data[start:end] = content


def _drop(data: bytearray, pieces: list[Piece], chance: random.Random) -> None:
    piece = chance.choice(pieces)
    if _is_tiff(data):
        _put(data, piece.kind[0], "<H", 65_000)
    else:
        _exchange(data, piece.start, piece.end, b"", piece, chance)


def _double(data: bytearray, pieces: list[Piece], chance: random.Random) -> None:
    piece, other = chance.choice(pieces), chance.choice(pieces)
    copy = bytes(data[piece.start : piece.end])
    if _is_tiff(data):
        data[other.start : other.end] = copy
    else:
        _exchange(data, other.end, other.end, copy, other, chance)


def _swap(data: bytearray, pieces: list[Piece], chance: random.Random) -> None:
    first, second = sorted((chance.choice(pieces), chance.choice(pieces)), key=lambda p: p.start)
    if first.end <= second.start:
        one, other = data[first.start : first.end], data[second.start : second.end]
        data[second.start : second.end] = one
        data[first.start : first.end] = other


def _cut(data: bytearray, pieces: list[Piece], chance: random.Random) -> None:
    piece = chance.choice(pieces)
    del data[chance.randint(piece.start, piece.end) :]


def _resize(data: bytearray, pieces: list[Piece], chance: random.Random) -> None:
    """A content of another length, which the piece itself states."""
    piece = chance.choice(pieces)
    if _is_tiff(data):
        _length(data, pieces, chance)
        return
    content = bytes(data[piece.body : piece.end])
    if chance.random() < 0.5:
        content = content[: chance.randint(0, len(content))]
    else:
        content += bytes([chance.randrange(256)]) * chance.choice((1, 7, 100, 60_000))
    place, form, more = piece.length
    _put(data, place, form, len(content) + more)
    _exchange(data, piece.body, piece.end, content, piece, chance)


def _length(data: bytearray, pieces: list[Piece], chance: random.Random) -> None:
    place, form, _ = chance.choice(pieces).length
    _put(data, place, form, chance.choice((*_NUMBERS, len(data), chance.randrange(2**16))))


def _rename(data: bytearray, pieces: list[Piece], chance: random.Random) -> None:
    piece, other = chance.choice(pieces), chance.choice(pieces)
    (place, size), there = piece.kind, other.kind[0]
    known = bytes(data[there : there + size])
    data[place : place + size] = known if chance.random() < 0.7 else chance.randbytes(size)


def _type(data: bytearray, pieces: list[Piece], chance: random.Random) -> None:
    """Another type of a TIFF's entry; of others, a number at the start of the content."""
    piece = chance.choice(pieces)
    if _is_tiff(data):
        _put(data, piece.start + 2, "<H" if data[:2] == b"II" else ">H", chance.randrange(20))
    elif piece.end > piece.body:
        data[piece.body] = chance.randrange(256)


def _number(data: bytearray, pieces: list[Piece], chance: random.Random) -> None:
    """A number in a content: a size, an offset, a count, or a part of the picture."""
    piece = chance.choice(pieces)
    if piece.end - piece.body < 1:
        return
    form = chance.choice("BHIHIQ")
    room = min(piece.end - piece.body, 64 if chance.random() < 0.8 else 2**20)
    place = piece.body + chance.randrange(room)
    order = "<" if data[:2] == b"II" or data[:4] == b"RIFF" else ">"
    _put(data, place, order + form, chance.choice((*_NUMBERS, piece.start, len(data))))


def _scramble(data: bytearray, pieces: list[Piece], chance: random.Random) -> None:
    piece = chance.choice(pieces)
    for _ in range(chance.choice((1, 3, 20))):
        if piece.end > piece.body:
            data[chance.randrange(piece.body, piece.end)] = chance.randrange(256)


def _nest(data: bytearray, pieces: list[Piece], chance: random.Random) -> None:
    """A box in boxes of its kind, or a piece that comes again and again; of a TIFF, a loop."""
    piece = chance.choice(pieces)
    if _is_tiff(data):
        order = "<" if data[:2] == b"II" else ">"
        _put(data, piece.start, f"{order}H", chance.choice((330, 34665, 34853)))
        _put(data, piece.start + 2, f"{order}H", 4)
        form = piece.length[1]
        _put(data, piece.start + 4, form, 1)
        _put(data, piece.body, form, chance.choice((8, 16, chance.choice(pieces).start - 2)))
        return
    copy = bytes(data[piece.start : piece.end])
    times = min(chance.choice((3, 50, 3_000)), _MOST // (2 * max(1, len(copy))))
    if bytes(data[4:8]) in (b"jP  ", b"ftyp"):
        name = bytes(data[piece.kind[0] : piece.kind[0] + 4])
        sizes = range(len(copy) + 8 * times, len(copy), -8)
        copy = b"".join(struct.pack(">I", size) + name for size in sizes) + copy
    else:
        copy *= times
    _exchange(data, piece.start, piece.end, copy, piece, chance)


_CHANGES: tuple[Callable[[bytearray, list[Piece], random.Random], None], ...] = (
    *(_drop, _double, _swap, _cut, _resize, _length, _length, _rename, _type),
    *(_number, _number, _number, _scramble, _nest),
)


def _mend_sums(data: bytearray) -> None:
    """The check sums of a PNG."""
    for piece in _chunks(bytes(data)):
        if piece.end - piece.start >= 12:
            check = zlib.crc32(data[piece.start + 4 : piece.end - 4])
            struct.pack_into(">I", data, piece.end - 4, check)
