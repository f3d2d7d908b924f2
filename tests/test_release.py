"""Free memory goes back to the system (pipeline/run/release.py)."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

# What is freed lies below what is kept, so that the heap cannot shrink by itself.
PROGRAM = """
import os
from pipeline.run.release import release_memory

def mebibytes():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20

some = [b"x" * 100_000 for _ in range(1000)]
kept = some[-1]
del some
before = mebibytes()
release_memory()
print(before - mebibytes())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_what_was_freed_goes_back_to_the_system(repository: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    told = subprocess.check_output([sys.executable, "-c", PROGRAM], env=environment, text=True)
    assert int(told) > 50
