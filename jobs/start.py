"""The entry point of `autochrome`: handles Ctrl-C until the commands are imported, and keeps
tracebacks of Python itself off the screen."""

import gc
import logging
import os
import signal
import sys
import threading
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

_AGAIN_SECONDS = 0.05
_OBJECTS_PER_COLLECTION = 10_000


def start() -> None:
    """Run jobs.main, which reports interruptions in its own way."""
    # By default Python looks for garbage hundreds of times while a command imports PyTorch and Ray,
    # wherever it does so, and finds hardly any.
    gc.set_threshold(_OBJECTS_PER_COLLECTION, *gc.get_threshold()[1:])
    _open_streams()
    _insist_on_utf8()
    sys.unraisablehook = _interrupt_again
    # Else the traceback of a log that cannot be written, on a full disk, say, or for a sign that
    # the system's encoding lacks, goes to the screen.
    logging.raiseExceptions = False
    for kind in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(kind) is not signal.SIG_IGN:  # the shell ignores it for background jobs
            signal.signal(kind, _end)
    from jobs.main import main

    main(prog_name="autochrome")


def _open_streams() -> None:
    """Standard streams that are closed lead nowhere. Else the files that are opened next would get
    their numbers, and whatever is written to standard error."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))


def _insist_on_utf8() -> None:
    """Start again with names of files in UTF-8, whatever the system's locale. Else a command would
    record other names than those that the next one finds, under another locale."""
    if sys.getfilesystemencoding() != "utf-8" and os.environ.get("PYTHONUTF8") != "1":
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _end(number: int, frame: FrameType | None) -> None:
    """End the process: an exception would leave an import as another error, or as a traceback."""
    os.write(2, b"autochrome: interrupted\n")
    os._exit(130)


def _interrupt_again(ignored: "UnraisableHookArgs") -> None:
    """Resend an interrupt that came where Python ignores exceptions.

    Such places are destructors and callbacks of weak references, which each import has: the command
    would go on as if nobody had asked it to stop.
    """
    if ignored.exc_type is KeyboardInterrupt:
        again = threading.Timer(_AGAIN_SECONDS, os.kill, (os.getpid(), signal.SIGTERM))
        again.daemon = True
        again.start()
    else:
        sys.__unraisablehook__(ignored)
