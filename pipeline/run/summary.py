"""What a destination holds when a command ends, counted and written into its report."""

from dataclasses import dataclass

from pipeline.ledger.run_file import Run
from pipeline.ledger.status import NAMED_FAILURES, Failure, Ledger
from pipeline.provenance.premis import Record
from pipeline.review.pages import Review
from pipeline.storage.base import Storage


@dataclass(frozen=True)
class Summary:
    """What a destination holds when a command ends: photos by state, failures by reason.

    more_pages: photos that have more pages than the run takes. log: the file with the causes of
    failures; None where nothing was logged. failures: the first that failed. retried: how many
    failed ones were planned once more; None where that was not asked for. source: where the
    masters are. work_seconds, photos_per_second: as in Status. added: how many photos were added to
    the plan; None where that was not asked for. unplanned: how many the source has beside those of
    the plan, resized: how many have another size than they are planned with; None where that was
    not looked for, or took too long. selection: of one that was taken, how often each decision
    comes in it, and how many photos are done once more for it, "redone"; None where there was none.
    """

    photos: int
    failed: int
    skipped: int
    pending: int
    reasons: dict[str, int]
    ignored: dict[str, int]
    destination: str
    report: str
    more_pages: int = 0
    log: str | None = None
    failures: tuple[Failure, ...] = ()
    source: str = ""
    retried: int | None = None
    work_seconds: float = 0.0
    photos_per_second: float | None = None
    added: int | None = None
    unplanned: int | None = None
    resized: int | None = None
    selection: dict[str, int] | None = None


def summarize(destination: Storage, run: Run, takes_hints: bool | None = None) -> Summary:
    """Read the results, once: count them, and write the report and the events. Raises StorageError.

    takes_hints: as in `write_review`.
    """
    ledger, page = Ledger(destination, run), Review(destination, run, takes_hints)
    with Record(run) as record:
        for table in ledger.results(page.add_older):
            page.add(table)
            record.add(table)
        report = page.write()
        record.write(destination)
    status = ledger.status()
    return Summary(
        photos=status.photos,
        failed=sum(status.failed.values()),
        skipped=status.skipped,
        pending=status.pending,
        more_pages=status.more_pages,
        reasons=status.failed,
        ignored=run.plan.ignored,
        destination=destination.uri,
        report=report,
        source=run.recipe.source,
        failures=tuple(ledger.explained_failures(NAMED_FAILURES)),
        work_seconds=status.work_seconds,
        photos_per_second=status.photos_per_second,
    )
