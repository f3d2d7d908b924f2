"""Damaged masters through the steps that read and write a photo of a run, and what becomes of each.

    python benchmarks/fuzz_masters.py --count 10000 --out fuzz.jsonl

Every input (see damaged_masters) is the only photo of a shard. Shards are read and written as in a
run: by a worker, under its deadlines; an input that ends its worker is repeated with each step in
its own process (pipeline.run.isolation). Each input gives one line of JSON, with status, reason,
seconds and peak memory. Called again with the same file, the script continues after the last line.
The exit code is 1 if an input has no row, met a bug of ours, or took more than the limits allow;
`--show NUMBER` writes such an input to standard output.
"""

import json
import logging
import os
import subprocess
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from damaged_masters import damaged
from pipeline.errors import REASONS
from pipeline.ledger.plan import Photo, Shard
from pipeline.ledger.recipe import Recipe
from pipeline.ledger.results import read_results
from pipeline.ledger.run_file import Plan, Run
from pipeline.run import isolation
from pipeline.run.isolation import Call, call_here, call_isolated
from pipeline.run.logs import LOGGER
from pipeline.run.steps import Candidate, read_shard, write_shard
from pipeline.storage.memory import MemoryStorage

MOST_SECONDS = 20.0
MOST_BYTES = 2**30
_AT_ONCE = 100  # inputs a worker
_SIZES = (64, 256)
_SPEC = Recipe(source="memory://source", weights={}, versions={"autochrome": "fuzz"})


@dataclass(frozen=True)
class Outcome:
    """What became of an input. status: as in results; "none" without a row. seconds: of the
    processor, so that other work on the machine hardly counts. peak: bytes, of the process,
    libraries included. alone: it had ended a worker, and was done once more."""

    number: int
    what: str
    status: str
    reason: str | None
    error: str | None
    seconds: float
    peak: int
    alone: bool = False

    @property
    def fault(self) -> str:
        """What is wrong with it, in words; mostly empty."""
        if self.status not in ("ok", "failed", "skipped"):
            return "no row"
        if self.status != "ok" and self.reason not in REASONS:
            return "no reason"
        if self.reason == "internal":
            return "a fault of ours"
        if self.seconds > MOST_SECONDS or self.reason == "timeout":
            return f"took {self.seconds:.0f} s"
        if self.peak > MOST_BYTES:
            return f"took {self.peak / 2**20:,.0f} MiB"
        return "ended its process" if self.alone and self.reason == "out_of_memory" else ""


def fuzz(numbers: Iterable[int], seed: int = 0) -> Iterator[Outcome]:
    """The outcome of each input, in the order of their numbers, by workers that may die."""
    left = list(numbers)
    while left:
        some = left[:_AT_ONCE]
        received = 0
        for outcome in _work(some, seed):
            yield outcome
            received += 1
        if received < len(some):
            yield alone(left[received], seed)
            received += 1
        left = left[received:]


def alone(number: int, seed: int) -> Outcome:
    """An input with each step in a process of its own."""
    peaks: list[int] = []

    def call(function: Callable[..., Any], *arguments: Any) -> Any:
        result, peak = call_isolated(_with_peak, function, *arguments)
        peaks.append(peak)
        if isinstance(result, Exception):
            raise result
        return result

    outcome = _outcome(number, seed, call)
    return replace(outcome, peak=max(peaks, default=0), alone=True)


def summary(outcomes: list[Outcome]) -> str:
    """A few lines for people."""
    every = Counter(each.reason or each.status for each in outcomes)
    kinds = Counter(each.what.partition(":")[0] for each in outcomes)
    slow = max(outcomes, key=lambda each: each.seconds)
    large = max(outcomes, key=lambda each: each.peak)
    lines = [
        f"{len(outcomes):,} inputs of {len(kinds)} kinds",
        ", ".join(f"{count:,} {name}" for name, count in every.most_common()),
        f"slowest: {slow.seconds:.1f} s, number {slow.number} ({slow.what})",
        f"largest: {large.peak / 2**20:,.0f} MiB, number {large.number} ({large.what})",
        f"{sum(each.alone for each in outcomes):,} ended their worker",
    ]
    for each in outcomes:
        if each.fault:
            lines.append(f"number {each.number} ({each.what}): {each.fault}: {each.error}")
    return "\n".join(lines)


