"""`autochrome export`: what it says, what it refuses, and its page in the documents."""

import hashlib
import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import bagit
import pyarrow.parquet as pq
import pytest
from click.testing import Result
from test_delivery import BAGIT, pictures_of

from pipeline.delivery.catalog import SCHEMA
from pipeline.ledger.selection import parse_selection, take_selection
from pipeline.storage.local import LocalStorage
from pipeline.storage.s3 import S3Storage
from support.colored_places import colored_folder, example_photos
from support.commands import run_command, started_command
from support.written_shards import RECIPE


def run(*arguments: object) -> Result:
    return run_command("export", *arguments)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A destination of the example photographs, one of them approved, one rejected, one broken."""
    folder = tmp_path_factory.mktemp("place")
    photos = example_photos() | {"broken.jpg": b""}
    _, destination, run = colored_folder(folder, photos, replace(RECIPE, candidates=2))
    decided = "photo,candidate,decision,seed\nanimals/cat.jpg,1,approve,\n"
    decided += "things/coffee.png,0,reject,\nthings/coffee.png,1,reject,\n"
    take_selection(destination, run, parse_selection("s.csv", decided.encode()))
    return folder / "colored"


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_people_are_told_what_went_out(place: Path, tmp_path: Path) -> None:
    before = digests(place.parent)
    result = run(place, tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    first, *rest = result.stdout.splitlines()
    assert re.fullmatch(r"7 pictures of 7 photos delivered, [\d,]+ bytes", first)
    assert rest == ["left out: 1 failed, 1 rejected", f"delivery {tmp_path / 'out'}"]
    assert digests(place.parent) == before
    assert run(place, tmp_path / "out").exit_code == 0


def test_machines_get_one_object(place: Path, tmp_path: Path) -> None:
    result = run(place, tmp_path / "out", "--approved", "--log-format", "json")
    said = json.loads(result.stdout.splitlines()[-1])
    assert said["event"] == "delivered" and said["pictures"] == 1 and said["failed"] == []
    assert said["left_out"] == {"not approved": 8}


def test_what_could_not_be_delivered_is_named(place: Path, tmp_path: Path) -> None:
    file = tmp_path / "selection.csv"
    file.write_text("photo,candidate,decision,seed\nbroken.jpg,0,approve,\n")
    result = run(place, tmp_path / "out", "--selection", file)
    assert result.exit_code == 3
    assert "1 could not be delivered:\n  broken.jpg: corrupt: " in result.stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--approved", "--selection", "SELECTION"], "exclude each other"),
        (["--bag-info", "a=b"], "--bag-info needs --bag"),
        (["--bag", "--bag-info", "Payload-Oxum=1.1"], "'Payload-Oxum' is not a label"),
        (["--bag", "--bag-info", "A=b\nEvil: yes"], "A needs a value of one line"),
        (["--bag", "--bag-info", "A"], "is not LABEL=VALUE"),
        (["--bag", "--bag-info", "A=1", "--bag-info", "A=2"], "repeats a label"),
        (["--iiif", "archive.example"], "is not an address"),
        (["--min-colorfulness", "nan"], "nan is not a number"),
        (["--min-colorfulness", "1e9"], "nothing to deliver: 1 failed, 7 outside of the scores, 1"),
        (["--selection", "SELECTION"], "selection.csv, line 2: photo 'none.jpg' has no result in"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_done(
    place: Path, tmp_path: Path, options: list[str], words: str
) -> None:
    file = tmp_path / "selection.csv"
    file.write_text("photo,candidate,decision,seed\nnone.jpg,0,approve,\n")
    filled = [str(file) if each == "SELECTION" else each for each in options]
    result = run(place, tmp_path / "out", *filled)
    assert result.exit_code == 2 and words in result.stderr
    assert not (tmp_path / "out").exists()


def test_places_that_cannot_be(place: Path, tmp_path: Path) -> None:
    assert "holds no run of Autochrome" in run(tmp_path, tmp_path / "out").stderr
    inside = run(place, place / "out")
    assert inside.exit_code == 2 and "must not lie inside each other" in inside.stderr
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear")
    full = run(place, tmp_path / "full")
    assert full.exit_code == 2 and "holds letter.txt and no delivery.json" in full.stderr
    assert run(place, tmp_path / "full" / "letter.txt").stderr.count("\n") == 1
    assert run(place, tmp_path / "out").exit_code == 0
    other = run(place, tmp_path / "out", "--candidates", "all")
    assert other.exit_code == 5 and "candidates: was best, now all" in other.stderr


def test_a_single_writer_leaves_no_lease_behind(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.storage.lease.SETTLING", 0)
    for _ in range(2):
        assert run(place, tmp_path / "out", "--single-writer").exit_code == 0
    assert not (tmp_path / "out" / "lease.json").exists()


def test_to_a_bucket(place: Path, tmp_path: Path, bucket: str) -> None:
    assert run(place, f"s3://{bucket}/out").exit_code == 0
    assert run(place, tmp_path / "out").exit_code == 0
    there, here = S3Storage(bucket, "out"), LocalStorage(str(tmp_path / "out"))
    assert pictures_of(there) == pictures_of(here)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("room", "words"), [(1000, "File too large"), (0, r"No usable temporary directory found in .*")]
)
def test_no_room_for_temporary_files_is_one_line(
    place: Path, tmp_path: Path, room: int, words: str
) -> None:
    limit = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, resource.RLIM_INFINITY))"
    )
    with started_command("export", place, tmp_path / "out", first=limit) as process:
        out, told = process.communicate()
    assert (process.returncode, out) == (2, "")
    assert re.fullmatch(rf"autochrome: cannot write: {words}; temporary files go to .*\n", told)
    assert not (tmp_path / "out").exists()


@BAGIT
def test_the_documents_commands_do_what_they_say(
    repository: Path, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (repository / "docs" / "delivery.md").read_text(encoding="utf-8")
    commands = re.findall(r"^autochrome export (.*)$", text, re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        words = [str(place) if each == "colorized/" else each for each in shlex.split(command)]
        assert run(*words).exit_code == 0, command
    assert (tmp_path / "delivery" / "catalog.csv").exists()
    bag = bagit.Bag("bag")
    bag.validate()
    assert bag.info["External-Identifier"] == "RBA 7"
    assert (tmp_path / "web" / "iiif" / "collection.json").exists()
    table = text.split("## The catalog")[1].split("## A bag")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert set(re.findall(r"`(\w+)`", "".join(rows))) == set(SCHEMA.names)
    assert pq.read_schema("delivery/catalog.parquet").names == SCHEMA.names
