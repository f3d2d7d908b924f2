"""Verification of a destination: everything planned is there, once, as it was recorded.

`verify` only reads. `repair` plans photos once more, or deletes results that are damaged, so that
their shard is open again. What is there and cannot be read, for lack of a permission, say, may be
whole: it is only reported.
"""

import hashlib
import random
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from pipeline.errors import ObjectMissing, StorageError, StoreUnavailable
from pipeline.images.pages import MOST_PAGES
from pipeline.ledger.plan import Schedule, Shard, is_plan_path
from pipeline.ledger.recipe import Recipe
from pipeline.ledger.results import (
    committed_shards,
    image_path,
    parse_results,
    results_path,
    shard_of,
)
from pipeline.ledger.retries import Redo, plan_retry
from pipeline.ledger.run_file import Run
from pipeline.ledger.seen import Seen
from pipeline.provenance.sidecar import sidecar_of, sidecar_path
from pipeline.review.previews import CELLS, FOLDER, map_path, script_path, sheet_path
from pipeline.storage.base import Storage
from pipeline.storage.local import PARTIAL
from pipeline.storage.probe import PROBE

KINDS = {
    "damaged_results": "results that cannot be read, or are of another run",
    "unplanned": "results of photos that were not planned there",
    "incomplete": "photos without exactly one result per candidate and page",
    "missing_image": "images that are gone",
    "damaged_image": "images with other bytes than recorded",
    "missing_sidecar": "sidecars that are gone",
    "damaged_sidecar": "sidecars that do not say what was recorded",
    "missing_source": "photographs that are gone from the source",
    "changed_source": "photographs with other bytes than recorded",
    "unreadable": "files that are there and cannot be read",
    "orphan": "files that belong to no result",
}
_REDO = (
    *("incomplete", "missing_image", "damaged_image", "missing_sidecar", "damaged_sidecar"),
    "changed_source",
)
_WORKERS = 16
_LARGE_BYTES = 2**26  # larger files are held in memory one at a time


@dataclass(frozen=True)
class Problem:
    """Something that is wrong. kind: one of KINDS. path: relative to the destination, or a
    photo."""

    kind: str
    path: str
    detail: str = ""


@dataclass
class Findings:
    """What a verification found.

    images, sources: how many were read and compared. pending: photos that have no result yet, or
    wait to be done once more. unknown_shards: those whose results tell nothing, or that came
    meanwhile. redo: by photo, what `repair` plans. attempts: the last that was done, of photos with
    several. stale: previews that belong to older attempts only; nothing is wrong with them, and
    `prune` deletes them. Stale previews and orphans are only looked for when nothing is pending and
    no shard unknown, because the files of such a shard, as those that a running job has not
    committed yet, belong to no result.
    """

    photos: int = 0
    pending: int = 0
    unknown_shards: int = 0
    images: int = 0
    sources: int = 0
    problems: list[Problem] = field(default_factory=list)
    redo: dict[str, Redo] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)
    stale: list[str] = field(default_factory=list)

    def of_kind(self, kind: str) -> list[Problem]:
        return [problem for problem in self.problems if problem.kind == kind]

    def counts(self) -> Counter[str]:
        return Counter(problem.kind for problem in self.problems)


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
    claimed = _Claimed(run.recipe)
    with ThreadPoolExecutor(_WORKERS) as pool:
        for shard in schedule.open():
            if shard.number in committed:
                rows = _check_results(destination, run, shard, last, findings)
                if rows is None:
                    findings.unknown_shards, rows = findings.unknown_shards + 1, []
                current = [row for row in rows if last.get(row["photo"], 1) == row["attempt"]]
                claimed.add(rows, current)
                _check_files(source, destination, run.recipe, current, share, pool, findings)
            findings.photos += len(shard.photos)
            on_progress(findings.photos, schedule.photos)
    for number in sorted(committed):
        if number >= schedule.shards:
            findings.problems.append(Problem("unplanned", results_path(number)))
    if not findings.pending and not findings.unknown_shards:
        orphans, stale = list(_orphans(destination, claimed)), list(_stale(destination, claimed))
        # A command that began meanwhile had planned its files before they could be listed.
        new = Schedule(destination, run).shards - schedule.shards
        findings.unknown_shards = new + len(committed_shards(destination).keys() - committed)
        if not findings.unknown_shards:
            findings.problems += _left(destination, orphans)
            findings.stale += stale
    return findings


class _Claimed:
    """What belongs to results. files: pictures and sidecars. previews: of last attempts."""

    def __init__(self, recipe: Recipe) -> None:
        self.files, self.previews = Seen(), Seen()
        self._sidecars = recipe.sidecar

    def add(self, rows: Iterable[dict[str, Any]], current: Iterable[dict[str, Any]]) -> None:
        """Rows of a shard, and those of them that are of a photo's last attempt."""
        for row in rows:
            if row["output_uri"]:
                self.files.add(image_path(row))
                if self._sidecars:
                    self.files.add(sidecar_path(image_path(row)))
        for row in current:
            if row["preview"] is not None:
                sheet = row["preview"] // CELLS
                for path_of in (sheet_path, map_path, script_path):
                    self.previews.add(path_of(row["shard"], sheet))


def repair(destination: Storage, run: Run, findings: Findings) -> int:
    """Plan what is broken once more; returns the number of photos.

    Results that are damaged are deleted. What another command has done or planned again since it
    was found broken is left alone. Raises StorageError.
    """
    for problem in findings.of_kind("damaged_results"):
        found = _read_results(destination, run, problem.path)
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


