"""Storage in folders."""

import copy
import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from pipeline.errors import ObjectMissing, StorageError, UsageError
from pipeline.storage.base import SINGLE_WRITER, Skip, StoredObject, enter_all, refuse_size
from pipeline.storage.durability import Unsynced, sync_folder
from pipeline.storage.file_errors import NO_HARD_LINKS, NOT_THERE, as_storage_error
from pipeline.storage.file_names import UNFIT, name_of_root, to_name, to_text
from pipeline.storage.folder_entries import Identity, scan_folder
from pipeline.storage.mounts import path_below

PARTIAL = re.compile(r"\.[0-9a-f]{32}\.partial")  # a write that was cut off, in a folder


class LocalStorage:
    """A folder. Links are followed, except to a folder that the path to them goes through.

    Paths are text, also of files whose names are not (storage.file_names).

    folder: as the system names it, or as `uri` has it, which a run records. conditional: False for
    a file system without hard links; then it takes one writer, and a look before each write, to
    keep what is there. follow_links: False: listings leave out links that lead out of the folder.
    """

    def __init__(self, folder: str, conditional: bool = True, follow_links: bool = True) -> None:
        try:
            self.uri = to_text(os.path.realpath(name_of_root(folder)))
        except ValueError as error:  # a zero byte, or half of a character
            raise UsageError(f"{folder!r} cannot be the name of a folder") from error
        self.conditional = conditional
        self.follow_links = follow_links
        self._unsynced: Unsynced | None = None  # None: all is synced at once

    def list(self, folder: str = "", skip: Skip = enter_all) -> Iterator[StoredObject]:
        if not folder:
            about = self._stat("")
            if about is None and not os.path.lexists(self._locate("")):
                raise ObjectMissing(f"{self.uri} does not exist")
            if about is None or not stat.S_ISDIR(about.st_mode):
                raise StorageError(f"{self.uri} is not a folder")
        yield from self._walk(folder.strip("/"), (), skip)

    def _walk(self, folder: str, above: tuple[Identity, ...], skip: Skip) -> Iterator[StoredObject]:
        """All below a folder. above: the folders on the way to it, none of which is entered again
        through a link."""
        stay_in = None if self.follow_links else self._locate("")
        try:
            identity, entries = scan_folder(self._locate(folder), stay_in)
        except PermissionError as error:
            if not above:  # whoever asks for this very folder would take it for empty
                raise as_storage_error("list", self.uri_of(folder), error) from error
            yield StoredObject(f"{folder}/", 0, skipped=f"unreadable folder {folder}")
            return
        except OSError as error:
            raise as_storage_error("list", self.uri_of(folder), error) from error
        if identity is None or identity in above:
            return
        for name, size, modified, skipped in entries:
            path = f"{folder}/{name}".lstrip("/")
            if skipped:
                yield StoredObject(path, 0, skipped=skipped)
            elif name.endswith("/") and (why := skip(path)):
                yield StoredObject(path, 0, skipped=why)
            elif name.endswith("/"):
                yield from self._walk(path[:-1], (*above, identity), skip)
            else:
                yield StoredObject(path, size, modified)

    def read(self, path: str, most: int | None = None) -> bytes:
        place = self._locate(path)
        try:
            kind = os.stat(place).st_mode
            if stat.S_ISDIR(kind):
                raise StorageError(f"{self.uri_of(path)} is a folder, not a file")
            if not stat.S_ISREG(kind):  # reading a pipe would wait for ever
                raise StorageError(f"{self.uri_of(path)} is not a regular file")
            with open(place, "rb") as file:
                refuse_size(self.uri_of(path), os.fstat(file.fileno()).st_size, most)
                data = file.read() if most is None else file.read(most + 1)
            refuse_size(self.uri_of(path), len(data), most)  # it has grown meanwhile
            return data
        except FileNotFoundError as error:
            raise ObjectMissing(f"{self.uri_of(path)} does not exist") from error
        except OSError as error:
            raise as_storage_error("read", self.uri_of(path), error) from error

    def exists(self, path: str) -> bool:
        return self._stat(path) is not None

    def find(self, path: str) -> StoredObject | None:
        about = self._stat(path)
        if about is None or stat.S_ISDIR(about.st_mode):
            return None
        return StoredObject(path, about.st_size, about.st_mtime)

    def _stat(self, path: str) -> os.stat_result | None:
        """None if there is nothing of that name. Raises StorageError where nobody can tell."""
        try:
            return os.stat(self._locate(path))
        except OSError as error:
            if error.errno in NOT_THERE:
                return None
            raise as_storage_error("read", self.uri_of(path), error) from error

    def write(self, path: str, data: bytes) -> None:
        self._put(path, data, os.replace, self._unsynced)

    def write_file(self, path: str, file: BinaryIO) -> None:
        self._put(path, file, os.replace, self._unsynced)

    def write_if_absent(self, path: str, data: bytes) -> bool:
        if self.conditional:
            return self._put(path, data, _link)
        place = self._locate(path)
        if not os.path.lexists(place):
            return self._put(path, data, os.replace)
        self._make_last(path, os.path.dirname(place))
        return False

    def link_if_absent(self, path: str, source: "LocalStorage", start: str) -> bool:
        """Give a file of another folder a second name here. Raises UsageError (the file system
        makes no such links, or the folders are on two of them) and StorageError."""
        place = self._locate(path)
        try:
            self._make_folder(path, os.path.dirname(place))
            os.link(source._locate(start), place)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in NO_HARD_LINKS:
                raise as_storage_error("link", self.uri_of(path), error) from error
            raise UsageError(
                f"no hard links from {source.uri} to {self.uri} ({error.strerror}): they need one"
                " disk whose file system makes them"
            ) from error
        self._make_last(path, os.path.dirname(place))
        return True

    def _put(
        self, path: str, data: bytes | BinaryIO, move: Any, unsynced: Unsynced | None = None
    ) -> bool:
        """Write a file whole, then `move` it to its place: os.replace, or _link, which replaces
        nothing. Returns whether it was moved.

        unsynced: takes the file if its name is new, and makes it last later. Raises StorageError.
        """
        place = self._locate(path)
        folder = os.path.dirname(place)
        try:
            self._make_folder(path, folder)
            try:
                _write(place, data, move, unsynced)
            except FileNotFoundError:
                if not os.path.isdir(folder):
                    raise
                _write(place, data, move, unsynced)  # another command took it for what a kill left
        except FileExistsError as error:
            if move is not _link or not os.path.lexists(place):
                raise as_storage_error("write", self.uri_of(path), error) from error
            moved = False  # whoever was first may have been killed before the name would last
        except OSError as error:
            raise as_storage_error("write", self.uri_of(path), error) from error
        else:
            moved = True
        self._make_last(path, folder)
        return moved

    @contextmanager
    def together(self) -> "Iterator[LocalStorage]":
        together = copy.copy(self)
        together._unsynced = unsynced = Unsynced()
        with closing(unsynced):
            yield together
            try:
                unsynced.sync(self._locate(""))
            except OSError as error:
                raise as_storage_error("write", to_text(str(error.filename)), error) from error

    def _make_folder(self, path: str, folder: str) -> None:
        """Make a folder, and those above it, whose names outlive a power failure as those of files
        do. Raises OSError, StorageError."""
        missing = []
        while not os.path.isdir(folder):
            missing.append(folder)
            folder = os.path.dirname(folder)
        for each in reversed(missing):
            os.makedirs(each, exist_ok=True)
            self._make_last(path, os.path.dirname(each))

    def _make_last(self, path: str, folder: str) -> None:
        """Make the names in a folder outlive a power failure, at once or when all are written that
        are written together. Raises StorageError."""
        if self._unsynced is not None:
            self._unsynced.folders.add(folder)
            return
        try:
            sync_folder(folder)
        except OSError as error:
            raise as_storage_error("write", self.uri_of(path), error) from error

    def delete(self, path: str) -> None:
        try:
            os.unlink(self._locate(path))
        except FileNotFoundError:
            pass
        except OSError as error:
            raise as_storage_error("delete", self.uri_of(path), error) from error

    def lies_in(self, other: "LocalStorage") -> bool:
        """Whether this is a folder of another, or that itself, under whatever name: of a mount, or
        in other letters where a file system takes "A" for "a"."""
        place, there = self._locate(""), other._locate("")
        above = [place, *map(str, PurePosixPath(place).parents)]
        if any(_are_same(each, there) for each in above):
            return True
        existing = next(filter(os.path.lexists, above))
        below = path_below(existing, there)
        return below is not None and _are_same(existing, os.path.join(there, below))

    def open(self, path: str) -> BinaryIO:
        """A file to read piece by piece. Raises StorageError."""
        try:
            return open(self._locate(path), "rb")
        except OSError as error:
            raise as_storage_error("read", self.uri_of(path), error) from error

    def uri_of(self, path: str) -> str:
        return f"{self.uri.rstrip('/')}/{path}" if path else self.uri

    def _locate(self, path: str) -> str:
        # S3 knows such names; in a folder they would lead out of it, or to another file.
        if path and not {"", ".", ".."}.isdisjoint(path.split("/")) or UNFIT.search(path):
            raise StorageError(f"{path!r} cannot be the name of a file")
        return to_name(self.uri_of(path))


