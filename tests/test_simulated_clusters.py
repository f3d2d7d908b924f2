"""Runs on simulated clusters: nodes vanish and come, and every byte is as on one calm machine."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from engine import Quiet

from compared_runs import undisturbed
from pipeline.colorize import colorize
from pipeline.run.operators import ColorizeActor, Row
from pipeline.run.options import RecipeOptions, Resources
from pipeline.run.request import Job
from support.commands import started_command
from support.ray_clusters import SimulatedCluster, autoscaling_cluster, simulated_cluster

# Warnings of Ray at itself.
pytestmark = pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\.")
PHOTOS = 12


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(PHOTOS):
        shutil.copy(repository / "examples/photos/animals/cat.jpg", folder / f"{number:02}.jpg")
    return folder


@pytest.fixture(scope="module")
def calm(photos: Path, weights: Path) -> dict[str, bytes]:
    """The images of a run on one machine, without Ray, that nothing happened to."""
    files = undisturbed(photos, weights, RecipeOptions(shard_size=64)).files
    return {
        Path(path).name: data
        for path, data in files.items()
        if path.startswith("images/") and not path.endswith(".json")
    }


@pytest.fixture(scope="module")
def head() -> Iterator[SimulatedCluster]:
    """A cluster without a node that works: each test adds its own."""
    with simulated_cluster({"num_cpus": 0, "include_dashboard": False}, os.environ) as cluster:
        yield cluster


@pytest.fixture
def cluster(head: SimulatedCluster) -> Iterator[SimulatedCluster]:
    """That of `head`, whose nodes go with the test."""
    yield head
    head.kill_all()


def images_of(out: Path) -> dict[str, bytes]:
    images = (path for path in (out / "images").iterdir() if path.suffix == ".jpg")
    return {path.name: path.read_bytes() for path in images}


def committed(out: Path) -> int:
    return len(list(out.glob("results/shard-*.parquet")))


# A run that says after a second of silence what it waits for.
IMPATIENT = "from pipeline.cluster import watchdog; watchdog.SECONDS = 1.0"


def wait_for(out: Path, shards: int, process: "subprocess.Popen[str]") -> None:
    while committed(out) < shards:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


def test_a_node_is_lost_and_another_comes(
    photos: Path,
    weights: Path,
    calm: Mapping[str, bytes],
    cluster: SimulatedCluster,
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    command = ("colorize", photos, out, "--weights", weights, "--shard-size", 1)
    cluster.add("first", num_cpus=1)
    cluster.add("second", num_cpus=1)
    with started_command(*command, environment=cluster.environment, first=IMPATIENT) as process:
        wait_for(out, 3, process)
        cluster.kill("first")
        wait_for(out, committed(out) + 3, process)
        cluster.kill("second")
        cluster.add("third", num_cpus=1)  # which does the rest
        stdout, stderr = process.communicate(timeout=240)
    assert process.returncode == 0, stdout + stderr
    assert f"{PHOTOS} of {PHOTOS} photos colorized" in stdout
    assert "Traceback" not in stderr
    assert images_of(out) == calm


def test_two_actors_share_a_gpu_and_leave_the_cores_to_readers_and_writers(
    photos: Path,
    weights: Path,
    calm: Mapping[str, bytes],
    cluster: SimulatedCluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The GPU is Ray's counter alone: the model computes on the core beside it."""
    folder = tmp_path / "actors"
    folder.mkdir()

    class OnNoRealGpu(ColorizeActor):
        def __init__(self, job: Job) -> None:
            import ray

            super().__init__(replace(job, device="cpu"))
            context = ray.get_runtime_context()
            [gpu] = context.get_accelerator_ids()["GPU"]
            share = context.get_assigned_resources()["GPU"]
            cores = context.get_assigned_resources().get("CPU", 0)
            (folder / str(os.getpid())).write_text(f"GPU {gpu}: {share}, {cores} cores")

        def __call__(self, row: Row) -> Row:
            end = time.monotonic() + 60  # for the other one, which shares the GPU
            while len(list(folder.iterdir())) < 2 and time.monotonic() < end:
                time.sleep(0.05)
            return super().__call__(row)

    out = tmp_path / "out"
    monkeypatch.setattr("pipeline.run.wave.ColorizeActor", OnNoRealGpu)
    options = RecipeOptions(shard_size=1, precision="float32")
    resources = Resources(str(weights), device="cuda", gpus_per_actor=0.5)
    cluster.add("gpu", num_cpus=1, num_gpus=1)
    cluster.add("cores", num_cpus=1)
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    summary = colorize(str(photos), str(out), options, resources, Quiet())
    assert (summary.photos, summary.pending, summary.failed) == (PHOTOS, 0, 0)
    assert images_of(out) == calm
    actors = [path.read_text() for path in folder.iterdir()]
    assert actors == ["GPU 0: 0.5, 0 cores"] * 2


def test_ray_adds_the_nodes_that_a_run_needs_and_replaces_one_that_is_lost(
    photos: Path,
    weights: Path,
    calm: Mapping[str, bytes],
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    command = ("colorize", photos, out, "--weights", weights, "--shard-size", 1, "--device", "cpu")
    with (
        autoscaling_cluster(2, {"CPU": 1}, os.environ) as cluster,
        started_command(*command, environment=cluster.environment, first=IMPATIENT) as process,
    ):
        assert not cluster.workers(), "there is none but for work"
        wait_for(out, 1, process)
        first = set(cluster.workers())
        for node in first:
            os.kill(node, signal.SIGKILL)
        done = committed(out)
        wait_for(out, done + 3, process)  # what was in flight may be committed still
        assert set(cluster.workers()) - first, "another has come, and works"
        stdout, stderr = process.communicate(timeout=240)
    assert process.returncode == 0, stdout + stderr
    assert f"{PHOTOS} of {PHOTOS} photos colorized" in stdout
    assert "waiting for a node with a CPU: there is none among 1 node" in stderr
    assert images_of(out) == calm
