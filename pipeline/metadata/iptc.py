"""IPTC's older form (IIM) as properties of XMP, for formats that have no place for it.

Fields map to properties as in IPTC's Photo Metadata Standard. Text is UTF-8 if the block declares
it or if it is valid UTF-8, else Windows-1252, which most programs meant that declared nothing.
"""

import re
from collections.abc import Iterator, Mapping, Set
from itertools import takewhile
from typing import Literal
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from pipeline.metadata.carried import DATA_SETS, TEXTS

_SPACES = {
    "dc": "http://purl.org/dc/elements/1.1/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "Iptc4xmpCore": "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "xmpRights": "http://ns.adobe.com/xap/1.0/rights/",
}
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_MOST_BYTES, _MOST_FIELDS = 2**20, 5_000
_MARK = b"\x1c"  # begins every data set
_Form = Literal["text", "Alt", "Bag", "Seq"]
_PROPERTIES: dict[int, tuple[str, _Form]] = {  # by data set of record 2
    5: ("dc:title", "Alt"),
    10: ("photoshop:Urgency", "text"),
    15: ("photoshop:Category", "text"),
    20: ("photoshop:SupplementalCategories", "Bag"),
    25: ("dc:subject", "Bag"),
    40: ("photoshop:Instructions", "text"),
    55: ("photoshop:DateCreated", "text"),
    80: ("dc:creator", "Seq"),
    85: ("photoshop:AuthorsPosition", "text"),
    90: ("photoshop:City", "text"),
    92: ("Iptc4xmpCore:Location", "text"),
    95: ("photoshop:State", "text"),
    100: ("Iptc4xmpCore:CountryCode", "text"),
    101: ("photoshop:Country", "text"),
    103: ("photoshop:TransmissionReference", "text"),
    105: ("photoshop:Headline", "text"),
    110: ("photoshop:Credit", "text"),
    115: ("photoshop:Source", "text"),
    116: ("dc:rights", "Alt"),
    120: ("dc:description", "Alt"),
    122: ("photoshop:CaptionWriter", "text"),
}
_DATE, _TIME = 55, 60
_DATE_FORM = re.compile(r"(\d{4})(\d\d)?(\d\d)?", re.ASCII)
_TIME_FORM = re.compile(r"(\d\d)(\d\d)(\d\d)([+-]\d{4})?", re.ASCII)
_FORMS: dict[str, _Form] = {"xmp:CreateDate": "text", "xmp:CreatorTool": "text"}
_FORMS |= {"dc:creator": "Seq", "dc:source": "text"}


def description_of(iptc: bytes, packet: str | None, texts: Mapping[str, str] | None = None) -> str:
    """An rdf:Description of the properties that a block and texts (by keyword) have and an XMP
    packet lacks; may be empty. packet: well-formed, or None."""
    known = _names(packet) if packet else frozenset[str]()
    values: dict[int, list[str]] = {}
    for number, value in _fields(iptc):
        values.setdefault(number, []).append(value)
    if _DATE in values:
        values[_DATE] = [_moment(values[_DATE][0], values.get(_TIME, [""])[0])]
        values = {number: each for number, each in values.items() if any(each)}
    lines = [
        f"\n  <{name}>{_formed(values[number], form)}</{name}>"
        for number, (name, form) in _PROPERTIES.items()
        if number in values and name not in known
    ]
    said = known | {name for number, (name, _) in _PROPERTIES.items() if number in values}
    for keyword, value in (texts or {}).items():
        property_, clean = TEXTS.get(keyword), _clean(value)
        if property_ and property_ not in said and clean:
            form = _FORMS.get(property_, "Alt")
            lines.append(f"\n  <{property_}>{_formed([clean], form)}</{property_}>")
    if not lines:
        return ""
    body = "".join(lines)
    used = {prefix: uri for prefix, uri in _SPACES.items() if f"<{prefix}:" in body}
    spaces = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in used.items())
    about = f'xmlns:rdf="{_RDF}" rdf:about=""'
    return f"\n <rdf:Description {about} {spaces}>{body}\n </rdf:Description>"


def carried_block(iptc: bytes) -> bytes:
    """The data sets that `carried` lists, byte by byte, up to where the block is damaged."""
    if iptc[:1] != _MARK and iptc[3:4] == _MARK:  # written as numbers of another byte order
        iptc = b"".join(iptc[at : at + 4][::-1] for at in range(0, len(iptc), 4))
    sets = _data_sets(iptc)
    return b"".join(whole for record, number, _, whole in sets if number in DATA_SETS[record])


def _fields(iptc: bytes) -> Iterator[tuple[int, str]]:
    """Number and text of each non-empty data set of record 2, up to where the block is damaged."""
    for record, number, data, _ in _data_sets(iptc[:_MOST_BYTES]):
        text = _text(data) if record == 2 else ""
        if text:
            yield number, text


def _data_sets(iptc: bytes) -> Iterator[tuple[int, int, bytes, bytes]]:
    """Record, number and value of each data set of a known record, and all of its bytes."""
    at, left = 0, _MOST_FIELDS
    while at + 5 <= len(iptc) and iptc[at] == 0x1C and left:
        left -= 1
        record, number = iptc[at + 1], iptc[at + 2]
        size, start = int.from_bytes(iptc[at + 3 : at + 5], "big"), at + 5
        if size & 0x8000:  # longer than 32,767 bytes: tells how many bytes hold the length
            start += min(size & 0x7FFF, 8)
            size = int.from_bytes(iptc[at + 5 : start], "big")
        data, first = iptc[start : start + size], at
        if len(data) < size:  # cut
            return
        at = start + size
        if record in DATA_SETS:
            yield record, number, data, iptc[first:at]


def _text(data: bytes) -> str:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")
    return _clean(text)


def _clean(text: str) -> str:
    """Text without characters that XML forbids."""
    kept = (sign for sign in text if sign >= " " or sign in "\t\n\r")
    return "".join(sign for sign in kept if not "\ud800" <= sign <= "\udfff" and sign < "\ufffe"
                   or sign > "\uffff").strip()  # fmt: skip


def _moment(date: str, time: str) -> str:
    """A date and time of XMP, from CCYYMMDD and HHMMSS±HHMM (may be empty); zeros mean unknown. A
    date in any other form is left as people wrote it."""
    written = _DATE_FORM.fullmatch(date)
    if written is None:
        return date
    parts = list(takewhile(lambda part: part.strip("0"), written.groups("")))
    clock = _TIME_FORM.fullmatch(time)
    if len(parts) < 3 or clock is None:
        return "-".join(parts)
    hours, minutes, seconds, zone = clock.groups("")
    return f"{'-'.join(parts)}T{hours}:{minutes}:{seconds}{zone[:3]}{':' * bool(zone)}{zone[3:]}"


def _formed(values: list[str], form: _Form) -> str:
    if form == "text":
        return escape(values[0])
    if form == "Alt":
        values = values[:1]
    mark = ' xml:lang="x-default"' if form == "Alt" else ""
    items = "".join(f"<rdf:li{mark}>{escape(value)}</rdf:li>" for value in values)
    return f"<rdf:{form}>{items}</rdf:{form}>"


def _names(packet: str) -> Set[str]:
    """The names of a packet's properties, as used here."""
    prefixes = {uri: prefix for prefix, uri in _SPACES.items()}
    found = set()
    for element in ElementTree.fromstring(packet.strip().encode()).iter():
        for name in (element.tag, *element.attrib):
            space, _, own = name[1:].partition("}")
            if space in prefixes:
                found.add(f"{prefixes[space]}:{own}")
    return found
