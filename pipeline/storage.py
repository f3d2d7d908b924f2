"""Folders and buckets behind one small interface; pipeline.s3 is the part that knows boto3.

A path is relative to its storage's root, "/" between its parts. Masters are opened for reading
only. Writes are whole or not at all, and `write_if_absent` is the commit of all that must not be
done twice: a hard link of a synced temporary file in a folder, `If-None-Match: *` on S3.
"""

import errno
import os
import re
import shutil
import stat
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Protocol

from pipeline.errors import ObjectMissing, StorageError, StoreUnavailable, UsageError

_NOT_ONE_FILES_FAULT = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.ENODEV),
    *(errno.ENOTCONN, errno.ETIMEDOUT, errno.EMFILE, errno.ENFILE, errno.ENOMEM),
}
_NO_HARD_LINKS = {
    *(errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EXDEV, errno.EMLINK),
}
SINGLE_WRITER = (
    "two runs could overwrite each other's work; use another store, or --single-writer, which "
    "promises that only one command works on the destination at a time"
)
PARTIAL = re.compile(r"\.[0-9a-f]{32}\.partial")  # a write that was cut off, in a folder
_ESCAPED = re.compile("[\uf780-\uf7ff]")


@dataclass(frozen=True)
class StoredObject:
    """What a listing tells: path relative to the storage's root, size in bytes, last change.

    modified: seconds since 1970 by the store's own clock; None where it does not say.
    """

    path: str
    size: int
    modified: float | None = field(default=None, compare=False)


class Storage(Protocol):
    """A place that holds objects by path; picklable, so that it can travel to workers.

    conditional: False where it cannot write under a condition (an old store of another maker, a
    file system without links); then `write_if_absent` looks before it writes, which is good enough
    for one writer.
    """

    uri: str
    conditional: bool

    def list(self, folder: str = "") -> Iterator[StoredObject]:
        """Everything below a folder, streamed in the bytewise order of paths.

        A folder that is not there is empty; only a missing root raises StorageError.
        """
        ...

    def read(self, path: str) -> bytes:
        """Raises ObjectMissing, StoreUnavailable (the store is at fault) or StorageError."""
        ...

    def exists(self, path: str) -> bool: ...

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


def open_storage(uri: str, conditional: bool = True) -> Storage:
    """A folder, or `s3://bucket/prefix`. Raises UsageError; nothing is contacted yet.

    conditional: False for a store that cannot write if absent; see LocalStorage and S3Storage.
    """
    from pipeline.s3 import S3Storage  # which builds on this file

    scheme, separator, rest = uri.partition("://")
    if not separator:
        if not uri:
            raise UsageError("an empty path is neither a folder nor s3://bucket/prefix")
        return LocalStorage(uri, conditional)
    bucket, _, prefix = rest.partition("/")
    if scheme != "s3" or not bucket:
        raise UsageError(f"{uri} is neither a folder nor s3://bucket/prefix")
    return S3Storage(bucket, prefix, conditional)


def overlap(one: Storage, other: Storage) -> bool:
    """Whether one lies inside the other, or they are the same place."""
    first, second = (place.uri.rstrip("/") + "/" for place in (one, other))
    return first.startswith(second) or second.startswith(first)


class MemoryStorage:
    """The twin in memory, for tests and trials; a pickled copy lives its own life."""

    def __init__(self, name: str = "memory") -> None:
        self.uri, self.conditional = f"memory://{name}", True
        self.objects: dict[str, bytes] = {}
        self.times: dict[str, float] = {}

    def list(self, folder: str = "") -> Iterator[StoredObject]:
        start = f"{folder.rstrip('/')}/" if folder else ""
        for path in sorted(self.objects, key=str.encode):
            if path.startswith(start):
                yield StoredObject(path, len(self.objects[path]), self.times.get(path))

    def read(self, path: str) -> bytes:
        try:
            return self.objects[path]
        except KeyError:
            raise ObjectMissing(f"{self.uri_of(path)} does not exist") from None

    def exists(self, path: str) -> bool:
        return path in self.objects

    def write(self, path: str, data: bytes) -> None:
        self.objects[path] = data
        self.times[path] = time.time()

    def write_file(self, path: str, file: BinaryIO) -> None:
        self.write(path, file.read())

    def write_if_absent(self, path: str, data: bytes) -> bool:
        own = bytes(bytearray(data))  # a copy of its own, so that identity tells who came first
        if self.objects.setdefault(path, own) is not own:
            return False
        self.times[path] = time.time()
        return True

    def delete(self, path: str) -> None:
        self.objects.pop(path, None)

    def uri_of(self, path: str) -> str:
        return f"{self.uri}/{path}"


