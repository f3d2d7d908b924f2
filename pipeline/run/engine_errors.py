"""Ctrl-C and whatever Ray raises, as our own errors that say how to go on."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.errors import AutochromeError, EngineError, Interrupted, from_interrupt
from pipeline.run.logs import RunLog
from pipeline.run.wave import SILENCE_SECONDS


@contextmanager
def resumable(destination: str, log: RunLog) -> Iterator[None]:
    """Translates what is raised inside. destination: its URI, for the command that resumes."""
    again = (
        "the same command again goes on from here, and so does:"
        f" autochrome resume {shlex.quote(destination)}"
    )
    try:
        yield
    except KeyboardInterrupt as error:
        raise Interrupted(f"interrupted; {again}") from error
    except Exception as error:
        if from_interrupt(error):
            raise Interrupted(f"interrupted; {again}") from error
        if isinstance(error, AutochromeError):
            raise type(error)(f"{error}; {again}") from error
        from ray.data.exceptions import ExecutionTimeoutError  # here, where Ray is loaded already

        cause = (str(error).strip() or type(error).__name__).splitlines()[-1]
        if isinstance(error, ExecutionTimeoutError):  # whose words are for programmers
            cause = f"nothing has moved for {SILENCE_SECONDS / 3600:g} hours"
        where = f" (more in {log.path})" if log.path else ""
        raise EngineError(f"Ray gave up: {cause}{where}; {again}") from error
