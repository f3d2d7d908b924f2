"""Photos that are done once more: shards that are added to a plan."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from pipeline.ledger.plan import PlanRow, Schedule, retry_path, short_name, to_parquet
from pipeline.ledger.run_file import Run
from pipeline.storage.base import Storage


@dataclass(frozen=True)
class Redo:
    """A photo to be done once more, as its `attempt`-th.

    seed: 0..2^63 - 1, instead of the run's; None: that of the last attempt. name: as in plan.Photo.
    hints, palette: as in plan.Photo, "" for none; None: those of the last attempt.
    """

    photo: str
    size: int
    attempt: int
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
        seeds, hints, palettes = schedule.seeds(), schedule.hints(), schedule.palettes()
        chosen = [
            replace(
                each,
                seed=seeds.get(each.photo) if each.seed is None else each.seed,
                hints=hints.get(each.photo) if each.hints is None else each.hints or None,
                palette=palettes.get(each.photo) if each.palette is None else each.palette or None,
            )
            for each in redo(schedule)
        ]
        chosen.sort(key=lambda each: (*_kind(each), each.photo.encode()))
        if not chosen:
            return 0
        number, shard = schedule.shards - 1, run.plan.shard_size
        rows: list[PlanRow] = []
        filled, kind = shard, (0, -1)
        for each in chosen:
            if filled == shard or _kind(each) != kind:
                number, filled, kind = number + 1, 0, _kind(each)
            filled += 1
            name = short_name(each.name, each.photo)
            facts = each.photo, each.size, number, each.attempt, each.seed
            rows.append((*facts, name, each.hints, each.palette))
        if destination.write_if_absent(retry_path(schedule.next_file), to_parquet(rows)):
            return len(chosen)


def _kind(redo: Redo) -> tuple[int, int]:
    """Attempt and seed, which all photos of a shard share."""
    return redo.attempt, -1 if redo.seed is None else redo.seed
