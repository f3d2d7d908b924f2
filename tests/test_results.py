"""The ledger: its schema, and that a shard is committed once."""

import io
import re
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.errors import StorageError
from pipeline.ledger.recipe import Recipe
from pipeline.ledger.results import (
    SCHEMA,
    Result,
    commit_shard,
    committed_shards,
    read_results,
    results_path,
)
from pipeline.ledger.run_file import Plan, Run
from pipeline.storage.memory import MemoryStorage

RUN = Run(Recipe(source="memory://s", weights={}, versions={}), Plan(4, 4, 1, 4, (), {}), "d")
NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)


def a_result(photo: str, shard: int, **facts: object) -> Result:
    return Result(photo, f"memory://s/{photo}", shard, 12, finished_at=NOW, **facts)  # type: ignore[arg-type]


def test_a_result_has_the_columns_of_the_schema() -> None:
    assert {field.name for field in fields(Result)} == set(SCHEMA.names)


def test_the_cookbook_explains_every_column(repository: Path) -> None:
    text = (repository / "docs" / "cookbook.md").read_text(encoding="utf-8")
    table = text.split("### The columns")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert sorted(re.findall(r"`(\w+)`", "".join(rows))) == sorted(SCHEMA.names)


def test_rows_come_back_as_they_were_written() -> None:
    destination = MemoryStorage()
    good = a_result("ä.jpg", 3, seed=2**63 - 1, log_likelihood=-12.5, rank=1, width=5)
    bad = a_result("b.jpg", 3, status="failed", reason="corrupt", error="no image")
    assert commit_shard(destination, 3, [good, bad], "digest")
    [table] = read_results(destination, RUN)
    assert table.schema.equals(SCHEMA)
    assert [Result(**row) for row in table.to_pylist()] == [good, bad]
    [names] = read_results(destination, RUN, ["photo"])
    assert names.to_pydict() == {"photo": ["ä.jpg", "b.jpg"]}


def test_the_file_names_schema_and_run() -> None:
    destination = MemoryStorage()
    commit_shard(destination, 0, [a_result("a.jpg", 0)], "the digest")
    metadata = pq.read_metadata(io.BytesIO(destination.read("results/shard-000000.parquet")))
    assert metadata.metadata[b"autochrome.schema_version"] == b"1"
    assert metadata.metadata[b"autochrome.run_sha256"] == b"the digest"


def test_a_shard_is_committed_once() -> None:
    destination = MemoryStorage()
    assert commit_shard(destination, 0, [a_result("a.jpg", 0)], "d")
    assert not commit_shard(destination, 0, [a_result("other.jpg", 0)], "d")
    [table] = read_results(destination, RUN)
    assert table["photo"].to_pylist() == ["a.jpg"]


class Forgetful(MemoryStorage):
    """A store that applies a write whose answer is lost, and refuses its repetition."""

    def write_if_absent(self, path: str, data: bytes) -> bool:
        super().write_if_absent(path, data)
        return super().write_if_absent(path, data)


def test_a_commit_whose_answer_was_lost_is_known_as_ours() -> None:
    destination = Forgetful()
    assert commit_shard(destination, 0, [a_result("a.jpg", 0)], "d")
    assert not commit_shard(destination, 0, [a_result("a.jpg", 0)], "d"), "another's, though equal"


def test_done_shards_come_from_names_alone() -> None:
    destination = MemoryStorage()
    for shard in (0, 7, 1_234_567):
        destination.write(results_path(shard), b"")
    destination.write("results/shard-000001.parquet.partial", b"")
    destination.write("results/.shard-000002.parquet", b"")
    assert committed_shards(destination).keys() == {0, 7, 1_234_567}


def test_results_that_were_written_before_pages_were_known_can_be_read() -> None:
    destination = MemoryStorage()
    commit_shard(destination, 0, [a_result("a.jpg", 0), a_result("b.jpg", 0)], "d")
    table = pq.read_table(io.BytesIO(destination.read(results_path(0))))
    file = io.BytesIO()
    pq.write_table(table.drop_columns(["page", "pages"]), file)
    destination.write(results_path(0), file.getvalue())
    [rows] = read_results(destination, RUN)
    assert [Result(**row) for row in rows.select(SCHEMA.names).to_pylist()] == [
        a_result("a.jpg", 0),
        a_result("b.jpg", 0),
    ]
    [some] = read_results(destination, RUN, ["page", "photo", "pages"])
    assert some.to_pydict() == {"page": [1, 1], "photo": ["a.jpg", "b.jpg"], "pages": [None] * 2}


def test_a_damaged_file_is_one_line() -> None:
    destination = MemoryStorage()
    destination.write(results_path(1), b"no parquet")
    with pytest.raises(StorageError, match="shard-000001.parquet is damaged") as caught:
        list(read_results(destination, RUN))
    assert "\n" not in str(caught.value)
