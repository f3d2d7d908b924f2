"""How long this process may work on one photo: longer once its number of pixels is known.

Decoders are written in C and cannot be interrupted, so a missed deadline ends the process.
"""

import faulthandler
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

# 500 megapixels took 540 s on an overloaded machine, and up to four candidates are written.
SECONDS_PER_MEGAPIXEL = 5.0
MOST_SECONDS = 3600.0  # however many pixels a damaged file claims
_TOLD = re.compile(rb"Timeout \((\d+):(\d\d):(\d\d(?:\.\d+)?)\)")
# Seconds for the smallest photo, and the file that is told of the end.
_armed: list[tuple[float, IO[str]]] = []


@contextmanager
def deadline(seconds: float, file: IO[str]) -> Iterator[None]:
    """End this process with exit code 1 unless the block ends in time; `file` is told why."""
    faulthandler.dump_traceback_later(seconds, exit=True, file=file)
    _armed.append((seconds, file))
    try:
        yield
    finally:
        _armed.pop()
        faulthandler.cancel_dump_traceback_later()


def allow(pixels: int) -> None:
    """Start the deadline anew, with time for this many pixels. Does nothing without a deadline."""
    if _armed:
        seconds, file = _armed[-1]
        seconds = min(MOST_SECONDS, seconds + SECONDS_PER_MEGAPIXEL * pixels / 1e6)
        faulthandler.dump_traceback_later(seconds, exit=True, file=file)


def missed_deadline(text: bytes) -> float | None:
    """The seconds of the deadline that a process missed, read from its last output."""
    found = _TOLD.search(text)
    return found and 3600.0 * int(found[1]) + 60 * int(found[2]) + float(found[3])
