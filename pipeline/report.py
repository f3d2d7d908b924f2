"""The contact sheet of a run: one page that opens from disk, and one picture.

`report/index.html` holds everything it shows: no script, no other file, no network. Gray beside
color for the most and the least likely photographs, a histogram, failures, settings. However large
the run, its size is bounded (some 8 MB), and what is left out is counted on the page.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.encoding import encode
from pipeline.errors import PhotoError, StorageError
from pipeline.imaging import draw_texts, read_thumbnail
from pipeline.report_page import Card, Page, Section, render
from pipeline.results import SCHEMA
from pipeline.storage import Storage

PAGE = "report/index.html"
CONTACT_SHEET = "report/contact-sheet.png"

_SHOWN = 60  # photographs from each end
_FAILURES = 500
_MOST_VALUES = 2**20
_LONGEST = 360  # of a thumbnail: sharp at the page's 190 on screens with twice the pixels
_IN_PICTURE = 20  # photographs from each end in the contact sheet's picture


def write_report(
    destination: Storage, results: Iterable[pa.Table], run: Mapping[str, object]
) -> str:
    """Write both files of the report, and return the page's URI.

    results: the rows of each shard, with DESIGN's schema. run: the settings of run.json, which may
    nest. Raises StorageError where the destination cannot be written; a result that cannot be read
    any more is a card without pictures.
    """
    tally = _Tally()
    for table in results:
        tally.add(table)
    first = min(_SHOWN, (tally.done + 1) // 2)
    last = min(_SHOWN, tally.done - first)
    most = [_card(destination, row) for row in tally.most.slice(0, first).to_pylist()]
    least = [_card(destination, row) for row in tally.least.slice(0, last).to_pylist()]
    destination.write(CONTACT_SHEET, _picture(most, least))
    page = Page(
        source=str(run.get("source", destination.uri)),
        finished=f" · finished {tally.finished:%Y-%m-%d %H:%M} UTC" if tally.finished else "",
        figures=tally.figures(),
        bits=tally.bits.values(),
        sections=[section for section in _sections(most, least) if section.cards],
        left_out=tally.done - first - last,
        failures=[
            (row["photo"], row["reason"] or row["status"], row["error"] or "")
            for row in tally.failed.to_pylist()
        ],
        failures_by_reason=sorted(
            tally.reasons.items(), key=lambda reason: (-reason[1], reason[0])
        ),
        failures_left_out=max(0, tally.reasons.total() - _FAILURES),
        settings=list(_flat(run)),
    )
    destination.write(PAGE, render(page).encode("utf-8"))
    return destination.uri_of(PAGE)


class _Tally:
    """What the page needs to know of all rows, in memory that does not grow with them."""

    def __init__(self) -> None:
        self.done = self.photos = 0
        self.most = self.least = self.failed = SCHEMA.empty_table()
        self.bits, self.colorfulness = _Values(), _Values()
        self.statuses: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.finished: datetime | None = None

    def add(self, table: pa.Table) -> None:
        """Add the rows of a shard; all those of a photo are in one shard."""
        done = _first_of_each_photo(table.filter(pc.equal(table["status"], "ok")), "rank")
        self.most = _ends(self.most, done, "ascending")
        self.least = _ends(self.least, done, "descending")
        self.bits.add(done["bits_per_pixel"].to_numpy())
        self.colorfulness.add(done["colorfulness"].to_numpy())
        failed = table.filter(pc.not_equal(table["status"], "ok"))
        failed = _first_of_each_photo(failed, "candidate")
        self.reasons.update(pc.coalesce(failed["reason"], failed["status"]).to_pylist())
        self.statuses.update(failed["status"].to_pylist())
        self.failed = pa.concat_tables([self.failed, failed]).slice(0, _FAILURES)
        self.done += len(done)
        self.photos += len(pc.unique(table["photo"]))
        times = [each for each in (self.finished, pc.max(table["finished_at"]).as_py()) if each]
        self.finished = max(times, default=None)

    def figures(self) -> list[tuple[str, str]]:
        figures = [
            (f"{self.photos:,}", "photographs"),
            (f"{self.done:,}", "colorized"),
            (f"{self.statuses['failed']:,}", "failed"),
        ]
        if self.statuses["skipped"]:
            figures.append((f"{self.statuses['skipped']:,}", "skipped"))
        if self.done:
            figures += [
                (f"{np.median(self.bits.values()):.2f}", "bits per pixel, median"),
                (f"{np.median(self.colorfulness.values()):.0f}", "colorfulness, median"),
            ]
        return figures


class _Values:
    """Numbers for a median and a histogram: all of them, or every 2nd, 4th, ... of very many."""

    def __init__(self) -> None:
        self._parts: list[np.ndarray] = []
        self._held = self._seen = 0
        self._stride = 1

    def add(self, values: np.ndarray) -> None:
        self._parts.append(values[-self._seen % self._stride :: self._stride])
        self._seen += len(values)
        self._held += len(self._parts[-1])
        if self._held > _MOST_VALUES:
            self._parts = [self.values()[::2]]
            self._held, self._stride = len(self._parts[0]), 2 * self._stride

    def values(self) -> np.ndarray:
        return np.concatenate([np.empty(0), *self._parts])


def _ends(known: pa.Table, more: pa.Table, order: Literal["ascending", "descending"]) -> pa.Table:
    both = pa.concat_tables([known, more])
    return both.sort_by([("bits_per_pixel", order), ("photo", order)]).slice(0, _SHOWN)


def _sections(most: Sequence[Card], least: Sequence[Card]) -> tuple[Section, Section]:
    return (
        Section("Most likely", "The colors that the model found most natural, first.", most),
        Section(
            "Least likely",
            "Worth a look first: unusual scenes, damaged scans, or colors that went astray.",
            least,
        ),
    )


def _first_of_each_photo(rows: pa.Table, order: str) -> pa.Table:
    """One row for each photo, in the order of their names."""
    rows = rows.sort_by([("photo", "ascending"), (order, "ascending")])
    names = rows["photo"].to_pylist()
    first = [k for k, name in enumerate(names) if k == 0 or name != names[k - 1]]
    return rows.take(pa.array(first, pa.int64()))


def _card(destination: Storage, row: Mapping[str, object]) -> Card:
    path = str(row["output_uri"]).removeprefix(destination.uri_of("").rstrip("/")).lstrip("/")
    pictures, shape = None, (0, 0)
    try:
        color = read_thumbnail(destination.read(path), _LONGEST)
    except (PhotoError, StorageError):
        pass  # moved or deleted since: the card says so
    else:
        gray = np.rint(color @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
        pictures = encode(gray, "JPEG", quality=85), encode(color, "JPEG", quality=85)
        shape = (color.shape[0], color.shape[1])
    scores = (
        f"{row['bits_per_pixel']:.2f} bits per pixel · colorfulness {row['colorfulness']:.0f}"
        f" · {row['width']:,} × {row['height']:,}"
    )
    return Card(str(row["photo"]), path, pictures, shape, scores)


def _picture(most: Sequence[Card], least: Sequence[Card]) -> bytes:
    """Both ends as one PNG: pairs in four columns, each with its name and scores."""
    cell_width, cell_height, margin, columns = 420, 250, 40, 4
    cards = [*most[:_IN_PICTURE], *least[:_IN_PICTURE][::-1]]
    lines = max(1, -(-len(cards) // columns))
    canvas = np.full(
        (2 * margin + lines * cell_height, 2 * margin + columns * cell_width, 3), 247, np.uint8
    )
    names, scores = [], []
    for index, card in enumerate(cards):
        top = margin + index // columns * cell_height
        left = margin + index % columns * cell_width
        for side, picture in enumerate(card.pictures or ()):
            thumbnail = read_thumbnail(picture, 190)
            height, width = thumbnail.shape[:2]
            x = left + 192 * side + (190 - width) * (1 - side)
            y = top + (190 - height)
            canvas[y : y + height, x : x + width] = thumbnail
        name = card.photo.rsplit("/", 1)[-1]
        names.append((left, top + 196, name if len(name) <= 44 else f"{name[:30]}…{name[-13:]}"))
        scores.append((left, top + 214, card.scores.replace("×", "x")))  # × is not in the font
    canvas = draw_texts(canvas, names, 14, "#211f1c")
    return encode(draw_texts(canvas, scores, 12, "#67625a"), "PNG")


def _flat(settings: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as (name, value), with the names on the way."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}".replace("_", " "), "none" if value is None else str(value)
