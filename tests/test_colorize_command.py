"""`autochrome colorize`: what it refuses, in one line and before any work. No Ray starts here."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from jobs.closing import describe
from jobs.colorize import colorize
from jobs.survey import describe_bytes
from pipeline.errors import UsageError
from pipeline.ledger.sources import split_source
from pipeline.ledger.status import Failure
from pipeline.run.open_shards import failure_limit
from pipeline.run.options import RecipeOptions, Resources
from pipeline.run.request import prepare_job
from pipeline.run.summary import Summary
from pipeline.run.survey import survey
from pipeline.storage.local import LocalStorage
from support.commands import refusal, run_command


@pytest.fixture
def photos(tmp_path: Path, repository: Path) -> Path:
    shutil.copytree(repository / "examples" / "photos" / "animals", tmp_path / "photos")
    return tmp_path / "photos"


def test_places_that_cannot_work(tmp_path: Path, photos: Path, weights: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "list.txt").write_bytes(b"")
    (tmp_path / "scans.zip").write_bytes(b"PK")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(photos)
    for source, destination, words in (
        (tmp_path / "nowhere", tmp_path / "out", "nowhere does not exist"),
        (tmp_path / "list.txt", tmp_path / "out", "list.txt is not a photograph"),
        (photos / "cat.jpg", tmp_path / "file", f"{tmp_path / 'file'} is not a folder"),
        (photos / "cat.jpg", photos, "must not lie inside each other"),
        (tmp_path / "scans.zip", tmp_path / "out", "scans.zip is an archive: unpack it"),
        ("s3://bucket/scans.tar.gz", tmp_path / "out", "scans.tar.gz is an archive: unpack it"),
        ("s3://buck*/scans", tmp_path / "out", "the name of a bucket cannot be a pattern"),
        (photos / "*.tif", tmp_path / "out", "no photograph in "),
        (tmp_path / "empty", tmp_path / "out", "no photograph in "),
        (photos, tmp_path / "file" / "out", f"{tmp_path / 'file'} is not a folder"),
        (photos, photos / "out", "must not lie inside each other"),
        (photos, tmp_path, "must not lie inside each other"),
        (photos, tmp_path / "link" / "out", "must not lie inside each other"),
        (photos, photos, "must not lie inside each other"),
        ("ftp://host/photos", tmp_path / "out", "neither a folder nor s3://bucket/prefix"),
        (photos, "gs://bucket/out", "neither a folder nor s3://bucket/prefix"),
    ):
        assert words in refusal("colorize", source, destination, "--weights", weights)
    assert not (tmp_path / "out").exists()
    assert not (photos / "out").exists()


def test_buckets_that_cannot_work(bucket: str, photos: Path, weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for source, destination, words in (
        (f"s3://{bucket}/nothing", out, "no photograph in s3://"),
        ("s3://no-such-bucket-here", out, "does not exist"),
        (photos, "s3://no-such-bucket-here/out", "does not exist"),
        (f"s3://{bucket}/a", f"s3://{bucket}/a/out", "must not lie inside each other"),
        (f"s3://{bucket}", f"s3://{bucket}/out", "must not lie inside each other"),
    ):
        assert words in refusal("colorize", source, destination, "--weights", weights)


def test_weights_that_cannot_work(tmp_path: Path, photos: Path, weights: Path) -> None:
    for name in ("cut", "swapped", "missing", "foreign"):
        shutil.copytree(weights, tmp_path / name)
    core = tmp_path / "cut" / "core.safetensors"
    core.write_bytes(core.read_bytes()[:-8])
    shutil.copy(weights / "color.safetensors", tmp_path / "swapped" / "core.safetensors")
    (tmp_path / "missing" / "spatial.safetensors").unlink()
    (tmp_path / "foreign" / "color.safetensors").write_bytes(b"hello")
    for name in ("nowhere", "cut", "swapped", "missing", "foreign"):
        line = refusal("colorize", photos, tmp_path / "out", "--weights", tmp_path / name)
        assert f"{tmp_path / name}" in line
    line = refusal("colorize", photos, tmp_path / "out", "--weights", weights, "--model", "pic")
    assert f"no weights file at {weights}/pic.safetensors" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "option",
    [
        ("--candidates", 0),
        ("--shard-size", 0),
        ("--batch-size", 0),
        ("--temperature", -1),
        ("--temperature", "nan"),
        ("--seed", "x"),
        ("--format", "gif"),
        ("--model", "pixcolor"),
        ("--output-size", 512),
        ("--max-failed", "-1"),
        ("--max-failed", "many"),
        ("--max-failed", "5 %"),
        ("--device", "tpu"),
        ("--actors", "0"),
        ("--actors", "5:2"),
        ("--actors", "many"),
        ("--gpus-per-actor", 0),
        ("--log-format", "xml"),
        ("--no-such-option", 1),
    ],
)
def test_options_that_cannot_work(photos: Path, tmp_path: Path, option: tuple[str, object]) -> None:
    result = run_command("colorize", photos, tmp_path / "out", *option)
    assert result.exit_code == 2
    assert option[0] in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_home_that_cannot_hold_the_log_is_refused_before_a_plan_is_made(
    photos: Path, tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", "/dev/null/state")
    told = refusal("colorize", photos, tmp_path / "out", "--weights", weights)
    assert "no folder of this user's own for logs: Not a directory; XDG_STATE_HOME" in told
    assert not (tmp_path / "out").exists()


def test_a_gpu_that_is_not_there(photos: Path, tmp_path: Path, weights: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    line = refusal("colorize", photos, tmp_path / "out", "--weights", weights, "--device", "cuda")
    assert "--device cuda: PyTorch finds no GPU here" in line


def test_machines_get_errors_as_objects(tmp_path: Path) -> None:
    result = run_command("colorize", tmp_path / "nowhere", tmp_path / "out", "--log-format", "json")
    assert result.exit_code == 2 and result.stdout == ""
    [line] = result.stderr.splitlines()
    told = json.loads(line)
    assert (told["event"], told["exit_code"]) == ("error", 2)
    assert told["message"].endswith("nowhere does not exist")


@pytest.mark.parametrize(("given", "expected"), [("3", (3, 3)), ("2:8", (2, 8))])
def test_actors_are_a_number_or_a_range(given: str, expected: tuple[int, int]) -> None:
    context = colorize.make_context("colorize", ["photos", "out", "--actors", given])
    assert context.params["actors"] == expected


@pytest.mark.parametrize(
    ("max_failed", "limit"), [(None, float("inf")), ("0", 0), ("12", 12), ("5%", 10), ("0.5%", 1)]
)
def test_failure_limits(max_failed: str | None, limit: float) -> None:
    assert failure_limit(max_failed, 200) == limit


def test_closing_words() -> None:
    summary = Summary(
        photos=1200,
        failed=3,
        skipped=0,
        pending=1,
        reasons={"corrupt": 2, "changed": 1},
        ignored={".txt": 1},
        destination="s3://bucket/out",
        report="s3://bucket/out/report/index.html",
        log="/tmp/ray/autochrome.log",
        failures=(Failure("a\n.jpg", 0, 1, "corrupt", "no image"),),
        retried=0,
        work_seconds=180.0,
        photos_per_second=6.67,
        selection={"approve": 1200, "redo": 3, "redone": 2},
    )
    assert describe(summary).splitlines() == [
        "1,196 of 1,200 photos colorized in 3 min, 6.7 photos/s",
        "3 failed: 2 corrupt, 1 changed",
        r"  a\n.jpg: corrupt: no image",
        "  2 more: autochrome status s3://bucket/out --failed",
        "selection: 1,200 approved, 2 redone, 1 already done with that seed",
        "nothing to retry: no such failure is left",
        "1 not done: the same command tries them again",
        "1 other file ignored (1 .txt)",
        "causes   /tmp/ray/autochrome.log",
        "images   s3://bucket/out/images",
        "results  s3://bucket/out/results",
        "report   s3://bucket/out/report/index.html",
    ]


@pytest.mark.parametrize(
    ("source", "place", "include"),
    [
        ("scans", "scans", ()),
        ("scans/18*.tif", "scans", ("18*.tif",)),
        ("*.tif", ".", ("*.tif",)),
        ("/*/a.tif", "/", ("*/a.tif",)),
        ("/a/b?/*.tif", "/a", ("b?/*.tif",)),
        ("s3://bucket/a/*.tif", "s3://bucket/a", ("*.tif",)),
        ("s3://bucket/a[1]", "s3://bucket/a[1]", ()),
    ],
)
def test_a_source_may_be_a_pattern(source: str, place: str, include: tuple[str, ...]) -> None:
    assert split_source(source, ()) == (place, include)
    if include:
        with pytest.raises(UsageError, match="is a pattern, and so is --include 'x'"):
            split_source(source, ("x",))


def test_a_folder_whose_name_is_a_pattern_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a*").mkdir()
    assert split_source(str(tmp_path / "a*"), ("x",)) == (str(tmp_path / "a*"), ("x",))


def test_a_dry_run_says_what_there_is_to_do_and_writes_nothing(
    tmp_path: Path, photos: Path, weights: Path
) -> None:
    (photos / "notes.txt").write_text("none")
    (photos / "broken.jpg").write_bytes(b"none")
    before = sorted(tmp_path.rglob("*"))
    command = (photos, tmp_path / "out", "--weights", weights, "--dry-run", "--device", "cpu")
    lines = run_command("colorize", *command).stdout.splitlines()
    size = sum(path.stat().st_size for path in photos.glob("*.jpg"))
    assert lines[0] == f"3 photos in {photos}, {describe_bytes(size)}"
    assert lines[1].startswith("  3 .jpg, ")
    assert lines[2:4] == ["1 other file ignored (1 .txt)", f"0 done in {tmp_path}/out, 3 to do"]
    assert re.fullmatch(r"tried 3 of them: \d+\.\d\d s each; failed: 1 unsupported", lines[4])
    assert "of this machine, without the start, " in lines[5]
    assert lines[6] == "nothing was written" and sorted(tmp_path.rglob("*")) == before
    limited = run_command(
        "colorize", *command, "--limit", 1, "--price-per-hour", 7200, "--log-format", "json"
    )
    found = json.loads(limited.stdout)
    assert (found["event"], found["photos"], found["left"]) == ("dry_run", 1, 1)
    assert found["cost"] == pytest.approx(2 * found["seconds_left"])
    line = refusal("colorize", photos, tmp_path / "out", "--price-per-hour", 1)
    assert "--price-per-hour needs --dry-run" in line


@pytest.mark.parametrize("limit", [None, 1])
def test_a_dry_run_of_what_was_begun_lists_the_source_once(
    tmp_path: Path, photos: Path, weights: Path, limit: int | None
) -> None:
    destination, asked = LocalStorage(str(tmp_path / "out")), RecipeOptions(limit=limit)
    resources = Resources(str(weights), device="cpu")
    planned = prepare_job(str(photos), destination, asked, resources).run.plan.photos
    shutil.copy(photos / "cat.jpg", photos / "new.jpg")
    listed: list[object] = []
    watching = [True]  # a hook stays for good

    def hook(event: str, given: tuple[object, ...]) -> None:
        if watching[0] and event == "os.scandir" and given[0] == str(photos):
            listed.append(given[0])

    sys.addaudithook(hook)
    try:
        found = survey(str(photos), destination, asked, resources)
    finally:
        watching[0] = False
    assert listed == [str(photos)]
    if limit is None:
        assert (found.photos, found.left, found.unplanned) == (planned + 1, planned, 1)
    else:
        assert (found.photos, found.left, found.unplanned) == (1, 1, 0)
    assert found.pilot and not found.pilot.reasons


def test_a_dry_run_in_which_nothing_could_be_colorized_has_no_estimate(
    tmp_path: Path, weights: Path
) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"")
    command = (tmp_path / "broken.jpg", tmp_path / "out", "--weights", weights, "--dry-run")
    first, *_, tried, estimate, last = run_command("colorize", *command).stdout.splitlines()
    assert first == f"1 photo in {tmp_path}, 0 B" and tried.endswith("s each; failed: 1 corrupt")
    assert estimate == "no estimate: none of these became a picture"
    assert last == "nothing was written"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Missing argument 'SRC... DST'. Give two paths"),
        (["scans"], "Missing argument 'SRC... DST'. Give two paths"),
        (["scans", "out", "--weights", ""], "the argument after '--weights' is empty"),
        (["scans", "out", "--hints="], "'--hints=' is empty"),
        (["", "out"], "the argument after 'colorize' is empty"),
    ],
)
def test_what_is_left_out_is_named(arguments: list[str], words: str) -> None:
    result = run_command("colorize", *arguments)
    assert result.exit_code == 2 and words in result.stderr


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (99_949, "100 kB"), (999_999, "1.0 MB")],
)
def test_bytes_in_words(count: int, words: str) -> None:
    assert describe_bytes(count) == words


@pytest.mark.parametrize("made", [RecipeOptions(), Resources("weights")])
def test_defaults_of_the_command_are_those_of_the_settings(made: RecipeOptions | Resources) -> None:
    given = colorize.make_context("colorize", ["photos", "out"]).params
    for name, value in asdict(made).items():
        if name not in ("weights", "log_as_json"):  # the latter is told by --log-format
            assert value == given[name], name


def test_wrong_paths_and_empty_sources_are_answered_before_torch_is_imported(
    tmp_path: Path, repository: Path
) -> None:
    code = (
        "import sys\n"
        "from jobs.main import main\n"
        "try: main()\n"
        "except SystemExit as end: sys.exit(2 * ('torch' in sys.modules or end.code != 2))"
    )
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "notes.txt").write_text("none")
    for words, what in (
        (["colorize", "nowhere", str(tmp_path / "out")], "does not exist"),
        (["colorize", str(tmp_path / "lists"), str(tmp_path / "out")], "1 other file ignored"),
        (["resume", "nowhere"], "no run.json"),
    ):
        ended = subprocess.run(
            [sys.executable, "-c", code, *words], cwd=repository, capture_output=True, check=False
        )
        assert ended.returncode == 0 and what in ended.stderr.decode(), words
    assert not (tmp_path / "out").exists()
