"""The log of a run: causes with tracebacks, from wherever they happened (pipeline/run/logs.py)."""

import json
import pickle
import threading
from pathlib import Path

import click
import pytest

from jobs.main import main
from pipeline.errors import PhotoError
from pipeline.images.masters import MAX_PIXELS, read_small
from pipeline.run.isolation import call_isolated
from pipeline.run.logs import LOGGER, MAX_LOGS, RunLog, collect_records, replay
from support.commands import run_command


def fail(message: str) -> None:
    try:
        raise ValueError(message)
    except ValueError as error:
        LOGGER.warning("a.jpg: corrupt", exc_info=error)


def test_the_oldest_logs_make_room(tmp_path: Path) -> None:
    for number in range(MAX_LOGS + 5):
        (tmp_path / f"autochrome-2026{number:04}-000000-000000.log").touch()
    (tmp_path / "raylet.log").touch()
    with RunLog().written_to(tmp_path):
        left = sorted(path.name for path in tmp_path.iterdir())
    assert left[0] == "autochrome-20260005-000000-000000.log" and left[-1] == "raylet.log"
    assert len(left) == MAX_LOGS + 1


def test_what_a_thread_logs_reaches_the_file_of_another_process(tmp_path: Path) -> None:
    with collect_records() as records:
        fail("of this thread")
        other = threading.Thread(target=fail, args=["of another"])
        other.start()
        other.join()
    fail("outside of the block")
    assert len(records) == 1
    log = RunLog()
    with log.written_to(tmp_path):
        assert not list(tmp_path.iterdir()), "no file before there is anything to tell"
        replay(pickle.loads(pickle.dumps(records)))
    assert log.path is not None
    text = Path(log.path).read_text()
    assert "WARNING a.jpg: corrupt\nTraceback (most recent call last):\n" in text
    assert text.endswith("ValueError: of this thread\n")
    assert "in fail\n    raise ValueError(message)\n" in text


def test_a_log_in_json_has_an_object_a_line_and_ends_with_what_ended_the_run(
    tmp_path: Path,
) -> None:
    log = RunLog(as_json=True)
    with pytest.raises(KeyError), log.written_to(tmp_path):
        fail("first")
        raise KeyError("last")
    first, last = map(json.loads, Path(str(log.path)).read_text().splitlines())
    assert first["level"] == "warning" and "ValueError: first" in first["message"]
    assert last["level"] == "error" and last["message"].startswith("the run ended: KeyError\n")
    assert first["time"] <= last["time"] and first["time"].endswith("+00:00")


def test_an_error_in_a_process_of_its_own_keeps_the_traceback_of_there() -> None:
    with pytest.raises(PhotoError) as caught:
        call_isolated(read_small, b"no photograph", (8, 16), MAX_PIXELS, 1)
    assert "in read_small" in str(caught.value.__cause__)


def test_a_fault_of_ours_is_one_line_and_verbose_shows_where() -> None:
    @click.command()
    def faulty() -> None:
        raise LookupError("what nobody has thought of")

    main.add_command(faulty)
    try:
        short = run_command("faulty")
        long = run_command("--verbose", "faulty")
    finally:
        del main.commands["faulty"]
    line = "autochrome: a fault of Autochrome: LookupError: what nobody has thought of; "
    assert short.exit_code == long.exit_code == 1
    assert short.stderr.startswith(line) and short.stderr.count("\n") == 1
    assert "in faulty" in long.stderr and line in long.stderr


def test_verbose_shows_what_is_behind_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    wrong = ["convert", tmp_path, tmp_path / "out", "--stage", "core", "--config"]
    result = run_command("--verbose", *wrong, tmp_path / "a.json")
    assert result.exit_code == 2 and "JSONDecodeError" in result.stderr
