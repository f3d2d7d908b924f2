"""Photos that are done once more because somebody asks for it: shards that are added to a plan.

What becomes of a shard whose processes die is decided in pipeline.run.wave and .open_shards.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import groupby

from pipeline.ledger.plan import (
    PlanRow,
    Schedule,
    choose_shard_size,
    retry_path,
    short_name,
    to_parquet,
)
from pipeline.ledger.run_file import Run
from pipeline.storage.base import Storage


@dataclass(frozen=True)
class Redo:
    """A photo to be done once more.

    seed: 0..2^63 - 1, instead of the run's; None: that of the last attempt. name: as in plan.Photo.
    hints, palette: as in plan.Photo, "" for none; None: those of the last attempt.
    """

    photo: str
    size: int
    seed: int | None = None
    name: str | None = None
    hints: str | None = None
    palette: str | None = None


def plan_retry(destination: Storage, run: Run, redo: Callable[[Schedule], Iterable[Redo]]) -> int:
    """Add shards for photos to be done once more; returns how many photos.

    redo: chooses the photos, given the current schedule; called again if another command planned a
    retry at the same moment. Raises StorageError.
    """
    while True:
        schedule = Schedule(destination, run)
        chosen = _completed(redo(schedule), schedule)
        _, shard_size = choose_shard_size(iter(chosen), *run.plan.shard_sizes)
        rows = _rows(chosen, schedule, shard_size)
        if not rows:
            return 0
        if destination.write_if_absent(retry_path(schedule.next_file), to_parquet(rows)):
            return len(rows)


def _completed(chosen: Iterable[Redo], schedule: Schedule) -> list[tuple[int, Redo]]:
    """Photos with the numbers of their attempts, and with what they keep of the attempts before.

    The numbers are those that no attempt has yet, though another command may have planned and done
    some since the photos' results were read.
    """
    attempts = schedule.attempts(schedule.retry_shards)
    seeds, hints, palettes = schedule.seeds(), schedule.hints(), schedule.palettes()
    return [
        (
            attempts.get(each.photo, 1) + 1,
            replace(
                each,
                seed=seeds.get(each.photo) if each.seed is None else each.seed,
                hints=hints.get(each.photo) if each.hints is None else each.hints or None,
                palette=palettes.get(each.photo) if each.palette is None else each.palette or None,
            ),
        )
        for each in chosen
    ]


def _rows(chosen: list[tuple[int, Redo]], schedule: Schedule, shard_size: int) -> list[PlanRow]:
    """The rows of a plan's file. All photos of a shard share their attempt and seed."""

    def kind(attempt: int, redo: Redo) -> tuple[int, int]:
        return attempt, -1 if redo.seed is None else redo.seed

    chosen.sort(key=lambda each: (*kind(*each), each[1].photo.encode()))
    rows, number = list[PlanRow](), schedule.shards
    for _, group in groupby(chosen, key=lambda each: kind(*each)):
        alike = list(group)
        for place, (attempt, each) in enumerate(alike):
            name = short_name(each.name, each.photo)
            facts = each.photo, each.size, number + place // shard_size, attempt, each.seed
            rows.append((*facts, name, each.hints, each.palette))
        number += -(-len(alike) // shard_size)
    return rows
