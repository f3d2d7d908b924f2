"""How long a command takes to its first committed shard: here, and on a simulated cluster.

    python benchmarks/ramp.py --weights model/weights --times 5
    python benchmarks/ramp.py --weights model/weights --times 5 --before ../checkout-of-a-commit

From the start of `autochrome colorize` in a process of its own, with its Ray where it starts one,
to the file that commits a shard; then the command is interrupted. The cluster is there already: an
idle head, and nodes of two cores. --before: another checkout, whose command takes turns with that
of this one, on the same photographs. Told: the median, the least and the most of all times in
seconds, ratios of medians, and one JSON line.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import click
from engine import make_photos

from machine import describe_machine
from pipeline.cluster.session import ENVIRONMENT

CHECKOUT = Path(__file__).resolve().parents[1]
SECONDS = 900.0  # after which a command that commits nothing is given up
_COMMAND = "from jobs.start import start; start()"


def first_commit(
    checkout: Path, source: Path, weights: Path, place: Mapping[str, str], options: list[str]
) -> float:
    """Seconds to the first shard of a command of a checkout.

    place: environment variables that say where its Ray is. Raises RuntimeError where the command
    ends, or goes on for too long, without one.
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
    """A simulated cluster on this machine; yields what a command needs to find it."""
    os.environ.update(ENVIRONMENT)
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        for _ in range(nodes):
            cluster.add_node(num_cpus=2)
        yield {"RAY_ADDRESS": cluster.address}
    finally:
        cluster.shutdown()


def told(kind: str, times: list[float]) -> str:
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
    results: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder)
        make_photos(source, photos, 256)

        def take(where: str, place: Mapping[str, str]) -> None:
            for _ in range(times):
                for name, checkout in checkouts.items():
                    seconds = first_commit(checkout, source, weights.resolve(), place, options)
                    results.setdefault(f"{where}, {name}", []).append(seconds)
                    # A run that is cut off has told what it has found.
                    print(f"{where}, {name}: {seconds:.2f} s", flush=True)

        take("local", {})
        if nodes:
            with cluster_of(nodes) as place:
                take("cluster", place)
    ratios = {}
    for kind, seconds in results.items():
        print(told(kind, seconds))
        where = kind.partition(",")[0]
        if before and kind.endswith("now"):
            ratios[f"{where}, now to before"] = median(seconds) / median(
                results[f"{where}, before"]
            )
    if nodes:
        ratios["now, cluster to local"] = median(results["cluster, now"]) / median(
            results["local, now"]
        )
    for name, ratio in ratios.items():
        print(f"{name:24} {ratio:7.3f}")
    print(json.dumps({"machine": describe_machine("cpu"), "seconds": results, "ratios": ratios}))


if __name__ == "__main__":
    main()
