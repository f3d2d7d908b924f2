"""The record of a run in PREMIS 3, for archives whose systems ingest such records.

One file for all photographs. Objects are masters and their pictures, each with its digest; events
say what was done, when, and with which outcome; agents are the program and its weights. PREMIS
wants objects before events, so events are kept in a temporary file, and memory does not grow with
photos.
"""

import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC
from pathlib import PurePosixPath
from typing import Any, Self
from urllib.parse import quote
from xml.sax.saxutils import escape

import pyarrow as pa

from pipeline.images.formats import FORMAT_OF_SUFFIX, MIME_OF_FORMAT
from pipeline.ledger.recipe import MODEL_NAMES, Recipe
from pipeline.ledger.run_file import Run
from pipeline.metadata.xmp import SOURCE_TYPES
from pipeline.storage.base import Storage

PREMIS = "premis.xml"
_HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<premis xmlns="http://www.loc.gov/premis/v3"'
    ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
    ' xsi:schemaLocation="http://www.loc.gov/premis/v3'
    ' http://www.loc.gov/standards/premis/v3/premis-v3-0.xsd" version="3.0">\n'
)
_COLUMNS = [
    *("photo", "source_uri", "source_sha256", "source_bytes", "candidate", "attempt", "seed"),
    *("page", "pages"),
    *("status", "reason", "error", "output_uri", "output_sha256", "output_bytes", "finished_at"),
]
_OUTCOMES = {"ok": "success", "failed": "failure", "skipped": "skipped"}
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_URI_SAFE = "/:@!$&'()*+,;=~"


