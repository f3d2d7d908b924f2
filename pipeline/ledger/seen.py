"""A set of texts that may be larger than memory should hold."""

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.errors import StorageError

_MOST_IN_MEMORY = 200_000


class Seen:
    """A set of texts, moved to disk when it becomes large, so that memory stays bounded.

    `add` and `in` raise StorageError where that disk is full.
    """

    def __init__(self) -> None:
        self._few: set[str] = set()
        self._rows: sqlite3.Connection | None = None

    def add(self, text: str) -> bool:
        """Add a text; returns whether it is new."""
        if self._rows is not None:
            insert = "INSERT OR IGNORE INTO seen VALUES (?)"
            with _disk_errors():
                return self._rows.execute(insert, (_short(text),)).rowcount == 1
        before = len(self._few)
        self._few.add(text)
        if len(self._few) > _MOST_IN_MEMORY:
            with _disk_errors():
                self._move()
        return self._rows is not None or len(self._few) > before

    def __contains__(self, text: str) -> bool:
        if self._rows is None:
            return text in self._few
        query = "SELECT 1 FROM seen WHERE text = ?"
        with _disk_errors():
            return self._rows.execute(query, (_short(text),)).fetchone() is not None

    def _move(self) -> None:
        self._rows = sqlite3.connect("")  # a temporary file that is deleted with the connection
        self._rows.execute("PRAGMA journal_mode = OFF")
        self._rows.execute("CREATE TABLE seen (text BLOB PRIMARY KEY) WITHOUT ROWID")
        texts = ((_short(text),) for text in self._few)
        self._rows.executemany("INSERT INTO seen VALUES (?)", texts)
        self._few.clear()


@contextmanager
def _disk_errors() -> Iterator[None]:
    """SQLite's errors as ours."""
    try:
        yield
    except sqlite3.Error as error:
        where = "TMPDIR if you set it, otherwise to /var/tmp or /tmp"
        raise StorageError(f"cannot write: {error}; lists of names go to {where}") from error


def _short(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