def _write(place: str, data: bytes | BinaryIO, move: Any, unsynced: Unsynced | None = None) -> None:
    """Write a file beside its place, and move it there when it is whole. Raises OSError."""
    temporary = os.path.join(os.path.dirname(place), f".{uuid.uuid4().hex}.partial")
    try:
        with open(temporary, "xb") as file:
            if isinstance(data, bytes):
                file.write(data)
            else:
                start = data.tell()
                shutil.copyfileobj(data, file)
                data.seek(start)
            file.flush()
            if unsynced and _is_linked(temporary, place):
                unsynced.add(place)
                return
            os.fsync(file.fileno())
        move(temporary, place)
    finally:
        with suppress(OSError):
            os.unlink(temporary)


def _is_linked(temporary: str, place: str) -> bool:
    """Give a file its name before it is synced, unless there is a file of that name, which others
    may count on. Where that fails for another reason, moving the file may work, or says why not."""
    try:
        os.link(temporary, place)
    except OSError:
        return False
    return True


def _link(temporary: str, place: str) -> None:
    """A hard link, also where a network file system lost the answer and met its own work."""
    try:
        os.link(temporary, place)
    except FileExistsError:
        if not _are_same(temporary, place):
            raise
    except OSError as error:
        if error.errno not in NO_HARD_LINKS:
            raise
        raise UsageError(
            f"the file system of {to_text(os.path.dirname(place))} makes no hard links "
            f"({error.strerror}): {SINGLE_WRITER}"
        ) from error


def _are_same(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:  # a broken link, or gone again
        return False
