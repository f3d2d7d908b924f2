"""The storage for a path or URI."""

from pipeline.errors import ObjectMissing, UsageError
from pipeline.storage.base import Storage
from pipeline.storage.local import LocalStorage
from pipeline.storage.s3 import S3Storage
from pipeline.storage.secrets import without_secrets


def open_storage(uri: str, conditional: bool = True, follow_links: bool = True) -> Storage:
    """A folder, or `s3://bucket/prefix`. Raises UsageError; nothing is contacted yet.

    conditional: False for a store without conditional writes; see LocalStorage and S3Storage.
    follow_links: as in LocalStorage.
    """
    refuse_secrets(uri)
    scheme, separator, rest = uri.partition("://")
    if not separator:
        if not uri:
            raise UsageError("an empty path is neither a folder nor s3://bucket/prefix")
        return LocalStorage(uri, conditional, follow_links)
    bucket, _, prefix = rest.partition("/")
    if scheme != "s3" or not bucket:
        raise UsageError(f"{uri} is neither a folder nor s3://bucket/prefix")
    return S3Storage(bucket, prefix, conditional)


def refuse_secrets(uri: str) -> None:
    """Raise UsageError for an address with credentials, which would be recorded with it."""
    told = without_secrets(uri)
    if told != uri:
        raise UsageError(f"{told}: credentials are no part of an address: see AWS's own settings")


def read_file(uri: str, most: int = 2**30) -> bytes:
    """The bytes of a file or of an object `s3://bucket/key`, at most `most` of them. Raises
    UsageError (no such file), StorageError."""
    folder, _, name = uri.rpartition("/")
    if not name:
        raise UsageError(f"{uri!r} is neither a file nor s3://bucket/key")
    try:
        return open_storage(folder or ("/" if uri.startswith("/") else ".")).read(name, most)
    except ObjectMissing as error:
        raise UsageError(f"{uri} is not there") from error


def overlap(one: Storage, other: Storage) -> bool:
    """Whether two storages are the same place, or one lies inside the other."""
    first, second = (place.uri.rstrip("/") + "/" for place in (one, other))
    if first.startswith(second) or second.startswith(first):
        return True
    if not (isinstance(one, LocalStorage) and isinstance(other, LocalStorage)):
        return False
    return one.lies_in(other) or other.lies_in(one)  # by another name
