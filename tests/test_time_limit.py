"""A limit that holds where neither signals nor other threads get through."""

import subprocess
import sys
from pathlib import Path

import pytest


def run_limited(seconds: float, code: str, repository: Path) -> subprocess.CompletedProcess[str]:
    """`code` in a process of its own, within a limit; `library` holds Python's lock in calls."""
    program = (
        "import ctypes\n"
        "from pipeline.cluster.time_limit import time_limit\n"
        "library = ctypes.PyDLL(None)\n"
        f"with time_limit({seconds}, 'it did not end; try again'):\n"
        f"    {code}\n"
        "print('done')\n"
    )
    return subprocess.run(
        [sys.executable, "-c", program], cwd=repository, capture_output=True, text=True, timeout=60
    )


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="calls the system's C library")
def test_a_call_that_keeps_the_lock_for_ever_is_ended_with_one_line(repository: Path) -> None:
    ended = run_limited(0.2, "library.pause()", repository)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == "it did not end; try again\n"


def test_what_ends_in_time_goes_on_and_nothing_is_told(repository: Path) -> None:
    ended = run_limited(60, "pass", repository)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "done\n", "")
