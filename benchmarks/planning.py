"""How planning and resuming scale: time and memory of very large archives, simulated.

    python benchmarks/planning.py --shards 100000 --open 1000 --rows 10000000 --listed 1000000

Three parts. Resume: of --shards shards of a thousand photos, all but --open are committed; list the
photos that are left. Plan: from a manifest of --rows rows. Update: a source of --listed photos is
compared with a plan in which every thousandth is missing, and these are added; listing the source
costs nothing here, as it is simulated. Each part runs in a process of its own. Prints a table and
one JSON line.
"""

import hashlib
import io
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from memory import peak_mib
from pipeline.ledger.manifest import Manifest
from pipeline.ledger.plan import SCHEMA, Schedule, part_path
from pipeline.ledger.planning import prepare_run
from pipeline.ledger.recipe import Recipe
from pipeline.ledger.results import committed_shards, results_path
from pipeline.ledger.run_file import FORMAT, RUN, Plan, load_run
from pipeline.ledger.updates import Changes, compare, plan_update
from pipeline.storage.base import Skip, StoredObject, enter_all
from pipeline.storage.local import LocalStorage
from pipeline.storage.memory import MemoryStorage

SHARD_SIZE = 1000
SHARDS_PER_PART = 100
RECIPE = Recipe(source="/nowhere", weights={}, versions={})


