"""Runs without a model and without Ray: plans and commits as they are, results made up."""

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import pyarrow.parquet as pq

from pipeline.ledger.plan import Shard, part_path
from pipeline.ledger.planning import prepare_run
from pipeline.ledger.recipe import Recipe
from pipeline.ledger.results import Result, commit_shard
from pipeline.ledger.run_file import RUN, Run, load_run
from pipeline.run.listener import Phase
from pipeline.storage.base import Storage
from pipeline.storage.memory import MemoryStorage

RECIPE = Recipe(source="memory://source", weights={}, versions={})


def planned(photos: int, shard_size: int, recipe: Recipe = RECIPE) -> tuple[Storage, Storage, Run]:
    """A source of so many photos, an empty destination, and the run planned there."""
    source, destination = MemoryStorage("source"), MemoryStorage("destination")
    for number in range(photos):
        source.write(f"{number:03}.jpg", b"%d" % number)
    return source, destination, prepare_run(source, destination, recipe, shard_size)


def as_before(destination: Storage, column: str, settings: Sequence[str] = ()) -> Run:
    """A run that was planned in one part, made one of an older version, whose plan had no such
    column, and whose run.json had no such settings."""
    table = pq.read_table(io.BytesIO(destination.read(part_path(0)))).drop([column])
    file = io.BytesIO()
    pq.write_table(table, file)
    destination.write(part_path(0), file.getvalue())
    content = json.loads(destination.read(RUN))
    content["plan"]["digests"] = [hashlib.sha256(file.getvalue()).hexdigest()]
    for name in settings:
        del content[name]
    destination.write(RUN, json.dumps(content).encode())
    run = load_run(destination)
    assert run
    return run


def write_run(folder: Path, photos: int = 3) -> Path:
    """A planned destination, as files."""
    recipe = replace(RECIPE, source=str(folder / "elsewhere"))
    _, destination, _ = planned(photos=photos, shard_size=2, recipe=recipe)
    assert isinstance(destination, MemoryStorage)
    for path, data in destination.objects.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def commit(
    destination: Storage, run: Run, shard: Shard, failing: dict[str, str] | None = None
) -> bool:
    """Commit a shard whose photos are fine, but for those that fail for the reason given."""
    rows = []
    for photo in shard.photos:
        reason = (failing or {}).get(photo.path)
        row = Result(
            photo.path,
            f"memory://source/{photo.path}",
            shard.number,
            photo.size,
            attempt=shard.attempt,
            status="failed" if reason else "ok",
            reason=reason,
            error=f"it is {reason}" if reason else None,
            finished_at=datetime.now(UTC),
        )
        rows.append(row)
    return commit_shard(destination, shard.number, rows, run.digest)


def foreign_lines(lines: list[str], photos: int) -> list[str]:
    """Those on a user's screen that neither the progress nor the watchdog of a run wrote."""
    ours = (f" of {photos} photos", "no shard was done for ")
    return [
        line
        for line in lines
        if line not in get_args(Phase) and not any(words in line for words in ours)
    ]
