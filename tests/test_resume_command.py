"""`autochrome resume`: what it refuses before any work; tests/test_durability.py runs it."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.errors import ObjectTooLarge, UsageError
from pipeline.ledger.selection import read_selection
from pipeline.storage.open_storage import read_file
from support.commands import refusal, run_command
from support.simulated_runs import write_run
from support.tiny_models import write_tiny_weights


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    result = run_command("resume", tmp_path)
    assert result.exit_code == 2
    assert f"{tmp_path} holds no run of Autochrome" in result.stderr


def test_other_weights_are_refused_with_the_difference(tmp_path: Path) -> None:
    weights = write_tiny_weights(tmp_path / "weights")
    result = run_command("resume", write_run(tmp_path / "out"), "--weights", weights)
    assert result.exit_code == 5
    assert "weights.core: was absent, now " in result.stderr


def test_a_reason_needs_a_retry(tmp_path: Path) -> None:
    result = run_command("resume", tmp_path, "--reason", "missing")
    assert result.exit_code == 2
    assert "--reason needs --retry-failed" in result.stderr
    assert run_command("resume", tmp_path, "--retry-failed", "--reason", "boredom").exit_code == 2


def test_a_selection_is_checked_before_any_work(tmp_path: Path) -> None:
    folder, file = write_run(tmp_path / "out"), tmp_path / "selection.csv"
    file.write_text("photo,candidate,decision,seed\n000.jpg,0,perhaps,\n")
    result = run_command("resume", folder, "--selection", file)
    assert result.exit_code == 2
    assert (
        f"{file}, line 2: decision 'perhaps' is not one of approve, reject, redo" in result.stderr
    )
    result = run_command("resume", folder, "--selection", file, "--address", "http://127.0.0.1:1")
    assert result.exit_code == 2 and "take it without --address first" in result.stderr
    assert run_command("resume", folder, "--selection", tmp_path / "none.csv").exit_code == 2
    assert not (folder / "selections").exists()


@pytest.mark.parametrize("kind", ["a pipe", "a device"])
def test_a_selection_that_would_never_end_is_one_line(tmp_path: Path, kind: str) -> None:
    folder, file = write_run(tmp_path / "out"), Path("/dev/zero")
    if kind == "a pipe":
        file = tmp_path / "pipe"
        os.mkfifo(file)
    for command in (("resume", folder), ("export", folder, tmp_path / "delivery")):
        words = refusal(*command, "--selection", file)
        assert words == f"{file} is not a regular file"


def test_a_selection_may_come_through_a_pipe(tmp_path: Path) -> None:
    """As from a shell's `<(command)`, where somebody writes, perhaps a while later."""
    rows = b"photo,candidate,decision,seed\n000.jpg,0,perhaps,\n"
    for later in (False, True):
        end, start = os.pipe()
        writer = threading.Thread(target=os.write, args=(start, rows))
        if not later:
            writer.start()
            writer.join()
            os.close(start)
        with pytest.raises(UsageError, match=f"/dev/fd/{end}, line 2: decision 'perhaps'"):
            with ThreadPoolExecutor() as pool:
                reading = pool.submit(read_selection, f"/dev/fd/{end}")
                if later:
                    writer.start()
                    writer.join()
                    os.close(start)
                reading.result()
        os.close(end)


def test_of_a_pipe_no_more_is_read_than_is_taken() -> None:
    end, start = os.pipe()
    os.write(start, b"12345")
    with pytest.raises(ObjectTooLarge, match=f"/dev/fd/{end}"):
        read_file(f"/dev/fd/{end}", most=3)
    for each in (end, start):
        os.close(each)
