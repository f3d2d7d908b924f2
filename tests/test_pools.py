"""How many workers a run gets: on one machine, on clusters that grow, and as the user asks."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as some

from pipeline.cluster.pools import SHARDS_IN_FLIGHT, Pools, size_pools, size_wave
from pipeline.cluster.session import Capacity

GIB = 2**30
MACHINE = Capacity(cores=8, gpus=2, max_cores=8, max_gpus=2, object_bytes=8 * GIB)
ASLEEP = Capacity(cores=4, gpus=0, max_cores=164, max_gpus=20, object_bytes=2 * GIB)
UNKNOWN = Capacity(cores=8, gpus=2, max_cores=math.inf, max_gpus=math.inf, object_bytes=8 * GIB)


@pytest.mark.parametrize(
    ("capacity", "share", "actors", "expected"),
    [
        (MACHINE, 1.0, None, (4, 1, 2, 2, 8)),
        (MACHINE, 0.5, None, (4, 1, 4, 4, 8)),
        (MACHINE, 0.0, None, (4, 1, 8, 8, 8)),
        (MACHINE, 1.0, (1, 1), (4, 1, 1, 1, 8)),
        (ASLEEP, 1.0, None, (82, 1, 1, 20, 164)),
        (ASLEEP, 1.0, (3, 5), (82, 3, 3, 5, 164)),
        (UNKNOWN, 1.0, None, (4, 1, 2, 1000, 8)),
    ],
)
def test_sizes(
    capacity: Capacity,
    share: float,
    actors: tuple[int, int] | None,
    expected: tuple[int, int, int, int, int],
) -> None:
    pools = size_pools(capacity, 1000, 1000, share, actors)
    assert (
        pools.readers,
        pools.min_actors,
        pools.initial_actors,
        pools.max_actors,
        pools.writers,
    ) == expected


def test_what_is_in_flight_grows_with_the_actors_but_never_fills_the_store() -> None:
    shard = 20 * 2**20

    def in_flight(capacity: Capacity) -> int:
        return size_pools(capacity, 1000, shard, 1.0, None).object_bytes

    assert in_flight(MACHINE) == SHARDS_IN_FLIGHT * shard
    many = Capacity(cores=800, gpus=100, max_cores=800, max_gpus=100, object_bytes=400 * GIB)
    assert in_flight(many) == 400 * shard
    assert in_flight(ASLEEP) == GIB


def test_many_actors_get_longer_waves() -> None:
    assert size_wave(MACHINE, 1.0, None) == 2000
    assert size_wave(ASLEEP, 1.0, None) == 4000
    assert size_wave(ASLEEP, 1.0, (1, 50)) == 10_000
    assert size_wave(ASLEEP, 1.0, (1, 500)) == 20_000
    assert size_wave(UNKNOWN, 1.0, None) == 2000, "as many as there are now"


@given(
    cores=some.integers(0, 4000),
    gpus=some.integers(0, 500),
    grown=some.sampled_from([0.0, 100.0, math.inf]),
    shards=some.integers(1, 2000),
    share=some.sampled_from([0.0, 0.1, 1.0]),
    actors=some.none() | some.tuples(some.integers(1, 9), some.integers(9, 600)),
)
def test_every_pool_has_someone_and_none_has_more_than_there_are_shards(
    cores: int,
    gpus: int,
    grown: float,
    shards: int,
    share: float,
    actors: tuple[int, int] | None,
) -> None:
    capacity = Capacity(cores, gpus, cores + grown, gpus + grown, GIB)
    pools: Pools = size_pools(capacity, shards, 1000, share, actors)
    assert 1 <= pools.readers <= shards and 1 <= pools.writers <= shards
    assert 1 <= pools.min_actors <= pools.initial_actors <= pools.max_actors <= shards
