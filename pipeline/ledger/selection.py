"""Decisions that people made about results: a CSV file, and its effects.

Each line decides on a photo and candidate: `photo,candidate,decision,seed`, and `page` if photos
have several (the first by default). approve and reject are kept in the destination and change
nothing else; redo plans the photo, with all its pages, once more with the given seed. A column
`hints` may give all known colors of the photo, as `x:y:radius:#rrggbb` with `;` between them, or
`none`; if it is empty, the photo keeps its hints. Files are kept as selections/selection-00001.csv
and so on, each written once; the latest decision counts.
"""

import csv
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, NoReturn

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import StorageError, UsageError
from pipeline.ledger.cells import as_named
from pipeline.ledger.hints import format_hints, parse_hints
from pipeline.ledger.plan import Schedule
from pipeline.ledger.results import committed_shards, read_results
from pipeline.ledger.retries import Redo, plan_retry
from pipeline.ledger.run_file import Run
from pipeline.storage.base import Storage
from pipeline.storage.open_storage import read_file

COLUMNS = ("photo", "candidate", "decision", "seed")
OPTIONAL = ("page", "hints")
NO_HINTS = "none"  # in the column "hints"
DECISIONS = ("approve", "reject", "redo")
MOST_SEED = 2**63 - 1
_KEPT = re.compile(r"selections/selection-(\d{5,})\.csv")
_LONGEST_NAME = 80  # of a value in a message


@dataclass(frozen=True)
class Choice:
    """One line. candidate is None only for redo, which does all candidates of a photo; seed,
    0..2^63 - 1, is only for redo. page: from 1. hints: of a redo, as a plan holds them; None:
    unchanged."""

    line: int
    photo: str
    candidate: int | None
    decision: str
    seed: int | None
    page: int = 1
    hints: str | None = None


class Known(NamedTuple):
    """What a destination knows of a photo. candidates: (page, candidate)."""

    size: int
    name: str | None
    candidates: set[tuple[int, int]]


@dataclass(frozen=True)
class Selection:
    """A file's choices, its bytes, and its name for messages."""

    name: str
    data: bytes
    choices: tuple[Choice, ...]


def parse_selection(name: str, data: bytes) -> Selection:
    """A CSV file in UTF-8 with the columns of COLUMNS in any order.

    Raises UsageError, which names line and value, if the file is malformed, a decision, candidate
    or seed is invalid, or a photo's lines contradict each other.
    """
    choices: list[Choice] = []
    seen: dict[tuple[str, int, int | None], int] = {}
    redone: dict[str, int] = {}
    decided: dict[str, int] = {}
    for line, row in _rows(name, data):
        choice = _choice(name, line, row)
        key, photo = (choice.photo, choice.page, choice.candidate), choice.photo
        earlier = seen.get(key) or redone.get(photo)
        if choice.decision == "redo":
            earlier = earlier or decided.get(photo)
            redone[photo] = line
        if earlier:
            _refuse(name, line, f"{_short(photo)} is decided in line {earlier} already")
        seen[key] = line
        decided.setdefault(photo, line)
        choices.append(choice)
    return Selection(name, data, tuple(choices))


def read_selection(name: str) -> Selection:
    """The selection in a file. Raises UsageError, StorageError."""
    return parse_selection(name, read_file(name))


def take_selection(destination: Storage, run: Run, selection: Selection) -> int:
    """Plan the photos to be redone and keep the file; returns how many photos are planned.

    A photo whose last attempt was planned with the same seed and hints is left out, so that
    repeating the command plans nothing twice. Raises UsageError (a photo without a result, a
    candidate that it does not have, or one that waits for another attempt) and StorageError.
    """
    known = known_photos(destination, run, selection)

    def choose(schedule: Schedule) -> Iterator[Redo]:
        waiting = dict(schedule.retried(committed_shards(destination).keys()))
        seeds, hints = schedule.seeds(), schedule.hints()
        for each in selection.choices:
            same = seeds.get(each.photo, run.recipe.seed) == each.seed
            same &= each.hints is None or hints.get(each.photo, "") == each.hints
            if each.decision != "redo" or same:
                continue
            if each.photo in waiting:
                waits = f"waits for attempt {waiting[each.photo]}; first: autochrome resume"
                _refuse(selection.name, each.line, f"photo {_short(each.photo)} {waits}")
            size, name, _ = known[each.photo]
            yield Redo(each.photo, size, each.seed, name, each.hints)

    planned = plan_retry(destination, run, choose)
    _keep(destination, selection)
    return planned


def known_photos(destination: Storage, run: Run, selection: Selection) -> dict[str, Known]:
    """What the destination knows of the selection's photos. Raises UsageError (a photo without a
    result, or a candidate that it does not have) and StorageError."""
    known = _known(destination, run, selection)
    for each in selection.choices:
        if each.photo not in known:
            where = f"no result in {destination.uri}"
            _refuse(selection.name, each.line, f"photo {_short(each.photo)} has {where}")
        candidates = known[each.photo].candidates
        if each.candidate is not None and (each.page, each.candidate) not in candidates:
            page = f" of page {each.page}" if each.page > 1 else ""
            one = f"candidate {each.candidate}{page} of photo {_short(each.photo)}"
            _refuse(selection.name, each.line, f"{one} has no result in {destination.uri}")
    return known


