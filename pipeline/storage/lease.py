"""Opening a destination for writing: with a store that arbitrates, or for a single command.

Two commands on one destination cannot harm each other if the store honors conditional writes. If it
does not, `--single-writer` takes a lease: an object that names its holder and is renewed until the
command ends. A lease guards against a second command started by mistake, but not against one that
starts within the same second, nor against clocks that differ by minutes.
"""

import json
import math
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from pipeline.errors import ObjectMissing, StorageError, StoreUnavailable, UsageError
from pipeline.storage.base import Storage
from pipeline.storage.open_storage import open_storage

LEASE = "lease.json"
SECONDS = 180.0  # after which a lease expires unless it is renewed
_RENEWALS = 6  # in that time
SETTLING = 2.0  # seconds in which another command's lease would replace ours


class Lease:
    """The right of one command to write to a destination."""

    def __init__(self, destination: Storage) -> None:
        """Take the lease. Raises UsageError (another command holds it), StorageError."""
        self._destination = destination
        self._own = {"id": uuid.uuid4().hex, "host": socket.gethostname(), "process": os.getpid()}
        self._ended = threading.Event()
        self.lost = ""  # how, once it is
        holder = self._read()
        if holder and float(holder["until"]) > time.time():
            raise UsageError(self._held_by(holder))
        try:
            self._renew()
            self._ended.wait(SETTLING)
            holder = self._read()
        except BaseException:  # Ctrl-C, say: the same command again is not to wait for it
            self._delete()
            raise
        if holder is None or holder["id"] != self._own["id"]:
            raise UsageError(self._held_by(holder or self._own))
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise StoreUnavailable if the lease was lost, so that another command may write now."""
        if self.lost:
            raise StoreUnavailable(self.lost)

    def release(self) -> None:
        self._ended.set()
        self._thread.join()
        if not self.lost:
            self._delete()

    def _delete(self) -> None:
        """Unless another command has taken it over."""
        with suppress(StorageError):
            holder = self._read()
            if holder and holder["id"] == self._own["id"]:
                self._destination.delete(LEASE)

    def _keep(self) -> None:
        renewed = time.monotonic()
        while not self._ended.wait(SECONDS / _RENEWALS):
            try:
                holder = self._read()
                if holder is None or holder["id"] != self._own["id"]:
                    self.lost = self._held_by(holder or {"host": "unknown", "process": 0})
                    return
                self._renew()
                renewed = time.monotonic()
            except StorageError as error:
                if time.monotonic() - renewed > SECONDS / 2:
                    self.lost = f"the lease could not be renewed: {error}"
                    return

    def _renew(self) -> None:
        content = self._own | {"until": time.time() + SECONDS}
        self._destination.write(LEASE, json.dumps(content).encode())

    def _read(self) -> dict[str, Any] | None:
        try:
            content = json.loads(self._destination.read(LEASE))
            if not {"id", "host", "process", "until"} <= content.keys():
                return None
            until = float(content["until"])
            return {**content, "until": until} if math.isfinite(until) else None
        except (
            ObjectMissing,
            ValueError,
            AttributeError,
            TypeError,
            RecursionError,
            OverflowError,
        ):
            return None

    def _held_by(self, holder: dict[str, Any]) -> str:
        left = float(holder.get("until", 0)) - time.time()
        when = f"; its lease ends in {left:.0f} s unless it is renewed" if left > 0 else ""
        if left > 2 * SECONDS:
            where = self._destination.uri_of(LEASE)
            when = f", by a clock that differs from this one's; if it has ended, delete {where}"
        process, host = (" ".join(str(holder[name]).split())[:80] for name in ("process", "host"))
        return f"process {process} on {host} writes to {self._destination.uri}{when}"


@contextmanager
def open_destination(uri: str, single_writer: bool) -> Iterator[tuple[Storage, Lease | None]]:
    """Open a destination for writing while the block runs; gives the storage and its lease, if any.

    Raises UsageError (another command holds the lease), StorageError.
    """
    storage = open_storage(uri)
    if not single_writer:
        yield storage, None
        return
    storage.conditional = False
    lease = Lease(storage)
    try:
        yield storage, lease
    finally:
        lease.release()
