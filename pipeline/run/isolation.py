"""Work on one photo that may take its process with it, as a decoder that crashes or hangs does.

At first such work runs in the worker itself, and a hang ends that worker. A shard that was lost so
is done once more with each photo in a process of its own: then one photo is lost, with a reason.
"""

import faulthandler
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any, Protocol

from pipeline.errors import AutochromeError, PhotoError

SECONDS = 1800.0  # for one step of one photo; 500 megapixels took 540 on an overloaded machine


class Call(Protocol):
    """Calls a function with arguments, here or elsewhere."""

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> Any: ...


def call_here(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function; a hang ends this process, whatever it hangs in."""
    with open(os.devnull, "w") as nowhere:
        faulthandler.dump_traceback_later(SECONDS, exit=True, file=nowhere)
        try:
            return function(*arguments)
        finally:
            faulthandler.cancel_dump_traceback_later()


def call_isolated(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function of a module in a process of its own, which costs about a second.

    Raises what the function raises, if that is an error of ours or of memory, and PhotoError where
    the process dies: timeout, out_of_memory (it was killed), or internal.
    """
    command = [sys.executable, "-m", "pipeline.run.isolation"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        ended = subprocess.run(
            command,
            input=pickle.dumps((function, arguments)),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise PhotoError("timeout", f"took more than {SECONDS:g} seconds") from None
    if ended.returncode == -signal.SIGKILL:
        raise PhotoError("out_of_memory", "the process that worked on it was killed")
    if ended.returncode:
        code = ended.returncode
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        raise PhotoError("internal", f"the process that worked on it died: {how}")
    result, error = pickle.loads(ended.stdout)
    if error is not None:
        raise error
    return result


def _serve() -> None:
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a decoder prints is no part of the answer
    result: Any = None
    error: Exception | None = None
    try:
        function, arguments = pickle.load(sys.stdin.buffer)
        result = function(*arguments)
    except (AutochromeError, MemoryError) as raised:
        error = raised
    except Exception as raised:
        error = PhotoError("internal", f"{type(raised).__name__}: {raised}")
    with answer:
        pickle.dump((result, error), answer)


if __name__ == "__main__":
    _serve()
