"""Finds the rows of a destination for a picture: by its bytes, or, if it was encoded anew or
scaled, by its watermark or its appearance."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.images.phash import distances
from pipeline.ledger.recipe import Recipe
from pipeline.ledger.results import read_results
from pipeline.ledger.run_file import Run
from pipeline.provenance.watermark import PHOTO_DIGITS, parts_of, run_bits
from pipeline.storage.base import Storage

# Bits of 64. Of 400 photographs at JPEG quality 30 and at half their size, all are within 2; of the
# 1.9 million pairs of 1,932 different photographs, none is within 8.
MOST_DISTANCE = 6
_MOST_ROWS = 20  # of one picture
_COLUMNS = [
    *("photo", "page", "candidate", "rank", "attempt", "status", "seed", "source_uri"),
    *("source_sha256", "output_uri", "output_sha256", "finished_at", "note", "phash"),
]


@dataclass(frozen=True)
class FoundRow:
    """found_by: "digest", "watermark" (which all candidates of a photo share), "looks" (in gray,
    all candidates look alike), or "master": the row's picture was made from the file. distance:
    bits by which perceptual hashes differ, else 0."""

    found_by: str
    distance: int
    photo: str
    page: int
    candidate: int
    rank: int | None
    seed: int | None
    source_uri: str
    source_sha256: str | None
    output_uri: str | None
    finished_at: str | None
    note: str | None


def find_rows(
    destination: Storage, run: Run, wanted: Sequence[tuple[str, str | None, int | None]]
) -> tuple[list[tuple[FoundRow, ...]], int]:
    """The rows of each picture, given its SHA-256, perceptual hash and watermark; and how many rows
    have no perceptual hash because an older version wrote them.

    Rows are found by digest, else by watermark, else by looks, the nearest first. Raises
    StorageError.
    """
    found: list[list[FoundRow]] = [[] for _ in wanted]
    without = 0
    for table in read_results(destination, run, _COLUMNS):
        done = table.filter(pc.equal(table["status"], "ok"))
        hashes = done["phash"].to_pylist()
        without += hashes.count(None)
        for rows, (digest, phash, payload) in zip(found, wanted, strict=True):
            rows += _by_digest(done, "digest", "output_sha256", digest)
            rows += _by_digest(done, "master", "source_sha256", digest)
            if payload is not None:
                rows += _by_watermark(done, payload, run.recipe)
            if phash is not None and hashes:
                far = distances(hashes, phash)
                near = np.flatnonzero(far <= MOST_DISTANCE).tolist()
                rows += [
                    _row(each, "looks", int(far[place]))
                    for place, each in zip(
                        near, done.take(pa.array(near, pa.int64())).to_pylist(), strict=True
                    )
                ]
    return [_best(rows) for rows in found], without


def _by_digest(table: pa.Table, found_by: str, column: str, digest: str) -> list[FoundRow]:
    same = table.filter(pc.equal(table[column], digest)).to_pylist()
    return [_row(each, found_by, 0) for each in same]


def _by_watermark(table: pa.Table, payload: int, recipe: Recipe) -> list[FoundRow]:
    of_run, of_photo = parts_of(payload)
    if of_run != run_bits(recipe):
        return []
    begins = pc.starts_with(table["source_sha256"], f"{of_photo:0{PHOTO_DIGITS}x}")
    return [_row(each, "watermark", 0) for each in table.filter(begins).to_pylist()]


def _best(rows: list[FoundRow]) -> tuple[FoundRow, ...]:
    for kind in ("digest", "master", "watermark"):
        exact = [row for row in rows if row.found_by == kind]
        if exact:
            return tuple(exact[:_MOST_ROWS])
    nearest = sorted(rows, key=lambda row: (row.distance, row.photo, row.page, row.candidate))
    return tuple(nearest[:_MOST_ROWS])


def _row(row: dict[str, Any], found_by: str, distance: int) -> FoundRow:
    finished = row["finished_at"]
    return FoundRow(
        found_by,
        distance,
        row["photo"],
        row["page"],
        row["candidate"],
        row["rank"],
        row["seed"],
        row["source_uri"],
        row["source_sha256"],
        row["output_uri"],
        finished and finished.isoformat(timespec="seconds"),
        row["note"],
    )
