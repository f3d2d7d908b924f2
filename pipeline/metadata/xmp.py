"""The XMP of a result: that a machine has colored it, with which model, from which master.

It also has what the master's own packet says of the photograph (metadata.kept_xmp).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from xml.sax.saxutils import escape

from pipeline.metadata.iptc import description_of
from pipeline.metadata.kept_xmp import RDF, Kept, keep_xmp
from pipeline.metadata.segments import extension_pointer

SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
EXTENSION_SPACE = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
OWN_SPACE = "urn:autochrome:provenance#"
_META = '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
_OPEN = f'<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n{_META}'
_RDF_START = f'<rdf:RDF xmlns:rdf="{RDF}">'
_CLOSE = '</x:xmpmeta>\n<?xpacket end="w"?>'
_LAST = "</rdf:RDF>"
_NOTHING = Kept(_OPEN + _RDF_START, "", _LAST + _CLOSE)


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
    kept = (keep_xmp(master) if master else None) or _NOTHING
    more = _extension(extended, kept)
    known = f"{kept.head}{more}{kept.tail}"
    said = description_of(iptc or b"", known, texts or {})
    if not (kept is not _NOTHING or more or said or made):
        return Packets(None)
    packet = f"{kept.head}{more}{said}{made}{kept.tail}".encode()
    if most_bytes is None or len(packet) <= most_bytes:
        return Packets(packet)
    main = keep_xmp(master, portable=True) if master else None
    inner = main.inner if main else ""
    for here, own, moved in (
        (kept, said, more),  # the master's extension becomes the result's,
        (_NOTHING, said, inner + more),  # or its packet moves there, too,
        (_NOTHING, "", inner + more + said),  # or all but how the result was made
    ):
        extension = f"{_META}{_RDF_START}{moved}{_LAST}</x:xmpmeta>".encode()
        pointer = extension_pointer(extension)
        packet = f"{here.head}{own}{made}{pointer}{here.tail}".encode()
        if moved and len(packet) <= most_bytes:
            return Packets(packet, extension)
    return Packets(None)


def _extension(extended: bytes | None, packet: Kept) -> str:
    """The extension's descriptions that the packet lacks, in a form that can stand in it."""
    found = keep_xmp(extended, packet.names, portable=True) if extended else None
    return found.inner if found else ""


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
    about = f'xmlns:rdf="{RDF}" rdf:about=""'
    return f"\n <rdf:Description {about} {spaces}>{inner}\n </rdf:Description>\n"
