"""What `autochrome` does before it is a command (jobs/start.py); Ctrl-C: test_interrupts."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.simulated_runs import write_run

START = "from jobs.start import start; start()"


def test_a_log_that_cannot_be_written_leaves_the_screen_alone(repository: Path) -> None:
    program = """
import atexit, logging, sys
from jobs.start import start
log = logging.getLogger("ray.data")  # or any other, our own among them
log.addHandler(logging.FileHandler("/dev/full"))
atexit.register(log.error, "lost")
start()
"""
    command = [sys.executable, "-c", program, "status", "/nowhere/at/all"]
    ended = subprocess.run(command, cwd=repository, capture_output=True, text=True)
    assert ended.returncode == 2
    assert (
        ended.stderr
        == "autochrome: /nowhere/at/all holds no run of Autochrome: it has no run.json\n"
    )


@pytest.mark.parametrize(
    ("command", "code", "needless"),
    [
        (["--help"], 0, {"torch", "ray", "pyarrow", "numpy", "PIL"}),
        (
            ["status", "RUN"],
            0,
            {"torch", "ray", "pandas", "boto3", "PIL", "imagecodecs", "tifffile"},
        ),
        (["verify", "RUN"], 3, {"torch", "ray", "boto3"}),
    ],
    ids=["help", "status", "verify"],
)
def test_a_command_imports_no_large_library_that_it_does_not_need(
    command: list[str], code: int, needless: set[str], repository: Path, tmp_path: Path
) -> None:
    program = f"""
import atexit, sys
atexit.register(lambda: print(sorted({needless!r} & sys.modules.keys()), file=sys.stderr))
{START}
"""
    arguments = [str(write_run(tmp_path)) if word == "RUN" else word for word in command]
    ended = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=repository, capture_output=True, text=True
    )
    assert ended.returncode == code
    assert ended.stderr.splitlines()[-1] == "[]"


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["status", "--help"]])
def test_help_that_cannot_be_written_is_one_line(repository: Path, arguments: list[str]) -> None:
    command = [sys.executable, "-c", START, *arguments]
    with open("/dev/full", "w") as full:
        ended = subprocess.run(command, cwd=repository, stdout=full, stderr=-1, text=True)
    assert ended.returncode == 2
    assert re.fullmatch("autochrome: cannot write: No space left on device.*\n", ended.stderr)


def test_standard_streams_may_be_closed(repository: Path, tmp_path: Path) -> None:
    shell = 'exec "$@" <&- >&- 2>&-'
    command = [sys.executable, "-c", START, "verify", str(write_run(tmp_path))]
    ended = subprocess.run(["sh", "-c", shell, "sh", *command], cwd=repository)
    assert ended.returncode == 3, "photos are not done yet, and nothing else is wrong"


def test_names_of_files_are_utf8_under_any_locale(repository: Path) -> None:
    locale = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    command = [sys.executable, "-c", START, "status", "/nowhere/é"]
    ended = subprocess.run(
        command, cwd=repository, capture_output=True, env={**os.environ, **locale}
    )
    assert ended.returncode == 2
    assert (
        ended.stderr.decode()
        == "autochrome: /nowhere/é holds no run of Autochrome: it has no run.json\n"
    )
