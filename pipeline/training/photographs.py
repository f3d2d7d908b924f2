"""Color photographs for training and evaluation: decoded, in memory, at one size.

A source is a folder or s3://bucket/prefix of image files, or a Parquet file, or a folder of Parquet
files, with a column `image` that holds the bytes of an image file (or, as in Hugging Face's data
sets, a struct with a field `bytes`). Whole frames, or their centers, become squares by means of
areas.

Whether a photograph is held out for validation depends on its bytes alone, so that it stays so
under any name, in any order and in any copy of the set, or is told by a column.

Memory: N * S * S * 3 bytes (100,000 photographs of side 92 are 2.5 GB). A Parquet file on S3 is
fetched whole.
"""

import hashlib
import io
import math
import os
import pickle
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import PurePosixPath
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import PhotoError, StorageError, StoreUnavailable, UsageError
from pipeline.images.formats import MASTER_SUFFIXES
from pipeline.images.pillow import Fit, read_rgb
from pipeline.images.tones import color_beyond_tone
from pipeline.storage.base import Storage
from pipeline.storage.local import LocalStorage
from pipeline.storage.open_storage import open_storage

Split = Literal["all", "train", "validation"]

HELD_OUT = 1 / 20
COLUMN = "image"
# Measured: 0.1 % of 981 color photographs lie below it, and all 90 gray and 6 of 16 toned scans.
LEAST_COLOR = 3.5
MAX_PIXELS = 100_000_000  # several photographs are decoded at once, at about 4 bytes a pixel
_FILES_A_TASK = 64
_TASKS_A_GROUP = 16  # every one of them reads its row group again
_SPLIT_OF_WORD: dict[str, Split] = {
    "train": "train",
    "val": "validation",
    "validation": "validation",
}


class EmptySet(UsageError):
    pass


@dataclass(frozen=True)
class PhotographSet:
    """Photographs in an order that depends on the source alone.

    rgb: uint8 (N, S, S, 3). names: path in the source, with `:row` for a row of a Parquet file.
    digests: SHA-256 of the image file. groups: the value of the group column, "" without one.
    held_out: bool (N,), what belongs to validation. skipped: count by reason, one of
    pipeline.errors.REASONS or "not_color" (gray, or evenly toned as old prints are).
    """

    rgb: np.ndarray
    names: list[str]
    digests: list[str]
    groups: list[str]
    held_out: np.ndarray
    skipped: Counter[str]

    def __len__(self) -> int:
        return len(self.rgb)


@dataclass(frozen=True)
class _Place:
    """Where a photograph is; row -1 means a file of its own. split: as told by a column, or ""."""

    path: str
    row: int
    group: str
    split: str

    @property
    def name(self) -> str:
        return self.path if self.row < 0 else f"{self.path}:{self.row}"


@dataclass(frozen=True)
class _Task:
    """Photographs of one row group, with `first` as its first row, or of files (row_group -1)."""

    places: tuple[tuple[int, _Place], ...]
    row_group: int = -1
    first: int = 0


@dataclass(frozen=True)
class _Found:
    """A photograph that was read, or the reason why not."""

    index: int
    digest: str = ""
    held_out: bool = False
    rgb: np.ndarray | None = None
    reason: str = ""


