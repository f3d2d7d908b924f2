"""The ledger's answers, under any order of commits, crashes, retries and rival commands."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

import pyarrow as pa
import pytest
from hypothesis import settings
from hypothesis import strategies as some
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pipeline.ledger.pace import Pace
from pipeline.ledger.plan import Schedule
from pipeline.ledger.planning import prepare_run
from pipeline.ledger.results import Result, commit_shard, committed_shards, read_results
from pipeline.ledger.retries import Redo, plan_retry
from pipeline.ledger.run_file import Run
from pipeline.ledger.shard_report import report_of
from pipeline.ledger.status import Failure, Ledger
from pipeline.run.summary import summarize
from pipeline.storage.base import Storage
from pipeline.storage.memory import MemoryStorage
from support.simulated_runs import RECIPE, commit, planned

REASONS = ("corrupt", "missing")


def open_shards(destination: Storage, run: Run) -> list[tuple[int, int, list[str]]]:
    schedule = Schedule(destination, run)
    done = committed_shards(destination).keys()
    return [
        (shard.number, shard.attempt, [photo.path for photo in shard.photos])
        for shard in schedule.open(done)
    ]


def test_failed_photos_are_planned_once_more_and_their_new_row_counts() -> None:
    _, destination, run = planned(photos=5, shard_size=2)
    failing = {"001.jpg": "corrupt", "002.jpg": "missing", "004.jpg": "missing"}
    for shard in Schedule(destination, run).open():
        commit(destination, run, shard, failing)
    ledger = Ledger(destination, run)
    assert ledger.retry_failed(["missing"]) == 2
    assert ledger.retry_failed(["missing"]) == 0, "they wait already"
    assert open_shards(destination, run) == [(3, 2, ["002.jpg", "004.jpg"])]
    assert ledger.retry_failed() == 1
    assert open_shards(destination, run)[1:] == [(4, 2, ["001.jpg"])]
    for shard in list(Schedule(destination, run).open(committed_shards(destination).keys())):
        commit(destination, run, shard, {"004.jpg": "timeout"})
    ledger.refresh()
    status = ledger.status()
    assert (status.done, status.failed, status.pending) == (4, {"timeout": 1}, 0)
    assert ledger.retry_failed() == 1
    assert open_shards(destination, run) == [(5, 3, ["004.jpg"])]
    assert sorted(destination.objects) == sorted(  # type: ignore[attr-defined]
        ["run.json", "plan/part-00000.parquet"]
        + [f"plan/retry-0000{number}.parquet" for number in (1, 2, 3)]
        + [f"results/shard-00000{number}.parquet" for number in range(5)]
    )


def test_status_tells_of_speed_and_stragglers() -> None:
    _, destination, run = planned(photos=40, shard_size=4)
    assert isinstance(destination, MemoryStorage)
    for shard in Schedule(destination, run).open():
        if shard.number in (0, 1, 3, 7):
            commit(destination, run, shard, {"000.jpg": "corrupt"})
    now = 1_000_000.0
    ages = {0: 1000.0, 1: 700.0, 3: 200.0, 7: 30.0}
    for number, age in ages.items():
        destination.times[f"results/shard-{number:06}.parquet"] = now - age
    ledger = Ledger(destination, run)
    ledger.refresh()
    status = ledger.status(now)
    assert (status.done, status.failed, status.pending) == (15, {"corrupt": 1}, 24)
    assert status.rates == {1: 4 / 60, 5: 8 / 300, 15: 12 / 900}
    assert status.seconds_left == pytest.approx(24 / (4 / 60))
    assert status.since == 30
    assert status.stragglers == [2, 4, 5, 6]
    assert not status.complete


class Counting(MemoryStorage):
    """Counts how often each object is read."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.reads: Counter[str] = Counter()

    def read(self, path: str, most: int | None = None) -> bytes:
        self.reads[path] += 1
        return super().read(path, most)


