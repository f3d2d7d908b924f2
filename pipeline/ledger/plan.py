"""The photos that a run does, by shard: the files in plan/.

    plan/part-00000.parquet     photos by shard; each shard lies in one part
    plan/retry-00001.parquet    further shards: photos to be done once more, or, as their first
                                attempt, photos that came into the source later

Each file is written once and never changed; pipeline.ledger.planning, .retries and .updates write
them. Whatever adds shards takes the next number of the one series of retry files. If two commands
want to add the same shards, the store refuses one of them, which then looks again.
"""

import hashlib
import io
import re
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import StorageError, first_line
from pipeline.ledger.recipe import Recipe
from pipeline.ledger.run_file import RUN, Run
from pipeline.parquet import read_parquet
from pipeline.storage.base import Storage, StoredObject

SCHEMA = pa.schema(
    [
        ("photo", pa.string()),
        ("bytes", pa.int64()),
        ("shard", pa.int64()),
        ("attempt", pa.int32()),
        ("seed", pa.int64()),  # null: the run's own
        ("name", pa.string()),  # of its results; "": the photo's; null: not decided, see names
        ("hints", pa.string()),  # as pipeline.ledger.hints writes them; null: none
        ("palette", pa.string()),  # as pipeline.ledger.palettes writes it; null: the run's own
    ]
)
FEW_SHARDS = 512  # enough for the actors of a large cluster, so that shards may grow beyond
_RETRY = re.compile(r"plan/retry-(\d{5,})\.parquet")
_PART = re.compile(r"plan/part-\d{5,}\.parquet")
# Columns that every row has a value in, and the least that it may be.
_LEAST = {"photo": None, "bytes": None, "shard": 0, "attempt": 1}
# The values of a row, in the order of SCHEMA.
PlanRow = tuple[str, int, int, int, int | None, str | None, str | None, str | None]
T = TypeVar("T")
PlanFile = tuple[str, str | None]  # path, and its digest where run.json has it


@dataclass(frozen=True)
class Photo(StoredObject):
    """A photo of a plan. name: of its results; None in plans of an older version, which did not
    decide it. hints, palette: as pipeline.ledger.hints and .palettes write them; palette None: the
    run's own, if any."""

    name: str | None = None
    hints: str | None = None
    palette: str | None = None


@dataclass(frozen=True)
class Shard:
    """The photos that are committed together. attempt counts from 1; seed None: the run's own."""

    number: int
    photos: tuple[Photo, ...]
    attempt: int = 1
    seed: int | None = None

    def recipe(self, recipe: Recipe) -> Recipe:
        """The run's settings, with the shard's own seed if it has one."""
        return recipe if self.seed is None else replace(recipe, seed=self.seed)


class Schedule:
    """All shards of a run: those of the original plan, and those added since.

    planned: photos of the run, including those added later. photos: attempts, so photos that are
    done once more count again. shards: one more than the highest number. retries, updates: numbers
    of the files that add attempts, or photos.
    """

    def __init__(self, destination: Storage, run: Run) -> None:
        """Raises StorageError."""
        self._destination, self._run = destination, run
        self.retries, self.updates = list[int](), list[int]()
        self._tables: list[pa.Table] = []  # of retries; new photos may be many more
        self._added: dict[int, range] = {}  # the shards of each file
        self._again, self._new = dict[int, int](), dict[int, int]()  # photos by shard
        for number in sorted(self._numbers()):
            table = _read_table(destination, retry_path(number))
            shards, firsts, sizes = np.unique(
                table["shard"].to_numpy(), return_index=True, return_counts=True
            )
            first_attempts = table["attempt"].to_numpy()[firsts] == 1
            for kind, chosen in ((self._new, first_attempts), (self._again, ~first_attempts)):
                kind.update(zip(shards[chosen].tolist(), sizes[chosen].tolist(), strict=True))
            ends = (int(shards[0]), int(shards[-1]) + 1) if len(shards) else (0, 0)
            self._added[number] = range(*ends)
            if first_attempts.any():
                self.updates.append(number)
            if not first_attempts.all():
                self.retries.append(number)
                self._tables.append(table.filter(pc.greater(table["attempt"], 1)))
        self.shards = max([run.plan.shards, *(added.stop for added in self._added.values())])
        self.planned = run.plan.photos + sum(self._new.values())
        self.photos = self.planned + sum(self._again.values())

    def _numbers(self) -> Iterator[int]:
        for found in self._destination.list("plan"):
            if match := _RETRY.fullmatch(found.path):
                yield int(match[1])

    @property
    def next_file(self) -> int:
        """The number for the next file of added shards."""
        return max(self._added, default=0) + 1

    @property
    def retry_shards(self) -> AbstractSet[int]:
        """The shards that do photos once more."""
        return self._again.keys()

    def planned_in(self, shards: AbstractSet[int]) -> int:
        """How many photos have their first attempt in these shards."""
        new = sum(size for number, size in self._new.items() if number in shards)
        return self._run.plan.photos_in(shards) + new

    def photos_in(self, shards: AbstractSet[int]) -> int:
        """How many attempts at photos these shards hold."""
        again = sum(size for number, size in self._again.items() if number in shards)
        return self.planned_in(shards) + again

    def planned_files(self) -> list[PlanFile]:
        """The files in which photos are planned for the first time, in the order of planning."""
        own = [(part_path(part), digest) for part, digest in enumerate(self._run.plan.digests)]
        return [*own, *((retry_path(number), None) for number in self.updates)]

    def first_attempts(self, file: PlanFile) -> pa.Table:
        """The rows of a file that plan photos for the first time. Raises StorageError."""
        table = _read_table(self._destination, *file)
        return table.filter(pc.equal(table["attempt"], 1))

    def open(self, done: AbstractSet[int] = frozenset()) -> Iterator[Shard]:
        """The shards that are not done, in order. Raises StorageError.

        Parts of the plan are read one by one; parts that are done are not read.
        """
        plan = self._run.plan
        for part, digest in enumerate(plan.digests):
            if not all(shard in done for shard in plan.shards_of(part)):
                table = _read_table(self._destination, part_path(part), digest)
                yield from _shards(table, done)
        for number, shards in self._added.items():
            if not all(shard in done for shard in shards):
                yield from _shards(_read_table(self._destination, retry_path(number)), done)

    def retried(self, done: AbstractSet[int]) -> Iterator[tuple[str, int]]:
        """Photo and attempt of every planned retry that is not done."""
        for table in self._tables:
            for shard in _shards(table, done):
                yield from ((photo.path, shard.attempt) for photo in shard.photos)

    def seeds(self) -> dict[str, int]:
        """The seed of the last planned attempt, for photos with a seed other than the run's."""
        last: dict[str, int] = {}
        for table in self._tables:  # in the order of their attempts
            seeded = table.filter(pc.is_valid(table["seed"]))
            last.update(zip(seeded["photo"].to_pylist(), seeded["seed"].to_pylist(), strict=True))
        return last

    def hints(self) -> dict[str, str]:
        """The hints of the last planned attempt, for photos that have some."""
        last: dict[str, str] = {}
        if self._run.recipe.hints is not None:
            for file in self.planned_files():
                hinted = self.first_attempts(file).select(["photo", "hints"]).drop_null()
                last.update(zip(*(column.to_pylist() for column in hinted.columns), strict=True))
        for table in self._tables:
            pairs = zip(table["photo"].to_pylist(), table["hints"].to_pylist(), strict=True)
            last.update((photo, hints or "") for photo, hints in pairs)
        return {photo: hints for photo, hints in last.items() if hints}

    def palettes(self) -> dict[str, str]:
        """The palette of the last planned attempt, for photos that have their own."""
        last: dict[str, str | None] = {}
        for table in self._tables:
            pairs = zip(table["photo"].to_pylist(), table["palette"].to_pylist(), strict=True)
            last.update(pairs)
        return {photo: palette for photo, palette in last.items() if palette}

    def attempts(self, done: AbstractSet[int]) -> dict[str, int]:
        """The last attempt that is done, for photos that were tried more than once."""
        open_numbers = self._again.keys() - done
        return {
            photo.path: shard.attempt
            for table in self._tables
            for shard in _shards(table, open_numbers)
            for photo in shard.photos
        }