def read_photographs(
    source: str,
    side: int,
    split: Split = "all",
    limit: int | None = None,
    *,
    held_out: float = HELD_OUT,
    split_column: str | None = None,
    group_column: str | None = None,
    least_color: float = LEAST_COLOR,
    fit: Fit = "squeeze",
    parallel: bool = False,
) -> PhotographSet:
    """Read the photographs of one split, or all, as squares of (side, side).

    limit: at most so many, a fair sample: the order is that of a hash of their names. held_out:
    the share that validation gets. split_column: a Parquet column with train, and val or
    validation, instead; rows with another word are in "all" only. least_color: with less, as
    color_beyond_tone tells, a square is skipped; 0 keeps gray ones. fit: squeeze whole frames, or
    crop the largest square in the middle. parallel: decode by Ray Data, which must be running.

    Raises:
        EmptySet: no photograph is left.
        UsageError: a column is missing, or a column is asked of files.
        StorageError: the source cannot be read.
    """
    storage, places, groups_of = _list_places(source, split_column, group_column)
    if split != "all" and split_column:
        places = [place for place in places if _SPLIT_OF_WORD.get(place.split) == split]
    places.sort(key=lambda place: hashlib.sha256(place.name.encode()).digest())
    read = partial(
        _read_task,
        storage=storage,
        side=side,
        split=split,
        share=held_out,
        least_color=least_color,
        fit=fit,
    )
    found: list[_Found] = []
    skipped: Counter[str] = Counter()
    expected = {"all": 1.0, "train": 1 - held_out, "validation": held_out}[split]
    at = 0
    while at < len(places) and (limit is None or len(found) < limit):
        size = len(places)
        if limit is not None:
            rate = 1.0 if split_column else max(expected, 0.001)
            size = math.ceil(1.1 * (limit - len(found)) / rate) + 8
        wave = list(enumerate(places))[at : at + size]
        tasks = list(_tasks(wave, groups_of, _TASKS_A_GROUP if parallel else 1))
        results = _read_by_ray(tasks, read) if parallel else map(read, tasks)
        for one in sorted(chain.from_iterable(results), key=lambda each: each.index):
            if one.rgb is None:
                skipped[one.reason] += 1
            else:
                found.append(one)
        at += size
    del found[limit if limit is not None else len(found) :]
    if not found:
        raise EmptySet(_nothing(source, split, len(places), skipped))
    rgb = np.empty((len(found), side, side, 3), np.uint8)
    for index, one in enumerate(found):
        assert one.rgb is not None
        rgb[index] = one.rgb
        found[index] = _Found(one.index, one.digest, one.held_out)  # its picture may go
    kept = [places[one.index] for one in found]
    return PhotographSet(
        rgb,
        [place.name for place in kept],
        [one.digest for one in found],
        [place.group for place in kept],
        np.array([one.held_out for one in found]),
        skipped,
    )


def is_held_out(digest: str, share: float) -> bool:
    """Whether the photograph with this SHA-256 (hexadecimal) is among the held-out share."""
    return int(digest[:16], 16) < share * 2**64


def describe_skipped(skipped: Counter[str]) -> str:
    """For people: `12 skipped (9 corrupt, 3 not_color)`; empty where nothing was."""
    if not skipped:
        return ""
    named = ", ".join(f"{count:,} {reason}" for reason, count in skipped.most_common())
    return f"{skipped.total():,} skipped ({named})"


def _nothing(source: str, split: Split, candidates: int, skipped: Counter[str]) -> str:
    of = "" if split == "all" else f" of the split {split!r}"
    reasons = f": {describe_skipped(skipped)}" if skipped else ""
    return f"no color photograph{of} among {candidates:,} candidates in {source}{reasons}"


def _list_places(
    source: str, split_column: str | None, group_column: str | None
) -> tuple[Storage, list[_Place], dict[str, list[int]]]:
    """All candidates, and by Parquet file the numbers of rows of its row groups."""
    groups_of: dict[str, list[int]] = {}
    if source.endswith(".parquet") and not os.path.isdir(source):
        folder, _, name = source.rpartition("/")
        storage = open_storage(folder or ("/" if source.startswith("/") else "."))
        tables, files = [name], []
    else:
        storage = open_storage(source)
        listed = storage.list(skip=lambda folder: "hidden" if _is_hidden(folder) else "")
        paths = [each.path for each in listed if not each.skipped and not _is_hidden(each.path)]
        suffixes = {path: PurePosixPath(path).suffix.lower() for path in paths}
        files = [path for path in paths if suffixes[path] in MASTER_SUFFIXES | {""}]
        tables = [] if files else [path for path in paths if suffixes[path] == ".parquet"]
    wanted = [column for column in (split_column, group_column) if column]
    if not tables and wanted:
        raise UsageError(f"{source} holds no Parquet file, so it has no column {wanted[0]!r}")
    places = [_Place(path, -1, "", "") for path in files]
    for path in tables:
        with _open_parquet(storage, path) as file:
            columns = file.schema_arrow.names
            for column in (COLUMN, *wanted):
                if column not in columns:
                    uri, known = storage.uri_of(path), ", ".join(columns)
                    raise UsageError(f"{uri} has no column {column!r}; its columns are {known}")
            about = file.metadata
            groups_of[path] = [about.row_group(i).num_rows for i in range(about.num_row_groups)]
            told = file.read(columns=wanted) if wanted else None
            blank = [""] * about.num_rows
            groups = _words(told, group_column) if told and group_column else blank
            splits = _words(told, split_column) if told and split_column else blank
        places += [
            _Place(path, row, group, split)
            for row, (group, split) in enumerate(zip(groups, splits, strict=True))
        ]
    return storage, places, groups_of


def _is_hidden(path: str) -> bool:
    return any(part.startswith((".", "_")) for part in path.split("/"))


