"""What the driver learns about a committed shard: counts and times, no rows."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pipeline.ledger.pace import Span, span_of
from pipeline.ledger.results import DECISIVE, Result


@dataclass(frozen=True)
class ShardReport:
    """Photos of a shard, and how many of them failed. The other fields are empty if another command
    committed the shard.

    statuses, reasons: counts of photos. bytes: read and written. seconds: for each photo, by stage
    (read, colorize, write). span: when it was worked on.
    """

    photos: int
    failed: int
    statuses: dict[str, int] = field(default_factory=dict, compare=False)
    reasons: dict[str, int] = field(default_factory=dict, compare=False)
    bytes: dict[str, int] = field(default_factory=dict, compare=False)
    seconds: dict[str, list[float]] = field(default_factory=dict, compare=False)
    span: Span | None = field(default=None, compare=False)


def report_of(photos: Iterable[Sequence[Result]]) -> ShardReport:
    """The report of a shard, given the rows of each of its photos.

    A photo counts as failed if any of its candidates or pages did, else as done if any is.
    """
    statuses, reasons = Counter[str](), Counter[str]()
    read = written = 0
    seconds: dict[str, list[float]] = {"read": [], "colorize": [], "write": []}
    ends = []
    for rows in photos:
        decisive = max(rows, key=lambda row: DECISIVE.index(row.status))
        statuses[decisive.status] += 1
        if decisive.reason:
            reasons[decisive.reason] += 1
        if rows[0].source_sha256:
            read += rows[0].source_bytes
        written += sum(row.output_bytes or 0 for row in rows)
        for stage, time in _times_of(rows).items():
            if time is not None:
                seconds[stage].append(time)
        ends += [row.finished_at for row in rows if row.finished_at]
    return ShardReport(
        photos=statuses.total(),
        failed=statuses["failed"],
        statuses=dict(statuses),
        reasons=dict(reasons),
        bytes={"read": read, "written": written},
        seconds=seconds,
        span=span_of(max(ends, default=None), sum(map(sum, seconds.values()))),
    )


def _times_of(rows: Sequence[Result]) -> dict[str, float | None]:
    return {
        "read": _sum(row.read_seconds for row in rows if not row.candidate),
        "colorize": _sum(row.model_seconds for row in rows),
        "write": _sum(row.write_seconds for row in rows),
    }


def _sum(times: Iterable[float | None]) -> float | None:
    known = [time for time in times if time is not None]
    return sum(known) if known else None
