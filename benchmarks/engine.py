"""What the engine costs: a model of known, constant cost goes through the whole pipeline.

    python benchmarks/engine.py --photos 2000 --cost 0.02 --actors 1
    python benchmarks/engine.py --photos 100000 --cost 0 --side 16 --output-size 256 --ours-only \
        --curve memory.csv
    python benchmarks/engine.py --photos 4000 --cost 0 --nodes 2 --store 160 --actors 2 --ours-only
    python benchmarks/engine.py --photos 1000 --cost 0 --times 2 --before ../checkout-of-a-commit

The model sleeps, as a processor that waits for its GPU, so the rest is what costs time. The same
photos and the same model also go through a plain Ray Data pipeline (read_images, map_batches,
write_parquet). For each, it reports the share of time that the actors worked between their first
batch and their last; peaks of memory of the driver, of the largest other process, and of the object
store; and the CPU time of all processes, which depends less on other work on the machine than the
elapsed time. Each is measured in its own process, in turns. --before: another checkout, whose
pipeline takes turns with these. --curve: memory of Autochrome's own run over its time, as CSV.
Prints a table, and one JSON line.
"""

import io
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image

import pipeline.run.wave as wave
from model.colorized import Colorized
from model.weights import WEIGHTS
from pipeline.cluster.session import quiet_ray
from pipeline.colorize import colorize
from pipeline.run.options import RecipeOptions, Resources
from pipeline.run.request import Job

CHECKOUT = Path(__file__).resolve().parents[1]
SIZE = 256
Row = dict[str, Any]


class Sleeper:
    """A colorizer that takes so many seconds a photo, and paints everything gray."""

    def __init__(self, cost: float, log: str) -> None:
        self._cost, self._log = cost, Path(log, str(os.getpid()))

    def colorize(
        self, low: np.ndarray, high: np.ndarray, seeds: list[int], temperature: float
    ) -> Colorized:
        start, count = time.time(), len(high)
        time.sleep(self._cost * count)
        with self._log.open("a") as file:
            file.write(f"{start} {time.time()}\n")
        zeros = np.zeros(count)
        return Colorized(
            np.repeat(high[..., None], 3, -1),
            zeros,
            zeros,
            zeros,
            zeros,
            np.zeros((len(high), 8, 8), np.float32),
            zeros,
            zeros,
            zeros,
        )


class Quiet:
    """A listener that passes on only what is wrong, and knows how many photos are done."""

    done = 0

    def begin(self, phase: str, photos: int | None = None) -> None:
        pass

    def update(self, done: int, failed: int, photos: int, rate: float | None = None) -> None:
        self.done = done

    def wait(self, why: str) -> None:
        print(why, file=sys.stderr)


def run_ours(
    source: str, folder: str, cost: float, actors: int, options: Row, listener: Quiet
) -> int:
    """Autochrome itself, but for the model in its actors."""

    class Actor(wave.ColorizeActor):
        def __init__(self, job: Job) -> None:
            self._recipe, self._device, self._name = job.run.recipe, "sleep", str(os.getpid())
            self._on_cpu, self._turn = False, threading.Lock()
            self.colorizer = Sleeper(cost, folder)  # type: ignore[assignment]

    wave.ColorizeActor = Actor  # type: ignore[misc]
    resources = Resources(str(WEIGHTS), actors=(actors, actors))
    summary = colorize(source, f"{folder}/out", RecipeOptions(**options), resources, listener)
    assert not summary.failed and not summary.pending, summary
    return summary.photos


def run_plain(source: str, folder: str, cost: float, actors: int, options: Row) -> int:
    """What one writes who knows Ray Data: no plan, no ledger, no merging, no resuming."""
    import ray.data

    class Actor:
        def __init__(self) -> None:
            self.colorizer = Sleeper(cost, folder)

        def __call__(self, batch: Row) -> Row:
            gray = batch.pop("image")
            colors = self.colorizer.colorize(gray, gray, [0] * len(gray), 1.0)
            return {**batch, "rgb": colors.rgb}

    def encode(row: Row) -> Row:
        file = io.BytesIO()
        Image.fromarray(row.pop("rgb")).save(file, "JPEG", quality=95)
        return {**row, "jpeg": file.getvalue()}

    ray.data.DataContext.get_current().enable_progress_bars = False
    photos = ray.data.read_images(source, size=(SIZE, SIZE), mode="L", include_paths=True)
    pool = ray.data.ActorPoolStrategy(size=actors)
    colored = photos.map_batches(
        Actor, batch_size=options["shard_size"], compute=pool, num_cpus=0
    ).map(encode)
    colored.write_parquet(f"{folder}/out")
    return int(ray.data.read_parquet(f"{folder}/out").count())


