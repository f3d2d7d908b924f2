"""Tries, before work starts, whether a store supports the conditional writes that commits need."""

import uuid
from contextlib import suppress

from pipeline.errors import StorageError, UsageError
from pipeline.storage.base import SINGLE_WRITER, Storage

PROBE = ".autochrome-probe-"


def probe_conditional_writes(storage: Storage) -> None:
    """Raise UsageError if `write_if_absent` overwrites existing objects or does not work."""
    if not storage.conditional:
        return  # --single-writer: nobody else writes
    path, first = f"{PROBE}{uuid.uuid4().hex}", b"first"
    try:
        try:
            storage.write_if_absent(path, first)  # False where the answer was lost; `read` tells
        except StorageError as error:  # whose words name a file that nobody has asked for
            words = str(error).replace(storage.uri_of(path), storage.uri)
            raise type(error)(words) from error
        if storage.write_if_absent(path, b"second") or storage.read(path) != first:
            raise UsageError(f"{storage.uri} ignores If-None-Match: {SINGLE_WRITER}")
    finally:
        with suppress(StorageError):  # the permission to delete is not needed
            storage.delete(path)
