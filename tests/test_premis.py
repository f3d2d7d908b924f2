"""The record of events: its structure, what it says, and the memory that it takes."""

import hashlib
import tracemalloc
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from pipeline.images.encoding import encode
from pipeline.ledger.results import SCHEMA, Result, read_results
from pipeline.provenance.premis import PREMIS
from pipeline.storage.local import LocalStorage
from pipeline.storage.memory import MemoryStorage
from support import premis_rules
from support.premis_rules import breaches, write_premis
from support.written_shards import RECIPE, gray_photo, run_of, write

P = {"": premis_rules.SPACE.strip("{}")}
DONE = Result(
    photo="a.jpg",
    source_uri="s3://archive/a.jpg",
    shard=0,
    source_bytes=3,
    source_sha256="5a",
    seed=4,
    output_uri="s3://colored/images/a.jpg",
    output_sha256="0a",
    output_bytes=5,
    finished_at=datetime(2026, 11, 25, 1, 2, 3, 456, UTC),
)


def table_of(*rows: Result) -> pa.Table:
    return pa.Table.from_pylist([asdict(row) for row in rows], SCHEMA)


def record_of(*rows: Result) -> Element:
    """The record of these rows, which breaks no rule."""
    destination = MemoryStorage("colored")
    assert (
        write_premis(destination, [table_of(*rows)], run_of(RECIPE)) == f"memory://colored/{PREMIS}"
    )
    record = ElementTree.fromstring(destination.read(PREMIS))
    assert breaches(record) == []
    return record


def texts(element: Element, path: str) -> list[str]:
    return [each.text or "" for each in element.findall(path, P)]


def text(element: Element, path: str) -> str:
    [only] = texts(element, path)
    return only


@pytest.fixture(scope="module")
def run() -> tuple[MemoryStorage, MemoryStorage, list[dict[str, Any]], Element]:
    """Photographs that are done, fail, are gone, or are skipped; their rows and their record."""
    source, destination = MemoryStorage("source"), MemoryStorage("destination")
    source.write("sub/a & <b>.png", gray_photo(1))
    source.write("sub/broken.png", b"")
    source.write("sub/color.png", encode(np.eye(3, dtype=np.uint8).repeat(9, 0)[None] * 255, "PNG"))
    source.write("sub/noname", gray_photo(2, "TIFF"))
    recipe = replace(RECIPE, candidates=2)
    rows = write(source, destination, recipe)
    write_premis(destination, read_results(destination, run_of(recipe)), run_of(recipe))
    return source, destination, rows, ElementTree.fromstring(destination.read(PREMIS))


def test_the_record_is_built_as_premis_wants(run: tuple[object, object, object, Element]) -> None:
    record = run[-1]
    assert breaches(record) == []
    assert len(record.findall("object", P)) == 8 and len(record.findall("event", P)) == 6
    ids = texts(record, ".//eventIdentifierValue") + texts(record, ".//objectIdentifierValue")
    assert len(ids) == len(set(ids)), "identifiers are unique"
    agents = set(texts(record, ".//agentIdentifierValue"))
    assert set(texts(record, ".//linkingAgentIdentifierValue")) <= agents
    objects = set(texts(record, ".//objectIdentifierValue"))
    assert set(texts(record, ".//linkingObjectIdentifierValue")) <= objects
    assert set(texts(record, ".//relatedEventIdentifierValue")) <= set(ids)


def test_weights_are_called_after_their_model() -> None:
    destination = MemoryStorage("colored")
    write_premis(destination, [table_of(DONE)], run_of(replace(RECIPE, model="pic")))
    record = ElementTree.fromstring(destination.read(PREMIS))
    assert "PIC, the weights of its stages" in texts(record, ".//agentName")
    assert "PIC weights" in texts(record, ".//linkingAgentIdentifierValue")


def test_breaches_are_found() -> None:
    record = record_of(DONE)
    for change in ("order", "missing", "twice", "unknown", "empty", "attribute"):
        broken = ElementTree.fromstring(ElementTree.tostring(record))
        event = broken.find("event", P)
        assert event is not None
        if change == "order":
            event.append(event[0])
            event.remove(event[0])
        elif change == "missing":
            event.remove(event[1])
        elif change == "twice":
            event.insert(1, event[1])
        elif change == "unknown":
            event.append(Element(premis_rules.SPACE + "eventDetail"))
        elif change == "empty":
            event[1].text = ""
        else:
            event[1].set("lang", "en")
        assert breaches(broken), change


def test_masters_and_pictures_have_digest_size_and_format(
    run: tuple[MemoryStorage, MemoryStorage, list[dict[str, Any]], Element],
) -> None:
    source, destination, rows, record = run
    objects = {
        unquote(text(each, "objectIdentifier/objectIdentifierValue")): each
        for each in record.findall("object", P)
    }
    expected = {source.uri_of(each.path): each.path for each in source.list()}
    expected |= {str(row["output_uri"]): "" for row in rows if row["output_uri"]}
    assert objects.keys() == expected.keys()
    formats = set()
    for uri, found in objects.items():
        data = (source if uri.startswith(source.uri) else destination).read(uri.split("/", 3)[3])
        assert text(found, ".//messageDigestAlgorithm") == "SHA-256"
        assert text(found, ".//messageDigest") == hashlib.sha256(data).hexdigest()
        assert text(found, ".//size") == str(len(data))
        assert texts(found, "originalName") == ([expected[uri]] if expected[uri] else [])
        formats.add((uri.rpartition(".")[2][-3:], text(found, ".//formatName")))
    assert formats == {("png", "image/png"), ("ame", "unknown"), ("tif", "image/tiff")}


