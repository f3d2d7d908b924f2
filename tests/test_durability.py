"""The life of an archive's run on a real Ray: stopped, resumed, retried, damaged, repaired."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from simulated_runs import foreign_lines
from tiny_models import write_tiny_weights

from jobs.main import main
from pipeline.cluster.session import quiet_ray
from pipeline.ledger.plan import open_run
from pipeline.ledger.results import read_results
from pipeline.storage.local import LocalStorage

pytestmark = pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\.")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def ray() -> Iterator[None]:
    with quiet_ray():
        yield


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def status_of(out: Path) -> dict[str, object]:
    result = run("status", out, "--json")
    assert result.exit_code == 0, result.output
    content: dict[str, object] = json.loads(result.stdout)
    return content


def test_a_run_from_a_manifest_through_failures_damage_and_repair(
    ray: None, weights: Path, tmp_path: Path, repository: Path
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    shutil.copytree(repository / "examples" / "photos" / "animals", source)
    cat = (source / "cat.jpg").read_bytes()
    names = sorted(path.name for path in source.glob("*.jpg"))
    (source / "broken.jpg").write_bytes(cat[:2000])
    (source / "not listed.jpg").write_bytes(cat)
    manifest = tmp_path / "list.parquet"
    listed = [*names, "broken.jpg", "gone.jpg", "cat.jpg", "tmp/cat.jpg"]
    pq.write_table(pa.table({"uri": listed}), manifest)
    command = ("colorize", source, out, "--weights", weights, "--shard-size", 2)
    chosen = ("--manifest", manifest, "--exclude", "tmp/*")

    started = run(*command, *chosen)
    assert started.exit_code == 3, started.output
    photos = len(names) + 2
    assert f"{len(names)} of {photos} photos colorized" in started.stdout
    assert "2 failed: 1 corrupt, 1 missing" in started.stdout
    assert "2 other files ignored (1 filtered, 1 repeated)" in started.stdout
    now = status_of(out)
    assert (now["done"], now["pending"], now["complete"]) == (len(names), 0, True)
    assert now["failed"] == {"corrupt": 1, "missing": 1}

    other = run(*command)
    assert other.exit_code == 5
    assert "manifest: was " in other.stderr and "exclude: was ('tmp/*',), now ()" in other.stderr

    (source / "broken.jpg").write_bytes(cat)
    (source / "gone.jpg").write_bytes(cat)
    retried = run("resume", out, "--weights", weights, "--retry-failed", "--reason", "missing")
    assert retried.exit_code == 3, retried.output
    assert "1 failed: 1 corrupt" in retried.stdout
    assert run("resume", out, "--weights", weights, "--retry-failed").exit_code == 0
    place = LocalStorage(str(out))
    rows = pa.concat_tables(read_results(place, open_run(place))).to_pylist()
    assert {row["photo"]: row["attempt"] for row in rows} == dict.fromkeys(names, 1) | {
        "broken.jpg": 2,
        "gone.jpg": 2,
    }
    assert (out / "images" / "gone.jpg").read_bytes() == (out / "images" / "cat.jpg").read_bytes()

    assert run("verify", out).exit_code == 0
    image = out / "images" / "cat.jpg"
    good = image.read_bytes()
    image.write_bytes(good[:-1])
    (out / "images" / "stray.jpg").write_bytes(b"x")
    found = run("verify", out)
    assert found.exit_code == 3
    assert "1 images with other bytes than recorded:\n  images/cat.jpg" in found.stdout
    assert "1 files that belong to no result:\n  images/stray.jpg" in found.stdout
    repaired = run("verify", out, "--repair", "--prune", "--weights", weights)
    assert repaired.exit_code == 0, repaired.output
    assert image.read_bytes() == good and not (out / "images" / "stray.jpg").exists()
    assert run("verify", out, "--sample", "50%").exit_code == 0


def test_photos_that_come_later_are_added_and_files_are_a_source(
    ray: None, weights: Path, tmp_path: Path, repository: Path
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    cat = repository / "examples/photos/animals/cat.jpg"
    shutil.copy(cat, source / "a.jpg")
    command = ("colorize", source, out, "--weights", weights, "--device", "cpu")
    assert run(*command).exit_code == 0
    shutil.copy(cat, source / "A.jpg")
    shutil.copy(cat, source / "a.bmp")
    told = run(*command)
    assert told.exit_code == 0 and told.stdout.startswith("1 of 1 photos colorized\n")
    assert "2 photos of the source are not in the plan: --update adds them" in told.stdout
    added = run(*command, "--update")
    assert added.exit_code == 0, added.output
    assert added.stdout.startswith("3 of 3 photos colorized\n2 new photos were added to the plan\n")
    assert status_of(out)["photos"] == 3
    assert run("verify", out).stdout.startswith("nothing is wrong: 3 images and 3 sources")
    pictures = {path.read_bytes() for path in (out / "images").glob("*.jpg")}
    assert len(pictures) == 1, "one photo, so one picture, whenever it came"

    beside = ("colorize", source / "a.jpg", source / "A.jpg", source / "out")
    alone = run(*beside, "--weights", weights, "--device", "cpu")
    assert alone.exit_code == 0, alone.output
    assert (source / "out" / "images" / "a.jpg").exists()
    assert run("verify", source / "out").exit_code == 0


def test_sigterm_ends_a_run_within_seconds_and_says_how_to_go_on(
    weights: Path, tmp_path: Path, repository: Path
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for number in range(40):
        shutil.copy(repository / "examples/photos/animals/cat.jpg", source / f"{number:02}.jpg")
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", "from jobs.main import main; main()", "colorize"),
            *(str(source), str(out), "--weights", str(weights), "--shard-size", "1"),
        ],
        cwd=repository,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None and len(list(out.glob("results/shard-*.parquet"))) < 3:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGTERM)
    sent = time.monotonic()
    stdout, stderr = process.communicate(timeout=60)
    assert time.monotonic() - sent < 30
    assert (process.returncode, stdout) == (130, ""), stderr
    lines = stderr.splitlines()
    assert lines[-1].startswith("autochrome: interrupted; the same command again goes on")
    assert lines[-1].endswith(f"autochrome resume {out}")
    assert foreign_lines(lines[:-1], photos=40) == []
    now = status_of(out)
    assert 3 <= int(str(now["done"])) < 40
    assert run("resume", out, "--weights", weights).exit_code == 0
    assert run("verify", out).exit_code in (0, 3)  # what a kill may leave behind: partial files
    assert run("verify", out, "--prune").exit_code == 0
