"""Pages of a TIFF: those of its directories that are pictures of their own.

Reduced versions and thumbnails (NewSubfileType 1, SubfileType 2) and transparency masks
(NewSubfileType 4, PhotometricInterpretation 4) are not counted; in a file with nothing else, the
first directory is the page. If a directory is a thumbnail of a larger picture in its SubIFD, the
SubIFD is the page, and inherits what the directory says of the photograph. If the chain of
directories leads out of the file, as in a truncated one, it ends with a page that cannot be read,
so that the loss is reported. All other formats have one page.
"""

import struct
from dataclasses import dataclass

from pipeline.errors import PhotoError

MOST_PAGES = 1000  # of a file of which all pages are taken
_MOST_DIRECTORIES = 2**16  # looked at in a file
_MOST_FIELDS = 2**12  # a directory that claims more is damaged
_NEW_SUBFILE, _SUBFILE, _PHOTOMETRIC = 254, 255, 262
_WIDTH, _HEIGHT, _SUBS = 256, 257, 330
_REDUCED, _MASK = 1, 4
_MOST_SUBS = 64  # looked at in a directory
# What a SubIFD inherits from its directory: descriptions, orientation and resolution, XMP, IPTC and
# Photoshop's, EXIF, the profile, GPS.
_DESCRIBING = {
    *range(269, 273), 274, 282, 283, 285, 296, 305, 306, 315, 316, 700, 18246, 18249, 33432,
    33723, 34377, 34665, 34675, 34853, *range(36864, 36868), *range(40091, 40096),
}  # fmt: skip
_NUMBERS = {3: "H", 4: "I"}  # SHORT and LONG
_POINTERS = {4: "I", 13: "I", 16: "Q", 18: "Q"}  # LONG and IFD, and BigTIFF's of 64 bits


@dataclass(frozen=True)
class _Layout:
    """The integer sizes of a TIFF or BigTIFF as formats of struct, and the position in its header
    of the first pointer."""

    place: str
    count: str
    entry: str
    at: int


@dataclass(frozen=True)
class _Page:
    """Where a page's directory starts, and where the directory of which it is a SubIFD starts."""

    place: int
    above: int | None = None


@dataclass(frozen=True)
class _Directory:
    """picture: neither a reduced version nor a mask. entries: as stored, by tag."""

    picture: bool
    width: int
    height: int
    subs: tuple[int, ...]
    following: int
    entries: dict[int, bytes]


def count_pages(data: bytes) -> int:
    """How many pages a file has; 1 if it is not a TIFF."""
    layout = _layout(data)
    return 1 if layout is None else len(_pages(data, layout))


def page_alone(data: bytes, page: int) -> bytes:
    """A file whose first picture is this page, counted from 1: a copy, unless it is first already.

    Readers of the copy never look at another page. Raises PhotoError (corrupt) if there are fewer.
    """
    layout = _layout(data)
    pages = [_Page(0)] if layout is None else _pages(data, layout)
    if page > len(pages):
        raise PhotoError("corrupt", f"the file has no page {page}")
    if layout is None:
        return data
    wanted, parts = pages[page - 1], [data]
    place = wanted.place
    if wanted.above is not None:
        place = len(data) + len(data) % 2
        parts += [b"\0" * (len(data) % 2), _joined(data, layout, wanted.place, wanted.above)]
    there = struct.pack(layout.place, place)
    after = layout.at + len(there)
    if data[layout.at : after] == there:
        return data
    view = memoryview(data)
    return b"".join((view[: layout.at], there, view[after:], *parts[1:]))


def _joined(data: bytes, layout: _Layout, place: int, above: int) -> bytes:
    """A directory with what its parent says of the photograph, and no next directory."""
    own, other = _directory(data, layout, place), _directory(data, layout, above)
    assert own is not None and other is not None  # both have been read before
    described = {tag: entry for tag, entry in other.entries.items() if tag in _DESCRIBING}
    entries = dict(sorted((described | own.entries).items()))
    count, end = struct.pack(layout.count, len(entries)), struct.pack(layout.place, 0)
    return b"".join((count, *entries.values(), end))


