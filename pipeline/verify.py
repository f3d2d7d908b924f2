"""Verification of a destination: everything planned is there, once, as it was recorded.

`verify` only reads. `repair` plans photos once more, or deletes results that are damaged, so that
their shard is open again. What is there and cannot be read, for lack of a permission, say, may be
whole: it is only reported.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from pipeline.ledger.plan import Schedule
from pipeline.ledger.results import committed_shards, results_path
from pipeline.ledger.retries import Redo, plan_retry
from pipeline.ledger.run_file import Run
from pipeline.storage.base import Storage
from pipeline.verification.files import FileChecks
from pipeline.verification.findings import Findings, Problem
from pipeline.verification.leftovers import Claimed, find_orphans, find_stale, still_there
from pipeline.verification.rows import check_rows, read_rows

_WORKERS = 16


def verify(
    source: Storage,
    destination: Storage,
    run: Run,
    share: float = 1.0,
    on_progress: Callable[[int, int], None] = lambda done, photos: None,
) -> Findings:
    """Check everything; of images and sources a random share, 0..1, is read.

    on_progress(photos so far, photos) is called after each shard. Raises StorageError.
    """
    committed = committed_shards(destination).keys()  # first, as all of these are planned already
    findings, schedule = Findings(), Schedule(destination, run)
    retried = dict(schedule.retried(committed))
    findings.pending = schedule.planned - schedule.planned_in(committed) + len(retried)
    findings.attempts = last = schedule.attempts(committed)
    claimed = Claimed(run.recipe)
    with ThreadPoolExecutor(_WORKERS) as pool:
        files = FileChecks(source, destination, run.recipe, share, pool)
        for shard in schedule.open():
            if shard.number in committed:
                rows = check_rows(destination, run, shard, findings)
                current = [row for row in rows if last.get(row["photo"], 1) == row["attempt"]]
                claimed.add(rows, current)
                files.check(current, findings)
            findings.photos += len(shard.photos)
            on_progress(findings.photos, schedule.photos)
    for number in sorted(committed):
        if number >= schedule.shards:
            findings.problems.append(Problem("unplanned", results_path(number)))
    if not findings.pending and not findings.unknown_shards:
        orphans, stale = find_orphans(destination, claimed), find_stale(destination, claimed)
        # A command that began meanwhile had planned its files before they could be listed.
        new = Schedule(destination, run).shards - schedule.shards
        findings.unknown_shards = new + len(committed_shards(destination).keys() - committed)
        if not findings.unknown_shards:
            findings.problems += still_there(destination, orphans)
            findings.stale += stale
    return findings


def repair(destination: Storage, run: Run, findings: Findings) -> int:
    """Plan what is broken once more; returns the number of photos.

    Results that are damaged are deleted. What another command has done or planned again since it
    was found broken is left alone. Raises StorageError.
    """
    for problem in findings.of_kind("damaged_results"):
        found = read_rows(destination, run, problem.path)
        if isinstance(found, Problem) and found.kind == "damaged_results":
            destination.delete(problem.path)

    def choose(schedule: Schedule) -> Iterator[Redo]:
        now, then = schedule.attempts(schedule.retry_shards), findings.attempts
        return (
            redo for photo, redo in findings.redo.items() if now.get(photo, 1) == then.get(photo, 1)
        )

    return plan_retry(destination, run, choose)


def prune(destination: Storage, findings: Findings) -> int:
    """Delete orphans and stale previews; returns the number of orphans. Raises StorageError."""
    orphans = [problem.path for problem in findings.of_kind("orphan")]
    for path in [*orphans, *findings.stale]:
        destination.delete(path)
    return len(orphans)
