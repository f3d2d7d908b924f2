"""Which storage a path or URI is of."""

from pipeline.errors import UsageError
from pipeline.storage.base import Storage
from pipeline.storage.local import LocalStorage
from pipeline.storage.s3 import S3Storage


def open_storage(uri: str, conditional: bool = True, follow_links: bool = True) -> Storage:
    """A folder, or `s3://bucket/prefix`. Raises UsageError; nothing is contacted yet.

    conditional: False for a store that cannot write if absent; see LocalStorage and S3Storage.
    follow_links: as in LocalStorage.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator:
        if not uri:
            raise UsageError("an empty path is neither a folder nor s3://bucket/prefix")
        return LocalStorage(uri, conditional, follow_links)
    bucket, _, prefix = rest.partition("/")
    if scheme != "s3" or not bucket:
        raise UsageError(f"{uri} is neither a folder nor s3://bucket/prefix")
    return S3Storage(bucket, prefix, conditional)


def overlap(one: Storage, other: Storage) -> bool:
    """Whether one lies inside the other, or they are the same place."""
    first, second = (place.uri.rstrip("/") + "/" for place in (one, other))
    return first.startswith(second) or second.startswith(first)