def _check_results(
    destination: Storage, run: Run, shard: Shard, last: dict[str, int], findings: Findings
) -> list[dict[str, Any]] | None:
    """Compare the rows of a shard with its plan; None where they cannot be told. last: the last
    attempt of photos with several."""
    path = results_path(shard.number)
    table = _read_results(destination, run, path)
    if isinstance(table, Problem):
        findings.problems.append(table)
        return None
    planned = {photo.path: photo for photo in shard.photos}
    by_photo: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in table.to_pylist():
        by_photo[row["photo"]].append(row)
    for photo in by_photo.keys() - planned.keys():
        findings.problems.append(Problem("unplanned", photo, path))
    for photo in planned:
        what = _incomplete(by_photo[photo], run.recipe)
        superseded = last.get(photo, 1) > shard.attempt
        if what and not superseded:
            findings.problems.append(Problem("incomplete", photo, f"{what} in {path}"))
            size, name = planned[photo].size, planned[photo].name
            findings.redo[photo] = Redo(photo, size, name=name)
    return [row for photo in planned for row in by_photo[photo]]


def _read_results(destination: Storage, run: Run, path: str) -> pa.Table | Problem:
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


def _check_files(
    source: Storage,
    destination: Storage,
    recipe: Recipe,
    rows: list[dict[str, Any]],
    share: float,
    pool: ThreadPoolExecutor,
    findings: Findings,
) -> None:
    """Compare the images, sidecars and sources of these rows with what is recorded."""
    chosen = {photo for photo in {row["photo"] for row in rows} if random.random() < share}
    images = [row for row in rows if row["output_uri"] and row["status"] == "ok"]
    by_photo = {row["photo"]: row for row in rows if row["source_sha256"]}
    one_large = threading.Lock()

    def compare(
        storage: Storage, path: str, digest: str, size: int | None, what: str
    ) -> Problem | None:
        with one_large if (size or 0) > _LARGE_BYTES else nullcontext():
            return _compare(storage, path, digest, what)

    sources = [row for photo, row in by_photo.items() if photo in chosen]

    def image(row: dict[str, Any]) -> Problem | None:
        path = image_path(row)
        if row["photo"] in chosen:
            return compare(destination, path, row["output_sha256"], row["output_bytes"], "image")
        return _look_for(destination, path, "image")

    def sidecar(row: dict[str, Any]) -> Problem | None:
        image = image_path(row)
        path = sidecar_path(image)
        if row["photo"] in chosen:
            digest = hashlib.sha256(sidecar_of(row, image, recipe)).hexdigest()
            return _compare(destination, path, digest, "sidecar")
        return _look_for(destination, path, "sidecar")

    def master(row: dict[str, Any]) -> Problem | None:
        path, digest = row["photo"], row["source_sha256"]
        return compare(source, path, digest, row["source_bytes"], "source")

    checks = [(image, images), (master, sources)]
    if recipe.sidecar:
        checks.append((sidecar, images))
    for check, several in checks:
        for row, problem in zip(several, pool.map(check, several), strict=True):
            if problem:
                findings.problems.append(problem)
                if problem.kind in _REDO:
                    redo = Redo(row["photo"], row["source_bytes"], name=row["name"])
                    findings.redo[row["photo"]] = redo
    findings.images += sum(row["photo"] in chosen for row in images)
    findings.sources += len(sources)


def _look_for(storage: Storage, path: str, what: str) -> Problem | None:
    try:
        return None if storage.exists(path) else Problem(f"missing_{what}", path)
    except StoreUnavailable:
        raise
    except StorageError as error:
        return Problem("unreadable", path, str(error))


def _compare(storage: Storage, path: str, digest: str, what: str) -> Problem | None:
    try:
        data = storage.read(path)
    except ObjectMissing:
        return Problem(f"missing_{what}", path)
    except StoreUnavailable:
        raise
    except StorageError as error:
        return Problem("unreadable", path, str(error))
    if hashlib.sha256(data).hexdigest() == digest:
        return None
    return Problem("changed_source" if what == "source" else f"damaged_{what}", path)


def _stale(destination: Storage, claimed: _Claimed) -> Iterator[str]:
    """Sheets of previews that no last attempt has."""
    for found in destination.list(FOLDER):
        is_sheet = found.path.startswith(f"{FOLDER}/shard-")
        is_sheet &= found.path.endswith((".jpg", ".png", ".js"))
        if is_sheet and found.path not in claimed.previews:
            yield found.path


def _orphans(destination: Storage, claimed: _Claimed) -> Iterator[Problem]:
    for found in destination.list():
        top, below, _ = found.path.partition("/")
        name = found.path.rpartition("/")[2]
        ours = {
            "images": found.path in claimed.files,
            "results": shard_of(found.path) is not None,
            "plan": is_plan_path(found.path),
            "report": True,
            "selections": True,
        }
        if below and top not in ours:
            continue  # not ours, except what a killed command leaves beside run.json
        if found.skipped:
            continue  # a folder that may not be looked into: what is in it is missed elsewhere
        own = ours[top] if below else not name.startswith(PROBE)
        if not own or PARTIAL.fullmatch(name):
            yield Problem("orphan", found.path)


def _left(destination: Storage, orphans: Iterable[Problem]) -> Iterator[Problem]:
    """Those that are left, and not just what a command that writes now has removed itself."""
    for each in orphans:
        name = each.path.rpartition("/")[2]
        passing = name.startswith(PROBE) or PARTIAL.fullmatch(name)
        if not passing or destination.exists(each.path):
            yield each