def test_a_derivation_names_master_picture_and_agents(
    run: tuple[MemoryStorage, MemoryStorage, list[dict[str, Any]], Element],
) -> None:
    _, _, rows, record = run
    [event] = [
        each
        for each in record.findall("event", P)
        if any(".candidate-1.png" in uri for uri in texts(each, ".//linkingObjectIdentifierValue"))
    ]
    [row] = [row for row in rows if ".candidate-1.png" in str(row["output_uri"])]
    assert text(event, "eventType") == "creation"
    assert text(event, "eventDateTime") == f"{row['finished_at']:%Y-%m-%dT%H:%M:%SZ}"
    assert f"candidate 1, temperature 0.5, seed {row['seed']}, http" in text(
        event, ".//eventDetail"
    )
    assert text(event, ".//eventOutcome") == "success"
    assert texts(event, ".//linkingObjectRole") == ["source", "outcome"]
    linked = [unquote(uri) for uri in texts(event, ".//linkingObjectIdentifierValue")]
    assert linked == [row["source_uri"], row["output_uri"]]
    [derived] = [
        each
        for each in record.findall("object", P)
        if unquote(text(each, "objectIdentifier/objectIdentifierValue")) == row["output_uri"]
    ]
    relation = derived.find("relationship", P)
    assert relation is not None
    assert text(relation, "relationshipType") == "derivation"
    assert text(relation, "relationshipSubType") == "has source"
    assert unquote(text(relation, ".//relatedObjectIdentifierValue")) == row["source_uri"]
    assert text(relation, ".//relatedEventIdentifierValue") == text(
        event, ".//eventIdentifierValue"
    )
    program, weights = record.findall("agent", P)
    assert text(program, "agentVersion") == "1.2"
    assert texts(program, "agentNote") == ["pillow 3", "run.json SHA-256 digest"]
    assert texts(weights, "agentNote") == ["color SHA-256 c010", "core SHA-256 c0de"]


def test_what_was_not_done_is_an_event_with_a_reason(
    run: tuple[MemoryStorage, MemoryStorage, list[dict[str, Any]], Element],
) -> None:
    record = run[-1]
    outcomes = {
        texts(each, ".//linkingObjectIdentifierValue")[0].rpartition("/")[2]: (
            text(each, ".//eventOutcome"),
            texts(each, ".//eventOutcomeDetailNote"),
        )
        for each in record.findall("event", P)
    }
    assert outcomes["broken.png"] == ("failure", ["corrupt: the file is empty"])
    assert outcomes["color.png"] == ("skipped", ["already_color"])
    assert outcomes["noname"] == ("success", [])


def test_a_master_that_was_never_read_has_neither_digest_nor_size() -> None:
    gone = replace(
        DONE, source_sha256=None, status="failed", reason="missing", output_uri=None, seed=None
    )
    [master] = record_of(gone).findall("object", P)
    assert not texts(master, ".//fixity") and not texts(master, ".//size")


def test_nothing_done_is_no_record() -> None:
    destination = MemoryStorage()
    assert write_premis(destination, [], run_of(RECIPE)) is None
    assert not destination.objects


def test_the_same_rows_give_the_same_record_whenever_it_is_written() -> None:
    first, again = MemoryStorage(), MemoryStorage()
    for place in (first, again):
        write_premis(place, [table_of(DONE)], run_of(RECIPE))
    assert first.objects == again.objects


@settings(max_examples=50)
@given(some.text(some.characters(codec="utf-8"), min_size=1))
def test_any_name_makes_a_record(name: str) -> None:
    uri = f"/archive/{name}"
    [master, _] = record_of(replace(DONE, photo=name, source_uri=uri)).findall("object", P)
    assert unquote(text(master, ".//objectIdentifierValue")) == f"file://{uri}"


def test_memory_does_not_grow_with_the_photos(tmp_path: Path) -> None:
    def shards(count: int) -> Iterator[pa.Table]:
        for shard in range(count):
            names = [f"{shard}/{number}.jpg" for number in range(64)]
            yield table_of(*(replace(DONE, photo=name, source_uri=f"/in/{name}") for name in names))

    destination = LocalStorage(str(tmp_path))
    tracemalloc.start()
    try:
        write_premis(destination, shards(20), run_of(RECIPE))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    size = (tmp_path / PREMIS).stat().st_size
    assert size > 2_000_000 and peak < size / 2
    assert size / (20 * 64) < 4000, "docs/provenance.md says how much a photo takes"


def test_a_name_with_a_carriage_return_keeps_it() -> None:
    row = Result("Icon\r.jpg", "memory://source/Icon\r.jpg", 0, 1, finished_at=datetime.now(UTC))
    failed = replace(row, status="failed", reason="corrupt", error="it is corrupt")
    assert texts(record_of(failed), "object/originalName") == ["Icon\r.jpg"]
