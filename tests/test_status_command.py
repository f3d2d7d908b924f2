"""`autochrome status`: what people and scripts are told."""

import csv
import json
import re
from pathlib import Path

import pytest
from test_resume_command import write_run

from jobs.status import describe
from pipeline.ledger.cells import as_named
from pipeline.ledger.plan import Schedule
from pipeline.ledger.planning import prepare_run
from pipeline.ledger.run_file import open_run
from pipeline.ledger.status import Status
from pipeline.storage.local import LocalStorage
from pipeline.storage.memory import MemoryStorage
from support.commands import run_command
from support.simulated_runs import RECIPE, commit

STATUS = Status(
    photos=1200,
    done=1000,
    skipped=3,
    failed={"corrupt": 5, "missing": 2},
    pending=190,
    retrying=2,
    shards=120,
    shards_done=100,
    rates={1: 2.0, 5: 1.5, 15: 1.25},
    seconds_left=96.0,
    since=12.0,
    stragglers=[7, 9],
    advice="the model is busy 40% of the time (2 actors)",
    more_pages=4,
    work_seconds=480.0,
    photos_per_second=2.1,
)


def test_people_are_told_all_of_it() -> None:
    assert describe(STATUS).splitlines() == [
        "1,000 of 1,200 photos colorized in 8 min, 2.1 photos/s (84.2% processed)",
        "7 failed: 5 corrupt, 2 missing",
        "3 skipped",
        "190 not done yet",
        "4 have more pages than the first: a run with --pages all does them all",
        "2 to be retried",
        "photos/s: 2.00 in 1 min, 1.50 in 5 min, 1.25 in 15 min",
        "last commit 12 s ago",
        "2 min left",
        "the model is busy 40% of the time (2 actors)",
        "2 shards open behind later ones: 7, 9",
    ]


def test_scripts_get_one_object(tmp_path: Path) -> None:
    out = write_run(tmp_path)
    [line] = run_command("status", out, "--json").stdout.splitlines()
    content = json.loads(line)
    assert (content["photos"], content["pending"], content["complete"]) == (3, 3, False)
    assert content["seconds_left"] is None


def test_watching_ends_when_all_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = LocalStorage(str(write_run(tmp_path)))
    shards = list(Schedule(place, open_run(place)).open())

    def work_instead(seconds: float) -> None:
        assert seconds == 60
        commit(place, open_run(place), shards.pop(), {"000.jpg": "corrupt"})

    monkeypatch.setattr("jobs.status.time.sleep", work_instead)
    result = run_command("status", tmp_path, "--watch", "--every", 60)
    assert result.exit_code == 0
    first, *_ = (line for line in result.stdout.splitlines())
    assert first == "0 of 3 photos colorized (0.0% processed)"
    assert re.search(
        r"^2 of 3 photos colorized( in .*)? \(100.0% processed\)\n1 failed: 1 corrupt",
        result.stdout,
        re.MULTILINE,
    )
    assert not shards


def test_failed_photos_are_named_ten_at_once_and_all_on_request(tmp_path: Path) -> None:
    out, table = tmp_path / "out", tmp_path / "failed.csv"
    place = LocalStorage(str(write_run(out, photos=13)))
    failing = {f"{number:03}.jpg": "corrupt" for number in range(1, 13)}
    for shard in Schedule(place, open_run(place)).open():
        commit(place, open_run(place), shard, failing)
    lines = run_command("status", out).stdout.splitlines()
    start = lines.index("12 failed: 12 corrupt") + 1
    assert lines[start] == "  001.jpg: corrupt: it is corrupt"
    assert lines[start + 9 : start + 11] == [
        "  010.jpg: corrupt: it is corrupt",
        f"  2 more: autochrome status {out} --failed",
    ]
    named = [f"{photo}: corrupt: it is corrupt" for photo in failing]
    assert run_command("status", out, "--failed").stdout.splitlines() == named
    objects = map(json.loads, run_command("status", out, "--failed", "--json").stdout.splitlines())
    assert [entry["photo"] for entry in objects] == list(failing)
    assert run_command("status", out, "--failed", "--csv", table).stdout == ""
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [row["photo"] for row in rows] == list(failing)
    assert rows[-1] == {
        **{"photo": "012.jpg", "shard": "6", "attempt": "1"},
        **{"reason": "corrupt", "error": "it is corrupt"},
    }
    refused = run_command("status", out, "--failed", "--csv", tmp_path / "none" / "failed.csv")
    assert refused.exit_code == 2 and refused.stderr.count("\n") == 1
    assert "--csv needs --failed" in run_command("status", out, "--csv", table).stderr


def test_any_name_comes_back_from_the_table(tmp_path: Path) -> None:
    out, table = tmp_path / "out", tmp_path / "failed.csv"
    names = ["carriage\rreturn.jpg", "line\nbreak.jpg", 'comma, "quotes".jpg']
    names += ["=1+1.jpg", "+a.jpg", "-a.jpg", "@a.jpg", "'=a.jpg", "\ta.jpg", "'tis.jpg"]
    source, destination = MemoryStorage("source"), LocalStorage(str(out))
    for name in names:
        source.write(name, b"1")
    run_ = prepare_run(source, destination, RECIPE, 3)
    for shard in Schedule(destination, run_).open():
        commit(destination, run_, shard, dict.fromkeys(names, "corrupt"))
    assert run_command("status", out, "--failed", "--csv", table).exit_code == 0
    with open(table, newline="", encoding="utf-8") as file:
        cells = [row["photo"] for row in csv.DictReader(file)]
    assert sorted(map(as_named, cells)) == sorted(names)
    assert not [cell for cell in cells if cell[0] in "=+-@\t"]  # a spreadsheet would run it


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    result = run_command("status", tmp_path)
    assert result.exit_code == 2 and "holds no run of Autochrome" in result.stderr
