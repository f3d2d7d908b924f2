"""`autochrome resume`: what it refuses before any work; tests/test_durability.py runs it."""

from dataclasses import replace
from pathlib import Path

from click.testing import CliRunner, Result
from simulated_runs import RECIPE, planned
from tiny_models import write_tiny_weights

from jobs.main import main
from pipeline.storage.memory import MemoryStorage


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["resume", *map(str, arguments)])


def write_run(folder: Path, photos: int = 3) -> Path:
    """A planned destination, as files."""
    recipe = replace(RECIPE, source=str(folder / "elsewhere"))
    _, destination, _ = planned(photos=photos, shard_size=2, recipe=recipe)
    assert isinstance(destination, MemoryStorage)
    for path, data in destination.objects.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    result = run(tmp_path)
    assert result.exit_code == 2
    assert f"{tmp_path} holds no run of Autochrome" in result.stderr


def test_other_weights_are_refused_with_the_difference(tmp_path: Path) -> None:
    weights = write_tiny_weights(tmp_path / "weights")
    result = run(write_run(tmp_path / "out"), "--weights", weights)
    assert result.exit_code == 5
    assert "weights.core: was absent, now " in result.stderr


def test_a_reason_needs_a_retry(tmp_path: Path) -> None:
    result = run(tmp_path, "--reason", "missing")
    assert result.exit_code == 2
    assert "it needs --retry-failed" in result.stderr
    assert run(tmp_path, "--retry-failed", "--reason", "boredom").exit_code == 2


def test_a_selection_is_checked_before_any_work(tmp_path: Path) -> None:
    folder, file = write_run(tmp_path / "out"), tmp_path / "selection.csv"
    file.write_text("photo,candidate,decision,seed\n000.jpg,0,perhaps,\n")
    result = run(folder, "--selection", file)
    assert result.exit_code == 2
    assert f"{file}, line 2: decision 'perhaps' is none of approve, reject, redo" in result.stderr
    result = run(folder, "--selection", file, "--address", "http://127.0.0.1:1")
    assert result.exit_code == 2 and "take it without --address first" in result.stderr
    assert run(folder, "--selection", tmp_path / "none.csv").exit_code == 2
    assert not (folder / "selections").exists()
