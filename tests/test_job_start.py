"""What a job on a cluster runs: which Python it finds, and when it starts a command again."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.cluster.submission import RESTARTS, entrypoint

# A command that notes each of its starts, and ends as it is told: by a signal or with a code.
COMMAND = """
import os, sys
def start():
    kind, number, often = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    with open("starts", "a") as file:
        file.write(sys.prefix + "\\n")
    if len(open("starts").readlines()) <= often:
        os.kill(os.getpid(), number) if kind == "signal" else sys.exit(number)
"""
# As a process of Ray's, which has loaded libraries of its Python, starts a job.
PARENT = "import numpy, subprocess, sys; sys.exit(subprocess.call(sys.argv[1], shell=True))"
TOOLS = ("sh", "sed", "sort", "sleep")


@pytest.fixture
def folder(tmp_path: Path, repository: Path) -> Path:
    """What is sent with a job, but for its command; `bin` is all that is on PATH there."""
    start = Path("pipeline", "cluster", "start.sh")
    (tmp_path / start).parent.mkdir(parents=True)
    shutil.copy(repository / start, tmp_path / start)
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "start.py").write_text(COMMAND)
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        (tmp_path / "bin" / tool).symlink_to(str(shutil.which(tool)))
    return tmp_path


def on_path(folder: Path, name: str, script: str) -> None:
    program = folder / "bin" / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def run(folder: Path, *command: str, parent: str = "") -> "subprocess.CompletedProcess[str]":
    """A job, whose parent is a shell, or the program of Python that is given."""
    line = entrypoint(command, 0)
    return subprocess.run(
        [sys.executable, "-c", parent, line] if parent else ["/bin/sh", "-c", f"({line}); exit $?"],
        cwd=folder,
        env={"PATH": str(folder / "bin")},
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
    )


def starts(folder: Path) -> list[str]:
    return (folder / "starts").read_text().splitlines()


def test_the_python_of_ray_comes_before_that_of_path(folder: Path) -> None:
    on_path(folder, "python", 'echo "not this one" >&2; exit 0')
    result = run(folder, "exit", "0", "0", parent=PARENT)
    assert (result.returncode, result.stderr) == (0, "")
    assert starts(folder) == [sys.prefix]


def test_a_python_of_path_will_do_that_has_all_that_is_needed(folder: Path) -> None:
    on_path(folder, "python", "exit 1")
    on_path(folder, "python3", f'exec "{sys.executable}" "$@"')
    assert run(folder, "exit", "0", "0").returncode == 0
    assert starts(folder) == [sys.prefix]


def test_no_python_that_will_do(folder: Path) -> None:
    on_path(folder, "python3", "exit 1")
    result = run(folder, "exit", "0", "0")
    assert result.returncode == 2
    assert result.stderr.startswith("autochrome: no Python with Ray, PyTorch and click was found")
    assert not (folder / "starts").exists()


KILLED = "autochrome: the command was killed (signal 9) and starts again\n"


@pytest.mark.parametrize(
    "end, code, started",
    [
        (("signal", signal.SIGKILL, 1), 0, 2),
        (("signal", signal.SIGKILL, RESTARTS), 0, 1 + RESTARTS),
        (("signal", signal.SIGKILL, 99), 128 + signal.SIGKILL, 1 + RESTARTS),
        (("signal", signal.SIGTERM, 99), 128 + signal.SIGTERM, 1),
        (("exit", 130, 99), 130, 1),
        (("exit", 3, 99), 3, 1),
        (("exit", 1, 99), 1, 1),
    ],
)
def test_only_what_was_killed_starts_again(
    folder: Path, end: tuple[str, int, int], code: int, started: int
) -> None:
    on_path(folder, "python", f'exec "{sys.executable}" "$@"')
    result = run(folder, *(str(int(word)) if isinstance(word, int) else word for word in end))
    assert (result.returncode, len(starts(folder))) == (code, started)
    assert result.stderr.count(KILLED) == started - 1