def _layout(data: bytes) -> _Layout | None:
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or len(data) < 16:
        return None
    [version] = struct.unpack_from(f"{order}H", data, 2)
    if version == 42:
        return _Layout(f"{order}I", f"{order}H", f"{order}HHI4s", 4)
    return _Layout(f"{order}Q", f"{order}Q", f"{order}HHQ8s", 8) if version == 43 else None


def _pages(data: bytes, layout: _Layout) -> list[_Page]:
    """The pages of a file; at least one."""
    pages: list[_Page] = []
    seen: set[int] = set()
    [first] = [place] = struct.unpack_from(layout.place, data, layout.at)
    spent = 0  # bytes of directories; more than the file has mean that they overlap
    while place and place not in seen and len(seen) < _MOST_DIRECTORIES and spent <= len(data):
        spent += _length(data, layout, place)
        seen.add(place)
        directory = _directory(data, layout, place)
        if directory is None:
            pages.append(_Page(place))
            break
        below = _picture_below(data, layout, directory)
        if below is not None:
            pages.append(_Page(below, place))
        elif directory.picture:
            pages.append(_Page(place))
        place = directory.following
    return pages or [_Page(first)]


def _length(data: bytes, layout: _Layout, place: int) -> int:
    """How many bytes a directory takes, according to its number of entries."""
    if place + struct.calcsize(layout.count) > len(data):
        return 0
    [count] = struct.unpack_from(layout.count, data, place)
    return int(min(count, _MOST_FIELDS)) * struct.calcsize(layout.entry)


def _picture_below(data: bytes, layout: _Layout, above: _Directory) -> int | None:
    """The largest picture in a SubIFD, if larger than the directory's own."""
    best, size = None, (above.width, above.height)
    for place in above.subs[:_MOST_SUBS]:
        sub = _directory(data, layout, place)
        if sub is not None and sub.picture and sub.width > size[0] and sub.height > size[1]:
            best, size = place, (sub.width, sub.height)
    return best


def _directory(data: bytes, layout: _Layout, place: int) -> _Directory | None:
    """A directory of a file; None where there is none."""
    start = place + struct.calcsize(layout.count)
    if start > len(data):
        return None
    [count] = struct.unpack_from(layout.count, data, place)
    size = struct.calcsize(layout.entry)
    end = start + count * size
    if not 0 < count <= _MOST_FIELDS or end + struct.calcsize(layout.place) > len(data):
        return None
    values = dict.fromkeys((_NEW_SUBFILE, _SUBFILE, _PHOTOMETRIC, _WIDTH, _HEIGHT), 0)
    entries: dict[int, bytes] = {}
    subs: tuple[int, ...] = ()
    for at in range(start, end, size):
        tag, kind, number, stored = struct.unpack_from(layout.entry, data, at)
        entries[tag] = data[at : at + size]
        if tag in values and kind in _NUMBERS and number == 1:
            [values[tag]] = struct.unpack_from(layout.entry[0] + _NUMBERS[kind], stored)
        elif tag == _SUBS:
            subs = _pointers(data, layout, kind, number, stored)
    none = values[_NEW_SUBFILE] & (_REDUCED | _MASK) or values[_SUBFILE] == 2
    picture = not none and values[_PHOTOMETRIC] != _MASK
    [following] = struct.unpack_from(layout.place, data, end)
    return _Directory(picture, values[_WIDTH], values[_HEIGHT], subs, following, entries)


def _pointers(
    data: bytes, layout: _Layout, kind: int, number: int, stored: bytes
) -> tuple[int, ...]:
    """Where a directory's SubIFDs are; empty if they are stored differently or lie outside the
    file."""
    number = min(number, _MOST_SUBS)
    wanted = f"{layout.entry[0]}{number}{_POINTERS.get(kind, 'I')}"
    if kind not in _POINTERS or not number:
        return ()
    if struct.calcsize(wanted) <= len(stored):
        return struct.unpack_from(wanted, stored)
    [place] = struct.unpack(layout.place, stored)
    if place + struct.calcsize(wanted) > len(data):
        return ()
    return struct.unpack_from(wanted, data, place)
