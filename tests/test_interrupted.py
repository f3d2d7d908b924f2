"""A command with a Ray of its own that is interrupted, terminated and killed, each time resumed."""

import json
import shutil
import signal
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest

from compared_runs import undisturbed
from killing import members
from pipeline.ledger.results import read_results
from pipeline.ledger.run_file import open_run
from pipeline.run.options import RecipeOptions
from pipeline.storage.local import LocalStorage
from support.commands import run_command, started_command
from support.simulated_runs import foreign_lines

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc"),
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\."),  # of Ray at itself
]
PHOTOS = 60
AGAIN = "the same command again goes on from here, and so does: autochrome resume"


def state_of(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        path.name: (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.glob("shard-*.parquet")
    }


def test_nothing_is_lost_or_done_twice_however_a_command_ends(
    weights: Path, tmp_path: Path, repository: Path, request: pytest.FixtureRequest
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    results = out / "results"
    shutil.copytree(repository / "examples/photos", source, ignore=shutil.ignore_patterns("*.md"))
    examples = len([path for path in source.rglob("*") if path.is_file()])
    for number in range(PHOTOS - examples):
        shutil.copy(source / "animals/cat.jpg", source / f"cat {number}.jpg")
    given = ("--weights", weights, "--actors", 1)
    command = ("colorize", source, out, *given, "--method", "sample", "--shard-size", 1)

    sessions: list[int] = []

    def start_and_signal(kind: signal.Signals, after: int) -> tuple[int, str, str]:
        """Send a signal once so many shards are committed."""
        with started_command(*command) as process:
            while process.poll() is None and len(list(results.glob("shard-*.parquet"))) < after:
                time.sleep(0.02)
            process.send_signal(kind)
            sent = time.monotonic()
            process.wait(timeout=60)
            assert time.monotonic() - sent < 30
            stdout, stderr = process.communicate(timeout=120)
        sessions.append(process.pid)
        return process.returncode, stdout, stderr

    before: dict[str, tuple[int, bytes]] = {}
    for kind in (signal.SIGINT, signal.SIGTERM):
        code, stdout, stderr = start_and_signal(kind, after=len(before) + 4)
        assert (code, stdout) == (130, ""), stderr
        lines = stderr.splitlines()
        assert lines[-1] == f"autochrome: interrupted; {AGAIN} {out}"
        assert foreign_lines(lines[:-1], photos=PHOTOS) == []
        now = state_of(results)
        assert len(before) + 4 <= len(now) < PHOTOS
        assert before.items() <= now.items(), "what is committed stays"
        status = json.loads(run_command("status", out, "--json").stdout)
        assert len(now) <= status["done"] < PHOTOS
        before = now

    code, stdout, stderr = start_and_signal(signal.SIGKILL, after=len(before) + 4)
    assert (code, stdout) == (-signal.SIGKILL, ""), stderr
    assert foreign_lines(stderr.splitlines(), photos=PHOTOS) == []
    now = state_of(results)
    assert len(before) + 4 <= len(now) < PHOTOS
    assert before.items() <= now.items()

    request.getfixturevalue("local_ray")  # not before, as two minutes of an idle Ray are work, too
    assert run_command("resume", out, *given).exit_code == 0
    assert now.items() <= state_of(results).items()
    place = LocalStorage(str(out))
    rows = pa.concat_tables(read_results(place, open_run(place))).to_pylist()
    assert len(rows) == len({row["photo"] for row in rows}) == PHOTOS
    assert run_command("verify", out).exit_code in (0, 3)  # a kill may leave partial files
    assert run_command("verify", out, "--prune").exit_code == 0
    known = {"images", "plan", "premis.xml", "report", "results", "run.json"}
    assert {path.name for path in out.iterdir()} == known
    calm = undisturbed(source, weights, RecipeOptions(method="sample")).files
    images = {each.path: place.read(each.path) for each in place.list("images")}
    assert images == {path: data for path, data in calm.items() if path.startswith("images/")}

    until = time.monotonic() + 60  # the Ray of a killed command ends by itself
    while (left := [each for own in sessions for each in members(own)]) and (
        time.monotonic() < until
    ):
        time.sleep(0.05)
    assert not left, "processes that outlive their commands"
