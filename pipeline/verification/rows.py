"""The rows of a shard against its plan: every photo once, with all its candidates and pages."""

from collections import defaultdict
from typing import Any

import pyarrow as pa

from pipeline.errors import ObjectMissing, StorageError, StoreUnavailable
from pipeline.images.pages import MOST_PAGES
from pipeline.ledger.plan import Shard
from pipeline.ledger.recipe import Recipe
from pipeline.ledger.results import parse_results, results_path
from pipeline.ledger.retries import Redo
from pipeline.ledger.run_file import Run
from pipeline.storage.base import Storage
from pipeline.verification.findings import Findings, Problem


def check_rows(
    destination: Storage, run: Run, shard: Shard, findings: Findings
) -> list[dict[str, Any]]:
    """The rows of a shard, compared with its plan; none where they tell nothing.

    Raises StoreUnavailable.
    """
    path = results_path(shard.number)
    table = read_rows(destination, run, path)
    if isinstance(table, Problem):
        findings.problems.append(table)
        findings.unknown_shards += 1
        return []
    planned = {photo.path: photo for photo in shard.photos}
    by_photo: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in table.to_pylist():
        by_photo[row["photo"]].append(row)
    for photo in by_photo.keys() - planned.keys():
        findings.problems.append(Problem("unplanned", photo, path))
    for photo in planned:
        what = _incomplete(by_photo[photo], run.recipe)
        superseded = findings.attempts.get(photo, 1) > shard.attempt
        if what and not superseded:
            findings.problems.append(Problem("incomplete", photo, f"{what} in {path}"))
            size, name = planned[photo].size, planned[photo].name
            findings.redo[photo] = Redo(photo, size, name=name)
    return [row for photo in planned for row in by_photo[photo]]


def read_rows(destination: Storage, run: Run, path: str) -> pa.Table | Problem:
    """The rows of a shard, or why they tell nothing. Raises StoreUnavailable."""
    try:
        data = destination.read(path)
    except StoreUnavailable:
        raise
    except StorageError as error:  # which may be whole: repair is not to delete it
        kind = "damaged_results" if isinstance(error, ObjectMissing) else "unreadable"
        return Problem(kind, path, str(error))
    try:
        table = parse_results(data, destination.uri_of(path))
    except StorageError as error:
        return Problem("damaged_results", path, str(error))
    recorded = (table.schema.metadata or {}).get(b"autochrome.run_sha256", b"").decode()
    return table if recorded == run.digest else Problem("damaged_results", path, "of another run")


def _incomplete(rows: list[dict[str, Any]], recipe: Recipe) -> str | None:
    """What is wrong with a photo that should have every candidate of every page once; None if it
    has. A page, or a whole photo, that failed has a single row."""
    by_page: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_page[row["page"]].append(row)
    expected = 1
    if recipe.pages == "all" and rows and (rows[0]["pages"] or 1) <= MOST_PAGES:
        expected = rows[0]["pages"] or 1
    if rows and sorted(by_page) != list(range(1, expected + 1)):
        return f"pages {sorted(by_page)} of {expected}"
    for page in range(1, expected + 1):
        found = sorted(row["candidate"] for row in by_page[page])
        early = found == [0] and by_page[page][0]["status"] != "ok"
        if found != list(range(recipe.candidates)) and not early:
            return f"candidates {found}" + (f" of page {page}" if expected > 1 else "")
    return None
