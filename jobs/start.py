"""The entry point of `autochrome`: handles Ctrl-C until the commands are imported."""

import os
import signal
from types import FrameType


def start() -> None:
    """Run jobs.main, which reports interruptions in its own way."""
    for kind in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(kind) is not signal.SIG_IGN:  # the shell ignores it for background jobs
            signal.signal(kind, _end)
    from jobs.main import main

    main()


def _end(number: int, frame: FrameType | None) -> None:
    """End the process: an exception would leave an import as another error, or as a traceback."""
    os.write(2, b"autochrome: interrupted\n")
    os._exit(130)
