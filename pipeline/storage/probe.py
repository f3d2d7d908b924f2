"""Whether a store keeps the promise on which every commit rests, tried before work starts."""

import uuid
from contextlib import suppress

from pipeline.errors import StorageError, UsageError
from pipeline.storage.base import SINGLE_WRITER, Storage

PROBE = ".autochrome-probe-"


def probe_conditional_writes(storage: Storage) -> None:
    """Raises UsageError where `write_if_absent` writes over what is there, or cannot work."""
    if not storage.conditional:
        return  # one writer has promised to be alone
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
        with suppress(StorageError):  # who may not delete can still work
            storage.delete(path)
