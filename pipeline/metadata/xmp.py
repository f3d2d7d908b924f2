"""The XMP of a result: that a machine has colored it, with which model, from which master.

From the master's own packet, the properties that `carried` lists are kept byte by byte, except the
orientation. A packet that is not well-formed, too large or nested too deeply is left out.
"""

import re
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from pipeline.metadata.carried import is_carried
from pipeline.metadata.iptc import description_of
from pipeline.metadata.segments import extension_pointer

SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
MOST_BYTES = 2**20  # of a master's packet
DEEPEST, MOST_ELEMENTS = 64, 20_000
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_TIFF = "http://ns.adobe.com/tiff/1.0/"
EXTENSION_SPACE = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
OWN_SPACE = "urn:autochrome:provenance#"
_META = '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
_OPEN = f'<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n{_META}'
_RDF_START = f'<rdf:RDF xmlns:rdf="{_RDF}">'
_CLOSE = '</x:xmpmeta>\n<?xpacket end="w"?>'
_LAST = "</rdf:RDF>"
_AROUND = ("adobe:ns:meta/\nxmpmeta", "adobe:ns:meta/\nxapmeta")
_TAG = re.compile(rb"""<(?:[^"'>]|"[^"]*"|'[^']*')*+>""")
_NAME = re.compile(rb"""<[^\s/>]+""")
_ATTRIBUTE = re.compile(rb"""\s([^\s=<>"'/]+)\s*=\s*("[^"]*"|'[^']*')""")


@dataclass(frozen=True)
class Provenance:
    """source_type: a term of IPTC's digital source types. weights: SHA-256 by stage. page: the
    master's page, if all pages were done."""

    source_type: str
    version: str
    weights: Mapping[str, str]
    seed: int
    source_sha256: str
    page: int | None = None


@dataclass(frozen=True)
class Packets:
    """The XMP of a result. extension: what does not fit into one segment of a JPEG."""

    packet: bytes | None
    extension: bytes | None = None


def xmp_packet(
    master: bytes | None,
    provenance: Provenance | None,
    iptc: bytes | None = None,
    texts: Mapping[str, str] | None = None,
) -> bytes | None:
    """The XMP of a result as one packet, as in xmp_packets."""
    return xmp_packets(master, provenance, None, iptc, texts).packet


def xmp_packets(
    master: bytes | None,
    provenance: Provenance | None,
    most_bytes: int | None = None,
    iptc: bytes | None = None,
    texts: Mapping[str, str] | None = None,
    extended: bytes | None = None,
) -> Packets:
    """The XMP of a result, in one packet if that has most_bytes at most.

    iptc: an IIM block for which the result's format has no other place. texts: of a PNG, or the
    comment of a JPEG, by keyword. extended: the master's XMP from further segments.
    """
    made = "" if provenance is None else _description(provenance)
    kept = (_kept(master) if master else None) or _NOTHING
    more = _extension(extended, kept)
    known = f"{kept.head}{more}{kept.tail}"
    said = description_of(iptc or b"", known, texts or {})
    if not (kept is not _NOTHING or more or said or made):
        return Packets(None)
    packet = f"{kept.head}{more}{said}{made}{kept.tail}".encode()
    if most_bytes is None or len(packet) <= most_bytes:
        return Packets(packet)
    main = _kept(master, portable=True) if master else None
    for here, own, moved in (
        (kept, said, more),
        (_NOTHING, said, (main.inner if main else "") + more),
        (_NOTHING, "", (main.inner if main else "") + more + said),
    ):
        extension = f"{_META}{_RDF_START}{moved}{_LAST}</x:xmpmeta>".encode()
        pointer = extension_pointer(extension)
        packet = f"{here.head}{own}{made}{pointer}{here.tail}".encode()
        if moved and len(packet) <= most_bytes:
            return Packets(packet, extension)
    return Packets(None)


def _extension(extended: bytes | None, packet: "_Kept") -> str:
    """The extension's descriptions that the packet lacks, in a form that can stand in it."""
    found = _kept(extended, packet.names, portable=True) if extended else None
    return found.inner if found else ""


def left_out(master: bytes | None) -> str:
    """For people, why a master's packet or extension is left out; empty if it is carried."""
    if not master or _kept(master) is not None:
        return ""
    return "more than 1 MiB" if len(master) > MOST_BYTES else "damaged, or nested too deeply"


