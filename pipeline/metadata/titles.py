"""The title in a result's metadata, which came from its master."""

from xml.etree import ElementTree

from pipeline.metadata.exif import metadata_of
from pipeline.metadata.iptc import description_of

_TITLE = "{http://purl.org/dc/elements/1.1/}title"
_ITEM = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}li"
_PACKETS = ((b"<x:xmpmeta", b"</x:xmpmeta>"), (b"<rdf:RDF", b"</rdf:RDF>"))
_MOST_BYTES = 2**21  # of a packet; that of a result is shorter


def title_of(format: str, data: bytes) -> str | None:
    """dc:title of a result's XMP, else its IPTC title, on one line; None without either.

    format: as in images.formats.
    """
    title = _title_in(_packet(data))
    if title is None and (iptc := metadata_of(format, data, {}).iptc):
        title = _title_in(description_of(iptc, None).encode())
    return title


def _packet(data: bytes) -> bytes:
    """The XMP packet of a file that holds it as plain bytes, as all our results do."""
    for opening, closing in _PACKETS:
        start = data.find(opening)
        end = data.find(closing, start, start + _MOST_BYTES)
        if 0 <= start < end:
            return data[start : end + len(closing)]
    return b""


def _title_in(packet: bytes) -> str | None:
    """The title in the first language, which is the record's own or the default."""
    try:
        found = ElementTree.fromstring(packet.strip()).iter(_TITLE) if packet else ()
        for title in found:
            texts = [title.text or "", *(item.text or "" for item in title.iter(_ITEM))]
            if line := next(filter(None, (" ".join(text.split()) for text in texts)), None):
                return line
    except (ElementTree.ParseError, ValueError):
        pass  # damaged metadata is no reason to refuse a photograph
    return None
