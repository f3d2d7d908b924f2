"""What a result says of its making, in XMP: that a machine has painted it, with what, from what.

A master's own packet stays as it is, byte by byte, but for its orientation, its thumbnails, where
its content credentials are, and what a new statement replaces. One that is not well-formed, or not
UTF-8, stays behind.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from xml.parsers import expat
from xml.sax.saxutils import escape

from pipeline.metadata.iptc import description_of

SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_EXTENSION = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_OWN = "urn:autochrome:provenance#"
_REPLACED = ("DigitalSourceType", "AISystemUsed", "AISystemVersionUsed")
_OPEN = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n<x:xmpmeta xmlns:x="adobe:ns:meta/">'
)
_CLOSE = '</x:xmpmeta>\n<?xpacket end="w"?>'
_LAST = "</rdf:RDF>"


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
) -> bytes | None:
    """The XMP of a result; the master's part is left out where the whole would be too long.

    iptc: a block of IIM that the result has no other place for.
    """
    own = "" if provenance is None else _description(provenance)
    kept = _kept(master) if master else None
    own = (description_of(iptc, kept) if iptc else "") + own
    if kept is not None:
        start, end = kept.rsplit(_LAST, 1)
        packet = (start + own + _LAST + end).encode()
        if most_bytes is None or len(packet) <= most_bytes:
            return packet
    if not own:
        return None
    return f'{_OPEN}<rdf:RDF xmlns:rdf="{_RDF}">{own}{_LAST}{_CLOSE}'.encode()


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
    return f'\n <rdf:Description rdf:about="" {spaces}>{inner}\n </rdf:Description>\n'


def _kept(master: bytes) -> str | None:
    """A master's packet as text, true of its result; None where it cannot be used."""
    try:
        text = master.decode("utf-8").rstrip("\0")
    except UnicodeDecodeError:
        return None
    text = re.sub(r"(tiff:Orientation\s*=\s*[\"'])\d", r"\g<1>1", text)
    text = re.sub(r"(<tiff:Orientation>\s*)\d", r"\g<1>1", text)
    text = re.sub(r"<xmp:Thumbnails\b.*?</xmp:Thumbnails>", "", text, flags=re.DOTALL)
    # Where the master's content credentials are: they are not the result's.
    text = re.sub(r"\sdcterms:provenance\s*=\s*(\"[^\"]*\"|'[^']*')", "", text)
    text = re.sub(r"<dcterms:provenance\b[^>]*?(/>|>.*?</dcterms:provenance>)", "", text)
    for name in _REPLACED:
        text = re.sub(rf"<Iptc4xmpExt:{name}\b[^>]*?(/>|>.*?</Iptc4xmpExt:{name}>)", "", text)
        text = re.sub(rf"\sIptc4xmpExt:{name}\s*=\s*(\"[^\"]*\"|'[^']*')", "", text)
    if _LAST not in text or "<!DOCTYPE" in text:
        return None
    try:
        expat.ParserCreate().Parse(text.strip().encode(), True)
    except expat.ExpatError:
        return None
    return text
