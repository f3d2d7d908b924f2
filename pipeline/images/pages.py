"""Pages of a TIFF: its directories, without those that are no pictures of their own.

Those are reduced versions and thumbnails (NewSubfileType 1, SubfileType 2) and transparency masks
(NewSubfileType 4, PhotometricInterpretation 4); where a file has nothing else, its first directory
is its page. A chain of directories that leads out of the file, as in one that was cut, ends with a
page that cannot be read: it is not passed over in silence. All other formats have one page.
"""

import struct
from dataclasses import dataclass

from pipeline.errors import PhotoError

MOST_PAGES = 1000  # of a file whose pages are all taken
_MOST_DIRECTORIES = 2**16  # that are looked at
_MOST_FIELDS = 2**12  # of a directory; more, and it is none
_NEW_SUBFILE, _SUBFILE, _PHOTOMETRIC = 254, 255, 262
_REDUCED, _MASK = 1, 4
_NUMBERS = {3: "H", 4: "I"}  # SHORT and LONG


@dataclass(frozen=True)
class _Layout:
    """How a TIFF or BigTIFF counts and points: struct's formats, and where its header points."""

    place: str
    count: str
    entry: str
    at: int


def count_pages(data: bytes) -> int:
    """How many pages a file has; 1 where it is no TIFF."""
    layout = _layout(data)
    return 1 if layout is None else len(_places(data, layout))


def page_alone(data: bytes, page: int) -> bytes:
    """A file whose first picture is that page, counted from 1: a copy, where it is not already.

    No other page is looked at by whoever reads it. Raises PhotoError (corrupt) where there are
    fewer.
    """
    layout = _layout(data)
    places = [0] if layout is None else _places(data, layout)
    if page > len(places):
        raise PhotoError("corrupt", f"the file has no page {page}")
    if layout is None:
        return data
    there, view = struct.pack(layout.place, places[page - 1]), memoryview(data)
    after = layout.at + len(there)
    if view[layout.at : after] == there:
        return data
    return b"".join((view[: layout.at], there, view[after:]))


def _layout(data: bytes) -> _Layout | None:
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or len(data) < 16:
        return None
    [version] = struct.unpack_from(f"{order}H", data, 2)
    if version == 42:
        return _Layout(f"{order}I", f"{order}H", f"{order}HHI4s", 4)
    return _Layout(f"{order}Q", f"{order}Q", f"{order}HHQ8s", 8) if version == 43 else None


def _places(data: bytes, layout: _Layout) -> list[int]:
    """Where the directories of the pages start; at least one."""
    places: list[int] = []
    seen: set[int] = set()
    [first] = [place] = struct.unpack_from(layout.place, data, layout.at)
    spent = 0  # bytes of directories; a file that has them one beside the other has no more
    while place and place not in seen and len(seen) < _MOST_DIRECTORIES and spent <= len(data):
        spent += _length(data, layout, place)
        seen.add(place)
        read = _directory(data, layout, place)
        if read is None:
            places.append(place)
            break
        picture, following = read
        if picture:
            places.append(place)
        place = following
    return places or [first]


def _length(data: bytes, layout: _Layout, place: int) -> int:
    """How many bytes a directory takes, or says that it takes."""
    if place + struct.calcsize(layout.count) > len(data):
        return 0
    [count] = struct.unpack_from(layout.count, data, place)
    return int(min(count, _MOST_FIELDS)) * struct.calcsize(layout.entry)


def _directory(data: bytes, layout: _Layout, place: int) -> tuple[bool, int] | None:
    """Whether a directory is a picture of its own, and where the next is; None where it is none."""
    start = place + struct.calcsize(layout.count)
    if start > len(data):
        return None
    [count] = struct.unpack_from(layout.count, data, place)
    end = start + count * struct.calcsize(layout.entry)
    if not 0 < count <= _MOST_FIELDS or end + struct.calcsize(layout.place) > len(data):
        return None
    values = dict.fromkeys((_NEW_SUBFILE, _SUBFILE, _PHOTOMETRIC), 0)
    for tag, kind, number, stored in struct.iter_unpack(layout.entry, data[start:end]):
        if tag in values and kind in _NUMBERS and number == 1:
            [values[tag]] = struct.unpack_from(layout.entry[0] + _NUMBERS[kind], stored)
    none = values[_NEW_SUBFILE] & (_REDUCED | _MASK) or values[_SUBFILE] == 2
    [following] = struct.unpack_from(layout.place, data, end)
    return not none and values[_PHOTOMETRIC] != _MASK, following
