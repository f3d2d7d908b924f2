"""What of a master's XMP packet its result keeps.

The properties that `carried` lists are kept byte by byte, except the orientation, which becomes
upright. A packet that is not well-formed, too large or nested too deeply is left out.
"""

import re
from collections.abc import Set
from dataclasses import dataclass, field
from xml.parsers import expat
from xml.sax.saxutils import quoteattr

from pipeline.metadata.carried import is_carried

MOST_BYTES = 2**20  # of a master's packet
DEEPEST, MOST_ELEMENTS = 64, 20_000
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_TIFF = "http://ns.adobe.com/tiff/1.0/"
_AROUND = ("adobe:ns:meta/\nxmpmeta", "adobe:ns:meta/\nxapmeta")
_TAG = re.compile(rb"""<(?:[^"'>]|"[^"]*"|'[^']*')*+>""")
_NAME = re.compile(rb"""<[^\s/>]+""")
_ATTRIBUTE = re.compile(rb"""\s([^\s=<>"'/]+)\s*=\s*("[^"]*"|'[^']*')""")


class RefusedXmp(Exception):
    """A packet beyond our limits, or with a document type."""


@dataclass(frozen=True)
class Kept:
    """A master's packet, corrected for its result: what precedes the properties, the properties,
    and what follows. names: (namespace, name) of the properties."""

    start: str
    inner: str
    tail: str
    names: frozenset[tuple[str, str]] = frozenset()

    @property
    def head(self) -> str:
        return self.start + self.inner


def keep_xmp(
    master: bytes, taken: Set[tuple[str, str]] = frozenset(), portable: bool = False
) -> Kept | None:
    """A master's packet with what its result keeps; None if it cannot be used.

    taken: properties to leave out. portable: declare namespaces in each description, so that it
    can be moved into another packet.
    """
    if len(master) > MOST_BYTES:
        return None
    try:
        reader = _Reader(as_utf8(master), taken, portable)
    except (expat.ExpatError, UnicodeDecodeError, RefusedXmp):
        return None
    return reader.kept()


def as_utf8(master: bytes) -> bytes:
    """A packet in UTF-8, without its xpacket wrapper."""
    wide = {b"\xfe\xff": "utf-16", b"\xff\xfe": "utf-16", b"\0<": "utf-16-be", b"<\0": "utf-16-le"}
    encoding = wide.get(master[:2], "utf-8-sig")
    return master.decode(encoding).rstrip("\0").strip().encode()


def why_left_out(master: bytes | None) -> str:
    """For people, why a master's packet or extension is left out; empty if it is carried."""
    if not master or keep_xmp(master) is not None:
        return ""
    return "more than 1 MiB" if len(master) > MOST_BYTES else "damaged, or nested too deeply"