def simulate_run(folder: Path, shards: int, open_shards: set[int]) -> None:
    """Make a destination in which all shards are committed but the open ones."""
    storage, digests = LocalStorage(str(folder)), []
    for first in range(0, shards, SHARDS_PER_PART):
        numbers = np.repeat(np.arange(first, min(first + SHARDS_PER_PART, shards)), SHARD_SIZE)
        photos = np.arange(len(numbers)) + first * SHARD_SIZE
        names = pa.array([f"collection/box-{k // 500:06}/scan-{k:09}.tif" for k in photos.tolist()])
        ones = pa.array(np.ones(len(numbers), np.int32))
        sizes = pa.array(np.full(len(numbers), 30_000_000))
        none, own = pa.nulls(len(numbers), pa.int64()), pa.array([""] * len(numbers))
        known = [pa.nulls(len(numbers), pa.string())] * 2  # hints, palette
        columns = [names, sizes, pa.array(numbers), ones, none, own, *known]
        table = pa.Table.from_arrays(columns, schema=SCHEMA)
        file = io.BytesIO()
        pq.write_table(table, file, compression="zstd")
        storage.write(part_path(first // SHARDS_PER_PART), file.getvalue())
        digests.append(hashlib.sha256(file.getvalue()).hexdigest())
    plan = Plan(shards * SHARD_SIZE, shards, SHARD_SIZE, SHARDS_PER_PART, tuple(digests), {})
    content = {"format_version": FORMAT, **asdict(RECIPE), "plan": asdict(plan)}
    (folder / RUN).write_text(json.dumps(content))
    (folder / "results").mkdir()
    for shard in range(shards):
        if shard not in open_shards:
            (folder / results_path(shard)).touch()


def resume(folder: str) -> dict[str, float]:
    """Time finding the photos that are left to do in a destination."""
    start = time.perf_counter()
    storage = LocalStorage(folder)
    run = load_run(storage)
    assert run
    committed = committed_shards(storage).keys()
    schedule = Schedule(storage, run)
    listed = time.perf_counter() - start
    shards = photos = 0
    for shard in schedule.open(committed):
        shards, photos = shards + 1, photos + len(shard.photos)
    return {
        "listing_seconds": listed,
        "seconds": time.perf_counter() - start,
        "open_shards": shards,
        "open_photos": photos,
    }


def write_manifest(path: Path, rows: int) -> None:
    """Write a Parquet manifest of so many photos in a bucket."""

    def batches() -> Iterator[pa.RecordBatch]:
        for first in range(0, rows, 100_000):
            uris = [
                f"s3://archive/scans/box-{k // 500:06}/scan-{k:09}.tif"
                for k in range(first, min(first + 100_000, rows))
            ]
            yield pa.record_batch({"uri": uris})

    with pq.ParquetWriter(path, pa.schema([("uri", pa.string())])) as writer:
        for batch in batches():
            writer.write_batch(batch)


def plan(manifest: str, destination: str) -> dict[str, float]:
    """Time making a plan from a manifest."""
    start = time.perf_counter()
    source = MemoryStorage("archive")
    source.uri = "s3://archive/scans"
    listed = Manifest(manifest)
    run = prepare_run(
        source,
        LocalStorage(destination),
        RECIPE,
        SHARD_SIZE,
        lambda ignored: listed.photos(source, ignored),
    )
    return {"seconds": time.perf_counter() - start, "photos": run.plan.photos}


class GrownSource(MemoryStorage):
    """A source as `simulate_run` plans it, with a new photo before every thousandth."""

    def __init__(self, photos: int) -> None:
        super().__init__("grown")
        self._photos = photos

    def list(self, folder: str = "", skip: Skip = enter_all) -> Iterator[StoredObject]:
        for k in range(self._photos):
            name = f"collection/box-{k // 500:06}/scan-{k:09}"
            if k % 1000 == 0:
                yield StoredObject(f"{name}-back.tif", 30_000_000)
            yield StoredObject(f"{name}.tif", 30_000_000)


def update(folder: str, photos: str) -> dict[str, float]:
    """Time counting the new photos of a grown source, and adding them to the plan."""
    source, storage = GrownSource(int(photos)), LocalStorage(folder)
    run = load_run(storage)
    assert run
    start = time.perf_counter()
    new = Changes(new=-(-int(photos) // 1000))
    assert compare(source, storage, run) == new
    compared, peak = time.perf_counter() - start, peak_mib()
    assert plan_update(source, storage, run) == new
    added = time.perf_counter() - start - compared
    return {"compare_seconds": compared, "compare_peak_MiB": peak, "add_seconds": added}


def measure(*arguments: str) -> dict[str, float]:
    """Run one part in a process of its own; its figures, with CPU seconds and peak of memory."""
    command = [sys.executable, __file__, "--part", *arguments]
    result: dict[str, float] = json.loads(subprocess.check_output(command).splitlines()[-1])
    return result


def run_part(kind: str, first: str, second: str) -> None:
    """Run one part in this process, and print its figures as a JSON line."""
    if kind == "resume":
        result = resume(first)
    else:
        result = (plan if kind == "plan" else update)(first, second)
    cpu = time.process_time()  # beside wall time, which is much longer on a busy machine
    print(json.dumps({**result, "cpu_seconds": cpu, "peak_MiB": peak_mib()}))


def measure_resume(
    folder: str, name: str, shards: int, open_shards: set[int]
) -> dict[str, dict[str, float]]:
    """The figures of a resume under its name, which are printed, too."""
    place = Path(folder, name)
    place.mkdir()
    simulate_run(place, shards, open_shards)
    result = measure("resume", str(place), "")
    print(
        f"{name}: {result['open_shards']:,.0f} of {shards:,} shards"
        f" ({result['open_photos']:,.0f} photos): {result['seconds']:.1f} s, of these"
        f" {result['listing_seconds']:.1f} s for listing; CPU {result['cpu_seconds']:.1f} s;"
        f" peak {result['peak_MiB']:,.0f} MiB"
    )
    return {name: result}


def measure_manifest(folder: str, count: int) -> dict[str, dict[str, float]]:
    """The figures of a plan from a manifest of so many rows, which are printed, too."""
    path = Path(folder, f"{count}.parquet")
    write_manifest(path, count)
    result = measure("plan", str(path), f"{path}.out")
    print(
        f"manifest of {count:,} rows: {result['seconds']:.1f} s"
        f" ({60 * count / result['seconds']:,.0f} rows a minute);"
        f" CPU {result['cpu_seconds']:.1f} s;"
        f" peak {result['peak_MiB']:,.0f} MiB"
    )
    return {f"manifest of {count}": result}


def measure_update(folder: str, listed: int) -> dict[str, dict[str, float]]:
    """The figures of an update of a source of so many photos, which are printed, too."""
    place, shards = Path(folder, "grown"), listed // SHARD_SIZE
    place.mkdir()
    simulate_run(place, shards, set(range(shards)))
    result = measure("update", str(place), str(listed))
    print(
        f"{listed:,} photos listed and compared with their plan:"
        f" {result['compare_seconds']:.1f} s, peak {result['compare_peak_MiB']:,.0f} MiB;"
        f" every thousandth added: {result['add_seconds']:.1f} s; CPU of both"
        f" {result['cpu_seconds']:.1f} s; peak {result['peak_MiB']:,.0f} MiB"
    )
    return {"update": result}


@click.command()
@click.option("--shards", default=100_000, show_default=True, help="Of a thousand photos each.")
@click.option("--open", "open_count", default=1_000, show_default=True, help="Not committed yet.")
@click.option("--rows", default=10_000_000, show_default=True, help="Of the manifest.")
@click.option("--listed", default=1_000_000, show_default=True, help="Compared with their plan.")
@click.option("--part", nargs=3, hidden=True)
def main(
    shards: int, open_count: int, rows: int, listed: int, part: tuple[str, str, str] | None
) -> None:
    """Time planning and resuming of very large archives."""
    if part:
        run_part(*part)
        return
    from machine import describe_machine  # not above: it imports torch, which parts would count

    results: dict[str, object] = {"machine": describe_machine("cpu")}
    with tempfile.TemporaryDirectory() as folder:
        last = set(range(shards - open_count, shards))
        anywhere = set(random.Random(0).sample(range(shards), open_count))
        results |= measure_resume(folder, "last shards open", shards, last)
        results |= measure_resume(folder, "any shards open", shards, anywhere)
        results |= measure_manifest(folder, rows // 10)
        results |= measure_manifest(folder, rows)
        results |= measure_update(folder, listed)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
