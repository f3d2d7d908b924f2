"""Real commands whose processes are killed at random: nothing is lost, nothing is done twice."""

import sys
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest

from compared_runs import Archive, Tally, check, make_archive
from killed_runs import KilledRun
from support.tiny_models import write_tiny_weights

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    folder = tmp_path_factory.mktemp("archive")
    weights = write_tiny_weights(folder / "weights")
    return make_archive(folder, photos=18, weights=weights, shard_size=1)


# In this order, as the first two end a command, and another goes on where it was.
@pytest.mark.parametrize(
    ("commands", "victims"),
    [
        (1, ("session", "raylet", "reader", "idle worker")),  # the driver: test_interrupted.py
        (2, ("reader", "writer", "actor")),
    ],
)
def test_whatever_is_killed_nothing_is_lost_and_nothing_done_twice(
    archive: Archive, tmp_path: Path, commands: int, victims: tuple[str, ...]
) -> None:
    tally, left, destination = Tally(), list(victims), str(tmp_path / "out")
    # A short path, as Ray's sockets are below it.
    with TemporaryDirectory(prefix="killed-") as place:
        run = KilledRun(archive, destination, Random(commands), tally, Path(place), actors="1")
        run.finish(left, commands)
    check(archive, destination, tally)
    assert len(tally.of_kind("session")) == victims.count("session")
    assert len(tally.kills) > len(victims) / 2, "a run may be done before all had their turn"
    assert {name: found for name, found in tally.faults().items() if found} == {}
