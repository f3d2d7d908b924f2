"""Memory that is free goes back to the system."""

import ctypes
import gc
from contextlib import suppress


def release_memory() -> None:
    """Drop what only refers to itself, and return free memory, which glibc keeps otherwise; other
    C libraries have no such call."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