class Record:
    """A context manager that makes the record of a run while its caller reads the results."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._photo: str | None = None  # the last one

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._objects = stack.enter_context(tempfile.TemporaryFile())
            self._events = stack.enter_context(tempfile.TemporaryFile())
            self._files = stack.pop_all()
        self._objects.write(_HEAD.encode())
        return self

    def __exit__(self, *error: object) -> None:
        self._files.close()

    def add(self, table: pa.Table) -> None:
        """Add rows, of the last attempt at each photo; those of one photo must be adjacent."""
        for row in table.select(_COLUMNS).to_pylist():
            if row["photo"] != self._photo:
                self._photo = row["photo"]
                self._objects.write(_source(row).encode())
            event = _event_id(row, self._run)
            if row["status"] == "ok":
                self._objects.write(_result(row, event).encode())
            self._events.write(_event(row, event, self._run.recipe).encode())

    def write(self, destination: Storage) -> str | None:
        """Write the record, after everything was added; its URI, or None if nothing was.

        Raises:
            StorageError: it cannot be written.
        """
        if self._photo is None:
            return None  # PREMIS knows no record without an object
        self._events.seek(0)
        shutil.copyfileobj(self._events, self._objects)
        self._objects.write(f"{''.join(_agents(self._run))}</premis>\n".encode())
        self._objects.seek(0)
        destination.write_file(PREMIS, self._objects)
        return destination.uri_of(PREMIS)


def _source(row: Mapping[str, Any]) -> str:
    uri, name = row["source_uri"], row["photo"]
    note = _leaf("formatNote", "by its name")
    characteristics = _characteristics(row["source_sha256"], row["source_bytes"], name, note)
    return _file(
        _identifier("object", "URI", _uri(uri)), characteristics, _leaf("originalName", name)
    )


def _result(row: Mapping[str, Any], event: str) -> str:
    uri = row["output_uri"]
    relationship = _node(
        "relationship",
        _leaf("relationshipType", "derivation"),
        _leaf("relationshipSubType", "has source"),
        _identifier("relatedObject", "URI", _uri(row["source_uri"])),
        _identifier("relatedEvent", "UUID", event),
    )
    return _file(
        _identifier("object", "URI", _uri(uri)),
        _characteristics(row["output_sha256"], row["output_bytes"], uri),
        relationship,
    )


def _event(row: Mapping[str, Any], event: str, recipe: Recipe) -> str:
    """A derivation, or the attempt at one."""
    done = row["status"] == "ok"
    detail = f"candidate {row['candidate']}, temperature {recipe.temperature}"
    if recipe.saturation != 1:
        detail += f", saturation {recipe.saturation}"
    if (row["pages"] or 1) > 1:
        detail = f"page {row['page']} of {row['pages']}, {detail}"
    if row["seed"] is not None:
        detail += f", seed {row['seed']}"
    why = ": ".join(filter(None, (row["reason"], row["error"])))
    outcome = [_leaf("eventOutcome", _OUTCOMES[row["status"]])]
    if why:
        outcome.append(_node("eventOutcomeDetail", _leaf("eventOutcomeDetailNote", why)))
    objects = [_linked_object(row["source_uri"], "source")]
    if done:
        detail += f", {SOURCE_TYPES}{recipe.digital_source_type}"
        objects.append(_linked_object(row["output_uri"], "outcome"))
    return _node(
        "event",
        _identifier("event", "UUID", event),
        _leaf("eventType", "creation"),
        _leaf("eventDateTime", row["finished_at"].astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")),
        _node("eventDetailInformation", _leaf("eventDetail", f"colorization: {detail}")),
        _node("eventOutcomeInformation", *outcome),
        *(_linked_agent(name) for name in _agent_names(recipe)),
        *objects,
        end="\n",
    )


def _agents(run: Run) -> Iterator[str]:
    recipe = run.recipe
    program, weights = _agent_names(recipe)
    libraries = [
        f"{name} {number}" for name, number in recipe.versions.items() if name != "autochrome"
    ]
    yield _node(
        "agent",
        _identifier("agent", "local", program),
        _leaf("agentName", "Autochrome"),
        _leaf("agentType", "software"),
        _leaf("agentVersion", recipe.version or "unknown"),
        *(_leaf("agentNote", note) for note in [*libraries, f"run.json SHA-256 {run.digest}"]),
        end="\n",
    )
    digests = sorted(recipe.weights.items())
    yield _node(
        "agent",
        _identifier("agent", "local", weights),
        *(_identifier("agent", "SHA-256", digest) for _, digest in digests),
        _leaf("agentName", f"{_model(recipe)}, the weights of its stages"),
        _leaf("agentType", "software"),
        *(_leaf("agentNote", f"{stage} SHA-256 {digest}") for stage, digest in digests),
        end="\n",
    )


def _agent_names(recipe: Recipe) -> tuple[str, str]:
    """What events call the program and its weights."""
    return f"Autochrome {recipe.version}".strip(), f"{_model(recipe)} weights"


def _model(recipe: Recipe) -> str:
    return MODEL_NAMES.get(recipe.model, recipe.model)


def _event_id(row: Mapping[str, Any], run: Run) -> str:
    """The same whenever the record is written."""
    page = f"{row['page']}/" if row["page"] > 1 else ""
    name = f"{run.digest}/{row['attempt']}/{row['candidate']}/{page}{row['photo']}"
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"urn:autochrome:event/{name}"))


def _file(*parts: str) -> str:
    return f'<object xsi:type="file">{"".join(parts)}</object>\n'


def _characteristics(digest: str | None, size: int | None, name: str, note: str = "") -> str:
    format = FORMAT_OF_SUFFIX.get(PurePosixPath(name).suffix.lower())
    mime = "unknown" if format is None else MIME_OF_FORMAT[format]
    fixity = [_leaf("messageDigestAlgorithm", "SHA-256"), _leaf("messageDigest", digest or "")]
    return _node(
        "objectCharacteristics",
        _node("fixity", *fixity) if digest else "",
        _leaf("size", str(size)) if digest else "",
        _node("format", _node("formatDesignation", _leaf("formatName", mime)), note),
    )


def _linked_object(uri: str, role: str) -> str:
    return _identifier("linkingObject", "URI", _uri(uri), _leaf("linkingObjectRole", role))


def _linked_agent(name: str) -> str:
    role = _leaf("linkingAgentRole", "executing program")
    return _identifier("linkingAgent", "local", name, role)


def _identifier(of: str, kind: str, value: str, role: str = "") -> str:
    name = f"{of}Identifier"
    return _node(name, _leaf(f"{name}Type", kind), _leaf(f"{name}Value", value), role)


def _node(name: str, *parts: str, end: str = "") -> str:
    return f"<{name}>{''.join(parts)}</{name}>{end}"


def _leaf(name: str, text: str) -> str:
    plain = escape(_NO_XML.sub("�", text), {"\r": "&#13;"})  # readers would make it a line feed
    return f"<{name}>{plain}</{name}>"


def _uri(place: str) -> str:
    """A row's URI as RFC 3986 has it; a folder's paths are local files."""
    scheme, separator, rest = place.partition("://")
    if not separator:
        scheme, rest = "file", place
    return f"{scheme}://{quote(rest, safe=_URI_SAFE)}"
