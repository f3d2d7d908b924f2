"""How long a command takes until its first shard is committed: here, and on a simulated cluster.

    python benchmarks/ramp.py --weights model/weights --times 5
    python benchmarks/ramp.py --weights model/weights --times 5 --before ../checkout-of-a-commit

The clock runs from the start of `autochrome colorize`, in a process of its own, to the file that
commits a shard; then the command is interrupted. A local command starts its own Ray within that
time; the simulated cluster (a head without work, and nodes of two cores) is started before.
--before takes another checkout: its command and that of this one take turns, on the same
photographs. Prints median, minimum and maximum in seconds, ratios of medians, and one JSON line.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median

import click
from engine import make_photos

from machine import describe_machine
from pipeline.cluster.session import ENVIRONMENT

CHECKOUT = Path(__file__).resolve().parents[1]
SECONDS = 900.0  # limit for a command to commit something
_COMMAND = "from jobs.start import start; start()"


def first_commit(
    checkout: Path, source: Path, weights: Path, place: Mapping[str, str], options: list[str]
) -> float:
    """Seconds until a checkout's command commits its first shard.

    place: environment variables that tell the command which Ray to use. Raises RuntimeError if the
    command ends, or runs for SECONDS, without a commit.
    """
    environment = {**os.environ, **place, "PYTHONPATH": str(checkout)}
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as said:
        words = ["colorize", str(source), f"{folder}/out", "--weights", str(weights), *options]
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-c", _COMMAND, *words],
            cwd=checkout,
            env=environment,
            stdout=said,
            stderr=said,
        )
        try:
            while not any(Path(folder, "out", "results").glob("shard-*.parquet")):
                seconds = time.perf_counter() - start
                if process.poll() is not None or seconds > SECONDS:
                    said.seek(0)
                    raise RuntimeError(f"no shard after {seconds:.0f} s: {said.read().decode()}")
                time.sleep(0.02)
            return time.perf_counter() - start
        finally:
            process.send_signal(signal.SIGINT)
            process.wait()


@contextmanager
def cluster_of(nodes: int) -> Iterator[dict[str, str]]:
    """A simulated cluster on this machine; yields environment variables for commands to use it."""
    os.environ.update(ENVIRONMENT)
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        for _ in range(nodes):
            cluster.add_node(num_cpus=2)
        yield {"RAY_ADDRESS": cluster.address}
    finally:
        cluster.shutdown()


def take_turns(
    where: str, checkouts: Mapping[str, Path], seconds_of: Callable[[Path], float], times: int
) -> dict[str, list[float]]:
    """Seconds by "WHERE, CHECKOUT" of so many commands of each checkout."""
    results: dict[str, list[float]] = {}
    for _, (name, checkout) in product(range(times), checkouts.items()):
        seconds = seconds_of(checkout)
        results.setdefault(f"{where}, {name}", []).append(seconds)
        print(f"{where}, {name}: {seconds:.2f} s", flush=True)  # for runs that are cut off
    return results


def compare(results: Mapping[str, list[float]]) -> dict[str, float]:
    """Ratios of medians: this checkout to the one before, and the cluster to local."""
    medians = {kind: median(times) for kind, times in results.items()}
    ratios = {
        f"{where}, now to before": medians[f"{where}, now"] / medians[f"{where}, before"]
        for where in ("local", "cluster")
        if f"{where}, before" in medians
    }
    if "cluster, now" in medians:
        ratios["now, cluster to local"] = medians["cluster, now"] / medians["local, now"]
    return ratios


def describe_times(kind: str, times: list[float]) -> str:
    return f"{kind:24} {median(times):7.2f} s  ({min(times):.2f} to {max(times):.2f})"


@click.command()
@click.option("--weights", type=Path, default=CHECKOUT / "model" / "weights", show_default=False)
@click.option("--photos", default=64, show_default=True)
@click.option("--shard-size", default=8, show_default=True)
@click.option("--actors", default=2, show_default=True)
@click.option("--nodes", default=2, show_default=True, help="Of the simulated cluster; 0: none.")
@click.option("--times", default=3, show_default=True)
@click.option("--before", type=Path, help="Another checkout to compare with.")
def main(
    weights: Path,
    photos: int,
    shard_size: int,
    actors: int,
    nodes: int,
    times: int,
    before: Path | None,
) -> None:
    """Measure the seconds from a command to its first committed shard."""
    checkouts = {"now": CHECKOUT} | ({"before": before.resolve()} if before else {})
    options = ["--shard-size", str(shard_size), "--actors", str(actors), "--device", "cpu"]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder)
        make_photos(source, photos, 256)
        command = partial(first_commit, source=source, weights=weights.resolve(), options=options)
        results = take_turns("local", checkouts, partial(command, place={}), times)
        if nodes:
            with cluster_of(nodes) as place:
                on_cluster = partial(command, place=place)
                results |= take_turns("cluster", checkouts, on_cluster, times)
    for kind, seconds in results.items():
        print(describe_times(kind, seconds))
    ratios = compare(results)
    for name, ratio in ratios.items():
        print(f"{name:24} {ratio:7.3f}")
    print(json.dumps({"machine": describe_machine("cpu"), "seconds": results, "ratios": ratios}))


if __name__ == "__main__":
    main()
