"""Kill processes of real commands at random, and count what is lost, done twice or different.

    python benchmarks/chaos.py --kills 1000 --seed 0

Each run colorizes a few dozen small photographs with tiny random weights on its own Ray; every
third run is done by two commands at once, and every second one writes into a bucket of moto's S3
server. The victims are single processes, pairs, and whole sessions; most are killed between two
commits, some while a command starts, or while a file or the report is being written. The same
command is started again until everything is committed and reported. Then the destination is
verified, and its pictures, sidecars, previews and rows are compared with those of an undisturbed
run. At the end, nothing may be left in the folder for temporary files. If anything is wrong, the
script fails and keeps the evidence. Prints a table, and one JSON line.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from shutil import rmtree
from tempfile import mkdtemp

import click
import torch

from compared_runs import Tally, check, make_archive
from killed_runs import KilledRun, left_files
from killing import choose_victims
from machine import describe_machine
from model.weights import build_config, build_stage, save_stage, stage_path
from pipeline.cluster.session_folder import session_folder
from pipeline.storage.open_storage import open_storage
from strikes import Habits
from watched_destination import Stalled

AT_START = 0.25  # of kills that end a command
SIZES = {"hidden": 16, "ff": 24, "heads": 2, "enc": 1}


def write_weights(folder: Path) -> Path:
    """Three tiny stages with random weights."""
    torch.manual_seed(0)
    folder.mkdir()
    for stage, resolution in (("core", 8), ("color", 8), ("spatial", 16)):
        config = build_config(stage, {**SIZES, "resolution": resolution})
        save_stage(build_stage(config), stage_path(folder, stage))
    return folder


@contextmanager
def bucket() -> Iterator[str]:
    """A bucket of moto's server, which the environment points to while the block lasts."""
    import boto3

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    os.environ |= {
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as server:
        try:
            while server.poll() is None:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    time.sleep(0.1)
            boto3.client("s3").create_bucket(Bucket="chaos")
            yield "s3://chaos"
        finally:
            server.terminate()


def count_kills(tally: Tally) -> dict[str, Counter[str]]:
    """By kind and place, and what else they were."""
    kills = tally.kills
    return {
        "kills": Counter(kill.kind for kill in kills),
        "kills_in_bucket": Counter(kill.kind for kill in kills if kill.place == "bucket"),
        "kills_of_idle": Counter(kill.kind for kill in kills if not kill.at_work),
        "kills_by_phase": Counter(kill.phase for kill in kills),
        "kills_at_moments": Counter(
            {
                "two at once": sum(kill.paired for kill in kills),
                "a file was being written": sum(kill.half for kill in kills),
            }
        ),
    }


def facts(tally: Tally, start: float) -> dict[str, object]:
    """All of the JSON line but what was asked for."""
    return {
        **count_kills(tally),
        "runs": tally.runs,
        "commands": tally.commands,
        "photos": tally.photos,
        "partial_files": tally.partial_files,
        **{name: len(found) for name, found in tally.faults().items()},
        "endings": tally.endings,
        "longest_wait_seconds": round(tally.longest_wait, 1),
        "minutes": round((time.monotonic() - start) / 60, 1),
        "load": [round(each, 1) for each in os.getloadavg()],
        **describe_machine("cpu"),
    }


def describe(tally: Tally) -> str:
    """The table."""
    lines = []
    for name, counts in count_kills(tally).items():
        lines.append(f"{name.replace('_', ' ')}: {counts.total():,}")
        lines += [f"    {each:24}{count:6,}" for each, count in counts.most_common()]
    for name in ("runs", "commands", "photos", "partial_files"):
        lines.append(f"{name.replace('_', ' '):24}{getattr(tally, name):8,}")
    for name, found in tally.faults().items():
        lines.append(f"{name.replace('_', ' '):24}{len(found):8,}")
        lines += [f"    {each}" for each in found[:20]]
    endings = ", ".join(f"{code}: {count:,}" for code, count in sorted(tally.endings.items()))
    lines.append(f"exit codes of commands: {endings}")
    lines.append(f"longest time without a commit or a kill: {tally.longest_wait:.0f} s")
    return "\n".join(lines)


@contextmanager
def evidence(tally: Tally) -> Iterator[tuple[Path, Path]]:
    """A folder for data, and one with a short path for what commands need while they run; removed
    after the block, unless something was wrong."""
    places = Path(mkdtemp(prefix="chaos-")), Path(mkdtemp(prefix="killed-"))
    try:
        yield places
    finally:
        if any(tally.faults().values()):
            print("the evidence is in", *places, file=sys.stderr)
        else:
            for place in places:
                rmtree(place)


def copy_bucket(uri: str, folder: Path) -> None:
    """What a run has left in a bucket, which goes with its server."""
    storage = open_storage(uri)
    for each in storage.list():
        target = folder / each.path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(storage.read(each.path))


def clear(place: Path, tally: Tally) -> None:
    """Remove what killed commands have left, as the next command does; what stays is a fault."""
    os.environ["RAY_TMPDIR"] = str(place)
    with session_folder() as own:
        tally.left_files += [name for name in left_files(place) if name != own.name]


@contextmanager
def stall_told(tally: Tally) -> Iterator[None]:
    """A run that stalls in the block is a fault, and does not end the command."""
    try:
        yield
    except Stalled as stalled:
        tally.strange.append(f"stalled: {stalled}")
    print(f"{len(tally.kills):,} kills, {tally.runs:,} runs", file=sys.stderr)


@click.command()
@click.option("--kills", default=200, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--photos", default=48, show_default=True, help="Of each run.")
@click.option("--shard-size", default=1, show_default=True)
@click.option("--between", default=0.1, show_default=True, help="Mean seconds, commit to kill.")
@click.option("--store", type=click.Choice(["both", "folder", "bucket"]), default="both")
@click.option("--commands", default=0, help="At once; by default two in every third run.")
@click.option("--actors", default="1:2", show_default=True, help="As of autochrome.")
@click.option("--single-writer", is_flag=True, help="Commands take a lease.")
@click.option("--minutes", default=600.0, show_default=True, help="Nothing is killed after these.")
def main(
    kills: int,
    seed: int,
    photos: int,
    shard_size: int,
    between: float,
    store: str,
    commands: int,
    actors: str,
    single_writer: bool,
    minutes: float,
) -> None:
    """Kill processes of real commands at random, and count what is lost or different."""
    tally, random, start = Tally(), Random(seed), time.monotonic()
    until = start + 60 * minutes
    with evidence(tally) as (data, place), bucket() as uri:
        archive = make_archive(data, photos, write_weights(data / "weights"), shard_size)
        victims = choose_victims(kills, random)
        while victims and time.monotonic() < until and not any(tally.faults().values()):
            number = tally.runs
            in_bucket = store == "bucket" or store == "both" and number % 2 == 0
            destination = f"{uri if in_bucket else data}/{number:04d}"
            at_once = commands or (2 if number % 3 == 2 and not single_writer else 1)
            plans, reports = random.choice([0, 2, 4, 6]), random.choice([0, 1, 2, 4])
            habits = Habits(between, AT_START, plans, reports)
            with stall_told(tally):
                run = KilledRun(
                    archive,
                    destination,
                    random,
                    tally,
                    place,
                    actors=actors,
                    single_writer=single_writer,
                    habits=habits,
                )
                run.finish(victims, at_once, until)
                check(archive, destination, tally)
            if in_bucket and any(tally.faults().values()):
                copy_bucket(destination, data / f"{number:04d}")
        clear(place, tally)
    print(describe(tally))
    print(json.dumps({"benchmark": "chaos", "seed": seed, **facts(tally, start)}))
    if any(tally.faults().values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