def test_the_end_of_a_run_reads_each_shard_once_and_counts_as_ever() -> None:
    source, destination = MemoryStorage("source"), Counting("destination")
    for number in range(6):
        source.write(f"{number}.tif", b"%d" % number)
    run = prepare_run(source, destination, replace(RECIPE, versions={"autochrome": "0.1.0"}), 2)
    for shard in Schedule(destination, run).open():
        rows = [
            Result(
                *(photo.path, "memory://source/" + photo.path, shard.number, photo.size),
                # The first has five pages, the second could not be opened at first, nor the third.
                pages={"0.tif": 5, "1.tif": None, "2.tif": None}.get(photo.path, 1),
                status="failed" if photo.path in ("1.tif", "2.tif") else "ok",
                reason="missing" if photo.path in ("1.tif", "2.tif") else None,
                output_uri=f"memory://destination/images/{photo.path}",
                finished_at=datetime.fromtimestamp(1000, UTC),
            )
            for photo in shard.photos
        ]
        commit_shard(destination, shard.number, rows, run.digest)
    assert Ledger(destination, run).retry_failed() == 2
    for shard in list(Schedule(destination, run).open(committed_shards(destination).keys())):
        rows = [
            Result(
                *(photo.path, "memory://source/" + photo.path, shard.number, photo.size),
                attempt=2,
                pages=3 if photo.path == "1.tif" else None,
                status="ok" if photo.path == "1.tif" else "failed",
                reason=None if photo.path == "1.tif" else "corrupt",
                output_uri=f"memory://destination/images/{photo.path}",
                finished_at=datetime.fromtimestamp(1001, UTC),
            )
            for photo in shard.photos
        ]
        commit_shard(destination, shard.number, rows, run.digest)
    destination.reads.clear()
    summary = summarize(destination, run)
    shards = {path: often for path, often in destination.reads.items() if "shard-" in path}
    assert len(shards) == 4
    # The last is opened once more for the words of the failure that is named.
    assert shards == {path: 2 if path.endswith("3.parquet") else 1 for path in shards}
    assert (summary.photos, summary.failed, summary.pending) == (6, 1, 0)
    assert summary.reasons == {"corrupt": 1}
    assert summary.more_pages == 2
    ledger = Ledger(destination, run)
    ledger.refresh()
    status = ledger.status()
    assert (status.more_pages, status.failed) == (summary.more_pages, summary.reasons)
    assert status.work_seconds == summary.work_seconds


def test_its_rate_is_that_of_the_driver_over_the_time_that_workers_had() -> None:
    """A night lies between two commands."""
    _, destination, run = planned(photos=12, shard_size=4)
    pace = Pace()
    for shard, end in zip(Schedule(destination, run).open(), (1000, 1030, 90_000), strict=True):
        rows = [
            Result(
                *(photo.path, "", shard.number, 3),
                candidate=candidate,
                finished_at=datetime.fromtimestamp(end, UTC),
                read_seconds=0.5,
                model_seconds=1.0,
                write_seconds=0.25,
            )
            for photo in shard.photos
            for candidate in (0, 1)
        ]
        commit_shard(destination, shard.number, rows, run.digest)
        by_photo = [rows[first : first + 2] for first in range(0, len(rows), 2)]
        pace.add(4, report_of(by_photo).span)
    ledger = Ledger(destination, run)
    ledger.refresh()
    status = ledger.status()
    took = 4 * (0.5 + 2 * (1.0 + 0.25))
    assert status.work_seconds == pace.seconds == (30 + took) + took
    assert status.photos_per_second == pace.photos_per_second == 12 / (30 + 2 * took)


def test_a_candidate_that_failed_makes_its_photo_failed() -> None:
    _, destination, run = planned(photos=1, shard_size=1)
    ledger = Ledger(destination, run)
    for attempt in (1, 2):
        [shard] = Schedule(destination, run).open(committed_shards(destination).keys())
        rows = [
            Result("000.jpg", "", shard.number, 3, attempt=attempt, status=status, reason=reason)
            for status, reason in (("ok", None), ("failed", "write_error"), ("ok", None))
        ]
        commit_shard(destination, shard.number, rows, run.digest)
        ledger.refresh()
        assert list(ledger.failures()) == [("000.jpg", 3, attempt, "write_error")]
        assert ledger.retry_failed() == 1


