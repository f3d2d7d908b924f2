"""Time and memory of `autochrome report` for very large runs.

    python benchmarks/review.py --photos 100000

It commits simulated results of --photos photos, and of a tenth of them, and writes the page of each
in a process of its own. Prints a line for each, and one JSON line.
"""

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import click

from memory import peak_mib
from pipeline.ledger.planning import prepare_run
from pipeline.ledger.recipe import Recipe
from pipeline.ledger.results import Result, commit_shard
from pipeline.ledger.run_file import load_run
from pipeline.review.pages import write_review
from pipeline.storage.base import StoredObject
from pipeline.storage.local import LocalStorage
from pipeline.storage.memory import MemoryStorage

SHARD_SIZE = 64
RECIPE = Recipe(source="memory://archive", weights={"core": "c0de" * 16}, versions={})


def simulate_results(folder: Path, photos: int) -> None:
    """A destination as it is after so many photos; every hundredth has failed."""
    source, destination = MemoryStorage("archive"), LocalStorage(str(folder))
    paths = [f"collection/box-{k // 500:05}/scan-{k:08}.tif" for k in range(photos)]
    listed = [StoredObject(path, 30_000_000) for path in paths]
    run = prepare_run(source, destination, RECIPE, SHARD_SIZE, lambda ignored: iter(listed))
    for shard in range(run.plan.shards):
        numbers = range(shard * SHARD_SIZE, min((shard + 1) * SHARD_SIZE, photos))
        commit_shard(destination, shard, [_result(k, shard, paths[k]) for k in numbers], run.digest)


def _result(number: int, shard: int, path: str) -> Result:
    now, uri = datetime.now(UTC), f"memory://archive/{path}"
    if number % 100 == 0:
        failed = Result(path, uri, shard, 30_000_000, status="failed", finished_at=now)
        return replace(failed, reason="corrupt", error="the picture cannot be decoded")
    return Result(
        path,
        uri,
        shard,
        30_000_000,
        source_sha256=f"{number:064x}",
        width=6000,
        height=4000,
        source_mode="I;16",
        source_tone="gray",
        rank=1,
        seed=number * 2**40,
        output_uri=f"/archive/images/{path}",
        output_sha256=f"{number * 7:064x}",
        output_bytes=90_000_000,
        log_likelihood=-number % 9973 / 7,
        bits_per_pixel=number % 997 / 200,
        color_bits_per_dim=2.5,
        spatial_bits_per_dim=3.5,
        colorfulness=number % 89 / 1.1,
        preview=number % SHARD_SIZE,
        read_seconds=0.1,
        model_seconds=0.1,
        write_seconds=0.1,
        device="cpu",
        finished_at=now,
    )


def report(folder: str) -> dict[str, float]:
    start = time.perf_counter()
    destination = LocalStorage(folder)
    run = load_run(destination)
    assert run
    write_review(destination, run)
    data = sum(each.size for each in destination.list("report/data"))
    rows = sum(each.size for each in destination.list("report/data") if "rows-" in each.path)
    return {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time(),
        "peak_MiB": peak_mib(),
        "data_MB": data / 1e6,
        "read_at_opening_MB": rows / 1e6,
    }


@click.command()
@click.option("--photos", default=100_000, show_default=True, help="Of the larger run.")
@click.option("--part", hidden=True)
def main(photos: int, part: str | None) -> None:
    """Time the review page of a very large run."""
    if part:
        print(json.dumps(report(part)))
        return
    from machine import describe_machine  # here, as its torch would count as memory of the parts

    results: dict[str, object] = {"machine": describe_machine("cpu")}
    for count in (photos // 10, photos):
        with tempfile.TemporaryDirectory() as folder:
            simulate_results(Path(folder), count)
            command = [sys.executable, __file__, "--part", folder]
            results[f"{count} photos"] = result = json.loads(subprocess.check_output(command))
        print(
            f"{count:,} photos: {result['seconds']:.1f} s (CPU {result['cpu_seconds']:.1f} s), peak"
            f" {result['peak_MiB']:,.0f} MiB; {result['data_MB']:.1f} MB of data, of which a"
            f" browser reads {result['read_at_opening_MB']:.1f} MB when it opens the page"
        )
    print(json.dumps(results))


if __name__ == "__main__":
    main()
