"""AVIF: facts from its boxes, and pictures of 10 and 12 bits by libavif.

Pillow would reduce any AVIF to 8 bits. Legend: H W rows and columns, C channels.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.images.boxes import read_box
from pipeline.images.deep_masters import DeepMaster
from pipeline.images.gray import Kind, Samples

_MOST_BOXES = 2_000  # in one box
_BRANDS = (b"avif", b"mif1", b"avis", b"msf1")
_STILLS = _BRANDS[:2]

Span = tuple[int, int]  # start and end of a box's content


@dataclass(frozen=True)
class AvifPicture:
    """width and height as stored. channels: 1 or 3, without alpha. transfer: numbers of ITU-T H.273
    for primaries and transfer function; None if there is a profile, or neither is stated."""

    width: int
    height: int
    bits: int
    channels: int
    transfer: tuple[int, int] | None = None


def open_avif(data: bytes) -> DeepMaster | None:
    """Open a still picture of more than 8 bits; None for all other files."""
    picture = avif_picture(data)
    if picture is None or picture.bits <= 8 or data[8:12] not in _STILLS:
        return None
    bits, channels = picture.bits, picture.channels
    kind: Kind = "gray" if channels == 1 else "rgb"

    def decode() -> Samples:
        import imagecodecs

        values = imagecodecs.avif_decode(data, index=0, numthreads=1)
        values = values[..., None] if values.ndim == 2 else values
        return Samples(values[..., :channels], kind, float(2**bits - 1))

    mode = f"{'L' if channels == 1 else 'RGB'};{bits}"
    return DeepMaster(
        picture.width, picture.height, mode, channels, "AVIF", decode, bits, header=data
    )


def avif_picture(data: bytes) -> AvifPicture | None:
    """The primary picture of an AVIF; None if the file is no AVIF, is damaged, or has only a
    film."""
    if data[4:8] != b"ftyp" or data[8:12] not in _BRANDS:
        return None
    try:
        return _primary(data)
    except (struct.error, LookupError, StopIteration, ValueError):
        return None


def _primary(data: bytes) -> AvifPicture:
    """Raises LookupError, StopIteration, ValueError, struct.error: boxes are missing or cut."""
    start, end = dict(_boxes(data, 0, len(data)))[b"meta"]
    meta = dict(_boxes(data, start + 4, end))
    shared = dict(_boxes(data, *meta[b"iprp"]))
    properties = list(_boxes(data, *shared[b"ipco"]))
    links = _associations(data, shared[b"ipma"], properties)
    version, at = data[meta[b"pitm"][0]], meta[b"pitm"][0] + 4
    [primary] = struct.unpack_from(">I" if version else ">H", data, at)
    own = dict(reversed(links[primary]))  # of each kind, the first
    width, height = struct.unpack_from(">II", data, own[b"ispe"][0] + 4)
    coded = own.get(b"av1C")
    if coded is None:  # a grid; its tiles are coded alike
        tiles = (dict(found) for found in links.values())
        coded = next(each[b"av1C"] for each in tiles if b"av1C" in each and b"auxC" not in each)
    flags = data[coded[0] + 2] if coded[1] - coded[0] >= 3 else 0
    bits = 8 + (2 + (flags >> 4 & 2) if flags & 0x40 else 0)
    channels = 1 if flags & 0x10 else 3
    return AvifPicture(width, height, bits, channels, _transfer(data, links[primary]))


def _transfer(data: bytes, links: list[tuple[bytes, Span]]) -> tuple[int, int] | None:
    colors = [start for kind, (start, end) in links if kind == b"colr" and end - start >= 11]
    if not colors or any(data[start : start + 4] != b"nclx" for start in colors):
        return None
    primaries, transfer = struct.unpack_from(">HH", data, colors[0] + 4)
    return primaries, transfer


def _associations(
    data: bytes, span: Span, properties: list[tuple[bytes, Span]]
) -> dict[int, list[tuple[bytes, Span]]]:
    """The properties of each item, by its number."""
    at, end = span
    version, wide = data[at], data[at + 3] & 1
    [count] = struct.unpack_from(">I", data, at + 4)
    at += 8
    found: dict[int, list[tuple[bytes, Span]]] = {}
    for _ in range(min(count, _MOST_BOXES)):
        form = ">IB" if version else ">HB"
        if at + struct.calcsize(form) > end:
            break
        item, number = struct.unpack_from(form, data, at)
        at += struct.calcsize(form)
        size = 2 if wide else 1
        places = np.frombuffer(data, f">u{size}", number, at) & (0x7FFF if wide else 0x7F)
        at += size * number
        found[item] = [properties[each - 1] for each in places if 0 < each <= len(properties)]
    return found


def _boxes(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, Span]]:
    """Kind and content of the boxes in a span, in order, up to the first that is cut off."""
    for _ in range(_MOST_BOXES):
        if at + 8 > end:
            return
        kind, body, last = read_box(data, at, end)
        if last > end or last < body:
            return
        yield kind, (body, last)
        at = last