def make_photos(folder: Path, count: int, side: int) -> None:
    """Gray JPEG photographs of noise; links to a few files, as their content does not matter."""
    random = np.random.default_rng(0)
    for number in range(count):
        path = folder / f"{number // 1000:04}" / f"{number:08}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        if number % 10_000 == 0:  # file systems bound the links of a file
            coarse = random.integers(0, 256, (max(2, side // 8),) * 2, np.uint8)
            Image.fromarray(coarse).resize((side, side)).save(path, "JPEG")
            first = path
        else:
            os.link(first, path)


def busy_share(folder: Path, actors: int) -> tuple[float, float]:
    """Share of the time from first to last batch that the actors worked, and that time."""
    spans = [
        tuple(map(float, line.split()))
        for log in folder.iterdir()
        if log.is_file()
        for line in log.read_text().splitlines()
    ]
    span = max(end for _, end in spans) - min(start for start, _ in spans)
    return sum(end - start for start, end in spans) / span / actors, span


@contextmanager
def ray_of(nodes: int, store: int) -> Iterator[None]:
    """The Ray of this machine; or a simulated cluster on it, of an idle head and so many nodes of
    two cores and an object store of so many MiB."""
    if not nodes:
        with quiet_ray():
            yield
        return
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    for _ in range(nodes):
        cluster.add_node(num_cpus=2, object_store_memory=store * 2**20)
    os.environ["RAY_ADDRESS"] = cluster.address
    with quiet_ray():
        yield
    cluster.shutdown()


def measure(
    kind: str,
    source: str,
    cost: float,
    actors: int,
    nodes: int,
    store: int,
    curve: Path | None,
    options: Row,
) -> Row:
    """One of the two pipelines, in this process."""
    from ray_peaks import watched  # Ray is not for whoever imports the sleeper alone

    peaks: dict[str, float] = {"spilled_MiB": 0}
    listener, ours = Quiet(), kind == "ours"
    with tempfile.TemporaryDirectory() as folder, ray_of(nodes, store):
        start = time.perf_counter()
        with watched(peaks, curve if ours else None, lambda: listener.done):
            if ours:
                photos = run_ours(source, folder, cost, actors, options, listener)
            else:
                photos = run_plain(source, folder, cost, actors, options)
        seconds = time.perf_counter() - start
        share, span = busy_share(Path(folder), actors)
    return {"photos": photos, "seconds": seconds, "busy": share, "span": span, **peaks}


@click.command()
@click.option("--photos", default=2000, show_default=True)
@click.option("--side", default=SIZE, show_default=True, help="Pixels of a photograph's side.")
@click.option("--cost", default=0.02, show_default=True, help="Seconds a photo on an actor.")
@click.option("--actors", default=1, show_default=True)
@click.option("--shard-size", default=64, show_default=True)
@click.option("--output-size", default="full", show_default=True)
@click.option("--nodes", default=0, help="Of a simulated cluster, instead of this machine.")
@click.option("--store", default=512, show_default=True, help="MiB of the store of such a node.")
@click.option("--ours-only", is_flag=True)
@click.option(
    "--curve",
    type=click.Path(path_type=Path, resolve_path=True),
    help="A CSV file for memory over time.",
)
@click.option("--times", default=1, show_default=True)
@click.option("--before", type=Path, help="Another checkout to compare with.")
@click.option("--part", nargs=2, hidden=True)
def main(
    photos: int,
    side: int,
    cost: float,
    actors: int,
    nodes: int,
    store: int,
    ours_only: bool,
    curve: Path | None,
    times: int,
    before: Path | None,
    part: tuple[str, str] | None,
    **options: Any,
) -> None:
    """Measure what the engine costs beside a model of constant cost."""
    if part:
        print(json.dumps(measure(part[0], part[1], cost, actors, nodes, store, curve, options)))
        return
    from machine import describe_machine

    results: Row = {"machine": describe_machine("cpu"), "cost": cost, "actors": actors, **options}
    results |= {"nodes": nodes, "store": store}
    print(
        f"{'':6} {'photos':>8} {'seconds':>8} {'CPU s':>8} {'busy':>6} {'driver':>8} MiB"
        f" {'worker':>8} MiB {'store':>8} MiB {'spilled':>8} MiB"
    )
    with tempfile.TemporaryDirectory() as folder:
        make_photos(Path(folder), photos, side)
        turns = {"before": before.resolve()} if before else {}
        turns |= {"ours": CHECKOUT} | ({} if ours_only else {"plain": CHECKOUT})
        for name, checkout in list(turns.items()) * times:
            words = [*sys.argv[1:], "--part", "plain" if name == "plain" else "ours", folder]
            words += ["--curve", str(curve)] if curve else []  # of the folder of this process
            output = subprocess.check_output(
                [sys.executable, str(Path(__file__).resolve()), *words],
                env={**os.environ, "PYTHONPATH": str(checkout)},
                cwd=checkout,
            )
            figures = json.loads(output.splitlines()[-1])
            results.setdefault(name, []).append(figures)
            print(
                f"{name:6} {figures['photos']:8,} {figures['seconds']:8.1f}"
                f" {figures['cpu_seconds']:8.1f} {figures['busy']:6.1%}"
                f" {figures['driver_MiB']:8.0f}     {figures.get('worker_MiB', 0):8.0f}"
                f"     {figures.get('store_MiB', 0):8.0f}     {figures['spilled_MiB']:8.0f}",
                flush=True,
            )
    print(json.dumps(results))


if __name__ == "__main__":
    main()
