"""The storage for a path or URI."""

import os
import stat

from pipeline.errors import ObjectMissing, UsageError
from pipeline.storage.base import Storage, refuse_size
from pipeline.storage.local import LocalStorage
from pipeline.storage.s3 import S3Storage
from pipeline.storage.secrets import without_secrets


def open_storage(uri: str, conditional: bool = True, follow_links: bool = True) -> Storage:
    """A folder, or `s3://bucket/prefix`. Raises UsageError; nothing is contacted yet.

    conditional: False for a store without conditional writes; see LocalStorage and S3Storage.
    follow_links: as in LocalStorage.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator:
        if not uri:
            raise UsageError("an empty path is neither a folder nor s3://bucket/prefix")
        return LocalStorage(uri, conditional, follow_links)
    bucket, _, prefix = rest.partition("/")
    told = without_secrets(uri)
    # A key may hold what looks like them: that of a page of the web, say.
    if told != uri and (scheme != "s3" or not {":", "@"}.isdisjoint(bucket)):
        raise UsageError(f"{told}: credentials are no part of an address: see AWS's own settings")
    if scheme != "s3" or not bucket:
        raise UsageError(f"{uri} is neither a folder nor s3://bucket/prefix")
    return S3Storage(bucket, prefix, conditional)


def is_remote(place: str) -> bool:
    """Whether a place is in a bucket, not on the disks of this machine."""
    return place.startswith("s3://")


def read_file(uri: str, most: int = 2**30) -> bytes:
    """The bytes of a file, of an object `s3://bucket/key` or of a shell's `<(command)`, at most
    `most` of them. Raises UsageError (no such file), StorageError."""
    piped = _read_pipe(uri, most)
    if piped is not None:
        return piped
    folder, _, name = uri.rpartition("/")
    if not name:
        raise UsageError(f"{uri!r} is neither a file nor s3://bucket/key")
    try:
        return open_storage(folder or ("/" if uri.startswith("/") else ".")).read(name, most)
    except ObjectMissing as error:
        raise UsageError(f"{uri} is not there") from error


def _read_pipe(place: str, most: int) -> bytes | None:
    """All that comes through a pipe; None where this is none, or nobody writes to it, so that
    waiting might never end. Raises ObjectTooLarge."""
    try:
        if not stat.S_ISFIFO(os.stat(place).st_mode):
            return None
        with open(os.open(place, os.O_RDONLY | os.O_NONBLOCK), "rb") as pipe:
            first = pipe.read(1)  # b"" where nobody writes, None where nothing came yet
            if first == b"":
                return None
            os.set_blocking(pipe.fileno(), True)
            data = (first or b"") + pipe.read(most)
    except (OSError, ValueError):  # reading it as a file will say what is wrong
        return None
    refuse_size(place, len(data), most)
    return data


def overlap(one: Storage, other: Storage) -> bool:
    """Whether two storages are the same place, or one lies inside the other."""
    return lies_in(one, other) or lies_in(other, one)


def lies_in(one: Storage, other: Storage) -> bool:
    """Whether a storage is the same place as another, or lies inside it."""
    inner, outer = (place.uri.rstrip("/") + "/" for place in (one, other))
    if inner.startswith(outer):
        return True
    if not (isinstance(one, LocalStorage) and isinstance(other, LocalStorage)):
        return False
    return one.lies_in(other)  # by another name
