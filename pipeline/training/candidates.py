"""Candidates for training: the image files of a source, and how their bytes are fetched.

A source is a folder or s3://bucket/prefix of image files, or a Parquet file, or a folder of Parquet
files, with a column `image` that holds the bytes of an image file (or, as in Hugging Face's data
sets, a struct with a field `bytes`). A Parquet file on S3 is fetched whole.
"""

import hashlib
import io
import math
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import StorageError, StoreUnavailable, UsageError, first_line
from pipeline.images.formats import MASTER_SUFFIXES
from pipeline.parquet import open_parquet
from pipeline.storage.base import Storage
from pipeline.storage.local import LocalStorage
from pipeline.storage.open_storage import lies_in, open_storage

COLUMN = "image"
_FILES_A_TASK = 64


@dataclass(frozen=True)
class Place:
    """Where a photograph is; row -1 means a file of its own. split: the value of a column, or
    ""."""

    path: str
    row: int
    group: str
    split: str

    @property
    def name(self) -> str:
        return self.path if self.row < 0 else f"{self.path}:{self.row}"


@dataclass(frozen=True)
class Task:
    """Photographs of one row group, which begins with row `first`, or files (row_group -1)."""

    places: tuple[tuple[int, Place], ...]
    row_group: int = -1
    first: int = 0


@dataclass(frozen=True)
class Candidates:
    """places: in the order of a hash of their names, so that the first ones are a random sample.

    source: as it was given. groups_of: for each Parquet file, the number of rows in each of its row
    groups.
    """

    source: str
    storage: Storage
    places: Sequence[Place]
    groups_of: Mapping[str, Sequence[int]]

    def tasks(self, wave: slice, tasks_a_group: int) -> Iterator[Task]:
        """Some of the places as tasks, each of which reads files, or one row group once.

        tasks_a_group: how many tasks may read the same row group.
        """
        entries = list(enumerate(self.places))[wave]
        files = [entry for entry in entries if entry[1].row < 0]
        for start in range(0, len(files), _FILES_A_TASK):
            yield Task(tuple(files[start : start + _FILES_A_TASK]))
        by_table: defaultdict[str, list[tuple[int, Place]]] = defaultdict(list)
        for entry in entries:
            if entry[1].row >= 0:
                by_table[entry[1].path].append(entry)
        for path, rows in sorted(by_table.items()):
            rows.sort(key=lambda entry: entry[1].row)
            yield from _row_group_tasks(rows, self.groups_of[path], tasks_a_group)


def _row_group_tasks(
    entries: list[tuple[int, Place]], groups: Sequence[int], tasks_a_group: int
) -> Iterator[Task]:
    first = 0
    for number, rows in enumerate(groups):
        inside = [entry for entry in entries if first <= entry[1].row < first + rows]
        size = max(_FILES_A_TASK, math.ceil(len(inside) / tasks_a_group))
        for start in range(0, len(inside), size):
            yield Task(tuple(inside[start : start + size]), number, first)
        first += rows


def list_candidates(source: str, split_column: str | None, group_column: str | None) -> Candidates:
    """Everything in a source that may be a photograph. Raises UsageError, StorageError."""
    storage, files, tables = _open_source(source)
    wanted = [column for column in (split_column, group_column) if column]
    if not tables and wanted:
        raise UsageError(f"{source} holds no Parquet file, so it has no column {wanted[0]!r}")
    places = [Place(path, -1, "", "") for path in files]
    groups_of: dict[str, Sequence[int]] = {}
    for path in tables:
        rows, groups_of[path] = _list_rows(storage, path, split_column, group_column)
        places += rows
    places.sort(key=lambda place: hashlib.sha256(place.name.encode()).digest())
    return Candidates(source, storage, places, groups_of)


def refuse_inside(source: str, destination: Storage) -> None:
    """Raise UsageError if a training's own files, learning curves say, would be found in a
    source."""
    if _is_table(source):
        return
    storage = open_storage(source)
    inside = destination.uri.removeprefix(storage.uri)
    if lies_in(destination, storage) and not _is_hidden(inside):
        raise UsageError(
            f"{destination.uri} lies inside the source {source}, whose photographs would then"
            " change; choose another OUT"
        )


def _is_table(source: str) -> bool:
    return source.endswith(".parquet") and not os.path.isdir(source)


def _open_source(source: str) -> tuple[Storage, list[str], list[str]]:
    """Paths of image files, and of Parquet files; one of the two lists is empty."""
    if _is_table(source):
        folder, _, name = source.rpartition("/")
        return open_storage(folder or ("/" if source.startswith("/") else ".")), [], [name]
    storage = open_storage(source)
    listed = storage.list(skip=lambda folder: "hidden" if _is_hidden(folder) else "")
    paths = [each.path for each in listed if not each.skipped and not _is_hidden(each.path)]
    suffixes = {path: PurePosixPath(path).suffix.lower() for path in paths}
    files = [path for path in paths if suffixes[path] in MASTER_SUFFIXES | {""}]
    return storage, files, [] if files else [p for p in paths if suffixes[p] == ".parquet"]


def _list_rows(
    storage: Storage, path: str, split_column: str | None, group_column: str | None
) -> tuple[list[Place], list[int]]:
    """A Parquet file's rows, and how many are in each of its row groups."""
    wanted = [column for column in (split_column, group_column) if column]
    with _open_parquet(storage, path) as file:
        columns = file.schema_arrow.names
        for column in (COLUMN, *wanted):
            if column not in columns:
                uri, known = storage.uri_of(path), ", ".join(columns)
                raise UsageError(f"{uri} has no column {column!r}; its columns are {known}")
        about = file.metadata
        row_groups = [about.row_group(i).num_rows for i in range(about.num_row_groups)]
        told = file.read(wanted, use_threads=False) if wanted else None
    blank = [""] * about.num_rows
    groups = _words(told, group_column) if told and group_column else blank
    splits = _words(told, split_column) if told and split_column else blank
    pairs = enumerate(zip(groups, splits, strict=True))
    return [Place(path, row, group, split) for row, (group, split) in pairs], row_groups


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
        return open_parquet(origin)
    except pa.ArrowException as error:
        cause = first_line(error)
        raise UsageError(f"{storage.uri_of(path)} is not a Parquet file: {cause}") from error


def fetch(task: Task, storage: Storage) -> Iterator[tuple[int, Place, bytes | StorageError]]:
    """The bytes of each photograph of a task, or the reason why they cannot be read.

    Raises:
        StoreUnavailable: the store does not answer.
        UsageError: a damaged Parquet file.
    """
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
            column = file.read_row_group(task.row_group, columns=[COLUMN], use_threads=False)[
                COLUMN
            ]
        except (pa.ArrowException, OSError) as error:
            cause = first_line(error)
            uri = storage.uri_of(task.places[0][1].path)
            raise UsageError(f"{uri} is damaged: {cause}") from error
    if pa.types.is_struct(column.type):
        column = pc.struct_field(column, "bytes")
    for index, place in task.places:
        yield index, place, column[place.row - task.first].as_py() or b""
