"""Kill processes of real commands at random, and count what is lost, doubled or different.

    python benchmarks/chaos.py --kills 1000 --seed 0

Runs of a few dozen small photographs and tiny random weights, each on a Ray of its own, every third
by two commands at once, every second into a bucket of moto's server of the S3 protocol. Single
processes are killed, and whole sessions. Whatever is killed, the same command is started again
until all is committed; then the destination is verified, and its pictures, sidecars, previews and
rows are compared with those of an undisturbed run. Fails where anything is wrong. Prints a table,
and one JSON line.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import click
import torch

from killed_runs import KilledRun, Stalled, Tally, check, choose_victims, make_archive
from machine import describe_machine
from model.weights import build_config, build_stage, save_stage, stage_path

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


def describe(tally: Tally) -> str:
    """The table."""
    lines = [f"{kind + 's killed':24}{count:8,}" for kind, count in tally.kills.most_common()]
    lines.append(f"{'all kills':24}{tally.kills.total():8,}")
    for name in ("runs", "commands", "photos", "partial_files"):
        lines.append(f"{name.replace('_', ' '):24}{getattr(tally, name):8,}")
    for name, found in tally.faults().items():
        lines.append(f"{name.replace('_', ' '):24}{len(found):8,}")
        lines += [f"    {each}" for each in found[:20]]
    endings = ", ".join(f"{code}: {count:,}" for code, count in sorted(tally.endings.items()))
    lines.append(f"exit codes of commands: {endings}")
    lines.append(f"longest time without a commit or a kill: {tally.longest_wait:.0f} s")
    return "\n".join(lines)


@click.command()
@click.option("--kills", default=200, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--photos", default=48, show_default=True, help="Of each run.")
@click.option("--shard-size", default=2, show_default=True)
@click.option("--minutes", default=600.0, show_default=True, help="No run is started after these.")
def main(kills: int, seed: int, photos: int, shard_size: int, minutes: float) -> None:
    """Kill processes of real commands at random, and count what is lost or different."""
    tally, random, start = Tally(), Random(seed), time.monotonic()
    with TemporaryDirectory() as place, bucket() as store:
        folder, weights = Path(place), write_weights(Path(place, "weights"))
        archive = make_archive(folder, photos, weights, shard_size)
        victims = choose_victims(kills, random)
        while victims and time.monotonic() < start + 60 * minutes:
            destination = f"{place if tally.runs % 2 else store}/{tally.runs:04d}"
            run = KilledRun(archive, destination, random, tally)
            try:
                run.finish(victims, commands=2 if tally.runs % 3 == 2 else 1)
            except Stalled as stalled:
                print(f"stalled: {stalled}")
                sys.exit(1)
            check(archive, destination, tally)
            print(f"{tally.kills.total():,} kills, {tally.runs:,} runs", file=sys.stderr)
    print(describe(tally))
    facts = {
        "benchmark": "chaos",
        "seed": seed,
        "kills": dict(tally.kills),
        "runs": tally.runs,
        "commands": tally.commands,
        "photos": tally.photos,
        **{name: len(found) for name, found in tally.faults().items()},
        "longest_wait_seconds": round(tally.longest_wait, 1),
        "minutes": round((time.monotonic() - start) / 60, 1),
        **describe_machine("cpu"),
    }
    print(json.dumps(facts))
    if any(tally.faults().values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
