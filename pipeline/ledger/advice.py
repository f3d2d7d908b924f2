"""Which kind of workers a run lacks, judged by how busy each was on recent shards."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_FEW = 5  # shards are too few to judge
_BUSY, _IDLE = 0.8, 0.7


@dataclass(frozen=True)
class Work:
    """The work on a shard: seconds by stage, its actor, and how many workers read and write."""

    read: float
    colorize: float
    write: float
    actor: str
    readers: int
    writers: int


def workers_of(actor: str, readers: int, writers: int) -> dict[str, str]:
    """The facts about workers that a shard's commit records."""
    return {"actor": actor, "readers": str(readers), "writers": str(writers)}


def work_of(table: pa.Table) -> Work | None:
    """The work of a shard, given its rows and their metadata; None if unknown."""
    metadata: Mapping[bytes, bytes] = table.schema.metadata or {}
    try:
        actor, readers, writers = (
            metadata[f"autochrome.{name}".encode()].decode()
            for name in ("actor", "readers", "writers")
        )
        first = table.filter(pc.equal(table["candidate"], 0))
        return Work(
            _sum(first["read_seconds"]),
            _sum(table["model_seconds"]),
            _sum(table["write_seconds"]),
            actor,
            int(readers),
            int(writers),
        )
    except (KeyError, ValueError):
        return None


def advise(works: Sequence[Work], ends: Sequence[float], seconds: float) -> str | None:
    """A line on which kind of workers to add, given the shards of so many seconds; None if unclear.

    ends: when each was committed. The model costs most, so it should be the busy part.
    """
    if len(works) < _FEW or seconds <= 0:
        return None
    actors = _most_at_once([work.actor for work in works], ends)
    model = sum(work.colorize for work in works) / seconds / actors
    named = f"the model is busy {min(1.0, model):.0%} of the time ({actors} actors)"
    if model >= _IDLE:
        return f"{named}: more actors make it faster"
    read = sum(work.read for work in works) / seconds / works[-1].readers
    write = sum(work.write for work in works) / seconds / works[-1].writers
    if max(read, write) < _BUSY:
        idle = f"{named}, and neither reading nor writing holds it up"
        return f"{idle}: larger shards may help, in another run"
    kind, busy = ("reading", read) if read >= write else ("writing", write)
    return f"{named}; {kind} is busy {min(1.0, busy):.0%}: add cores, or nodes without a GPU"


def _most_at_once(actors: Sequence[str], ends: Sequence[float]) -> int:
    """How many there were at one time, by their first and last shards: after a loss or between
    waves, new ones take the place of others."""
    lives: dict[str, tuple[float, float]] = {}
    for actor, end in zip(actors, ends, strict=True):
        first, last = lives.get(actor, (end, end))
        lives[actor] = min(first, end), max(last, end)
    return max(
        sum(first <= moment <= last for first, last in lives.values())
        for moment, _ in lives.values()
    )


def _sum(column: Any) -> float:
    return float(pc.sum(column).as_py() or 0.0)
