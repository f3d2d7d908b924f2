"""Series: the photographs of a folder get similar colors, by the palette of one of its pictures.

This is a second pass over finished photos. In each folder of two photographs or more, the reference
is the first approved picture in the order of paths; without one, it is the picture with the
folder's median of bits per pixel, because the likeliest pictures are the palest. All others are
planned once more, with their seeds and hints and the palette of the reference; approved ones stay
as they are. Photos that were already planned this way are left out, so the command can be repeated.
The rows of all pictures are held in memory.
"""

import posixpath
from collections import defaultdict
from collections.abc import Iterator, Mapping
from statistics import median
from typing import Any

from pipeline.errors import UsageError
from pipeline.ledger.palettes import palette_of
from pipeline.ledger.plan import Schedule
from pipeline.ledger.results import committed_shards, image_path, read_results
from pipeline.ledger.retries import Redo, plan_retry
from pipeline.ledger.run_file import Run
from pipeline.ledger.selection import kept_selections
from pipeline.storage.base import Storage

Row = Mapping[str, Any]
Approved = dict[str, tuple[int, int]]  # page and candidate, by photo
_COLUMNS = [
    *("photo", "name", "source_bytes", "page", "candidate", "rank", "status"),
    *("output_uri", "bits_per_pixel"),
]


def plan_series(destination: Storage, run: Run, side: int) -> int:
    """Plan another attempt at the photos that are to get similar colors; returns how many.

    side: of the square in which the model sees colors. Raises StorageError.
    """
    approved, folders = approved_pictures(destination), _folders(destination, run)
    known: dict[str, str] = {}  # palettes by image

    def choose(schedule: Schedule) -> Iterator[Redo]:
        planned = schedule.palettes()
        waiting = dict(schedule.retried(committed_shards(destination).keys()))
        for photos in folders.values():
            found = _palette(destination, _candidates(photos, approved, planned), side, known)
            if found is None:
                continue
            reference, palette = found
            for photo, rows in photos.items():
                left = photo in approved or photo in waiting or planned.get(photo) == palette
                if not left and photo != reference:
                    size, name = rows[0]["source_bytes"], rows[0]["name"]
                    yield Redo(photo, size, name=name, palette=palette)

    return plan_retry(destination, run, choose)


def approved_pictures(destination: Storage) -> Approved:
    """The first approved picture of each photo, by all files of decisions; a photo that was
    rejected or redone later has none. Raises StorageError."""
    found: dict[str, dict[tuple[int, int], bool]] = defaultdict(dict)
    for _, selection in kept_selections(destination):
        for each in selection.choices:
            if each.candidate is None or each.decision == "redo":
                found.pop(each.photo, None)
            else:
                found[each.photo][each.page, each.candidate] = each.decision == "approve"
    good = {photo: [one for one, yes in every.items() if yes] for photo, every in found.items()}
    return {photo: min(every) for photo, every in good.items() if every}


def _folders(destination: Storage, run: Run) -> dict[str, dict[str, list[Row]]]:
    """The rows of each photo's first page that is done, by folder and photo, in the order of
    paths."""
    found: dict[str, dict[str, list[Row]]] = defaultdict(dict)
    rows = [
        row
        for table in read_results(destination, run, _COLUMNS)
        for row in table.to_pylist()
        if row["status"] == "ok"
    ]
    for row in sorted(rows, key=lambda row: (row["photo"], row["page"], row["rank"])):
        found[posixpath.dirname(row["photo"])].setdefault(row["photo"], []).append(row)
    return {folder: photos for folder, photos in found.items() if len(photos) > 1}


def _palette(
    destination: Storage, candidates: list[Row], side: int, known: dict[str, str]
) -> tuple[str, str] | None:
    """The first photo that is not gray, and its palette; None if all are gray. known: a cache."""
    for row in candidates:
        path = image_path(row)
        if path not in known:
            try:
                known[path] = palette_of(path, destination.read(path), side)
            except UsageError:  # gray
                known[path] = ""
        if known[path]:
            return row["photo"], known[path]
    return None


def _candidates(
    photos: Mapping[str, list[Row]], approved: Approved, planned: Mapping[str, str]
) -> list[Row]:
    """Rows of the pictures that may become the reference, the best first."""
    chosen = [
        row
        for photo, rows in photos.items()
        for row in rows
        if approved.get(photo) == (row["page"], row["candidate"])
    ]
    if chosen:
        return chosen
    own = [rows[0] for photo, rows in photos.items() if photo not in planned]
    bits = [row["bits_per_pixel"] for row in own if row["bits_per_pixel"] is not None]
    middle = median(bits) if bits else 0.0
    return sorted(own, key=lambda row: abs((row["bits_per_pixel"] or 0.0) - middle))
