"""Files of a destination that are not as this version writes them: whatever reads them says so in
one line."""

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.delivery.deliver import deliver
from pipeline.delivery.order import Order
from pipeline.errors import AutochromeError, StorageError, UsageError
from pipeline.ledger.plan import Schedule, retry_path
from pipeline.ledger.planning import prepare_run, refuse_overlap
from pipeline.ledger.recipe import ALWAYS_FROZEN
from pipeline.ledger.results import read_results, results_path
from pipeline.ledger.run_file import RUN, load_run, open_run
from pipeline.ledger.status import Ledger
from pipeline.provenance.premis import PREMIS
from pipeline.review.pages import write_review
from pipeline.run.options import method_of
from pipeline.storage.memory import MemoryStorage
from pipeline.storage.open_storage import open_storage
from pipeline.verify import verify
from support.colored_places import color
from support.commands import run_command
from support.premis_rules import write_premis
from support.simulated_runs import write_run
from support.written_shards import RECIPE, gray_photo

VALUES: list[object] = [
    *(None, True, -1, 10**30, float("nan"), "", "a\nb", "\ud800", "a\0b"),
    *([], [1], {}, {"x": "y"}, {"autochrome": 1}),
]


@pytest.fixture(scope="module")
def colored() -> dict[str, bytes]:
    """A destination with two pictures, a photo that failed, and sidecars."""
    source, destination = MemoryStorage("source"), MemoryStorage("colored")
    for number in range(2):
        source.write(f"{number}.png", gray_photo(number))
    source.write("broken.png", b"")
    recipe = replace(RECIPE, source="s3://archive/scans", sidecar=True)
    color(source, destination, prepare_run(source, destination, recipe, 2))
    return destination.objects


def copied(objects: dict[str, bytes]) -> MemoryStorage:
    destination = MemoryStorage("colored")
    destination.objects.update(objects)
    return destination


def readers(destination: MemoryStorage) -> Iterator[Callable[[], object]]:
    """Everything that reads a destination, but for the workers of a run."""
    run = load_run(destination)
    assert run
    recipe, ledger = run.recipe, Ledger(destination, run)
    yield lambda: method_of(recipe)
    yield lambda: refuse_overlap(open_storage(recipe.source), destination, recipe.include)
    yield ledger.refresh
    yield ledger.status
    yield lambda: list(ledger.explained_failures())
    yield ledger.retry_failed
    yield lambda: list(Schedule(destination, run).open())
    yield lambda: write_premis(destination, read_results(destination, run), run)
    yield lambda: write_review(destination, run)
    yield lambda: verify(MemoryStorage("source"), destination, run)
    order = Order(bag=True, iiif="https://archive.example")
    yield lambda: deliver(MemoryStorage("no"), destination, run, MemoryStorage("out"), order)


def assert_one_line_each(destination: MemoryStorage) -> None:
    try:
        for read in readers(destination):
            try:
                read()
            except AutochromeError as error:
                assert "\n" not in str(error)
    except StorageError as error:  # of run.json
        assert "\n" not in str(error)


def test_whatever_a_setting_is_in_run_json(colored: dict[str, bytes]) -> None:
    frozen = json.loads(colored[RUN])
    for name in (*frozen, *frozen["plan"]):
        for value in VALUES:
            content = json.loads(colored[RUN])
            (content if name in content else content["plan"])[name] = value
            destination = copied(colored)
            destination.write(RUN, json.dumps(content).encode())
            assert_one_line_each(destination)


def test_a_palette_that_is_none_ends_a_run_before_its_photos(colored: dict[str, bytes]) -> None:
    destination = copied(colored)
    destination.write(RUN, json.dumps(json.loads(colored[RUN]) | {"palette": "red"}).encode())
    with pytest.raises(UsageError, match="'red' is not a palette"):
        method_of(open_run(destination).recipe)


