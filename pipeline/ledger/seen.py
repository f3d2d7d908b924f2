"""A set of texts that may be larger than memory should hold."""

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import combinations

from pipeline.errors import StorageError

_MOST_IN_MEMORY = 200_000
_AT_ONCE = 20_000  # texts that follow the first ones to disk together
_FILTER_BYTES = 2**23
# All ways to set three bits of a byte.
_BITS = [sum(1 << bit for bit in bits) for bits in combinations(range(8), 3)]


class Seen:
    """A set of texts, moved to disk when it becomes large, so that memory stays bounded.

    Looking for each text on disk would take most of the time of a plan. So new texts wait in memory
    and are written many at a time, and a filter of fixed size in memory (a Bloom filter, each text
    in one byte) knows of nearly all others that they are not on disk.

    `add` and `in` raise StorageError where that disk is full.
    """

    def __init__(self) -> None:
        self._few: set[str] = set()  # those that are not on disk
        self._most = _MOST_IN_MEMORY
        self._rows: sqlite3.Connection | None = None
        self._filter = bytearray()

    def add(self, text: str) -> bool:
        """Add a text; returns whether it is new."""
        few = self._few
        before = len(few)
        if self._rows is not None and text not in few and self._is_on_disk(text):
            return False
        few.add(text)
        if len(few) > self._most:
            self._move()
            return True
        return len(few) > before

    def __contains__(self, text: str) -> bool:
        return text in self._few or (self._rows is not None and self._is_on_disk(text))

    def _is_on_disk(self, text: str) -> bool:
        place, bits = _place(text)
        if self._filter[place] & bits != bits:
            return False
        assert self._rows is not None
        query = "SELECT 1 FROM seen WHERE text = ?"
        with _disk_errors():
            return self._rows.execute(query, (_short(text),)).fetchone() is not None

    def _move(self) -> None:
        with _disk_errors():
            if self._rows is None:
                self._rows = _new_table()
                self._filter = bytearray(_FILTER_BYTES)
                self._most = min(_AT_ONCE, _MOST_IN_MEMORY)
            ordered = sorted(map(_short, self._few))  # so that they reach each page once
            self._rows.executemany("INSERT INTO seen VALUES (?)", zip(ordered, strict=True))
        for text in self._few:
            place, bits = _place(text)
            self._filter[place] |= bits
        self._few.clear()


def _new_table() -> sqlite3.Connection:
    rows = sqlite3.connect("")  # a temporary file that is deleted with the connection
    rows.execute("PRAGMA journal_mode = OFF")
    rows.execute("CREATE TABLE seen (text BLOB PRIMARY KEY) WITHOUT ROWID")
    return rows


@contextmanager
def _disk_errors() -> Iterator[None]:
    """SQLite's errors as ours."""
    try:
        yield
    except sqlite3.Error as error:
        where = "TMPDIR if you set it, otherwise to /var/tmp or /tmp"
        raise StorageError(f"cannot write: {error}; lists of names go to {where}") from error


def _place(text: str) -> tuple[int, int]:
    """Where a text is in the filter, and its bits there."""
    number = hash(text)
    return number % _FILTER_BYTES, _BITS[(number >> 32) % len(_BITS)]


def _short(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
