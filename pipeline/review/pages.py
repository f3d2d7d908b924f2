"""The review page of a run: static files that work from a disk and from a bucket.

    report/index.html, *.js, *.css      the page, as it lies in pipeline/review/page
    report/previews/                    pictures, from when the results were written (see previews)
    report/data/run.js                  what the run is, and how much of it there is
    report/data/rows-00000.js           what the page sorts and filters by, 2,000 rows or so a file
    report/data/details-00000.js        the same rows: what it shows of one that is opened
    report/data/selection-00001.js      decisions that were taken back, as ledger.selection keeps
    report/data/before.js               where photos were redone: which pictures they had before

Data are scripts that call a function, as a page on a disk may not fetch. Rows are written as they
are read: memory does not grow with them.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from importlib.resources import files
from itertools import groupby
from operator import itemgetter
from typing import Any

import pyarrow as pa

from pipeline.errors import ObjectMissing
from pipeline.ledger.plan import Schedule
from pipeline.ledger.ranking import FORMER
from pipeline.ledger.results import image_path, read_results
from pipeline.ledger.run_file import Run
from pipeline.ledger.selection import kept_selections
from pipeline.review.previews import fitted
from pipeline.storage.base import Storage

PAGE = "report/index.html"
ROWS_PER_FILE = 2000
# What is there of each row for all photos at once; width and height are those of the preview.
FIELDS = (
    *("photo", "candidate", "rank", "status", "reason", "error", "bits", "colorfulness"),
    *("attempt", "shard", "preview", "width", "height", "page", "pages"),
)
DETAIL_FIELDS = (
    *("file", "width", "height", "source_mode", "source_tone", "source_sha256", "output_sha256"),
    *("seed", "log_likelihood", "color_bits_per_dim", "spatial_bits_per_dim", "excess_bits"),
    *("mean_distance", "chroma_excess", "device", "finished_at"),
)
_DATA = "report/data"
Row = dict[str, Any]


def write_review(destination: Storage, run: Run, takes_hints: bool | None = None) -> str:
    """Write the page of what is committed now, and return its URI. Raises StorageError.

    takes_hints: whether the run's weights were trained with hints, which the page then offers; None
    where the caller does not know: then it is as the page says that is there.
    """
    page = Review(destination, run, takes_hints)
    for table in read_results(destination, run, on_older=page.add_older):
        page.add(table)
    return page.write()


class Review:
    """The page of a run, made while somebody reads its results.

    takes_hints: as in `write_review`. All methods raise StorageError.
    """

    def __init__(self, destination: Storage, run: Run, takes_hints: bool | None) -> None:
        self._destination, self._run = destination, run
        self._hints = _took_hints(destination) if takes_hints is None else takes_hints
        self._data, self._before = _Data(destination), _Before()
        self._finished: datetime | None = None

    def add(self, table: pa.Table) -> None:
        """Rows of photos' last attempts; those of a photo follow each other."""
        for _, rows in groupby(table.to_pylist(), key=itemgetter("photo")):
            photo = list(rows)
            self._data.add(photo)
            last = photo[-1]["finished_at"]
            self._finished = max(filter(None, [self._finished, last]), default=None)

    def add_older(self, table: pa.Table) -> None:
        """Rows of attempts before these, later ones first."""
        self._before.add(table)

    def write(self) -> str:
        """Complete the page, once all is added; returns its URI."""
        data, before = self._data, self._before
        data.flush()
        if before.rows:
            data.write("before", "before", list(before.rows.values()))
        selections = self._write_selections()
        data.write("run", "run", self._about(selections))
        data.remove_others()
        for name, content in page_files():
            self._destination.write(f"report/{name}", content)
        return self._destination.uri_of(PAGE)

    def _write_selections(self) -> list[int]:
        """Write the decisions that were taken back; returns their numbers."""
        numbers = []
        for number, selection in kept_selections(self._destination):
            numbers.append(number)
            lines = [
                (each.photo, each.candidate, each.decision, *([each.page] if each.page > 1 else []))
                for each in selection.choices
            ]
            self._data.write(f"selection-{number:05d}", "selection", lines)
        return numbers

    def _about(self, selections: list[int]) -> dict[str, object]:
        """What data/run.js says; its version is that of all that is written before."""
        run, finished = self._run, self._finished
        planned = Schedule(self._destination, run).planned
        plan = asdict(run.plan) | {"digests": len(run.plan.digests), "photos": planned}
        settings = asdict(run.recipe) | {"plan": plan}
        return {
            "digest": run.digest,
            "version": self._data.version(),
            "source": run.recipe.source,
            "finished": f"{finished:%Y-%m-%d %H:%M} UTC" if finished else "",
            "seed": str(run.recipe.seed),  # 64 bits, more than a number of JavaScript holds
            "weights": ", ".join(f"{name} {digest}" for name, digest in run.recipe.weights.items()),
            "hints": self._hints,
            "rank_by": run.recipe.rank_by or FORMER,
            "before": bool(self._before.rows),
            "planned": planned,
            "chunks": self._data.chunks,
            "selections": selections,
            "fields": FIELDS,
            "detail_fields": DETAIL_FIELDS,
            "settings": list(_flat(settings)),
        }


