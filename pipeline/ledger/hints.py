"""Hints in files that people write, and in the plan.

A file, CSV or Parquet, has the columns photo, x, y and color, and, where wanted, page and radius.
A plan, and a file of decisions, has all hints of a photo as one text: `x:y:radius:#rrggbb` for
each, or `page:x:y:radius:#rrggbb`, with `;` between them.
"""

import csv
import hashlib
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipeline.errors import UsageError, first_line
from pipeline.images.hints import DEFAULT_RADIUS, LARGEST_RADIUS, Hint
from pipeline.parquet import open_parquet
from pipeline.storage.open_storage import read_file

COLUMNS, OPTIONAL = ("photo", "x", "y", "color"), ("page", "radius")
MOST_HINTS = 1000  # of a photo
_DECIMALS = 6
_COLOR = re.compile(r"#[0-9a-f]{6}", re.I)
_LONGEST = 60  # of a value in a message


@dataclass(frozen=True)
class HintFile:
    """The hints of a run. places: for messages, the row of each photo's first hint."""

    hints: Mapping[str, tuple[Hint, ...]]
    places: Mapping[str, str]

    def digest(self) -> str:
        """SHA-256 of the hints, independent of the file's form and the order of photos."""
        lines = (f"{photo}\0{format_hints(self.hints[photo])}\n" for photo in sorted(self.hints))
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def text_of(self, photo: str) -> str | None:
        """A photo's hints as a plan holds them; None without any."""
        return format_hints(self.hints[photo]) if photo in self.hints else None

    def refuse_unknown(self, photos: Iterable[str], source: str) -> None:
        """Raise UsageError if one of the file's photos is not among these."""
        left = dict(self.places)
        for photo in photos:
            left.pop(photo, None)
            if not left:
                return
        photo, place = next(iter(left.items()))
        raise UsageError(
            f"{place}: photo {_short(photo)} is not among the photos to do in {source}"
        )

    def refuse_pages(self) -> None:
        """Raise UsageError if a hint is for another page than the first."""
        for photo, hints in self.hints.items():
            refuse_other_pages(self.places[photo], photo, hints)


def read_hints(uri: str) -> HintFile:
    """The hints of a file or object.

    Raises UsageError, which names row and value, if a place is outside the picture, a color or
    radius is invalid, or two hints are at one place; and StorageError.
    """
    data = read_file(uri)
    rows = _parquet(uri, data) if uri.lower().endswith(".parquet") else _csv(uri, data)
    hints, places = dict[str, list[Hint]](), dict[str, str]()
    for place, row in rows:
        photo = row.get("photo") or ""
        if not photo:
            raise UsageError(f"{place}: photo '' is not a path")
        hint = _hint(place, row)
        _add(place, hints.setdefault(photo, []), hint)
        places.setdefault(photo, place)
    if not hints:
        raise UsageError(f"{uri} has no hints")
    return HintFile({photo: tuple(found) for photo, found in hints.items()}, places)


def hints_of(given: Iterable[Any]) -> tuple[Hint, ...]:
    """Hints from tuples (x, y, color) or (x, y, color, radius). Raises UsageError."""
    found: list[Hint] = []
    for number, each in enumerate(given, start=1):
        place = f"hint {number}"
        if not isinstance(each, tuple | list) or len(each) not in (3, 4):
            raise UsageError(f"{place}: {_short(repr(each))} is not (x, y, color) or with a radius")
        row = dict(zip(("x", "y", "color", "radius"), map(_text, each), strict=False))
        _add(place, found, _hint(place, row))
    return tuple(found)


def hints_by_path(uri: str, paths: Iterable[str]) -> dict[str, tuple[Hint, ...]]:
    """The hints of a file for the first pages of photos at these paths; a path belongs to a photo
    of the file if it ends in its name. Raises UsageError as `read_hints`, and if the file has no
    hint for any path."""
    found = read_hints(uri).hints
    chosen: dict[str, tuple[Hint, ...]] = {}
    for path in paths:
        ends = (path.split("/", skip)[-1] for skip in range(path.count("/") + 1))
        hints = next((found[end] for end in ends if end in found), ())
        if first := tuple(hint for hint in hints if hint.page == 1):
            chosen[path] = first
    if not chosen:
        raise UsageError(
            f"{uri} has no hint for a photo that is given; it has {_short(min(found))}"
        )
    return chosen


def refuse_other_pages(place: str, photo: str, hints: Iterable[Hint]) -> None:
    """Raise UsageError if one of a photo's hints is not for its first page."""
    for hint in hints:
        if hint.page > 1:
            raise UsageError(
                f"{place}: photo {_short(photo)} has a hint for page {hint.page}, and only first"
                " pages are done: --pages all does all"
            )


