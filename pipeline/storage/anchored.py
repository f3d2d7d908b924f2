"""A destination that may vanish: deleted, or unmounted so that an empty folder is left in its
place."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from pipeline.errors import DestinationGone, StorageError
from pipeline.storage.base import Skip, Storage, StoredObject, enter_all


class AnchoredStorage:
    """Wraps a storage, and writes to it only while a certain object (the anchor) is there.

    Writes also raise DestinationGone.
    """

    def __init__(self, storage: Storage, anchor: str) -> None:
        self.uri, self.conditional = storage.uri, storage.conditional
        self._storage, self._anchor = storage, anchor

    def list(self, folder: str = "", skip: Skip = enter_all) -> Iterator[StoredObject]:
        return self._storage.list(folder, skip)

    def read(self, path: str, most: int | None = None) -> bytes:
        return self._storage.read(path, most)

    def exists(self, path: str) -> bool:
        return self._storage.exists(path)

    def find(self, path: str) -> StoredObject | None:
        return self._storage.find(path)

    def write(self, path: str, data: bytes) -> None:
        with self._while_there():
            self._storage.write(path, data)

    def write_file(self, path: str, file: BinaryIO) -> None:
        with self._while_there():
            self._storage.write_file(path, file)

    def write_if_absent(self, path: str, data: bytes) -> bool:
        with self._while_there():
            return self._storage.write_if_absent(path, data)

    @contextmanager
    def together(self) -> "Iterator[AnchoredStorage]":
        with self._telling(), self._storage.together() as storage:
            yield AnchoredStorage(storage, self._anchor)

    def delete(self, path: str) -> None:
        self._storage.delete(path)

    def uri_of(self, path: str) -> str:
        return self._storage.uri_of(path)

    @contextmanager
    def _while_there(self) -> Iterator[None]:
        self._check()
        with self._telling():
            yield

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """A write that fails because the destination has just vanished says so, too."""
        try:
            yield
        except DestinationGone:
            raise
        except StorageError as error:
            self._check(error)
            raise

    def _check(self, cause: StorageError | None = None) -> None:
        if not self._storage.exists(self._anchor):
            raise DestinationGone(
                f"{self.uri} has no {self._anchor} any more: it was deleted, or is not mounted now;"
                " nothing more is written there until it is back"
            ) from cause
