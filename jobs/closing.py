"""The closing words of a run, and the exit code that goes with them."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from jobs.progress import describe_colorized, say
from jobs.survey import describe_unplanned
from pipeline.errors import shown_lines

if TYPE_CHECKING:
    from pipeline.ledger.status import Failure
    from pipeline.run.summary import Summary


def finish(ctx: click.Context, summary: "Summary") -> None:
    """Say what the destination holds now, and exit with the code for it."""
    say(ctx, describe(summary), "finished", **asdict(summary))
    ctx.exit(3 if summary.failed or summary.pending else 0)


def describe(summary: "Summary") -> str:
    """A few lines: what was done, what was not and why, and where the results are."""
    ok = summary.photos - summary.failed - summary.skipped - summary.pending
    seconds, rate = summary.work_seconds, summary.photos_per_second
    lines = [describe_colorized(ok, summary.photos, seconds, rate)]
    if summary.failed:
        lines += describe_failures(
            summary.reasons, summary.failures, summary.failed, summary.destination
        )
    lines += _describe_requests(summary)
    lines += _describe_rest(summary)
    if summary.log:
        lines.append(f"causes   {summary.log}")
    if summary.source:
        lines.append(f"masters  {summary.source}")
    lines += [
        f"images   {summary.destination}/images",
        f"results  {summary.destination}/results",
        f"report   {summary.report}",
    ]
    return shown_lines(lines)


def describe_failures(
    reasons: Mapping[str, int], failures: Sequence["Failure"], failed: int, destination: str
) -> list[str]:
    """How many photos failed for which reasons, the first of them, and where to find the others."""
    counts = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items())
    lines = [f"  {each}" for each in failures]
    if failures and failed > len(failures):
        more = failed - len(failures)
        lines.append(f"  {more:,} more: autochrome status {shlex.quote(destination)} --failed")
    return [f"{failed:,} failed: {counts}", *lines]


def describe_more_pages(photos: int) -> str:
    has = "has" if photos == 1 else "have"
    return f"{photos:,} {has} more pages than the first: a run with --pages all does them all"


def describe_selection(taken: Mapping[str, int]) -> str:
    """Which decisions were made, and what they changed."""
    before = taken.get("redo", 0) - taken["redone"]
    counts = {
        "approved": taken.get("approve", 0),
        "rejected": taken.get("reject", 0),
        "redone": taken["redone"],
        "already done with that seed": before,
    }
    words = [f"{count:,} {word}" for word, count in counts.items() if count]
    return f"selection: {', '.join(words) or 'no decisions'}"


def _describe_requests(summary: "Summary") -> list[str]:
    """What came of a selection, of --retry-failed and of --update."""
    lines = []
    if summary.selection is not None:
        lines.append(describe_selection(summary.selection))
    if summary.retried == 0:
        lines.append("nothing to retry: no such failure is left")
    if summary.added is not None:
        new = "1 new photo was" if summary.added == 1 else f"{summary.added:,} new photos were"
        lines.append(f"{new} added to the plan" if summary.added else "no new photo to add")
    return lines


def _describe_rest(summary: "Summary") -> list[str]:
    """What the run left out, and which command would do it."""
    from pipeline.ledger.choosing import describe_ignored

    lines = []
    if summary.unplanned:
        lines.append(describe_unplanned(summary.unplanned))
    if summary.resized:
        have = "1 photo has" if summary.resized == 1 else f"{summary.resized:,} photos have"
        where = shlex.quote(summary.destination)
        lines.append(
            f"{have} changed in size since planning: autochrome verify {where} shows which"
        )
    if summary.skipped:
        lines.append(f"{summary.skipped:,} skipped: already in color, --recolor does them too")
    if summary.pending:
        lines.append(f"{summary.pending:,} not done: the same command tries them again")
    if summary.more_pages:
        lines.append(describe_more_pages(summary.more_pages))
    if summary.ignored:
        lines.append(describe_ignored(summary.ignored))
    return lines
