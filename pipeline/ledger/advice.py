"""Which workers a run lacks, from how busy each kind was; the rows of recent shards tell."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_FEW = 5  # shards, of which nothing can be said
_BUSY, _IDLE = 0.8, 0.7


@dataclass(frozen=True)
class Work:
    """What a shard took, and who did it: seconds by stage, the actor, how many read and write."""

    read: float
    colorize: float
    write: float
    actor: str
    readers: int
    writers: int


def workers_of(actor: str, readers: int, writers: int) -> dict[str, str]:
    """What a shard's commit keeps of those who did it."""
    return {"actor": actor, "readers": str(readers), "writers": str(writers)}


def work_of(table: pa.Table) -> Work | None:
    """The work of a shard, given its rows and their metadata; None where that is not known."""
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
    """A line on what to grow, given the shards of so many seconds; None where there is no telling.

    ends: when each was committed. The model is what ought to be busy: it is what costs.
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
    """How many there were at one time, by their first and last shards: others may have taken their
    place, after a loss or between two waves."""
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
