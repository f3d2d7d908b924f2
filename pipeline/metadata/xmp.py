"""What a result says of its making, in XMP: that a machine has painted it, with what, from what.

Of a master's own packet, what `carried` lists stays as it is, byte by byte, but for its
orientation. One that is not well-formed, too large or too deep stays behind.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from xml.parsers import expat
from xml.sax.saxutils import escape

from pipeline.metadata.carried import is_carried
from pipeline.metadata.iptc import description_of

SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
MOST_BYTES = 2**20  # of a master's packet
_DEEPEST, _MOST_ELEMENTS = 64, 20_000
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_TIFF = "http://ns.adobe.com/tiff/1.0/"
_EXTENSION = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_OWN = "urn:autochrome:provenance#"
_OPEN = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n<x:xmpmeta xmlns:x="adobe:ns:meta/">'
)
_CLOSE = '</x:xmpmeta>\n<?xpacket end="w"?>'
_LAST = "</rdf:RDF>"
_TAG = re.compile(rb"""<(?:[^"'>]|"[^"]*"|'[^']*')*+>""")
_ATTRIBUTE = re.compile(rb"""\s([^\s=<>"'/]+)\s*=\s*("[^"]*"|'[^']*')""")


@dataclass(frozen=True)
class Provenance:
    """source_type: a term of IPTC's digital source types. weights: SHA-256 by stage. page: which of
    a master's pages it is, where all of several were done."""

    source_type: str
    version: str
    weights: Mapping[str, str]
    seed: int
    source_sha256: str
    page: int | None = None


def xmp_packet(
    master: bytes | None,
    provenance: Provenance | None,
    most_bytes: int | None = None,
    iptc: bytes | None = None,
    texts: Mapping[str, str] | None = None,
) -> bytes | None:
    """The XMP of a result; the master's part is left out where the whole would be too long.

    iptc: a block of IIM that the result has no other place for. texts: those of a PNG, or a JPEG's
    comment, by their keyword.
    """
    own = "" if provenance is None else _description(provenance)
    kept = _kept(master) if master else None
    known = kept.packet.decode() if kept else None
    own = description_of(iptc or b"", known, texts or {}) + own
    if kept is not None:
        packet = kept.packet[: kept.last] + own.encode() + kept.packet[kept.last :]
        if most_bytes is None or len(packet) <= most_bytes:
            return packet
    if not own:
        return None
    return f'{_OPEN}<rdf:RDF xmlns:rdf="{_RDF}">{own}{_LAST}{_CLOSE}'.encode()


def left_out(master: bytes | None) -> str:
    """Why a master's packet is not carried, in words; empty where it is."""
    if not master or _kept(master) is not None:
        return ""
    too_long = len(master) > MOST_BYTES
    return f"XMP left out: {'more than 1 MiB' if too_long else 'damaged, or nested too deeply'}"


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
    spaces = f'xmlns:Iptc4xmpExt="{_EXTENSION}" xmlns:autochrome="{_OWN}"'
    about = f'xmlns:rdf="{_RDF}" rdf:about=""'
    return f"\n <rdf:Description {about} {spaces}>{inner}\n </rdf:Description>\n"


@dataclass(frozen=True)
class _Kept:
    """A master's packet in UTF-8, true of its result; last: where its properties end."""

    packet: bytes
    last: int


def _kept(master: bytes) -> _Kept | None:
    """None where it cannot be used."""
    if len(master) > MOST_BYTES:
        return None
    try:
        packet = _as_utf8(master)
        reader = _Reader(packet)
    except (expat.ExpatError, UnicodeDecodeError, _Refused):
        return None
    return None if reader.last is None else reader.kept()


def _as_utf8(master: bytes) -> bytes:
    """A packet in UTF-8 without what is put around it."""
    wide = {b"\xfe\xff": "utf-16", b"\xff\xfe": "utf-16", b"\0<": "utf-16-be", b"<\0": "utf-16-le"}
    encoding = wide.get(master[:2], "utf-8-sig")
    return master.decode(encoding).rstrip("\0").strip().encode()


class _Refused(Exception):
    pass


@dataclass
class _Reader:
    """Reads a packet once, and notes what of its bytes is to be cut and replaced. Raises
    expat.ExpatError, _Refused."""

    packet: bytes
    last: int | None = None
    _path: list[str] = field(default_factory=list)
    _cuts: list[tuple[int, int, bytes]] = field(default_factory=list)
    _cut_at: tuple[int, int] | None = None  # depth and place of an element that is being cut
    _upright: int | None = None  # where the value of an orientation starts
    _spaces: dict[str, list[str]] = field(default_factory=dict)
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

    def kept(self) -> _Kept:
        parts, at, last = [], 0, self.last or 0
        for start, end, instead in self._cuts:
            parts += [self.packet[at:start], instead]
            if end <= (self.last or 0):
                last += len(instead) - (end - start)
            at = end
        return _Kept(b"".join((*parts, self.packet[at:])), last)

    def _refuse(self, *_: object) -> None:
        raise _Refused

    def _declare(self, prefix: str | None, space: str) -> None:
        self._spaces.setdefault(prefix or "", []).append(space or "")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > _MOST_ELEMENTS or len(self._path) >= _DEEPEST:
            raise _Refused
        place = self._parser.CurrentByteIndex
        inside = [each for each in self._path if each != "adobe:ns:meta/\nxmpmeta"]
        self._path.append(name)
        if self._cut_at is not None:
            return
        if inside == [f"{_RDF}\nRDF"]:
            self._attributes(place)
        elif len(inside) == 2:
            space, _, own = name.rpartition("\n")
            if not is_carried(space, own):
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
        elif name == f"{_RDF}\nRDF" and self.packet[place : place + 2] == b"</":
            self.last = place
        self._path.pop()

    def _attributes(self, place: int) -> None:
        """Properties that are written as attributes of a description."""
        for found in _ATTRIBUTE.finditer(self.packet, place, self._end_of_tag(place)):
            prefix, _, own = found[1].decode().rpartition(":")
            if not prefix or prefix in ("xml", "xmlns"):
                continue
            space = (self._spaces.get(prefix) or [""])[-1]
            if space == _RDF:
                continue
            if not is_carried(space, own):
                self._cuts.append((*found.span(), b""))
            elif (space, own) == (_TIFF, "Orientation"):
                self._cuts.append((*found.span(2), b'"1"'))

    def _end_of_tag(self, place: int) -> int:
        found = _TAG.match(self.packet, place)
        if found is None:
            raise _Refused
        return found.end()
