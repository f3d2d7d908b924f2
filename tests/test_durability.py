"""The life of an archive's run on a real Ray: stopped, resumed, retried, damaged, repaired."""

import json
import re
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from compared_runs import carry_out
from pipeline.ledger.results import read_results
from pipeline.ledger.run_file import open_run
from pipeline.run.options import RecipeOptions, Resources
from pipeline.run.request import prepare_job
from pipeline.storage.local import LocalStorage
from support.commands import run_command

pytestmark = [
    pytest.mark.usefixtures("local_ray"),
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\."),  # of Ray at itself
]


def status_of(out: Path) -> dict[str, object]:
    result = run_command("status", out, "--json")
    assert result.exit_code == 0, result.output
    content: dict[str, object] = json.loads(result.stdout)
    return content


def test_a_run_from_a_manifest_through_failures_damage_and_repair(
    weights: Path, tmp_path: Path, repository: Path
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
    given = ("--weights", weights, "--actors", 1)
    command = ("colorize", source, out, *given, "--shard-size", 2)
    chosen = ("--manifest", manifest, "--exclude", "tmp/*")

    started = run_command(*command, *chosen)
    assert started.exit_code == 3, started.output
    photos = len(names) + 2
    assert f"{len(names)} of {photos} photos colorized" in started.stdout
    assert "2 failed: 1 corrupt, 1 missing" in started.stdout
    assert "2 other files ignored (1 filtered, 1 repeated)" in started.stdout
    now = status_of(out)
    assert (now["done"], now["pending"], now["complete"]) == (len(names), 0, True)
    assert now["failed"] == {"corrupt": 1, "missing": 1}

    other = run_command(*command)
    assert other.exit_code == 5
    assert "manifest: was " in other.stderr and "exclude: was ('tmp/*',), now ()" in other.stderr

    (source / "broken.jpg").write_bytes(cat)
    (source / "gone.jpg").write_bytes(cat)
    retried = run_command("resume", out, *given, "--retry-failed", "--reason", "missing")
    assert retried.exit_code == 3, retried.output
    assert "1 failed: 1 corrupt" in retried.stdout
    assert run_command("resume", out, *given, "--retry-failed").exit_code == 0
    place = LocalStorage(str(out))
    rows = pa.concat_tables(read_results(place, open_run(place))).to_pylist()
    assert {row["photo"]: row["attempt"] for row in rows} == dict.fromkeys(names, 1) | {
        "broken.jpg": 2,
        "gone.jpg": 2,
    }
    assert (out / "images" / "gone.jpg").read_bytes() == (out / "images" / "cat.jpg").read_bytes()

    assert run_command("verify", out).exit_code == 0
    image = out / "images" / "cat.jpg"
    good = image.read_bytes()
    image.write_bytes(good[:-1])
    (out / "images" / "stray.jpg").write_bytes(b"x")
    found = run_command("verify", out)
    assert found.exit_code == 3
    assert "1 images with other bytes than recorded:\n  images/cat.jpg" in found.stdout
    assert "1 files that belong to no result:\n  images/stray.jpg" in found.stdout
    repaired = run_command("verify", out, "--repair", "--prune", "--weights", weights)
    assert repaired.exit_code == 0, repaired.output
    assert image.read_bytes() == good and not (out / "images" / "stray.jpg").exists()
    assert run_command("verify", out, "--sample", "50%").exit_code == 0


def test_photos_that_come_later_are_added_and_files_are_a_source(
    weights: Path, tmp_path: Path, repository: Path
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    cat = repository / "examples/photos/animals/cat.jpg"
    shutil.copy(cat, source / "a.jpg")
    command = ("colorize", source, out, "--weights", weights, "--device", "cpu")
    resources = Resources(str(weights), device="cpu")
    carry_out(prepare_job(str(source), LocalStorage(str(out)), RecipeOptions(), resources))
    shutil.copy(cat, source / "A.jpg")
    shutil.copy(cat, source / "a.bmp")
    told = run_command(*command)
    assert told.exit_code == 0 and told.stdout.startswith("1 of 1 photos colorized")
    assert "2 photos of the source are not in the plan: --update adds them" in told.stdout
    added = run_command(*command, "--update")
    assert added.exit_code == 0, added.output
    assert re.match(
        r"3 of 3 photos colorized.*\n2 new photos were added to the plan\n", added.stdout
    )
    assert status_of(out)["photos"] == 3
    assert run_command("verify", out).stdout.startswith("nothing is wrong: 3 images and 3 sources")
    pictures = {path.read_bytes() for path in (out / "images").glob("*.jpg")}
    assert len(pictures) == 1, "one photo, so one picture, whenever it came"

    beside = ("colorize", source / "a.jpg", source / "A.jpg", source / "out")
    alone = run_command(*beside, "--weights", weights, "--device", "cpu")
    assert alone.exit_code == 0, alone.output
    assert len(list((source / "out" / "images").iterdir())) == 2
    assert run_command("verify", source / "out").exit_code == 0
