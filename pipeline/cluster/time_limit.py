"""A limit for what may wait for ever inside of a library, deaf to signals and to other threads."""

import faulthandler
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def time_limit(seconds: float, message: str) -> Iterator[None]:
    """End this process with exit code 1 and a line on standard error unless the block ends in time.

    C code that waits without giving up Python's lock stops all of its threads, so none of these
    can do it: faulthandler's own ends the process, and a shell that waits for its words tells.
    """
    command = ["/bin/sh", "-c", 'read -r _ && printf "%s\\n" "$0" >&2', message]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as teller:
        assert teller.stdin
        faulthandler.dump_traceback_later(seconds, exit=True, file=teller.stdin.fileno())
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
