"""Photos that came into a source after it was planned: how many there are, and planning them.

The source is listed once more and compared with the plan, in the order of paths, which both have:
parts of the plan are read along, and no more than a few of them are in memory. What is new becomes
further shards, as in pipeline.ledger.plan, with names unlike those of all that was planned before.
A photo is told by its path: another size makes none new, and one that is gone stays planned.
"""

import heapq
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice

import pyarrow.compute as pc

from pipeline.errors import DestinationMismatch
from pipeline.ledger.choosing import chosen_photos
from pipeline.ledger.names import Names
from pipeline.ledger.plan import (
    PlanFile,
    PlanRow,
    Schedule,
    choose_shard_size,
    retry_path,
    short_name,
    to_parquet,
)
from pipeline.ledger.planning import OutOfOrder
from pipeline.ledger.recipe import Recipe
from pipeline.ledger.run_file import Run
from pipeline.ledger.seen import Seen
from pipeline.storage.base import Storage, StoredObject

_BATCH = 10_000  # photos of a part that are objects at a time
_NO_LIMIT = 2**63 - 1


@dataclass(frozen=True)
class Changes:
    """What a source has that its plan has not: new photos, and photos of another size."""

    new: int = 0
    resized: int = 0


def refuse_other_list(destination: Storage, begun: Recipe, wanted: Recipe) -> None:
    """Raises DestinationMismatch where a manifest lists the photos, and it is not the same one."""
    if begun.manifest != wanted.manifest:
        was = "without a manifest" if begun.manifest is None else "from another manifest"
        raise DestinationMismatch(
            f"{destination.uri} was planned {was}, so that --update cannot add to it: colorize the"
            " new list into a destination of its own"
        )


def compare(
    source: Storage, destination: Storage, run: Run, seconds: float | None = None
) -> Changes | None:
    """How a source differs from what is planned; None where that cannot be told cheaply.

    Of a manifest the photos are fixed. seconds: a comparison that takes longer is given up.
    Raises StorageError.
    """
    watch = Watch(destination, run)
    end = None if seconds is None else time.monotonic() + seconds
    for photo in _listed(source, run.recipe) if watch.can_tell else ():
        watch.see(photo)
        if not watch.can_tell or (end is not None and time.monotonic() > end):
            return None
    return watch.changes()


def plan_update(source: Storage, destination: Storage, run: Run) -> Changes:
    """Plan all that is new as further shards, part by part; returns how much that is.

    A kill leaves parts that count, and the same again plans the rest. Where another command was
    first with other shards, all is compared once more. Raises StorageError.
    """
    planned, in_order = 0, True
    while run.recipe.manifest is None:
        schedule = Schedule(destination, run)
        try:
            comparison = Comparison(schedule, run.recipe, in_order)
            new = (photo for photo in _listed(source, run.recipe) if comparison.is_new(photo))
            for path, rows in _new_parts(run, schedule, islice(new, comparison.room)):
                data = to_parquet(rows)
                # What another command wrote is as good as ours where it is the same.
                if not destination.write_if_absent(path, data) and destination.read(path) != data:
                    break
                planned += len(rows)
            else:
                return Changes(planned, comparison.resized)
        except OutOfOrder:
            in_order = False
    return Changes()


class Watch:
    """Compares a source with its plan while somebody else goes through its listing.

    can_tell: False for a manifest, whose photos are fixed, and once a listing is out of order.
    """

    def __init__(self, destination: Storage, run: Run) -> None:
        """Raises StorageError."""
        self._new, self._comparison = 0, None
        if run.recipe.manifest is None:
            with suppress(OutOfOrder):
                self._comparison = Comparison(Schedule(destination, run), run.recipe)

    @property
    def can_tell(self) -> bool:
        return self._comparison is not None

    def see(self, photo: StoredObject) -> None:
        """The next photo of the listing, which no limit may cut short."""
        if self._comparison is not None:
            try:
                self._new += self._comparison.is_new(photo)
            except OutOfOrder:
                self._comparison = None

    def changes(self) -> Changes | None:
        """How what was seen differs from the plan; None where that cannot be told."""
        if self._comparison is None:
            return None
        return Changes(min(self._new, self._comparison.room), self._comparison.resized)