def test_a_run_of_a_newer_version_is_said_to_be_one(colored: dict[str, bytes]) -> None:
    destination = copied(colored)
    content = json.loads(colored[RUN]) | {"tomorrow": 1}
    destination.write(RUN, json.dumps(content).encode())
    with pytest.raises(StorageError, match="of a newer version, which knows 'tomorrow'"):
        load_run(destination)


def test_all_that_reads_a_destination_reads_one_of_the_oldest_version(
    colored: dict[str, bytes],
) -> None:
    destination = copied(colored)
    content = json.loads(colored[RUN])
    content = {name: content[name] for name in (*ALWAYS_FROZEN, "format_version", "plan")}
    destination.write(RUN, json.dumps(content | {"versions": {}}).encode())
    for read in readers(destination):
        read()
    assert open_run(destination).recipe.version == ""
    assert b"<agentName>Autochrome</agentName>" in destination.read(PREMIS)


def test_a_version_of_two_lines_adds_none_to_a_bag(colored: dict[str, bytes]) -> None:
    destination, out = copied(colored), MemoryStorage("out")
    content = json.loads(colored[RUN]) | {"versions": {"autochrome": "1\nContact-Name: Eve"}}
    destination.write(RUN, json.dumps(content).encode())
    run = open_run(destination)
    deliver(MemoryStorage("no"), destination, run, out, Order(bag=True))
    lines = out.read("bag-info.txt").decode().splitlines()
    assert r"Bag-Software-Agent: Autochrome 1\nContact-Name: Eve" in lines


PLANNED = {"photo": "0.png", "bytes": 1, "shard": 2, "attempt": 2}


@pytest.mark.parametrize(
    "changes",
    [
        *({name: None} for name in PLANNED),
        *({"shard": -1}, {"attempt": 0}, {"shard": "two"}),
    ],
)
def test_a_file_of_retries_that_is_none(
    colored: dict[str, bytes], changes: dict[str, object]
) -> None:
    destination, file = copied(colored), io.BytesIO()
    row = {name: value for name, value in (PLANNED | changes).items() if value is not None}
    pq.write_table(pa.Table.from_pylist([row]), file)
    destination.write(retry_path(1), file.getvalue())
    with pytest.raises(StorageError, match="plan/retry-00001.parquet is damaged") as caught:
        Schedule(destination, open_run(destination))
    assert "\n" not in str(caught.value)
    assert_one_line_each(destination)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *((name, None) for name in ("photo", "source_uri", "page", "candidate", "attempt")),
        *(("status", None), ("status", "queued"), ("status", 1), ("page", "one")),
        *(("candidate", 2**40), ("finished_at", "today"), ("photo", b"\xff")),
    ],
)
def test_results_that_are_none(colored: dict[str, bytes], column: str, value: object) -> None:
    destination, file = copied(colored), io.BytesIO()
    table = pq.read_table(io.BytesIO(destination.read(results_path(0))))
    place = table.column_names.index(column)
    kind = table.schema.field(column).type if value is None else None
    table = table.set_column(place, column, pa.array([value] * len(table), kind))
    pq.write_table(table, file)
    destination.write(results_path(0), file.getvalue())
    run = open_run(destination)
    with pytest.raises(StorageError, match="results/shard-000000.parquet is damaged") as caught:
        list(read_results(destination, run))
    assert "\n" not in str(caught.value)
    assert_one_line_each(destination)


def test_commands_end_in_one_line(tmp_path: Path) -> None:
    out = write_run(tmp_path / "out")
    content = json.loads((out / RUN).read_text()) | {"source": "a\0\ud800b"}
    (out / RUN).write_text(json.dumps(content))
    place = f"{out / RUN}"
    for command in (("status", out), ("report", out), ("verify", out), ("resume", out)):
        result = run_command(*command)
        assert result.exit_code == 2, result.output
        assert result.stderr.count("\n") == 1 and place in result.stderr
