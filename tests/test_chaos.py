"""Real commands whose processes are killed at random: nothing is lost, nothing is done twice."""

import sys
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from killed_runs import Archive, KilledRun, Tally, check, make_archive
from support.tiny_models import write_tiny_weights

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    folder = tmp_path_factory.mktemp("archive")
    weights = write_tiny_weights(folder / "weights")
    return make_archive(folder, photos=18, weights=weights, shard_size=1)


@pytest.mark.parametrize(
    ("commands", "victims"),
    [
        (1, {"raylet": 1, "idle worker": 1, "reader": 1}),  # the driver: test_interrupted.py
        (1, {"session": 1}),
        (2, {"actor": 1, "reader": 1, "writer": 1}),
    ],
)
def test_whatever_is_killed_nothing_is_lost_and_nothing_done_twice(
    archive: Archive, tmp_path: Path, commands: int, victims: dict[str, int]
) -> None:
    tally, random = Tally(), Random(commands)
    left = list(Counter(victims).elements())
    random.shuffle(left)
    planned, destination = len(left), str(tmp_path / "out")
    KilledRun(archive, destination, random, tally, actors="1").finish(left, commands)
    check(archive, destination, tally)
    assert tally.kills.total() > planned / 2, "a run may be done before all had their turn"
    assert {name: found for name, found in tally.faults().items() if found} == {}
