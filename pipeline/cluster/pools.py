"""How many workers of each kind a run has, and how much may be in flight between them.

Where actors take cores, readers and writers take next to nothing, and actors leave some of each
core, so that they can never be starved: beside each actor there is room for two. Where actors take
GPUs, cores are for readers and writers alone, two to a core. So a node never gets more of them than
it can bear, however many the cluster may have. None takes nothing: that would run on a head without
cores as well. The pool of actors may shrink to its least, and Ray Data lets it grow to its most as
far as there is room: on a cluster that gains nodes, most is what it may grow to.
"""

import math
from dataclasses import dataclass

from pipeline.cluster.session import Capacity

ACTOR_CORES = 0.9  # where it computes on a core
TASK_CORES = {"cpu": 0.05, "cuda": 0.5}  # of a reader or writer, by where actors are
SHARDS_IN_FLIGHT = 25
# In a wave, at least and at most. Each costs 2 ms before the first can start, and 10 KiB of
# the driver; between two waves the actors start anew, which many should not do every few minutes.
SHARDS_PER_WAVE = (2_000, 20_000)
_SHARDS_PER_ACTOR = 200
_LEAST_BYTES = 2**28
_COUNTABLE = 10**6  # cores; a cluster without a limit says more


@dataclass(frozen=True)
class Pools:
    """Readers and writers at most; actors at least, at first and at most.

    object_bytes: what the arrays may take that wait between the steps, on all nodes together.
    """

    readers: int
    min_actors: int
    initial_actors: int
    max_actors: int
    writers: int
    object_bytes: int


def size_wave(capacity: Capacity, share: float, actors: tuple[int, int] | None) -> int:
    """How many shards go through one data set; arguments as in size_pools."""
    least, most = SHARDS_PER_WAVE
    now, later = _room(capacity, share)
    workers = actors[1] if actors else (now if math.isinf(later) else later)
    return int(min(most, max(least, _SHARDS_PER_ACTOR * workers)))


def size_pools(
    capacity: Capacity,
    shards: int,
    shard_bytes: int,
    share: float,
    actors: tuple[int, int] | None,
) -> Pools:
    """The pools for so many shards, each of at most so many bytes.

    share: of a GPU that an actor takes; 0: it takes a core. actors: least and most that the user
    asks for.
    """
    now, later = _room(capacity, share)
    least, most = actors or (1, max(1, now, later))
    most = int(min(most, shards))
    least = min(least, most)
    known = capacity.max_cores < _COUNTABLE
    cores = int(max(1, capacity.max_cores if known else capacity.cores))
    wanted = max(_LEAST_BYTES, max(SHARDS_IN_FLIGHT, 4 * most) * shard_bytes)
    return Pools(
        readers=min(max(1, cores // 2), shards),
        min_actors=least,
        initial_actors=least if actors else max(1, int(min(now, most))),
        max_actors=most,
        writers=min(cores, shards),
        # Half of a node's store at most, so that none spills to disk. Whatever the limit, Ray lets
        # one shard of each step through.
        object_bytes=min(wanted, capacity.object_bytes // 2),
    )


def _room(capacity: Capacity, share: float) -> tuple[float, float]:
    """For how many actors there is room now, and may be later; the latter may be infinite."""
    if share:
        return capacity.gpus / share, capacity.max_gpus / share
    return capacity.cores, capacity.max_cores