def _work(numbers: list[int], seed: int) -> Iterator[Outcome]:
    """Outcomes that a worker reports before it ends or dies."""
    command = [sys.executable, __file__, "--worker", ",".join(map(str, numbers))]
    with subprocess.Popen(
        [*command, "--seed", str(seed)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    ) as worker:
        assert worker.stdout is not None
        for line in worker.stdout:
            if line.startswith(b'{"number"'):
                yield Outcome(**json.loads(line))


def _outcome(number: int, seed: int, call: Call) -> Outcome:
    what, data = damaged(number, seed)
    source, destination = MemoryStorage("source"), MemoryStorage()
    source.write("photo", data)
    shard = Shard(0, (Photo("photo", len(data), name="photo"),))
    run = Run(_SPEC, Plan(1, 1, 1, 1, (), {}), "digest")
    start = _seconds()
    try:
        [photo] = read_shard(shard, source, _SIZES, call)
        candidate = Candidate(photo.result)
        if photo.low is not None:
            candidate = Candidate(
                replace(photo.result, rank=1, seed=number),
                np.full((256, 256, 3), (150, 120, 100), np.uint8),
                np.zeros((64, 64), np.float32),
            )
        write_shard(0, [[candidate]], source, destination, run, call)
        [table] = read_results(destination, run)
        [row] = table.to_pylist()
        status, reason, error = row["status"], row["reason"], row["error"]
    except Exception:
        status, reason, error = "none", None, traceback.format_exc()
    return Outcome(number, what, status, reason, error, _seconds() - start, _peak())


def _with_peak(function: Callable[..., Any], *arguments: Any) -> tuple[Any, int]:
    """What a function gives or raises, and the most memory that this process has held."""
    try:
        result = function(*arguments)
    except Exception as error:
        result = error
    return result, _peak()


def _seconds() -> float:
    """Of the processor: this process and those that it has waited for."""
    return sum(os.times()[:4])


def _peak() -> int:
    """The most memory of this process, in bytes, since it was last forgotten."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def _serve(numbers: list[int], seed: int) -> None:
    """The life of a worker. It has the limit of memory that an isolated process has."""
    isolation._limit_memory(isolation.free_memory())
    for number in numbers:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forgets the peak
        print(json.dumps(asdict(_outcome(number, seed, call_here))), flush=True)


@click.command()
@click.option("--count", default=300, show_default=True, help="How many inputs.")
@click.option("--first", default=0, show_default=True, help="The number of the first.")
@click.option("--seed", default=0, show_default=True, help="Another seed damages otherwise.")
@click.option("--out", type=click.Path(path_type=Path), help="A file of JSON lines, gone on with.")
@click.option("--show", type=int, help="Write the input of this number to standard output.")
@click.option("--worker", hidden=True)
def main(
    count: int, first: int, seed: int, out: Path | None, show: int | None, worker: str | None
) -> None:
    LOGGER.addHandler(logging.NullHandler())
    LOGGER.propagate = False
    if show is not None:
        sys.stdout.buffer.write(damaged(show, seed)[1])
        return
    if worker is not None:
        _serve([int(number) for number in worker.split(",")], seed)
        return
    outcomes = []
    if out is not None and out.exists():
        lines = out.read_text(encoding="utf-8").splitlines()
        outcomes = [Outcome(**json.loads(line)) for line in lines]
    begin = max((each.number + 1 for each in outcomes), default=first)
    for outcome in fuzz(range(begin, first + count), seed):
        outcomes.append(outcome)
        if out is not None:
            with out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(outcome)) + "\n")
        if outcome.fault:
            click.echo(f"number {outcome.number} ({outcome.what}): {outcome.fault}", err=True)
    click.echo(summary(outcomes))
    sys.exit(any(outcome.fault for outcome in outcomes))


if __name__ == "__main__":
    main()
