"""Ctrl-C at any moment of a command's start: one line, exit code 130, nothing else."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.errors import EngineError, from_interrupt
from support.simulated_runs import foreign_lines

LINE = "autochrome: interrupted\n"
# As the installed command does; a shell may let what it starts ignore SIGINT, a terminal does not.
START = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from jobs.start import start
print("started", flush=True)
start()
"""


# The first Ctrl-C comes in a destructor, where Python ignores exceptions.
SWALLOWED = """
import os, signal, sys

class Interrupted:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):
            pass

class WhenArrowIsImported:
    waiting = Interrupted()

    def find_spec(self, name, path, target=None):
        if name == "pyarrow":
            self.__class__.waiting = None

sys.meta_path.insert(0, WhenArrowIsImported())
"""


def started(repository: Path, *arguments: object, before: str = "") -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", before + START, *map(str, arguments)],
        cwd=repository,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("seconds", [0.02, 0.1, 0.3, 0.6, 1.0])
def test_while_modules_are_imported_and_settings_checked(
    repository: Path, tmp_path: Path, weights: Path, seconds: float
) -> None:
    photos = repository / "examples" / "photos"
    command = ("colorize", photos, tmp_path / "out", "--weights", weights, "--dry-run")
    process = started(repository, *command)
    assert process.stdout and process.stdout.readline() == "started\n"
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=120) == ("", LINE)
    assert process.returncode == 130


def test_where_python_ignores_exceptions(repository: Path, tmp_path: Path, weights: Path) -> None:
    photos = repository / "examples" / "photos"
    command = ("colorize", photos, tmp_path / "out", "--weights", weights, "--dry-run")
    process = started(repository, *command, before=SWALLOWED)
    assert process.communicate(timeout=120) == ("started\n", LINE)
    assert process.returncode == 130


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["listing", "starting workers", "loading weights"])
def test_while_photos_are_listed_and_workers_start(
    repository: Path, tmp_path: Path, weights: Path, phase: str
) -> None:
    photos = repository / "examples" / "photos"
    process = started(repository, "colorize", photos, tmp_path / "out", "--weights", weights)
    assert process.stderr
    for line in process.stderr:
        if line == f"{phase}\n":
            break
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=120)
    *before, last = stderr.splitlines()
    assert process.returncode == 130
    assert last.startswith("autochrome: interrupted")
    assert foreign_lines(before, photos=8) == []


def test_an_interrupt_that_a_library_wraps_is_still_one() -> None:
    try:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as error:
            raise ImportError("numpy is broken") from error
    except ImportError as error:
        wrapped = EngineError("Ray did not start")
        wrapped.__cause__ = error
    assert from_interrupt(wrapped) and not from_interrupt(EngineError("Ray did not start"))
