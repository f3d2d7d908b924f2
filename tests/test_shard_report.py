"""What the driver hears of a shard, and Prometheus from it."""

from dataclasses import replace
from datetime import UTC, datetime

from pipeline.ledger.results import Result
from pipeline.ledger.shard_report import ShardReport, report_of

GOOD = Result(
    *("a.jpg", "/a.jpg", 0, 100),
    source_sha256="1",
    read_seconds=1.0,
    model_seconds=2.0,
    write_seconds=3.0,
    output_bytes=50,
)
UNREAD = Result("b.jpg", "/b.jpg", 0, 70, status="failed", reason="missing", read_seconds=0.5)
UNWRITTEN = Result(
    *("a.jpg", "/a.jpg", 0, 100),
    source_sha256="1",
    candidate=1,
    status="failed",
    reason="write_error",
    model_seconds=2.0,
    write_seconds=3.0,
)


def test_photos_are_counted_and_not_candidates() -> None:
    report = report_of([[GOOD, UNWRITTEN], [UNREAD], [GOOD]])
    assert (report.photos, report.failed) == (3, 2)
    assert report.statuses == {"failed": 2, "ok": 1}
    assert report.reasons == {"write_error": 1, "missing": 1}
    assert report.bytes == {"read": 200, "written": 100}
    assert report.seconds == {
        "read": [1.0, 0.5, 1.0],
        "colorize": [4.0, 2.0],
        "write": [6.0, 3.0],
    }


def test_its_span_is_what_all_rows_took_until_the_last() -> None:
    rows = [
        replace(row, finished_at=datetime.fromtimestamp(1000 + second, UTC))
        for second, row in enumerate((GOOD, UNWRITTEN, UNREAD))
    ]
    took = 1.0 + 0.5 + (2.0 + 2.0) + (3.0 + 3.0)
    assert report_of([rows[:2], rows[2:]]).span == (1002 - took, 1002)


def test_a_shard_that_another_command_has_committed_tells_its_photos_only() -> None:
    report = ShardReport(4, 1)
    assert (report.statuses, report.span) == ({}, None)