def page_files() -> Iterator[tuple[str, bytes]]:
    """Name and content of each file of the page itself, index.html last."""
    found = sorted(files("pipeline.review").joinpath("page").iterdir(), key=lambda each: each.name)
    for each in found:
        if each.name.endswith((".js", ".css")):
            yield each.name, each.read_bytes()
    for each in found:
        if each.name.endswith(".html"):
            yield "index.html", each.read_bytes()


def _took_hints(destination: Storage) -> bool:
    """What the page says that is there; False where there is none, or one of an older version."""
    try:
        script = destination.read(f"{_DATA}/run.js").decode()
        about = json.loads(script[script.index("(") + 1 : script.rindex(")")])
        return bool(about.get("hints"))
    except (ObjectMissing, ValueError, AttributeError, RecursionError):
        return False


class _Before:
    """Of each photo that was redone, the picture of rank 1 that it had before, by photo and page.

    A row: photo, page, attempt, shard, preview, width and height of the preview. Previews may have
    been deleted since.
    """

    def __init__(self) -> None:
        self.rows: dict[tuple[str, int], list[object]] = {}

    def add(self, older: pa.Table) -> None:
        columns = ["photo", "page", "attempt", "shard", "rank", "preview", "height", "width"]
        for row in older.select(columns).to_pylist():
            if row["preview"] is None or row["rank"] != 1:
                continue
            height, width = fitted(row["height"], row["width"])
            place = [row[name] for name in ("photo", "page", "attempt", "shard", "preview")]
            self.rows.setdefault((row["photo"], row["page"]), [*place, width, height])


class _Data:
    """Files of report/data. No photo lies in two of them.

    To be made before the results are listed: then whatever lies there is of no later state, and
    what another command writes meanwhile stays.
    """

    def __init__(self, destination: Storage) -> None:
        self._destination = destination
        self._older = {found.path for found in destination.list(_DATA)}
        self._rows: list[Sequence[object]] = []
        self._details: list[Sequence[object]] = []
        self._written: set[str] = set()
        self._digest = hashlib.sha256()
        self.chunks = 0

    def add(self, photo: Sequence[Row]) -> None:
        self._rows += map(_index, photo)
        self._details += map(_detail, photo)
        if len(self._rows) >= ROWS_PER_FILE:
            self.flush()

    def flush(self) -> None:
        if self._rows:
            for name, values in (("details", self._details), ("rows", self._rows)):
                self.write(f"{name}-{self.chunks:05d}", name, self.chunks, values)
            self.chunks += 1
            self._rows, self._details = [], []

    def write(self, name: str, function: str, *values: object) -> None:
        """A script that calls a function of the page; JSON in ASCII is also JavaScript."""
        arguments = ",".join(json.dumps(value, separators=(",", ":")) for value in values)
        script = f"review.{function}({arguments});\n".encode("ascii")
        path = f"{_DATA}/{name}.js"
        self._digest.update(script)
        self._destination.write(path, script)
        self._written.add(path)

    def version(self) -> str:
        """Of what is written so far: a browser that has seen other data reads them anew."""
        return self._digest.hexdigest()[:16]

    def remove_others(self) -> None:
        """What an earlier and larger page has left."""
        for path in sorted(self._older - self._written):
            self._destination.delete(path)


def _index(row: Row) -> list[object]:
    shape = fitted(row["height"], row["width"]) if row["preview"] is not None else (None, None)
    known = row | {"bits": _rounded(row["bits_per_pixel"], 3)}
    known |= {"colorfulness": _rounded(row["colorfulness"], 1)}
    known |= {"height": shape[0], "width": shape[1]}
    return [known[name] for name in FIELDS]


def _detail(row: Row) -> list[object]:
    known = row | {"file": image_path(row) if row["output_uri"] else None}
    known |= {"seed": None if row["seed"] is None else str(row["seed"])}
    moment = row["finished_at"]
    known |= {"finished_at": f"{moment:%Y-%m-%d %H:%M:%S} UTC" if moment else None}
    return [known[name] for name in DETAIL_FIELDS]


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _flat(settings: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as (name, value), with the names on the way."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}".replace("_", " "), "none" if value is None else str(value)