class Comparison:
    """Asked for photos in the order of their paths, it tells which are not planned.

    in_order: False notes all that is planned first, on disk where it is much, and may be asked in
    any order. room: how many photos the run's limit allows to be added. resized: photos that were
    asked for and are planned with another size, but for those that were done again since.
    """

    def __init__(self, schedule: Schedule, recipe: Recipe, in_order: bool = True) -> None:
        """Raises OutOfOrder, StorageError."""
        limit = recipe.limit
        self.room = _NO_LIMIT if limit is None else max(0, limit - schedule.planned)
        self.resized = 0
        self._again = {photo for photo, _ in schedule.retried(frozenset())}
        self._last = ""  # that was asked for
        self._noted = None if in_order else Seen()
        self._planned: Iterator[tuple[str, int]] = iter(())
        files = schedule.planned_files()
        if self._noted is None:
            streams = [_photos(schedule, stream) for stream in _ordered(schedule, files)]
            self._planned = heapq.merge(*streams)
        else:
            for path, _ in _photos(schedule, files):
                self._noted.add(path)
        self._next = next(self._planned, None)

    def is_new(self, photo: StoredObject) -> bool:
        """Whether a photo is neither planned nor was asked for before. Raises as `__init__`."""
        if self._noted is not None:
            return self._noted.add(photo.path)
        if photo.path < self._last:
            raise OutOfOrder
        repeated, self._last = photo.path == self._last, photo.path
        while self._next is not None and self._next[0] < photo.path:
            self._next = next(self._planned, None)
        if self._next is None or self._next[0] != photo.path:
            return not repeated
        size = self._next[1]
        known = size and photo.size and not repeated and photo.path not in self._again
        self.resized += bool(known and size != photo.size)
        return False


def _listed(source: Storage, recipe: Recipe) -> Iterator[StoredObject]:
    """All photos that a run would take, whatever its limit."""
    return chosen_photos(source, replace(recipe, limit=None), None, Counter())


def _ordered(schedule: Schedule, files: Iterable[PlanFile]) -> list[list[PlanFile]]:
    """Files of a plan in as few streams as may be, each in the order of paths.

    The plan's own are one, and those of a large update another. Raises OutOfOrder, StorageError.
    """
    streams: list[list[PlanFile]] = []
    ends: list[str] = []
    for file in files:
        photos = schedule.first_attempts(file)["photo"].combine_chunks()
        if not pc.all(pc.less(photos[:-1], photos[1:]), min_count=0).as_py():
            raise OutOfOrder
        first, last = photos[0].as_py(), photos[-1].as_py()
        place = next((place for place, end in enumerate(ends) if end < first), len(ends))
        if place == len(ends):
            streams.append([])
            ends.append("")
        streams[place].append(file)
        ends[place] = last
    return streams


def _photos(schedule: Schedule, files: Iterable[PlanFile]) -> Iterator[tuple[str, int]]:
    """Path and size of each photo that is planned in these files."""
    for file in files:
        for rows in schedule.first_attempts(file).select(["photo", "bytes"]).to_batches(_BATCH):
            yield from zip(rows["photo"].to_pylist(), rows["bytes"].to_pylist(), strict=True)


def _new_parts(
    run: Run, schedule: Schedule, photos: Iterator[StoredObject]
) -> Iterator[tuple[str, Sequence[PlanRow]]]:
    """Path and rows of each file that has to be added."""
    number, shard = schedule.next_file, schedule.shards
    names: Names | None = None
    photos, shard_size = choose_shard_size(photos, *run.plan.shard_sizes)
    while some := list(islice(photos, run.plan.shards_per_part * run.plan.shard_size)):
        names = names or _names_of(run.recipe, schedule)
        rows: list[PlanRow] = []
        for place, photo in enumerate(some):
            name = short_name(names.of(photo.path), photo.path)
            rows.append(
                (photo.path, photo.size, shard + place // shard_size, 1, None, name, None, None)
            )
        yield retry_path(number), rows
        number, shard = number + 1, shard + -(-len(some) // shard_size)


def _names_of(recipe: Recipe, schedule: Schedule) -> Names:
    """Names that keep clear of those of all that is planned."""
    every_page, ranked = recipe.pages == "all", recipe.rank_by
    names = Names(recipe.candidates, every_page, in_order=False, rank_by=ranked)
    for file in schedule.planned_files():
        table = schedule.first_attempts(file).select(["photo", "name"])
        for rows in table.to_batches(_BATCH):
            for photo, name in zip(
                rows["photo"].to_pylist(), rows["name"].to_pylist(), strict=True
            ):
                names.keep(photo, name or photo)
    return names
