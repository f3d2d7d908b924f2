"""Copies files from a destination into a delivery: byte for byte, with digests, overwriting
nothing."""

import hashlib
import threading
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from pipeline.delivery.catalog import PICTURES, Delivered
from pipeline.delivery.chosen import Picture
from pipeline.errors import (
    ObjectArchived,
    ObjectMissing,
    StorageError,
    StoreUnavailable,
    UsageError,
)
from pipeline.images.formats import FORMAT_OF_SUFFIX
from pipeline.ledger.recipe import Recipe
from pipeline.ledger.results import image_path
from pipeline.ledger.seen import Seen
from pipeline.metadata.titles import title_of
from pipeline.provenance.sidecar import sidecar_of, sidecar_path
from pipeline.storage.base import Storage
from pipeline.storage.local import LocalStorage

_LARGE_BYTES = 2**26  # larger files are held in memory one at a time


@dataclass(frozen=True)
class Task:
    """A picture to copy to a path of the delivery, which may already hold it and its sidecar."""

    picture: Picture
    path: str
    is_there: bool
    sidecar_is_there: bool


class Copier:
    """Copies pictures. folder: of the delivery, with "/" at its end. there: the paths that exist in
    it. hard_links: link files between folders instead of copying them. Raises UsageError."""

    def __init__(
        self,
        destination: Storage,
        out: Storage,
        recipe: Recipe,
        folder: str,
        there: Seen,
        hard_links: bool = False,
    ) -> None:
        self._destination, self._out, self._recipe, self._folder = destination, out, recipe, folder
        self._there, self._one_large = there, threading.Lock()
        self._linked: tuple[LocalStorage, LocalStorage] | None = None
        if hard_links:
            if not (isinstance(destination, LocalStorage) and isinstance(out, LocalStorage)):
                raise UsageError(f"no hard links from {destination.uri} to {out.uri}: not folders")
            self._linked = destination, out

    def task(self, picture: Picture) -> Task:
        path = self._folder + PICTURES + picture.name
        return Task(picture, path, path in self._there, sidecar_path(path) in self._there)

    def copy(self, task: Task) -> Delivered:
        """Copy a picture and its sidecar, in a thread. Raises StoreUnavailable."""
        picture, path, row = task.picture, task.path, task.picture.row
        delivered = Delivered(picture)
        if not picture.name:
            error = row["error"] or f"it is {row['status']}"
            return replace(delivered, reason=row["reason"] or "missing", error=error)
        image = image_path(row)
        if self._recipe.sidecar:  # first, so that no picture is delivered without it
            digest = hashlib.sha256(sidecar_of(row, image, self._recipe)).hexdigest()
            beside, there = sidecar_path(path), task.sidecar_is_there
            _, problem = self._copied(sidecar_path(image), beside, digest, there)
            if problem:
                return replace(delivered, reason=problem[0], error=problem[1])
        large = (row["output_bytes"] or 0) > _LARGE_BYTES
        with self._one_large if large else nullcontext():
            data, problem = self._copied(image, path, row["output_sha256"], task.is_there)
            if problem:
                return replace(delivered, reason=problem[0], error=problem[1])
            format = FORMAT_OF_SUFFIX[PurePosixPath(path).suffix.lower()]
            return replace(delivered, size=len(data), title=title_of(format, data))

    def _copied(
        self, start: str, end: str, digest: str, there: bool
    ) -> tuple[bytes, tuple[str, str] | None]:
        """The bytes of a delivered file, or why it is not delivered: a reason and a line for
        people. there: the path exists, with this file or another."""
        if there:
            return self._compared(end, digest)
        try:
            data = self._destination.read(start)
        except StoreUnavailable:
            raise
        except StorageError as error:
            known = {ObjectMissing: "missing", ObjectArchived: "archived"}
            return b"", (known.get(type(error), "unreadable"), str(error))
        if hashlib.sha256(data).hexdigest() != digest:
            uri = self._destination.uri_of(start)
            return b"", ("changed", f"{uri} has other bytes than were recorded: autochrome verify")
        try:
            if self._linked:
                destination, out = self._linked
                new = out.link_if_absent(end, destination, start)
            else:
                new = self._out.write_if_absent(end, data)
            if new:
                return data, None
        except StoreUnavailable:
            raise
        except StorageError as error:
            return b"", ("write_error", str(error))
        return self._compared(end, digest)

    def _compared(self, end: str, digest: str) -> tuple[bytes, tuple[str, str] | None]:
        """As _copied, for an existing file, which is compared and left as it is."""
        try:
            data = self._out.read(end)
        except StoreUnavailable:
            raise
        except StorageError as error:
            return b"", ("write_error", str(error))
        if hashlib.sha256(data).hexdigest() == digest:
            return data, None
        return b"", ("write_error", f"{self._out.uri_of(end)} is another file, and stays")