@dataclass
class _Reader:
    """Reads a packet once, and notes which of its bytes are to be cut or replaced. Raises
    expat.ExpatError, RefusedXmp."""

    packet: bytes
    taken: Set[tuple[str, str]] = frozenset()
    portable: bool = False
    _names: set[tuple[str, str]] = field(default_factory=set)
    _first: int | None = None  # where the descriptions start
    _last: int | None = None  # and where they end
    _path: list[str] = field(default_factory=list)
    _cuts: list[tuple[int, int, bytes]] = field(default_factory=list)
    _cut_at: tuple[int, int] | None = None  # depth and start of the element being cut
    _upright: int | None = None  # where the value of an orientation starts
    _spaces: dict[str, list[str]] = field(default_factory=dict)
    _fresh: set[str] = field(default_factory=set)  # prefixes declared by the element that starts
    _added: int = 0  # bytes of declarations
    _count: int = 0

    def __post_init__(self) -> None:
        parser = expat.ParserCreate(namespace_separator="\n")
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.StartDoctypeDeclHandler = self._refuse
        parser.StartNamespaceDeclHandler = self._declare
        parser.EndNamespaceDeclHandler = lambda prefix: self._spaces[prefix or ""].pop()
        self._parser = parser
        parser.Parse(self.packet, True)

    def kept(self) -> Kept | None:
        """None where there is no place for descriptions."""
        if self._first is None or self._last is None:
            return None
        parts, at, last = [], 0, self._last
        for start, end, instead in self._cuts:
            parts += [self.packet[at:start], instead]
            if end <= self._last:
                last += len(instead) - (end - start)
            at = end
        whole, first = b"".join((*parts, self.packet[at:])), self._first
        inner = whole[first:last].decode()
        return Kept(whole[:first].decode(), inner, whole[last:].decode(), frozenset(self._names))

    def _refuse(self, *_: object) -> None:
        raise RefusedXmp

    def _declare(self, prefix: str | None, space: str) -> None:
        self._spaces.setdefault(prefix or "", []).append(space or "")
        self._fresh.add(prefix or "")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > MOST_ELEMENTS or len(self._path) >= DEEPEST:
            raise RefusedXmp
        place = self._parser.CurrentByteIndex
        inside = [each for each in self._path if each not in _AROUND]
        self._path.append(name)
        fresh, self._fresh = self._fresh, set()
        if self._cut_at is not None:
            return
        if not inside and name == f"{RDF}\nRDF" and self._first is None:
            self._first = self._end_of_tag(place)
        elif inside == [f"{RDF}\nRDF"]:
            if self.portable:
                self._declare_all(place, fresh)
            self._attributes(place)
        elif len(inside) == 2:
            space, _, own = name.rpartition("\n")
            if not self._is_kept(space, own):
                self._cut_at = (len(self._path), place)
            elif (space, own) == (_TIFF, "Orientation"):
                self._upright = self._end_of_tag(place)

    def _end(self, name: str) -> None:
        place = self._parser.CurrentByteIndex
        if self._cut_at is not None and self._cut_at[0] == len(self._path):
            start, self._cut_at = self._cut_at[1], None
            end = self._end_of_tag(start)  # of an empty element, this is all
            if self.packet[end - 2 : end] != b"/>":
                end = self._end_of_tag(place)
            self._cuts.append((start, end, b""))
        elif self._upright is not None and name == f"{_TIFF}\nOrientation":
            if place > self._upright:
                self._cuts.append((self._upright, place, b"1"))
            self._upright = None
        elif name == f"{RDF}\nRDF" and self._last is None:
            around = all(each in _AROUND for each in self._path[:-1])
            if around and self.packet[place : place + 2] == b"</":
                self._last = place
        self._path.pop()

    def _is_kept(self, space: str, own: str) -> bool:
        kept = is_carried(space, own) and (space, own) not in self.taken
        if kept:
            self._names.add((space, own))
        return kept

    def _declare_all(self, place: int, fresh: Set[str]) -> None:
        """Declare all inherited namespaces on the element that starts here."""
        known = {prefix: spaces[-1] for prefix, spaces in self._spaces.items() if spaces}
        names = "".join(
            f" xmlns{':' * bool(prefix)}{prefix}={quoteattr(space)}"
            for prefix, space in sorted(known.items())
            if prefix not in fresh
        ).encode()
        self._added += len(names)
        if self._added > MOST_BYTES:
            raise RefusedXmp
        found = _NAME.match(self.packet, place)
        if found is None:
            raise RefusedXmp
        self._cuts.append((found.end(), found.end(), names))

    def _attributes(self, place: int) -> None:
        """Handle properties that are written as attributes of a description."""
        for found in _ATTRIBUTE.finditer(self.packet, place, self._end_of_tag(place)):
            prefix, _, own = found[1].decode().rpartition(":")
            if not prefix or prefix in ("xml", "xmlns"):
                continue
            space = (self._spaces.get(prefix) or [""])[-1]
            if space == RDF:
                continue
            if not self._is_kept(space, own):
                self._cuts.append((*found.span(), b""))
            elif (space, own) == (_TIFF, "Orientation"):
                self._cuts.append((*found.span(2), b'"1"'))

    def _end_of_tag(self, place: int) -> int:
        found = _TAG.match(self.packet, place)
        if found is None:
            raise RefusedXmp
        return found.end()