def _description(made: Provenance) -> str:
    facts = {
        "Iptc4xmpExt:DigitalSourceType": SOURCE_TYPES + made.source_type,
        "Iptc4xmpExt:AISystemUsed": "Autochrome",
        "Iptc4xmpExt:AISystemVersionUsed": made.version,
        "autochrome:Seed": str(made.seed),
        "autochrome:SourceSHA256": made.source_sha256,
    }
    if made.page is not None:
        facts["autochrome:SourcePage"] = str(made.page)
    facts |= {
        f"autochrome:Weights{stage.capitalize()}SHA256": digest
        for stage, digest in sorted(made.weights.items())
    }
    inner = "".join(f"\n  <{name}>{escape(value)}</{name}>" for name, value in facts.items())
    spaces = f'xmlns:Iptc4xmpExt="{EXTENSION_SPACE}" xmlns:autochrome="{OWN_SPACE}"'
    about = f'xmlns:rdf="{_RDF}" rdf:about=""'
    return f"\n <rdf:Description {about} {spaces}>{inner}\n </rdf:Description>\n"


@dataclass(frozen=True)
class _Kept:
    """A master's packet, corrected for its result: what precedes the properties, the properties,
    and what follows. names: (namespace, name) of the properties."""

    start: str
    inner: str
    tail: str
    names: frozenset[tuple[str, str]] = frozenset()

    @property
    def head(self) -> str:
        return self.start + self.inner


def _kept(
    master: bytes, taken: Set[tuple[str, str]] = frozenset(), portable: bool = False
) -> _Kept | None:
    """None if the packet cannot be used. taken: properties to leave out. portable: declare
    namespaces in each description, so that it can be moved into another packet."""
    if len(master) > MOST_BYTES:
        return None
    try:
        reader = _Reader(as_utf8(master), taken, portable)
    except (expat.ExpatError, UnicodeDecodeError, _Refused):
        return None
    return reader.kept()


def as_utf8(master: bytes) -> bytes:
    """A packet in UTF-8, without its xpacket wrapper."""
    wide = {b"\xfe\xff": "utf-16", b"\xff\xfe": "utf-16", b"\0<": "utf-16-be", b"<\0": "utf-16-le"}
    encoding = wide.get(master[:2], "utf-8-sig")
    return master.decode(encoding).rstrip("\0").strip().encode()


class _Refused(Exception):
    pass


_NOTHING = _Kept(_OPEN + _RDF_START, "", _LAST + _CLOSE)


@dataclass
class _Reader:
    """Reads a packet once, and notes which of its bytes are to be cut or replaced. Raises
    expat.ExpatError, _Refused."""

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

    def kept(self) -> _Kept | None:
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
        return _Kept(whole[:first].decode(), inner, whole[last:].decode(), frozenset(self._names))

    def _refuse(self, *_: object) -> None:
        raise _Refused

    def _declare(self, prefix: str | None, space: str) -> None:
        self._spaces.setdefault(prefix or "", []).append(space or "")
        self._fresh.add(prefix or "")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > MOST_ELEMENTS or len(self._path) >= DEEPEST:
            raise _Refused
        place = self._parser.CurrentByteIndex
        inside = [each for each in self._path if each not in _AROUND]
        self._path.append(name)
        fresh, self._fresh = self._fresh, set()
        if self._cut_at is not None:
            return
        if not inside and name == f"{_RDF}\nRDF" and self._first is None:
            self._first = self._end_of_tag(place)
        elif inside == [f"{_RDF}\nRDF"]:
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
        elif name == f"{_RDF}\nRDF" and self._last is None:
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
            raise _Refused
        found = _NAME.match(self.packet, place)
        if found is None:
            raise _Refused
        self._cuts.append((found.end(), found.end(), names))

    def _attributes(self, place: int) -> None:
        """Handle properties that are written as attributes of a description."""
        for found in _ATTRIBUTE.finditer(self.packet, place, self._end_of_tag(place)):
            prefix, _, own = found[1].decode().rpartition(":")
            if not prefix or prefix in ("xml", "xmlns"):
                continue
            space = (self._spaces.get(prefix) or [""])[-1]
            if space == _RDF:
                continue
            if not self._is_kept(space, own):
                self._cuts.append((*found.span(), b""))
            elif (space, own) == (_TIFF, "Orientation"):
                self._cuts.append((*found.span(2), b'"1"'))

    def _end_of_tag(self, place: int) -> int:
        found = _TAG.match(self.packet, place)
        if found is None:
            raise _Refused
        return found.end()
