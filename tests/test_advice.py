"""Which workers a run lacks, as its last shards tell."""

import io
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from pipeline.ledger.advice import Work, advise, work_of, workers_of
from pipeline.ledger.results import Result, commit_shard, results_path
from pipeline.storage.memory import MemoryStorage
from support.simulated_runs import planned

ENDS = [10.0 * number for number in range(10)]


def works(read: float, colorize: float, write: float, actors: int = 2) -> list[Work]:
    """Ten shards of two actors, four readers and eight writers."""
    return [
        Work(read, colorize, write, f"host:{number % actors}", readers=4, writers=8)
        for number in range(10)
    ]


@pytest.mark.parametrize(
    ("took", "line"),
    [
        ((1, 19, 1), "the model is busy 95% of the time (2 actors): more actors make it faster"),
        (
            (38, 8, 1),
            "the model is busy 40% of the time (2 actors); reading is busy 95%: add cores, or"
            " nodes without a GPU",
        ),
        (
            (1, 8, 72),
            "the model is busy 40% of the time (2 actors); writing is busy 90%: add cores, or"
            " nodes without a GPU",
        ),
        (
            (1, 2, 1),
            "the model is busy 10% of the time (2 actors), and neither reading nor writing holds"
            " it up: larger shards may help, in another run",
        ),
    ],
)
def test_the_pool_that_is_short_is_named(took: tuple[float, float, float], line: str) -> None:
    assert advise(works(*took), ENDS, 100.0) == line


def test_actors_that_others_have_replaced_do_not_count() -> None:
    wave = works(1, 19, 1)
    new = [replace(work, actor=f"host:{number % 2 + 7}") for number, work in enumerate(wave)]
    line = advise([*wave[:6], *new[6:]], ENDS, 100.0)
    assert line == "the model is busy 95% of the time (2 actors): more actors make it faster"


def test_of_a_few_shards_nothing_is_said() -> None:
    assert advise(works(1, 1, 1)[:4], ENDS[:4], 100.0) is None
    assert advise(works(1, 1, 1), ENDS, 0.0) is None


def test_a_commit_tells_who_worked_and_how_long() -> None:
    _, destination, _ = planned(photos=2, shard_size=2)
    assert isinstance(destination, MemoryStorage)
    rows = [
        Result("a", "", 0, 1, candidate=0, read_seconds=2.0, model_seconds=3.0, write_seconds=1.0),
        Result("a", "", 0, 1, candidate=1, read_seconds=2.0, model_seconds=3.0, write_seconds=1.0),
        Result("b", "", 0, 1, status="failed", reason="corrupt", read_seconds=0.5),
    ]
    commit_shard(destination, 0, rows, "digest", workers_of("host:7", 4, 8))
    table = pq.read_table(io.BytesIO(destination.read(results_path(0))))
    assert work_of(table) == Work(2.5, 6.0, 2.0, "host:7", 4, 8)
    assert work_of(table.replace_schema_metadata()) is None
