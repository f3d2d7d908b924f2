"""What `autochrome` starts: it answers Ctrl-C before the commands are imported."""

import os
import signal
from types import FrameType


def start() -> None:
    """Hand over to jobs.main, which tells of an interruption in its own way."""
    for kind in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(kind) is not signal.SIG_IGN:  # as a shell wants it in the background
            signal.signal(kind, _end)
    from jobs.main import main

    main()


def _end(number: int, frame: FrameType | None) -> None:
    """An exception would come out of an import as one of many others, or as a traceback."""
    os.write(2, b"autochrome: interrupted\n")
    os._exit(130)
