"""The log of a run: every failure with its cause and traceback, in one file beside Ray's own logs.

Failures are logged where they happen, in workers. A worker's records travel with its shard, because
Ray has no public way to write to one file, and the driver writes them. The screen shows one line
each.
"""

import json
import logging
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from logging.handlers import QueueHandler, RotatingFileHandler
from pathlib import Path
from queue import SimpleQueue

from pipeline.errors import shown
from pipeline.storage.secrets import without_secrets

LOGGER = logging.getLogger("autochrome")
LOGGER.propagate = False  # the root logger would write to the terminal
LOGGER.addHandler(logging.NullHandler())

MAX_BYTES = 2**26  # of a file; three older files are kept beside it
MAX_LOGS = 200  # files of earlier runs kept in a folder


@contextmanager
def collect_records() -> Iterator[list[logging.LogRecord]]:
    """Collects what this thread logs in the block, ready to be pickled; complete after the
    block."""
    queue: SimpleQueue[logging.LogRecord] = SimpleQueue()
    handler, thread = QueueHandler(queue), threading.get_ident()
    handler.addFilter(lambda record: record.thread == thread)
    records: list[logging.LogRecord] = []
    LOGGER.addHandler(handler)
    try:
        yield records
    finally:
        LOGGER.removeHandler(handler)
        while not queue.empty():
            records.append(queue.get())


class RunLog:
    """The log file of a run, which is created with the first record.

    as_json: one object per line.
    """

    def __init__(self, as_json: bool = False) -> None:
        text = "%(asctime)s %(levelname)s %(message)s"
        self._formatter = JsonFormatter() if as_json else ShownFormatter(text)
        self._path: Path | None = None

    @property
    def path(self) -> str | None:
        """The file; None if nothing was logged."""
        return str(self._path) if self._path and self._path.exists() else None

    @contextmanager
    def written_to(self, folder: Path) -> Iterator[None]:
        """Write to a file in this folder during the block; an error that ends it is logged, too."""
        _remove_old(folder)
        self._path = folder / f"autochrome-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}.log"
        handler = RotatingFileHandler(
            self._path, maxBytes=MAX_BYTES, backupCount=3, encoding="utf-8", delay=True
        )
        handler.setFormatter(self._formatter)
        LOGGER.addHandler(handler)
        try:
            yield
        except Exception as error:
            LOGGER.error("the run ended: %s", type(error).__name__, exc_info=error)
            raise
        finally:
            LOGGER.removeHandler(handler)
            handler.close()


def _remove_old(folder: Path) -> None:
    """Remove the oldest logs, as nobody else does. Names sort by time; errors are ignored."""
    logs = sorted(folder.glob("autochrome-*.log*"))
    for log in logs[:-MAX_LOGS]:
        with suppress(OSError):
            log.unlink()


def replay(records: Iterable[logging.LogRecord]) -> None:
    """Log again what was collected in another process."""
    for record in records:
        LOGGER.handle(record)


class ShownFormatter(logging.Formatter):
    """Text that may be shown on a terminal and to anybody."""

    def format(self, record: logging.LogRecord) -> str:
        return shown(without_secrets(super().format(record)))


class JsonFormatter(logging.Formatter):
    """One object per line: time (UTC), level, and message with traceback."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        text = without_secrets(super().format(record))
        return json.dumps({"time": time, "level": record.levelname.lower(), "message": text})