def choose_shard_size(photos: Iterator[T], least: int, most: int) -> tuple[Iterator[T], int]:
    """The same photos, and the largest size up to `most` that still makes FEW_SHARDS of them; at
    least `least`."""
    first = list(islice(photos, most * FEW_SHARDS if most > least else 0))
    return chain(first, photos), min(most, max(least, len(first) // FEW_SHARDS))


def part_path(part: int) -> str:
    return f"plan/part-{part:05d}.parquet"


def retry_path(number: int) -> str:
    return f"plan/retry-{number:05d}.parquet"


def is_plan_path(path: str) -> bool:
    return bool(_PART.fullmatch(path) or _RETRY.fullmatch(path))


def to_parquet(rows: Sequence[PlanRow]) -> bytes:
    """A file of plan/."""
    columns = [pa.array(column, field.type) for column, field in zip(zip(*rows), SCHEMA)]  # noqa: B905
    file = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(columns, schema=SCHEMA), file, compression="zstd")
    return file.getvalue()


def short_name(name: str | None, photo: str) -> str | None:
    """A name as plans hold it: empty for the photo's own, as most are, to save room."""
    return "" if name == photo else name


def _with_schema(table: pa.Table) -> pa.Table:
    """The same with the columns of this version; those that an older plan lacks are null."""
    there = set(table.column_names)
    columns = [
        table[field.name].cast(field.type)
        if field.name in there
        else pa.nulls(len(table), field.type)
        for field in SCHEMA
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def _read_table(destination: Storage, path: str, digest: str | None = None) -> pa.Table:
    data = destination.read(path)
    uri = destination.uri_of(path)
    if digest is not None and hashlib.sha256(data).hexdigest() != digest:
        raise StorageError(f"{uri} is not what {RUN} was written for; restore it from a copy")
    try:
        table = _with_schema(read_parquet(data, SCHEMA.names))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise StorageError(f"{uri} is damaged: {first_line(error)}") from error
    for name, least in _LEAST.items():
        small = least is not None and (pc.min(table[name]).as_py() or 0) < least
        if table[name].null_count or small:
            raise StorageError(f"{uri} is damaged: a row has no {name}")
    return table


def _shards(table: pa.Table, done: AbstractSet[int]) -> Iterator[Shard]:
    numbers = table["shard"].to_numpy()
    edges = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(numbers)]
    for start, stop in zip(edges, edges[1:], strict=False):
        number = int(numbers[start])
        if number not in done:
            rows = table.slice(start, stop - start).to_pylist()
            photos = tuple(map(_photo, rows))
            yield Shard(number, photos, rows[0]["attempt"], rows[0]["seed"])


def _photo(row: dict[str, Any]) -> Photo:
    name = row["photo"] if row["name"] == "" else row["name"]
    known = {"hints": row["hints"], "palette": row["palette"]}
    return Photo(row["photo"], row["bytes"], name=name, **known)
