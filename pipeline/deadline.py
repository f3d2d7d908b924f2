"""How long this process may work on one photo: longer once its number of pixels is known.

Decoders are written in C and cannot be interrupted, so a missed deadline ends the process. The
system's timer does that, even where C code holds Python's lock, and costs next to nothing.
"""

import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

# 500 megapixels took 540 s on an overloaded machine, and up to four candidates are written.
SECONDS_PER_MEGAPIXEL = 5.0
MOST_SECONDS = 3600.0  # however many pixels a damaged file claims
_TOLD = re.compile(rb"deadline: (\d+(?:\.\d+)?) seconds$", re.MULTILINE)
# Seconds for the smallest photo, and the file that is told of each deadline.
_armed: list[tuple[float, IO[str] | None]] = []


@contextmanager
def deadline(seconds: float, file: IO[str] | None = None) -> Iterator[None]:
    """End this process by SIGALRM unless the block ends in time; `file` is told the deadline."""
    if threading.current_thread() is threading.main_thread():  # no other may
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # whoever started us may have ignored it
    _armed.append((seconds, file))
    _arm(seconds, file)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        _armed.pop()


def allow(pixels: int) -> None:
    """Start the deadline anew, with time for this many pixels. Does nothing without a deadline."""
    if _armed:
        seconds, file = _armed[-1]
        _arm(min(MOST_SECONDS, seconds + SECONDS_PER_MEGAPIXEL * pixels / 1e6), file)


def _arm(seconds: float, file: IO[str] | None) -> None:
    if file:
        print(f"deadline: {seconds:.3f} seconds", file=file, flush=True)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def missed_deadline(code: int, text: bytes) -> str:
    """How long a process took that missed its deadline, by how it ended and its last output; "" for
    any other end."""
    if code != -signal.SIGALRM:
        return ""
    told = _TOLD.findall(text)  # nothing where a decoder has said a great deal since
    return f"took more than {float(told[-1]):g} seconds" if told else "took too long"
