"""How long work on one photo may take, in this process: longer once its pixels are known.

Decoders are C, and deaf to everything but the end of their process: so that is what a deadline is.
"""

import faulthandler
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

# 500 megapixels took 540 s on an overloaded machine, and up to four candidates are written.
SECONDS_PER_MEGAPIXEL = 5.0
MOST_SECONDS = 3600.0  # whatever is wrong with the numbers of a file
_TOLD = re.compile(rb"Timeout \((\d+):(\d\d):(\d\d(?:\.\d+)?)\)")
_armed: list[tuple[float, IO[str]]] = []  # seconds of the least photo, and where its end is told


@contextmanager
def deadline(seconds: float, file: IO[str]) -> Iterator[None]:
    """End this process with exit code 1 unless the block ends in time; file: where it says so."""
    faulthandler.dump_traceback_later(seconds, exit=True, file=file)
    _armed.append((seconds, file))
    try:
        yield
    finally:
        _armed.pop()
        faulthandler.cancel_dump_traceback_later()


def allow(pixels: int) -> None:
    """More time from now on, for so many pixels; does nothing where there is no deadline."""
    if _armed:
        seconds, file = _armed[-1]
        seconds = min(MOST_SECONDS, seconds + SECONDS_PER_MEGAPIXEL * pixels / 1e6)
        faulthandler.dump_traceback_later(seconds, exit=True, file=file)


def told_timeout(text: bytes) -> float | None:
    """The seconds of a deadline that a process has missed, from what it wrote at its end."""
    found = _TOLD.search(text)
    return found and 3600.0 * int(found[1]) + 60 * int(found[2]) + float(found[3])
