"""What is done and what is not: queries over plan/ and results/, which are the only state."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.ledger.advice import Work, advise, work_of
from pipeline.ledger.pace import Pace, Span, span_of
from pipeline.ledger.plan import Schedule
from pipeline.ledger.results import DECISIVE, committed_shards, read_results, read_shards
from pipeline.ledger.retries import Redo, plan_retry
from pipeline.ledger.run_file import Run
from pipeline.storage.base import Storage

WINDOWS = (1, 5, 15)  # minutes
NAMED_FAILURES = 10  # photos that are named at the end of a run
_COLUMNS = ["photo", "name", "source_bytes", "attempt", "status", "reason", "page", "pages"]
_TIMES = ["candidate", "read_seconds", "model_seconds", "write_seconds", "finished_at"]
_RECENT = 300.0  # seconds, whose shards tell of what the run lacks


@dataclass(frozen=True)
class Status:
    """How far a run is; photos, but for stragglers and shards.

    failed: of their last attempt, by reason. skipped: left as they are, with all pages that are
    taken. more_pages: those that have more pages than are taken. retrying: failed ones
    that are planned once more. rates: photos/s over the last so many minutes. seconds_left: None
    where nothing moves. since: seconds since the last commit. stragglers: shards that are not done
    while later ones are. advice: which workers the run lacks, where that can be told.
    work_seconds, photos_per_second: as Pace has them, of all commands together; the latter is None
    where nothing is done yet.
    """

    photos: int
    done: int
    skipped: int
    failed: dict[str, int]
    pending: int
    retrying: int
    shards: int
    shards_done: int
    rates: dict[int, float]
    seconds_left: float | None
    since: float | None
    stragglers: list[int]
    advice: str | None
    more_pages: int = 0
    work_seconds: float = 0.0
    photos_per_second: float | None = None

    @property
    def complete(self) -> bool:
        return not self.pending and not self.retrying


@dataclass(frozen=True)
class Failure:
    """A photo whose last attempt failed: where it stands in the ledger, and why."""

    photo: str
    shard: int
    attempt: int
    reason: str
    error: str

    def __str__(self) -> str:
        return f"{self.photo}: {self.reason}: {self.error}"


class _Attempt(NamedTuple):
    """The last attempt of a photo that has no plain success."""

    number: int
    size: int
    status: str
    reason: str | None
    shard: int


class Ledger:
    """The results of a run; every shard is read once, however often `refresh` is called.

    Memory does not grow with the photos, but with those that failed or were tried again.
    """

    def __init__(self, destination: Storage, run: Run) -> None:
        self._destination, self._run = destination, run
        self._commits: dict[int, float | None] = {}
        self._read: set[int] = set()
        self._last: dict[str, _Attempt] = {}
        self._names: dict[str, str | None] = {}  # of these
        self._works: dict[int, Work] = {}  # of recent shards
        self._pace = Pace()
        self._recent: set[int] = set()
        self._several = 0  # photos of more than one page, by their first attempts
        self._unread: set[str] = set()  # photos whose pages the first attempt could not count
        self._opened: dict[str, tuple[int, int]] = {}  # further attempts: the first that could

    def refresh(self) -> None:
        """Read what was committed since the last time. Raises StorageError."""
        self._list()
        new = sorted(self._commits.keys() - self._read)
        columns = _COLUMNS + _TIMES
        for shard, table in zip(new, read_shards(self._destination, new, columns), strict=True):
            self._count(shard, table)

    def results(self, on_older: Callable[[pa.Table], None]) -> Iterator[pa.Table]:
        """What `read_results` gives, all columns of it; the ledger counts on the way what `refresh`
        would read. Raises StorageError."""
        self._list()
        yield from read_results(
            self._destination,
            self._run,
            on_older=on_older,
            on_shard=self._count,
            committed=self._commits,
        )

    def _list(self) -> None:
        self._commits = committed_shards(self._destination)
        self._recent = _recent(self._commits)
        self._works = {shard: work for shard, work in self._works.items() if shard in self._recent}

    def _count(self, shard: int, table: pa.Table) -> None:
        """Take a shard into account, once; in any order."""
        if shard in self._read:
            return
        if shard in self._recent and (work := work_of(table)):
            self._works[shard] = work
        self._pace.add(pc.count_distinct(table["photo"]).as_py(), _span(table))
        skipped = table.filter(pc.equal(table["status"], "skipped"))["photo"]
        notable = pc.or_(pc.not_equal(table["status"], "ok"), pc.greater(table["attempt"], 1))
        notable = pc.or_(notable, pc.is_in(table["photo"], skipped.combine_chunks()))
        self._add(shard, table.filter(notable).to_pylist())
        self._count_pages(table)
        self._read.add(shard)

    def _count_pages(self, table: pa.Table) -> None:
        """Each photo counts once, in the attempt that opened it first."""
        first = pc.and_(pc.equal(table["candidate"], 0), pc.equal(table["page"], 1))
        table = table.filter(first).select(["photo", "attempt", "pages"])
        new = pc.equal(table["attempt"], 1)
        self._several += pc.sum(pc.greater(table.filter(new)["pages"], 1)).as_py() or 0
        self._unread.update(
            table.filter(pc.and_(new, pc.is_null(table["pages"])))["photo"].to_pylist()
        )
        for row in table.filter(pc.invert(new)).to_pylist():
            if row["pages"] is not None:
                found = row["attempt"], row["pages"]
                self._opened[row["photo"]] = min(found, self._opened.get(row["photo"], found))

    def _with_more_pages(self) -> int:
        """Photos of more than one page."""
        opened = (self._opened.get(photo) for photo in self._unread)
        return self._several + sum(pages > 1 for _, pages in filter(None, opened))

    def _add(self, shard: int, rows: list[dict[str, object]]) -> None:
        for row in rows:
            photo, attempt = str(row["photo"]), int(str(row["attempt"]))
            known = self._last.get(photo)
            rank = DECISIVE.index(str(row["status"]))
            # Of the candidates and pages of one attempt, one that failed counts, or one is done.
            if known is None or (attempt, rank) > (known.number, DECISIVE.index(known.status)):
                reason = None if row["reason"] is None else str(row["reason"])
                size = int(str(row["source_bytes"]))
                self._last[photo] = _Attempt(attempt, size, str(row["status"]), reason, shard)
                self._names[photo] = None if row["name"] is None else str(row["name"])

    def failures(self) -> Iterator[tuple[str, int, int, str]]:
        """Photo, its size, its last attempt and the reason why that failed."""
        for photo, last in self._last.items():
            if last.status == "failed":
                yield photo, last.size, last.number, last.reason or "internal"

    def explained_failures(self, most: int | None = None) -> Iterator[Failure]:
        """Photos whose last attempt failed, in the order of the plan, with what went wrong.

        most: so many at most. Their shards are read again, as the ledger does not keep texts.
        Raises StorageError.
        """
        failed = {photo: last for photo, last in self._last.items() if last.status == "failed"}
        shards = sorted({last.shard for last in failed.values()})[:most]  # each has one or more
        return islice(self._explained(shards, failed), most)

    def _explained(self, shards: list[int], failed: dict[str, _Attempt]) -> Iterator[Failure]:
        columns = ["photo", "status", "reason", "error"]
        for shard, table in zip(
            shards, read_shards(self._destination, shards, columns), strict=True
        ):
            rows: dict[str, dict[str, str]] = {}  # of a photo's pages and candidates, the first
            for row in table.filter(pc.equal(table["status"], "failed")).to_pylist():
                rows.setdefault(row["photo"], row)
            for photo, row in rows.items():
                if photo in failed and failed[photo].shard == shard:
                    attempt = failed[photo].number
                    yield Failure(photo, shard, attempt, row["reason"], row["error"] or "")

    def retry_failed(self, reasons: Collection[str] = ()) -> int:
        """Plan failed photos, or those that failed for one of these reasons, once more.

        Those that wait for another attempt already are left out. Returns how many are planned.
        Raises StorageError.
        """

        def choose(schedule: Schedule) -> Iterator[Redo]:
            self.refresh()
            waiting = dict(schedule.retried(self._commits.keys()))
            for photo, size, _, reason in self.failures():
                if photo not in waiting and (not reasons or reason in reasons):
                    yield Redo(photo, size, name=self._names[photo])

        return plan_retry(self._destination, self._run, choose)

    def status(self, now: float | None = None) -> Status:
        """Raises StorageError."""
        schedule = Schedule(self._destination, self._run)
        done = self._commits.keys()
        waiting = dict(schedule.retried(done))
        failed = Counter(reason for *_, reason in self.failures())
        skipped = sum(last.status == "skipped" for last in self._last.values())
        times = {shard: when for shard, when in self._commits.items() if when is not None}
        now = time.time() if now is None else now
        rates = self._rates(schedule, times, now)
        dealt_with = schedule.planned_in(done)
        pending = schedule.planned - dealt_with
        rate = next((rates[minutes] for minutes in WINDOWS if rates[minutes]), 0)
        left = pending + len(waiting)
        last = max(done, default=-1)
        return Status(
            photos=schedule.planned,
            done=dealt_with - failed.total() - skipped,
            skipped=skipped,
            more_pages=self._with_more_pages() if self._run.recipe.pages == "first" else 0,
            failed=dict(sorted(failed.items(), key=lambda item: (-item[1], item[0]))),
            pending=pending,
            retrying=len(waiting),
            shards=schedule.shards,
            shards_done=len(done),
            rates=rates,
            seconds_left=left / rate if rate and left else (0.0 if not left else None),
            since=now - max(times.values()) if times else None,
            stragglers=[shard for shard in range(last) if shard not in done],
            advice=self._advice(times) if left else None,
            work_seconds=self._pace.seconds,
            photos_per_second=self._pace.photos_per_second,
        )

    def _rates(self, schedule: Schedule, times: dict[int, float], now: float) -> dict[int, float]:
        """Photos per second in the last minutes, by their number. times: of commits."""
        rates = {}
        for minutes in WINDOWS:
            recent = {shard for shard, when in times.items() if when > now - 60 * minutes}
            had = self._time_had(times, now, 60 * minutes)
            rates[minutes] = schedule.photos_in(recent) / had
        return rates

    def _advice(self, times: dict[int, float]) -> str | None:
        ends = {shard: times[shard] for shard in self._works}
        first, last = min(ends.values(), default=0.0), max(ends.values(), default=0.0)
        # What came before the first of these commits is counted in full for none of the others.
        counted = [shard for shard in ends if ends[shard] > first]
        works = [self._works[shard] for shard in counted]
        return advise(works, [ends[shard] for shard in counted], last - first)

    def _time_had(self, times: dict[int, float], now: float, window: float) -> float:
        """Seconds of a window that workers had: all but what came before the first commit began,
        and pauses."""
        first = min(times.values(), default=now)
        if self._pace.first is not None:
            first = min(first, self._pace.first)
        start = max(first, now - window)
        return max(1.0, now - start - self._pace.pauses_since(start))


def _recent(commits: Mapping[int, float | None]) -> set[int]:
    """Shards of the minutes before the last commit."""
    times = {shard: when for shard, when in commits.items() if when is not None}
    last = max(times.values(), default=0.0)
    return {shard for shard, when in times.items() if when > last - _RECENT}


def _span(table: pa.Table) -> Span | None:
    """When a shard was worked on, given its rows."""
    first = table.filter(pc.equal(table["candidate"], 0))
    columns = first["read_seconds"], table["model_seconds"], table["write_seconds"]
    seconds = sum(pc.sum(column).as_py() or 0.0 for column in columns)
    return span_of(pc.max(table["finished_at"]).as_py(), seconds)
