"""autochrome status: the progress of a run, from storage alone."""

import csv
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple, fields
from typing import TYPE_CHECKING

import click

from jobs.closing import describe_failures, describe_more_pages
from jobs.options import complete_folder
from jobs.progress import describe_colorized, describe_duration
from pipeline.errors import UsageError, shown_in_line, shown_lines

if TYPE_CHECKING:
    from pipeline.ledger.status import Failure, Ledger, Status


@click.command()
@click.argument("destination", metavar="DST", shell_complete=complete_folder)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on one line.")
@click.option("--failed", is_flag=True, help="List all photos that failed, and why.")
@click.option(
    "--csv",
    "csv_file",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="With --failed: write a table to FILE; - is standard output.",
)
@click.option("--watch", is_flag=True, help="Repeat until everything is done.")
@click.option(
    "--every",
    type=click.FloatRange(0.1),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="With --watch: seconds between two reports.",
)
def status(
    destination: str,
    as_json: bool,
    failed: bool,
    csv_file: str | None,
    watch: bool,
    every: float,
) -> None:
    """Show the progress of DST, a folder or s3://bucket/prefix.

    The command only reads DST, so it works from any machine, whether or not the run is active.

    \b
    Exit codes: 0 in any state of the run, 2 DST holds no run.

    \b
    Examples:
      autochrome status colored
      autochrome status s3://archive/colored --watch --every 60
      autochrome status colored --json | jq .pending
      autochrome status colored --failed --csv failed.csv
    """
    from pipeline.ledger.run_file import open_run
    from pipeline.ledger.status import Ledger
    from pipeline.storage.open_storage import open_storage

    if csv_file and not failed:
        raise UsageError("--csv needs --failed")
    if failed and watch:
        raise UsageError("--failed cannot be combined with --watch")
    place = open_storage(destination)
    ledger = Ledger(place, open_run(place))
    if failed:
        ledger.refresh()
        list_failures(ledger.explained_failures(), as_json, csv_file)
        return
    while not tell(ledger, place.uri, as_json, watch) and watch:
        time.sleep(every)


def tell(ledger: "Ledger", destination: str, as_json: bool, clear: bool) -> bool:
    """Print how far a run is, on a cleared screen if asked; returns whether it is complete."""
    from pipeline.ledger.status import NAMED_FAILURES

    ledger.refresh()
    now = ledger.status()
    if as_json:
        click.echo(json.dumps(to_json(now)))
        return now.complete
    named = list(ledger.explained_failures(NAMED_FAILURES))
    if clear:
        click.clear()  # does nothing where this is no terminal
    click.echo(describe(now, named, destination))
    return now.complete


def to_json(status: "Status") -> dict[str, object]:
    """The fields of Status, and a few derived ones for scripts."""
    return {
        **asdict(status),
        "failed_photos": sum(status.failed.values()),
        "complete": status.complete,
    }


def list_failures(failures: Iterable["Failure"], as_json: bool, csv_file: str | None) -> None:
    """Print a line for each failure, as text or JSON, or write a CSV file with a header."""
    from pipeline.ledger.cells import calm
    from pipeline.ledger.status import Failure

    if csv_file is None:
        for each in failures:
            click.echo(json.dumps(asdict(each)) if as_json else shown_in_line(str(each)))
        return
    try:
        with click.open_file(csv_file, "w", encoding="utf-8") as file:
            # All texts are quoted, because csv does not quote a name for a lone carriage return.
            table = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
            table.writerow([field.name for field in fields(Failure)])
            table.writerows(map(calm, astuple(each)) for each in failures)
    except OSError as error:
        raise UsageError(f"{csv_file} cannot be written: {error.strerror}") from error


def describe(status: "Status", failures: Sequence["Failure"] = (), destination: str = "") -> str:
    """A few lines for people."""
    share = (status.photos - status.pending) / status.photos
    seconds, rate = status.work_seconds, status.photos_per_second
    colorized = describe_colorized(status.done, status.photos, seconds, rate)
    lines = [f"{colorized} ({share:.1%} processed)"]
    if status.failed:
        failed = sum(status.failed.values())
        lines += describe_failures(status.failed, failures, failed, destination)
    if status.skipped:
        lines.append(f"{status.skipped:,} skipped")
    if status.pending:
        lines.append(f"{status.pending:,} not done yet")
    if status.more_pages:
        lines.append(describe_more_pages(status.more_pages))
    if status.retrying:
        lines.append(f"{status.retrying:,} to be retried")
    rates = ", ".join(f"{rate:.2f} in {minutes} min" for minutes, rate in status.rates.items())
    lines.append(f"photos/s: {rates}")
    if status.since is not None:
        lines.append(f"last commit {describe_duration(max(0.0, status.since))} ago")
    if not status.complete:
        left = status.seconds_left
        lines.append("nothing moves" if left is None else f"{describe_duration(left)} left")
    if status.advice:
        lines.append(status.advice)
    if status.stragglers:
        named = ", ".join(map(str, status.stragglers[:10]))
        more = ", ..." if len(status.stragglers) > 10 else ""
        lines.append(f"{len(status.stragglers):,} shards open behind later ones: {named}{more}")
    return shown_lines(lines)
