"""Files against the rows that record them: images, sidecars, and the photographs of the source."""

import hashlib
import random
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from pipeline.errors import ObjectMissing, StorageError, StoreUnavailable
from pipeline.ledger.recipe import Recipe
from pipeline.ledger.results import image_path
from pipeline.ledger.retries import Redo
from pipeline.provenance.sidecar import sidecar_of, sidecar_path
from pipeline.storage.base import Storage
from pipeline.verification.findings import Findings, Problem

_REDO = (
    *("incomplete", "missing_image", "damaged_image", "missing_sidecar", "damaged_sidecar"),
    "changed_source",
)
_LARGE_BYTES = 2**26  # larger files are held in memory one at a time
Row = dict[str, Any]


class FileChecks:
    """Reads a random share, 0..1, of the photos' files, and only looks for the others."""

    def __init__(
        self,
        source: Storage,
        destination: Storage,
        recipe: Recipe,
        share: float,
        pool: ThreadPoolExecutor,
    ) -> None:
        self._source, self._destination, self._recipe = source, destination, recipe
        self._share, self._pool = share, pool
        self._one_large = threading.Lock()

    def check(self, rows: Iterable[Row], findings: Findings) -> None:
        """Compare the images, sidecars and sources of rows with what is recorded."""
        rows = list(rows)
        chosen = {
            photo for photo in {row["photo"] for row in rows} if random.random() < self._share
        }
        images = [row for row in rows if row["output_uri"] and row["status"] == "ok"]
        by_photo = {row["photo"]: row for row in rows if row["source_sha256"]}
        sources = [row for photo, row in by_photo.items() if photo in chosen]

        self._run(lambda row: self._image(row, row["photo"] in chosen), images, findings)
        self._run(self._master, sources, findings)
        if self._recipe.sidecar:
            self._run(lambda row: self._sidecar(row, row["photo"] in chosen), images, findings)
        findings.images += sum(row["photo"] in chosen for row in images)
        findings.sources += len(sources)

    def _run(
        self, check: Callable[[Row], Problem | None], rows: list[Row], findings: Findings
    ) -> None:
        for row, problem in zip(rows, self._pool.map(check, rows), strict=True):
            if problem:
                findings.problems.append(problem)
                if problem.kind in _REDO:
                    redo = Redo(row["photo"], row["source_bytes"], name=row["name"])
                    findings.redo[row["photo"]] = redo

    def _image(self, row: Row, chosen: bool) -> Problem | None:
        path = image_path(row)
        if not chosen:
            return _look_for(self._destination, path, "image")
        with self._room_for(row["output_bytes"]):
            return _compare(self._destination, path, row["output_sha256"], "image")

    def _sidecar(self, row: Row, chosen: bool) -> Problem | None:
        image = image_path(row)
        path = sidecar_path(image)
        if not chosen:
            return _look_for(self._destination, path, "sidecar")
        digest = hashlib.sha256(sidecar_of(row, image, self._recipe)).hexdigest()
        return _compare(self._destination, path, digest, "sidecar")

    def _master(self, row: Row) -> Problem | None:
        with self._room_for(row["source_bytes"]):
            return _compare(self._source, row["photo"], row["source_sha256"], "source")

    def _room_for(self, size: int | None) -> AbstractContextManager[object]:
        return self._one_large if (size or 0) > _LARGE_BYTES else nullcontext()


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
