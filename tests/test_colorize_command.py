"""`autochrome colorize`: what it refuses, in one line and before any work. No Ray starts here."""

import json
import shutil
from dataclasses import fields
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tiny_models import write_tiny_weights

from jobs.colorize import colorize, describe
from jobs.main import main
from pipeline.colorize import failure_limit
from pipeline.ledger.status import Failure
from pipeline.run.request import Settings, Summary


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["colorize", *map(str, arguments)])


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def photos(tmp_path: Path, repository: Path) -> Path:
    shutil.copytree(repository / "examples" / "photos" / "animals", tmp_path / "photos")
    return tmp_path / "photos"


def refused(result: Result, words: str, code: int = 2) -> None:
    """One line on standard error that holds the words, and nothing else."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    [line] = result.stderr.splitlines()
    assert line.startswith("autochrome: ")
    assert words in line


def test_places_that_cannot_work(tmp_path: Path, photos: Path, weights: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(photos)
    for source, destination, words in (
        (tmp_path / "nowhere", tmp_path / "out", "nowhere does not exist"),
        (tmp_path / "file", tmp_path / "out", "file is not a folder"),
        (tmp_path / "empty", tmp_path / "out", "no photograph in "),
        (photos, tmp_path / "file" / "out", "Not a directory"),
        (photos, photos / "out", "must not lie inside each other"),
        (photos, tmp_path, "must not lie inside each other"),
        (photos, tmp_path / "link" / "out", "must not lie inside each other"),
        (photos, photos, "must not lie inside each other"),
        ("ftp://host/photos", tmp_path / "out", "neither a folder nor s3://bucket/prefix"),
        (photos, "gs://bucket/out", "neither a folder nor s3://bucket/prefix"),
    ):
        refused(run(source, destination, "--weights", weights), words)
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
        refused(run(source, destination, "--weights", weights), words)


def test_weights_that_cannot_work(tmp_path: Path, photos: Path, weights: Path) -> None:
    for name in ("cut", "swapped", "missing", "foreign"):
        shutil.copytree(weights, tmp_path / name)
    core = tmp_path / "cut" / "core.safetensors"
    core.write_bytes(core.read_bytes()[:-8])
    shutil.copy(weights / "color.safetensors", tmp_path / "swapped" / "core.safetensors")
    (tmp_path / "missing" / "spatial.safetensors").unlink()
    (tmp_path / "foreign" / "color.safetensors").write_bytes(b"hello")
    for name in ("nowhere", "cut", "swapped", "missing", "foreign"):
        result = run(photos, tmp_path / "out", "--weights", tmp_path / name)
        refused(result, f"{tmp_path / name}")
    result = run(photos, tmp_path / "out", "--weights", weights, "--model", "pic")
    refused(result, f"no weights file at {weights}/pic.safetensors")
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
    result = run(photos, tmp_path / "out", *option)
    assert result.exit_code == 2
    assert option[0] in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_gpu_that_is_not_there(photos: Path, tmp_path: Path, weights: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    result = run(photos, tmp_path / "out", "--weights", weights, "--device", "cuda")
    refused(result, "--device cuda: PyTorch finds no GPU here")


def test_machines_get_errors_as_objects(tmp_path: Path) -> None:
    result = run(tmp_path / "nowhere", tmp_path / "out", "--log-format", "json")
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
    )
    assert describe(summary).splitlines() == [
        "1,196 of 1,200 photos colorized",
        "3 failed: 2 corrupt, 1 changed",
        r"  a\n.jpg: corrupt: no image",
        "  2 more: autochrome status s3://bucket/out --failed",
        "nothing to retry: no such failure is left",
        "1 not done: the same command tries them again",
        "1 other file ignored (1 .txt)",
        "causes   /tmp/ray/autochrome.log",
        "images   s3://bucket/out/images",
        "results  s3://bucket/out/results",
        "report   s3://bucket/out/report/index.html",
    ]


def test_defaults_of_the_command_are_those_of_the_settings() -> None:
    given = colorize.make_context("colorize", ["photos", "out"]).params
    for field in fields(Settings):
        if field.name not in ("weights", "log_as_json"):  # the latter is told by --log-format
            assert getattr(Settings("weights"), field.name) == given[field.name], field.name
