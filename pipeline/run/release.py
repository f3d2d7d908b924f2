"""Memory that is free goes back to the system."""

import ctypes
import gc
from contextlib import suppress


def release_memory() -> None:
    """Drop what only refers to itself, and return free memory to the system."""
    gc.collect()
    return_memory()


def return_memory() -> None:
    """Return free memory, which glibc keeps otherwise; other C libraries have no such call."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