class LocalStorage:
    """A folder. Links are followed, except to a folder that the path to them goes through.

    Bytes of a name that are not UTF-8 appear in paths as U+F780 to U+F7FF, and become the same
    bytes again on disk; so do, byte for byte, names that hold those characters themselves.

    conditional: False for a file system without hard links; then it takes one writer, and a look
    before each write, to keep what is there.
    """

    def __init__(self, folder: str, conditional: bool = True) -> None:
        self.uri, self.conditional = _to_text(os.path.realpath(folder)), conditional

    def list(self, folder: str = "") -> Iterator[StoredObject]:
        if not folder and not os.path.isdir(self._locate("")):
            there = os.path.lexists(self._locate(""))
            raise StorageError(f"{self.uri} {'is not a folder' if there else 'does not exist'}")
        yield from self._walk(folder.strip("/"), ())

    def _walk(self, folder: str, above: tuple[tuple[int, int], ...]) -> Iterator[StoredObject]:
        place = self._locate(folder)
        try:
            here = os.stat(place)
            identity = (here.st_dev, here.st_ino)
            if identity in above:
                return
            with os.scandir(place) as entries:
                found = sorted(map(_described, entries), key=lambda entry: entry[0].encode())
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise _explained("list", self.uri_of(folder), error) from None
        for name, size, modified in found:
            path = f"{folder}/{name}".lstrip("/")
            if name.endswith("/"):
                yield from self._walk(path[:-1], (*above, identity))
            else:
                yield StoredObject(path, size, modified)

    def read(self, path: str) -> bytes:
        place = self._locate(path)
        try:
            if not stat.S_ISREG(os.stat(place).st_mode):  # reading a pipe would wait for ever
                raise StorageError(f"{self.uri_of(path)} is not a regular file")
            with open(place, "rb") as file:
                return file.read()
        except FileNotFoundError:
            raise ObjectMissing(f"{self.uri_of(path)} does not exist") from None
        except OSError as error:
            raise _explained("read", self.uri_of(path), error) from None

    def exists(self, path: str) -> bool:
        return os.path.exists(self._locate(path))

    def write(self, path: str, data: bytes) -> None:
        self._put(path, data, os.replace)

    def write_file(self, path: str, file: BinaryIO) -> None:
        self._put(path, file, os.replace)

    def write_if_absent(self, path: str, data: bytes) -> bool:
        if self.conditional:
            return self._put(path, data, _link)
        return not os.path.lexists(self._locate(path)) and self._put(path, data, os.replace)

    def _put(self, path: str, data: bytes | BinaryIO, move: Any) -> bool:
        place = self._locate(path)
        folder = os.path.dirname(place)
        temporary = os.path.join(folder, f".{uuid.uuid4().hex}.partial")
        try:
            os.makedirs(folder, exist_ok=True)
            try:
                with open(temporary, "xb") as file:
                    if isinstance(data, bytes):
                        file.write(data)
                    else:
                        shutil.copyfileobj(data, file)
                    file.flush()
                    os.fsync(file.fileno())
                move(temporary, place)
            finally:
                with suppress(OSError):
                    os.unlink(temporary)
            _sync_folder(folder)
        except FileExistsError as error:
            if move is _link and os.path.lexists(place):
                return False
            raise _explained("write", self.uri_of(path), error) from None
        except OSError as error:
            raise _explained("write", self.uri_of(path), error) from None
        return True

    def delete(self, path: str) -> None:
        try:
            os.unlink(self._locate(path))
        except FileNotFoundError:
            pass
        except OSError as error:
            raise _explained("delete", self.uri_of(path), error) from None

    def uri_of(self, path: str) -> str:
        return f"{self.uri.rstrip('/')}/{path}" if path else self.uri

    def _locate(self, path: str) -> str:
        # S3 knows such names; in a folder they would lead out of it, or to another file.
        if path and not {"", ".", ".."}.isdisjoint(path.split("/")) or "\0" in path:
            raise StorageError(f"{path!r} cannot be the name of a file")
        return _to_name(self.uri_of(path))


def _explained(verb: str, uri: str, error: OSError) -> StorageError:
    kind = StoreUnavailable if error.errno in _NOT_ONE_FILES_FAULT else StorageError
    return kind(f"cannot {verb} {uri}: {error.strerror}")


def _link(temporary: str, place: str) -> None:
    """A hard link, also where a network file system lost the answer and met its own work."""
    try:
        os.link(temporary, place)
    except FileExistsError:
        if not _are_same(temporary, place):
            raise
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        raise UsageError(
            f"the file system of {_to_text(os.path.dirname(place))} makes no hard links "
            f"({error.strerror}): {SINGLE_WRITER}"
        ) from None


def _are_same(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:  # a broken link, or gone again
        return False


def _described(entry: "os.DirEntry[str]") -> tuple[str, int, float | None]:
    """Name, size and time of an entry; a folder's name ends in "/", which is where it sorts."""
    name = _to_text(entry.name)
    try:
        if entry.is_dir():
            return name + "/", 0, None
        about = entry.stat()
        return name, about.st_size, about.st_mtime
    except OSError:  # a broken link, or gone already: reading it will say so
        return name, 0, None


def _sync_folder(folder: str) -> None:
    """Make a new name in a folder outlive a power failure, where the system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _to_text(name: str) -> str:
    """A file's name as text that any format can hold."""
    escaped = _ESCAPED.sub(
        lambda found: "".join(chr(0xF700 + byte) for byte in found[0].encode()), name
    )
    return re.sub("[\udc80-\udcff]", lambda found: chr(ord(found[0]) - 0xDC00 + 0xF700), escaped)


def _to_name(text: str) -> str:
    """The inverse of _to_text: surrogates stand for bytes in Python's file names."""
    return _ESCAPED.sub(lambda found: chr(ord(found[0]) - 0xF700 + 0xDC00), text)
