"""Work on one photo that may crash or hang its process, as decoders of damaged files do.

Such work first runs in the worker itself, and a hang ends that worker. The lost shard is then done
once more with each photo in a process of its own, which may use most of the free memory but not
all: now only one photo is lost, with a reason, and the machine is safe.
"""

import os
import pickle
import re
import resource
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from pipeline.deadline import MOST_SECONDS, deadline, missed_deadline
from pipeline.errors import AutochromeError, PhotoError

SECONDS = 60.0  # for one step of the smallest photo; more pixels get more time
SHARE = 0.75  # of the memory that is free before Ray starts to kill workers
# Share of a node's memory at which it does, unless RAY_memory_usage_threshold is set.
THRESHOLD = 0.95
LEAST_ROOM = 2**28  # bytes
_STARTING = 120.0  # seconds that a process may take to start on an overloaded machine
_OF_MEMORY = re.compile(r"memory|alloc", re.IGNORECASE)


class TracebackElsewhere(Exception):
    """Stands for the cause of an error from another process; its text is the traceback there,
    because tracebacks cannot be pickled."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


class Call(Protocol):
    """Calls a function with arguments, here or elsewhere."""

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> Any: ...


def call_here(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in this process; if it hangs, this process ends."""
    with deadline(SECONDS):
        return function(*arguments)


def call_isolated(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function of a module in a process of its own, which costs about a second.

    Raises what the function raises, if that is one of our errors or a MemoryError, and PhotoError
    if the process dies: timeout, out_of_memory (it was killed), or internal.
    """
    command = [sys.executable, "-m", "pipeline.run.isolation", str(SECONDS), str(free_memory())]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with tempfile.TemporaryFile() as told:
        try:
            ended = subprocess.run(
                command,
                input=pickle.dumps((function, arguments)),
                stdout=subprocess.PIPE,
                stderr=told,
                env=environment,
                timeout=MOST_SECONDS + _STARTING,
            )
        except subprocess.TimeoutExpired as late:
            raise PhotoError("timeout", f"took more than {late.timeout:g} seconds") from late
        size = told.seek(0, os.SEEK_END)
        told.seek(max(0, size - 2**16))
        words = told.read()
    if ended.returncode:
        raise _death(ended.returncode, words)
    result, error, trace = pickle.loads(ended.stdout)
    if error is not None:
        raise error from TracebackElsewhere(trace)
    return result


def free_memory() -> int:
    """Bytes that a process may use without harm to others, as far as the system tells."""
    kept = 1 - float(os.environ.get("RAY_memory_usage_threshold", THRESHOLD))
    found = [_until_threshold(_meminfo("MemTotal"), _meminfo("MemAvailable"), kept)]
    for limit, taken in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        numbers = [_number(Path("/sys/fs/cgroup", name)) for name in (limit, taken)]
        if numbers[0] is not None and numbers[1] is not None:
            found.append(_until_threshold(numbers[0], numbers[0] - numbers[1], kept))
    known = [each for each in found if each is not None]
    return max(LEAST_ROOM, int(SHARE * min(known))) if known else 2**62


def _until_threshold(total: int | None, free: int | None, kept: float) -> int | None:
    return None if total is None or free is None else int(free - kept * total)


def _death(code: int, words: bytes) -> PhotoError:
    """The error for a process that ended without an answer."""
    if late := missed_deadline(code, words):
        return PhotoError("timeout", late)
    if code == -signal.SIGKILL:
        return PhotoError("out_of_memory", "the process that worked on it was killed")
    if b"MemoryError" in words or b"bad_alloc" in words:
        return PhotoError("out_of_memory", "the process that worked on it had not enough memory")
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return PhotoError("internal", f"the process that worked on it died: {how}")


def _meminfo(name: str) -> int | None:
    with suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return None


def _number(path: Path) -> int | None:
    with suppress(OSError, ValueError):  # "max" means no limit
        return int(path.read_text(encoding="ascii"))
    return None


def _limit_memory(room: int) -> None:
    """Limit the address space to its current size plus this many bytes, where the system can."""
    with suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        most = pages * resource.getpagesize() + room
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        if hard == resource.RLIM_INFINITY or most < hard:
            resource.setrlimit(resource.RLIMIT_AS, (most, hard))


def _with_true_cause(error: PhotoError) -> PhotoError:
    """Decoders without memory report a damaged file; name the true cause."""
    if error.reason in ("corrupt", "internal") and _OF_MEMORY.search(str(error)):
        return PhotoError("out_of_memory", str(error))
    return error


def _serve() -> None:
    seconds, room = float(sys.argv[1]), int(sys.argv[2])
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # so that a decoder's output does not become part of the answer
    result: Any = None
    error: Exception | None = None
    trace = ""
    try:
        function, arguments = pickle.load(sys.stdin.buffer)
        _limit_memory(room)
        with deadline(seconds, sys.stderr):
            result = function(*arguments)
    except PhotoError as raised:
        error, trace = _with_true_cause(raised), traceback.format_exc()
    except (AutochromeError, MemoryError) as raised:
        error, trace = raised, traceback.format_exc()
    except Exception as raised:
        error = _with_true_cause(PhotoError("internal", f"{type(raised).__name__}: {raised}"))
        trace = traceback.format_exc()
    with answer:
        pickle.dump((result, error, trace), answer)


if __name__ == "__main__":
    _serve()
