"""The interface of all storages: folders, buckets, and memory.

A path is relative to its storage's root, "/" between its parts. Masters are opened for reading
only. Writes are atomic. `write_if_absent` commits whatever must not be done twice: by a hard link
of a synced temporary file in a folder, by `If-None-Match: *` on S3.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

from pipeline.errors import ObjectTooLarge

SINGLE_WRITER = (
    "two runs could overwrite each other's work; use another store, or --single-writer, which "
    "promises that only one command works on the destination at a time"
)

# Given the path of a folder with a "/" at the end: why it is not entered, or "" if it is.
Skip = Callable[[str], str]


def enter_all(folder: str) -> str:
    """A Skip that skips nothing."""
    return ""


def refuse_size(uri: str, size: int, most: int | None) -> None:
    """Raises ObjectTooLarge."""
    if most is not None and size > most:
        raise ObjectTooLarge(f"{uri} has {size:,} bytes; the limit is {most:,}")


@dataclass(frozen=True)
class StoredObject:
    """An entry of a listing: path relative to the storage's root, size in bytes, last change.

    modified: seconds since 1970 by the store's own clock; None if unknown. skipped: for people, why
    it is not read: a link that is not followed, or a folder (its path ends in "/") without
    permission or to be skipped.
    """

    path: str
    size: int
    modified: float | None = field(default=None, compare=False)
    skipped: str = field(default="", compare=False)


class Storage(Protocol):
    """A place that holds objects by path; picklable, so that it can be sent to workers.

    conditional: False if it cannot write under a condition (an old S3-compatible store, a file
    system without links); then `write_if_absent` looks before it writes, which is safe for a single
    writer.
    """

    uri: str
    conditional: bool

    def list(self, folder: str = "", skip: Skip = enter_all) -> Iterator[StoredObject]:
        """List everything below a folder, as a stream in the bytewise order of paths.

        skip: tells which folders need not be listed; each of those becomes one entry. A store
        without folders may list their content all the same. A missing folder counts as empty; only
        a missing root raises StorageError.
        """
        ...

    def read(self, path: str, most: int | None = None) -> bytes:
        """An object's bytes. most: of a larger object, only as much is fetched as it takes to find
        out.

        Raises ObjectMissing, ObjectTooLarge, StoreUnavailable (the store is at fault) or
        StorageError.
        """
        ...

    def exists(self, path: str) -> bool:
        """Whether there is anything of that name. Raises StorageError."""
        ...

    def find(self, path: str) -> StoredObject | None:
        """The entry of one object; None if there is none. Raises StorageError."""
        ...

    def write(self, path: str, data: bytes) -> None:
        """Write or replace an object, atomically. Raises as `read` does."""
        ...

    def write_file(self, path: str, file: BinaryIO) -> None:
        """As `write`, the rest of a file from its current position, in bounded memory.

        The file may be closed afterwards.
        """
        ...

    def write_if_absent(self, path: str, data: bytes) -> bool:
        """Write an object unless it exists; if it does, return False and leave it untouched.

        Raises as `read` does, and UsageError if the store cannot do this.
        """
        ...

    def together(self) -> "AbstractContextManager[Storage]":
        """The same storage for many writes, which outlive a power failure once the block has ended;
        before that, any of them may be lost. What commits them is written afterwards.

        The end of the block raises StorageError, as a write does, if any of them does not last.
        """
        ...

    def delete(self, path: str) -> None:
        """Delete an object; a missing one is no error. Raises StorageError."""
        ...

    def uri_of(self, path: str) -> str:
        """An object's full address, for rows and messages."""
        ...
