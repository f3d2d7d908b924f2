"""The contact sheet of a run: one page that opens from disk, and one picture.

`report/index.html` holds everything it shows: no script, no other file, no network. Gray beside
color for the most and the least likely photographs, a histogram, failures, settings. However large
the run, its size is bounded (some 8 MB), and what is left out is counted on the page.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import PhotoError, StorageError
from pipeline.imaging import draw_texts, encode, read_thumbnail
from pipeline.report_page import Card, Page, Section, render
from pipeline.storage import Storage

PAGE = "report/index.html"
CONTACT_SHEET = "report/contact-sheet.png"

_SHOWN = 60  # photographs from each end
_FAILURES = 500
_LONGEST = 360  # of a thumbnail: sharp at the page's 190 on screens with twice the pixels
_IN_PICTURE = 20  # photographs from each end in the contact sheet's picture


def write_report(destination: Storage, results: pa.Table, run: Mapping[str, object]) -> str:
    """Write both files of the report, and return the page's URI.

    results: the rows of all shards, with DESIGN's schema. run: the settings of run.json, which may
    nest. Raises StorageError where the destination cannot be written; a result that cannot be read
    any more is a card without pictures.
    """
    done = _first_of_each_photo(results.filter(pc.equal(results["status"], "ok")), "rank")
    done = done.sort_by([("bits_per_pixel", "ascending"), ("photo", "ascending")])
    first = min(_SHOWN, (len(done) + 1) // 2)
    last = min(_SHOWN, len(done) - first)
    most = [_card(destination, row) for row in done.slice(0, first).to_pylist()]
    least = [_card(destination, row) for row in done.slice(len(done) - last).to_pylist()[::-1]]
    destination.write(CONTACT_SHEET, _picture(most, least))
    failed = results.filter(pc.not_equal(results["status"], "ok"))
    failed = _first_of_each_photo(failed, "candidate")
    reasons = pc.value_counts(pc.coalesce(failed["reason"], failed["status"])).to_pylist()
    page = Page(
        source=str(run.get("source", destination.uri)),
        finished=_finished(results),
        figures=_figures(results, done, failed),
        bits=done["bits_per_pixel"].to_numpy(),
        sections=[section for section in _sections(most, least) if section.cards],
        left_out=len(done) - first - last,
        failures=[
            (row["photo"], row["reason"] or row["status"], row["error"] or "")
            for row in failed.slice(0, _FAILURES).to_pylist()
        ],
        failures_by_reason=sorted(
            ((str(count["values"]), count["counts"]) for count in reasons),
            key=lambda reason: (-reason[1], reason[0]),
        ),
        failures_left_out=max(0, len(failed) - _FAILURES),
        settings=list(_flat(run)),
    )
    destination.write(PAGE, render(page).encode("utf-8"))
    return destination.uri_of(PAGE)


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


def _figures(results: pa.Table, done: pa.Table, failed: pa.Table) -> list[tuple[str, str]]:
    figures = [
        (f"{len(pc.unique(results['photo'])):,}", "photographs"),
        (f"{len(done):,}", "colorized"),
        (f"{pc.sum(pc.equal(failed['status'], 'failed')).as_py() or 0:,}", "failed"),
    ]
    if skipped := pc.sum(pc.equal(failed["status"], "skipped")).as_py():
        figures.append((f"{skipped:,}", "skipped"))
    if len(done):
        figures += [
            (f"{np.median(done['bits_per_pixel']):.2f}", "bits per pixel, median"),
            (f"{np.median(done['colorfulness']):.0f}", "colorfulness, median"),
        ]
    return figures


def _finished(results: pa.Table) -> str:
    moment = pc.max(results["finished_at"]).as_py() if len(results) else None
    return f" · finished {moment:%Y-%m-%d %H:%M} UTC" if moment else ""


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