def parse_hints(place: str, text: str, page: int = 1) -> tuple[Hint, ...]:
    """Parse hints in one text. place: how messages begin. page: for hints that name none.

    Raises UsageError as `read_hints`.
    """
    found: list[Hint] = []
    for item in filter(None, (part.strip() for part in text.split(";"))):
        values = item.split(":")
        if len(values) not in (4, 5):
            raise UsageError(f"{place}: hint {_short(item)} is not x:y:radius:#rrggbb")
        names = ("page", "x", "y", "radius", "color")[-len(values) :]
        row = {"page": str(page), **dict(zip(names, values, strict=True))}
        _add(place, found, _hint(place, row))
    return tuple(found)


def format_hints(hints: Iterable[Hint]) -> str:
    """The inverse of parse_hints."""
    return ";".join(
        (f"{hint.page}:" if hint.page > 1 else "")
        + f"{hint.x:.{_DECIMALS}g}:{hint.y:.{_DECIMALS}g}:{hint.radius:.{_DECIMALS}g}:{hint.color}"
        for hint in hints
    )


def hints_digest(hints: Iterable[Hint]) -> str:
    """SHA-256 of a page's hints as one text, as recorded in results."""
    return hashlib.sha256(format_hints(hints).encode()).hexdigest()


def _add(place: str, hints: list[Hint], hint: Hint) -> None:
    if any((each.page, each.x, each.y) == (hint.page, hint.x, hint.y) for each in hints):
        raise UsageError(f"{place}: there is a hint at {hint.x:g}, {hint.y:g} already")
    if len(hints) == MOST_HINTS:
        raise UsageError(f"{place}: a photo has at most {MOST_HINTS:,} hints")
    hints.append(hint)


def _hint(place: str, row: Mapping[str, str]) -> Hint:
    x, y = (_number(place, name, row.get(name), 0, 1) for name in ("x", "y"))
    radius = DEFAULT_RADIUS
    if row.get("radius"):
        radius = _number(place, "radius", row["radius"], 0, LARGEST_RADIUS)
        if radius == 0:
            raise UsageError(f"{place}: radius {_short(row['radius'])} is too small")
    color, page = row.get("color") or "", row.get("page") or "1"
    if not _COLOR.fullmatch(color):
        raise UsageError(f"{place}: color {_short(color)} is not of the form #rrggbb")
    if not re.fullmatch(r"[1-9][0-9]{0,8}", page):
        raise UsageError(f"{place}: page {_short(page)} is not a whole number from 1")
    return Hint(x, y, radius, color.lower(), int(page))


def _number(place: str, name: str, value: str | None, least: float, most: float) -> float:
    try:
        number = round(float(value or ""), _DECIMALS)
    except ValueError:
        number = float("nan")
    if not least <= number <= most:
        outside = name in ("x", "y") and number == number
        verb = "lies outside of the picture: it is not" if outside else "is not"
        wrong = f"{name} {_short(value or '')} {verb} a number from {least} to {most}"
        raise UsageError(f"{place}: {wrong}")
    return float(f"{number:.{_DECIMALS}g}")


def _csv(uri: str, data: bytes) -> Iterator[tuple[str, Mapping[str, str]]]:
    try:
        reader = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
        header = next(reader, [])
        _check_header(uri, header)
        for values in reader:
            place = f"{uri}, line {reader.line_num}"
            if values and len(values) != len(header):
                raise UsageError(f"{place}: {len(values)} values, not {len(header)}")
            if values:
                yield place, dict(zip(header, map(str.strip, values), strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise UsageError(f"{uri} is not a CSV file in UTF-8: {error}") from error


def _parquet(uri: str, data: bytes) -> Iterator[tuple[str, Mapping[str, str]]]:
    try:
        with open_parquet(io.BytesIO(data)) as file:
            table = file.read(use_threads=False)
        rows = table.to_pylist() if len(set(table.column_names)) == table.num_columns else []
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UsageError(f"{uri} is not a Parquet file: {first_line(error)}") from error
    _check_header(uri, table.column_names)
    for number, row in enumerate(rows, start=1):
        yield f"{uri}, row {number}", {name: _text(value) for name, value in row.items()}


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _check_header(uri: str, names: list[str]) -> None:
    missing = [name for name in COLUMNS if name not in names]
    unknown = [name for name in names if name not in COLUMNS + OPTIONAL]
    if missing:
        raise UsageError(f"{uri} has no column {missing[0]!r}; a file of hints has {_columns()}")
    if unknown or len(set(names)) < len(names):
        which = _short((unknown or names)[0])
        raise UsageError(f"{uri} has a column {which} too many; a file of hints has {_columns()}")


def _columns() -> str:
    return f"{', '.join(COLUMNS)} and perhaps {', '.join(OPTIONAL)}"


def _short(value: str) -> str:
    return repr(value if len(value) <= _LONGEST else f"{value[:_LONGEST]}...")
