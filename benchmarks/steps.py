"""What the steps of a shard cost without Ray: read, colorize and write, one after the other.

    python benchmarks/steps.py --photos 512 --side 16 --output-size 256 --times 2
    python benchmarks/steps.py --photos 512 --times 2 --before ../checkout-of-a-commit

Tiny photographs go through the steps as they go through a run's workers, pickled in between, with a
model that takes no time. The first shard is not counted, as it imports. Each turn is a process of
its own. It reports CPU time and elapsed time per photograph, in milliseconds. --before: another
checkout, whose steps take turns with those of this one. Prints a table, and one JSON line.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from engine import CHECKOUT, Sleeper, make_photos

from machine import describe_machine
from model.weights import WEIGHTS
from pipeline.cluster.pools import Pools
from pipeline.ledger.plan import Schedule
from pipeline.run.operators import ColorizeActor, Row, pack, read_row, write_row
from pipeline.run.options import RecipeOptions, Resources
from pipeline.run.request import Job, prepare_job
from pipeline.storage.open_storage import open_storage

Times = tuple[float, float]  # milliseconds a photograph: of a CPU, and on the clock
POOLS = Pools(1, 1, 1, 1, 1, 2**28)


class Actor(ColorizeActor):
    """That of a run, but for the model."""

    def __init__(self, job: Job, folder: str) -> None:
        self._recipe, self._device, self._name = job.run.recipe, "none", "here"
        self._on_cpu, self._turn = False, threading.Lock()
        self.colorizer = Sleeper(0, folder)  # type: ignore[assignment]


def measure(source: str, options: dict[str, Any]) -> dict[str, Times]:
    """The times of each step, in this process."""
    spent: dict[str, list[Times]] = defaultdict(list)

    def timed(step: str, call: Callable[..., Row], *arguments: Any) -> Row:
        cpu, clock = time.process_time(), time.perf_counter()
        row = call(*arguments)
        spent[step].append((time.process_time() - cpu, time.perf_counter() - clock))
        return row

    with tempfile.TemporaryDirectory() as folder:
        place = open_storage(f"{folder}/out")
        resources = Resources(str(WEIGHTS), device="cpu")
        job = prepare_job(source, place, RecipeOptions(**options), resources)
        actor, photos = Actor(job, folder), 0
        for shard in Schedule(place, job.run).open():
            row = timed("read", read_row, pack(shard), job, False)
            row = timed("colorize", actor, row)
            timed("write", write_row, row, job, POOLS, False)
            photos += len(shard.photos) if shard.number else 0
    return {
        step: (
            1000 * sum(cpu for cpu, _ in times[1:]) / photos,
            1000 * sum(clock for _, clock in times[1:]) / photos,
        )
        for step, times in spent.items()
    }


def describe(times: list[Times]) -> str:
    """The least and the most of each kind."""
    cpu, clock = zip(*times, strict=True)
    return f"{min(cpu):7.2f} to {max(cpu):5.2f} {min(clock):9.2f} to {max(clock):6.2f}"


@click.command()
@click.option("--photos", default=512, show_default=True)
@click.option("--side", default=16, show_default=True, help="Pixels of a photograph's side.")
@click.option("--shard-size", default=64, show_default=True)
@click.option("--output-size", default="256", show_default=True)
@click.option("--times", default=2, show_default=True)
@click.option("--before", type=Path, help="Another checkout to compare with.")
@click.option("--part", hidden=True)
def main(
    photos: int, side: int, times: int, before: Path | None, part: str | None, **options: Any
) -> None:
    """Measure what the steps of a shard cost."""
    if part:
        print(json.dumps(measure(part, options)))
        return
    checkouts = ({"before": before.resolve()} if before else {}) | {"now": CHECKOUT}
    found: dict[str, list[Times]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        make_photos(Path(folder), photos, side)
        for name, checkout in list(checkouts.items()) * times:
            words = [sys.executable, str(Path(__file__).resolve()), *sys.argv[1:]]
            environment = {**os.environ, "PYTHONPATH": str(checkout)}
            output = subprocess.check_output([*words, "--part", folder], env=environment)
            for step, spent in json.loads(output.splitlines()[-1]).items():
                found[f"{step}, {name}"].append(spent)
    print(f"{'':18} {'ms of a CPU a photo':>17}  {'ms a photo':>16}")
    for name in sorted(found):
        print(f"{name:18} {describe(found[name])}")
    print(json.dumps({"machine": describe_machine("cpu"), "load": os.getloadavg(), **found}))


if __name__ == "__main__":
    main()
