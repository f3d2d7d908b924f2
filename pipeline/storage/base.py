"""The interface of all places that hold bytes: folders, buckets and the twin in memory.

A path is relative to its storage's root, "/" between its parts. Masters are opened for reading
only. Writes are whole or not at all, and `write_if_absent` is the commit of all that must not be
done twice: a hard link of a synced temporary file in a folder, `If-None-Match: *` on S3.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

from pipeline.errors import ObjectTooLarge

SINGLE_WRITER = (
    "two runs could overwrite each other's work; use another store, or --single-writer, which "
    "promises that only one command works on the destination at a time"
)

# Why a folder is not entered, given its path with a "/" at the end; empty where it is.
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
    """What a listing tells: path relative to the storage's root, size in bytes, last change.

    modified: seconds since 1970 by the store's own clock; None where it does not say. skipped: why
    it is not read, in words: a folder without permission or to be skipped, whose path ends in "/",
    a link that is not followed.
    """

    path: str
    size: int
    modified: float | None = field(default=None, compare=False)
    skipped: str = field(default="", compare=False)


class Storage(Protocol):
    """A place that holds objects by path; picklable, so that it can travel to workers.

    conditional: False where it cannot write under a condition (an old store of another maker, a
    file system without links); then `write_if_absent` looks before it writes, which is good enough
    for one writer.
    """

    uri: str
    conditional: bool

    def list(self, folder: str = "", skip: Skip = enter_all) -> Iterator[StoredObject]:
        """Everything below a folder, streamed in the bytewise order of paths.

        skip: names folders that need not be listed; each that is not is one entry. A store without
        folders may list what is in them all the same.
        A folder that is not there is empty; only a missing root raises StorageError.
        """
        ...

    def read(self, path: str, most: int | None = None) -> bytes:
        """An object's bytes; most: of more, none are fetched than it takes to know.

        Raises ObjectMissing, ObjectTooLarge, StoreUnavailable (the store is at fault) or
        StorageError.
        """
        ...

    def exists(self, path: str) -> bool: ...

    def find(self, path: str) -> StoredObject | None:
        """What a listing tells of one object; None where there is none. Raises StorageError."""
        ...

    def write(self, path: str, data: bytes) -> None:
        """Write or replace, whole or not at all. Raises as `read` does."""
        ...

    def write_file(self, path: str, file: BinaryIO) -> None:
        """As `write`, what a file holds from where it stands; memory does not grow with it.

        The file may be closed afterwards.
        """
        ...

    def write_if_absent(self, path: str, data: bytes) -> bool:
        """Write unless it is there already: False then, and what is there stays untouched.

        Raises as `read` does, and UsageError where the store cannot do this.
        """
        ...

    def delete(self, path: str) -> None:
        """Nothing happens where it is not there. Raises StorageError."""
        ...

    def uri_of(self, path: str) -> str: ...