def test_failures_are_named_in_the_order_of_the_plan_with_what_went_wrong() -> None:
    _, destination, run = planned(photos=5, shard_size=2)
    failing = {"004.jpg": "missing", "001.jpg": "corrupt", "000.jpg": "missing"}
    for shard in Schedule(destination, run).open():
        commit(destination, run, shard, failing)
    ledger = Ledger(destination, run)
    assert ledger.retry_failed(["corrupt"]) == 1
    [again] = Schedule(destination, run).open(committed_shards(destination).keys())
    commit(destination, run, again, {"001.jpg": "timeout"})
    ledger.refresh()
    assert list(ledger.explained_failures()) == [
        Failure("000.jpg", 0, 1, "missing", "it is missing"),
        Failure("004.jpg", 2, 1, "missing", "it is missing"),
        Failure("001.jpg", 3, 2, "timeout", "it is timeout"),
    ]


def test_two_commands_that_plan_a_retry_at_once_plan_it_once() -> None:
    _, destination, run = planned(photos=3, shard_size=3)
    [shard] = Schedule(destination, run).open()
    commit(destination, run, shard, {"001.jpg": "timeout"})
    first, second = Ledger(destination, run), Ledger(destination, run)
    overtaken: list[int] = []

    def choose(schedule: Schedule) -> list[Redo]:
        if not overtaken:
            overtaken.append(second.retry_failed())
        first.refresh()
        waiting = dict(schedule.retried(committed_shards(destination).keys()))
        return [Redo(photo, size) for photo, size, *_ in first.failures() if photo not in waiting]

    assert plan_retry(destination, run, choose) == 0
    assert overtaken == [1]
    assert open_shards(destination, run) == [(1, 2, ["001.jpg"])]


class AnyOrder(RuleBasedStateMachine):
    """Commands come, die, meet and retry in any order; nothing is lost and nothing is twice."""

    @initialize(photos=some.integers(1, 12), shard_size=some.integers(1, 5))
    def plan(self, photos: int, shard_size: int) -> None:
        self.source, self.destination, self.run_ = planned(photos, shard_size)
        self.photos = {found.path for found in self.source.list()}
        self.watcher = Ledger(self.destination, self.run_)

    @rule(data=some.data())
    def work(self, data: some.DataObject) -> None:
        """A worker commits an open shard, or one that another has committed meanwhile."""
        shards = list(Schedule(self.destination, self.run_).open())
        shard = data.draw(some.sampled_from(shards))
        paths = [photo.path for photo in shard.photos]
        reasons = some.dictionaries(some.sampled_from(paths), some.sampled_from(REASONS))
        before = committed_shards(self.destination).keys()
        won = commit(self.destination, self.run_, shard, data.draw(reasons))
        assert won == (shard.number not in before)

    @rule(reason=some.sampled_from((None, *REASONS)))
    def retry(self, reason: str | None) -> None:
        Ledger(self.destination, self.run_).retry_failed([reason] if reason else [])

    @invariant()
    def every_photo_is_counted_once(self) -> None:
        if not hasattr(self, "photos"):
            return
        self.watcher.refresh()  # of long standing, and so tried against a new one
        status = self.watcher.status(now=0.0)
        fresh = Ledger(self.destination, self.run_)
        fresh.refresh()
        assert status == fresh.status(now=0.0)
        assert status.done + sum(status.failed.values()) + status.pending == len(self.photos)
        rows = self.rows()
        counts = Counter(row["photo"] for row in rows)
        assert set(counts.values()) <= {1} and counts.keys() <= self.photos
        failed = Counter(row["reason"] for row in rows if row["status"] == "failed")
        assert failed == status.failed
        assert len(rows) == len(self.photos) - status.pending

    def rows(self) -> list[dict[str, object]]:
        tables = list(read_results(self.destination, self.run_, ["photo", "status", "reason"]))
        return pa.concat_tables(tables).to_pylist() if tables else []

    def teardown(self) -> None:
        """Whatever has happened, resuming ends complete."""
        if not hasattr(self, "photos"):
            return
        Ledger(self.destination, self.run_).retry_failed()
        schedule = Schedule(self.destination, self.run_)
        for shard in schedule.open(committed_shards(self.destination).keys()):
            assert commit(self.destination, self.run_, shard)
        self.watcher.refresh()
        status = self.watcher.status(now=0.0)
        assert status.complete and status.done == len(self.photos)
        assert not status.failed and not status.stragglers
        assert {row["photo"] for row in self.rows()} == self.photos


AnyOrder.TestCase.settings = settings(max_examples=40, stateful_step_count=15, deadline=None)
TestAnyOrder = pytest.mark.slow(AnyOrder.TestCase)