def _words(table: pa.Table, column: str) -> list[str]:
    return ["" if value is None else str(value) for value in table[column].to_pylist()]


def _open_parquet(storage: Storage, path: str) -> pq.ParquetFile:
    if isinstance(storage, LocalStorage):
        uri = storage.uri_of(path)
        if not os.path.isfile(uri):
            raise UsageError(
                f"{uri} {'is not a file' if os.path.exists(uri) else 'does not exist'}"
            )
        origin: Any = pa.memory_map(uri)
    else:
        origin = io.BytesIO(storage.read(path))
    try:
        return pq.ParquetFile(origin)
    except pa.ArrowException as error:
        cause = str(error).splitlines()[0]
        raise UsageError(f"{storage.uri_of(path)} is no Parquet file: {cause}") from error


def _tasks(
    wave: list[tuple[int, _Place]], groups_of: dict[str, list[int]], tasks_a_group: int
) -> Iterator[_Task]:
    """The photographs of a wave, cut so that each task reads files, or one row group once."""
    files = [entry for entry in wave if entry[1].row < 0]
    for start in range(0, len(files), _FILES_A_TASK):
        yield _Task(tuple(files[start : start + _FILES_A_TASK]))
    by_table: defaultdict[str, list[tuple[int, _Place]]] = defaultdict(list)
    for entry in wave:
        if entry[1].row >= 0:
            by_table[entry[1].path].append(entry)
    for path, entries in sorted(by_table.items()):
        entries.sort(key=lambda entry: entry[1].row)
        first = 0
        for number, rows in enumerate(groups_of[path]):
            inside = [entry for entry in entries if first <= entry[1].row < first + rows]
            size = max(_FILES_A_TASK, math.ceil(len(inside) / tasks_a_group))
            for start in range(0, len(inside), size):
                yield _Task(tuple(inside[start : start + size]), number, first)
            first += rows


def _read_task(
    task: _Task,
    storage: Storage,
    side: int,
    split: Split,
    share: float,
    least_color: float,
    fit: Fit,
) -> list[_Found]:
    """Those photographs of a task that belong to the split. Raises StoreUnavailable, UsageError."""
    found = []
    for index, place, data in _fetch(task, storage):
        if isinstance(data, StorageError):
            found.append(_Found(index, reason="missing"))
            continue
        digest = hashlib.sha256(data).hexdigest()
        told = _SPLIT_OF_WORD.get(place.split)
        held = told == "validation" if place.split else is_held_out(digest, share)
        if not place.split and split != "all" and held != (split == "validation"):
            continue
        try:
            rgb = read_rgb(data, side, MAX_PIXELS, fit)
        except PhotoError as error:
            found.append(_Found(index, reason=error.reason))
            continue
        if color_beyond_tone(rgb) < least_color:
            found.append(_Found(index, reason="not_color"))
        else:
            found.append(_Found(index, digest, held, rgb))
    return found


def _fetch(task: _Task, storage: Storage) -> Iterator[tuple[int, _Place, bytes | StorageError]]:
    if task.row_group < 0:
        for index, place in task.places:
            try:
                yield index, place, storage.read(place.path)
            except StoreUnavailable:
                raise
            except StorageError as error:
                yield index, place, error
        return
    with _open_parquet(storage, task.places[0][1].path) as file:
        try:
            column = file.read_row_group(task.row_group, columns=[COLUMN])[COLUMN]
        except (pa.ArrowException, OSError) as error:
            cause = str(error).splitlines()[0]
            uri = storage.uri_of(task.places[0][1].path)
            raise UsageError(f"{uri} is damaged: {cause}") from error
    if pa.types.is_struct(column.type):
        column = pc.struct_field(column, "bytes")
    for index, place in task.places:
        yield index, place, column[place.row - task.first].as_py() or b""


def _read_by_ray(
    tasks: list[_Task], read: Callable[[_Task], list[_Found]]
) -> Iterable[list[_Found]]:
    """The same work in parallel; an error of ours arrives as itself."""
    import ray.data

    def work(row: dict[str, bytes]) -> dict[str, bytes]:
        try:
            result: Any = read(pickle.loads(row["task"]))
        except (StorageError, UsageError) as error:
            result = error
        return {"result": pickle.dumps(result)}

    rows = [{"task": pickle.dumps(task)} for task in tasks]
    data = ray.data.from_items(rows, override_num_blocks=len(rows)).map(work)
    for row in data.iter_rows():
        result = pickle.loads(row["result"])
        if isinstance(result, Exception):
            raise result
        yield result
