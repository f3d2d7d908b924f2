"""What a picture's XMP says of its making, whoever wrote it: the source type, AI systems, and our
own properties."""

from xml.parsers import expat

from pipeline.metadata.kept_xmp import (
    DEEPEST,
    MOST_BYTES,
    MOST_ELEMENTS,
    RDF,
    RefusedXmp,
    as_utf8,
)
from pipeline.metadata.xmp import EXTENSION_SPACE, OWN_SPACE, SOURCE_TYPES

# IPTC's terms for pictures that a trained model, or another program, made or altered.
MADE_BY_MACHINES = frozenset(
    SOURCE_TYPES + term
    for term in (
        *("trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia"),
        *("algorithmicallyEnhanced", "compositeSynthetic", "algorithmicMedia"),
    )
)
_OF_IPTC = ("DigitalSourceType", "AISystemUsed", "AISystemVersionUsed")
_MOST_TEXT = 1000  # characters of a value


def provenance_in_xmp(packet: bytes | None) -> dict[str, str]:
    """A packet's properties on the picture's making, by name; ours begin with `autochrome:`.

    Raises ValueError with one line: the packet is too large, damaged or nested too deeply.
    """
    if not packet:
        return {}
    if len(packet) > MOST_BYTES:
        raise ValueError("more than 1 MiB")
    found = _Found()
    try:
        found.read(as_utf8(packet))
    except RefusedXmp as error:
        raise ValueError("nested too deeply, or with a document type") from error
    except (expat.ExpatError, UnicodeDecodeError) as error:
        raise ValueError(f"not well-formed: {error}") from error
    return found.values


class _Found:
    """Collects values of properties, at any place in a packet and in any of XMP's forms."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self._open: list[str] = []  # names of properties that are read; "" for other elements
        self._count = 0

    def read(self, packet: bytes) -> None:
        parser = expat.ParserCreate(namespace_separator="\n")
        parser.StartElementHandler = self._start
        parser.EndElementHandler = lambda _: self._open.pop()
        parser.CharacterDataHandler = self._text
        parser.StartDoctypeDeclHandler = self._refuse
        parser.Parse(packet, True)
        self.values = {name: text.strip() for name, text in self.values.items()}

    def _refuse(self, *_: object) -> None:
        raise RefusedXmp

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > MOST_ELEMENTS or len(self._open) >= DEEPEST:
            raise RefusedXmp
        self._open.append(_known(name))
        for each, value in attributes.items():
            known = self._open[-1] if each == f"{RDF}\nresource" else _known(each)
            if known:
                self._add(known, value)

    def _text(self, text: str) -> None:
        inside = next((name for name in reversed(self._open) if name), "")
        if inside:
            self._add(inside, text)

    def _add(self, name: str, text: str) -> None:
        self.values[name] = (self.values.get(name, "") + text).lstrip()[:_MOST_TEXT]


def _known(name: str) -> str:
    """The name used here for a property; empty for those that are not wanted."""
    space, _, own = name.rpartition("\n")
    if space == OWN_SPACE:
        return f"autochrome:{own}"
    return own if space == EXTENSION_SPACE and own in _OF_IPTC else ""