def kept_selections(destination: Storage) -> Iterator[tuple[int, Selection]]:
    """Number and content of each file that was kept, in order. Raises StorageError."""
    for number in _kept_numbers(destination):
        path = _kept_path(number)
        uri = destination.uri_of(path)
        try:
            yield number, parse_selection(uri, destination.read(path))
        except UsageError as error:
            raise StorageError(f"{error}: it was changed since it was taken") from error


def _keep(destination: Storage, selection: Selection) -> None:
    numbers = _kept_numbers(destination)
    if any(destination.read(_kept_path(number)) == selection.data for number in numbers[-1:]):
        return  # the command was repeated
    number = max(numbers, default=0) + 1
    while not destination.write_if_absent(_kept_path(number), selection.data):
        number += 1


def _kept_path(number: int) -> str:
    return f"selections/selection-{number:05d}.csv"


def _kept_numbers(destination: Storage) -> list[int]:
    matches = (_KEPT.fullmatch(each.path) for each in destination.list("selections"))
    return sorted(int(match[1]) for match in matches if match)


def _known(destination: Storage, run: Run, selection: Selection) -> dict[str, Known]:
    """What is known of those photos that have results."""
    wanted = pa.array(sorted({each.photo for each in selection.choices}), pa.string())
    known: dict[str, Known] = {}
    columns = ["photo", "source_bytes", "name", "page", "candidate"]
    for table in read_results(destination, run, columns):
        for row in table.filter(pc.is_in(table["photo"], wanted)).to_pylist():
            first = Known(row["source_bytes"], row["name"], set())
            known.setdefault(row["photo"], first).candidates.add((row["page"], row["candidate"]))
    return known


def _rows(name: str, data: bytes) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Line number and values of each record after the header; empty lines are skipped."""
    records = _records(name, data)
    first = next(records, None)
    if first is None:
        _refuse(name, 1, f"the file is empty; its first line must be {','.join(COLUMNS)}")
    line, header = first
    wanted = {*COLUMNS, *(set(OPTIONAL) & set(header))}
    if sorted(header) != sorted(wanted):
        _refuse(name, line, f"columns {_short(','.join(header))}, not {','.join(COLUMNS)}")
    for line, values in records:
        if len(values) == len(header):
            yield line, dict(zip(header, map(as_named, values), strict=True))
        elif values:
            found = f"{len(values)} values, not {len(header)}"
            _refuse(name, line, f"{found}: {_short(','.join(values))}")


def _records(name: str, data: bytes) -> Iterator[tuple[int, list[str]]]:
    """The line in which each record of a CSV begins, and its values."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, wrong = data.count(b"\n", 0, error.start) + 1, data[error.start : error.end]
        _refuse(name, line, f"{wrong!r} is not UTF-8")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    start = 1
    while True:
        try:
            values = next(reader, None)
        except csv.Error as error:
            _refuse(name, start, f"no CSV: {error}")
        if values is None:
            return
        yield start, values
        start = reader.line_num + 1


def _choice(name: str, line: int, row: Mapping[str, str]) -> Choice:
    decision = row["decision"]
    if decision not in DECISIONS:
        _refuse(name, line, f"decision {_short(decision)} is not one of {', '.join(DECISIONS)}")
    if not row["photo"]:
        _refuse(name, line, "photo '' is not a path")
    candidate = None
    if row["candidate"] or decision != "redo":
        candidate = _whole(name, line, "candidate", row["candidate"], 2**31 - 1)
    seed = None
    if decision == "redo":
        seed = _whole(name, line, "seed", row["seed"], MOST_SEED)
    elif row["seed"]:
        _refuse(name, line, f"seed {_short(row['seed'])} belongs to no {decision}, only to redo")
    page = _whole(name, line, "page", row.get("page") or "1", 2**31 - 1)
    hints = row.get("hints") or None
    if hints and decision != "redo":
        _refuse(name, line, f"hints {_short(hints)} belong to no {decision}, only to redo")
    if hints:
        text = "" if hints == NO_HINTS else hints
        hints = format_hints(parse_hints(f"{name}, line {line}", text, page))
    return Choice(line, row["photo"], candidate, decision, seed, page, hints)


def _whole(name: str, line: int, column: str, value: str, most: int) -> int:
    if not re.fullmatch(r"[0-9]{1,19}", value) or int(value) > most:
        _refuse(name, line, f"{column} {_short(value)} is not a whole number from 0 to {most}")
    return int(value)


def _short(value: str) -> str:
    """A value, quoted for a message of one line."""
    return repr(value if len(value) <= _LONGEST_NAME else f"{value[:_LONGEST_NAME]}...")


def _refuse(name: str, line: int, why: str) -> NoReturn:
    raise UsageError(f"{name}, line {line}: {why}")
