"""Lists of photographs: Parquet or CSV with a column `uri`, or an S3 Inventory in Parquet.

`uri` is a photo's URI inside of the source, or its path relative to it. `size` (bytes) may stand
beside it. An inventory has `bucket`, `key` and perhaps `size`, `is_latest`, `is_delete_marker`.
Rows are streamed; a file in a bucket is held in memory whole, a folder one file at a time.
"""

import csv
import hashlib
import io
import os
import posixpath
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import UsageError, first_line, shown_in_line
from pipeline.ledger.seen import Seen
from pipeline.parquet import open_parquet
from pipeline.storage.base import Storage, StoredObject
from pipeline.storage.local import LocalStorage
from pipeline.storage.open_storage import open_storage
from pipeline.storage.secrets import without_secrets

_BATCH = 65_536
_LONGEST = 200  # characters of a value in a message
_SIZE = re.compile(r"[0-9]{1,18}")


class Manifest:
    """A list of photographs: one file, or a folder of Parquet files."""

    def __init__(self, uri: str) -> None:
        """Raises UsageError, StorageError: no such file."""
        self.uri = uri
        self._in_order = True  # until a photo is found that is not
        if uri.lower().endswith((".parquet", ".csv")) and not os.path.isdir(uri):
            folder, _, name = uri.rpartition("/")
            self._storage = open_storage(folder or ("/" if uri.startswith("/") else "."))
            self._paths = [name]
        elif "://" not in uri and os.path.isfile(uri):
            raise UsageError(f"the manifest {uri} is neither .csv nor .parquet")
        else:
            self._storage = open_storage(uri)
            found = list(self._storage.list())
            if unread := next((each.skipped for each in found if each.skipped), ""):
                raise UsageError(f"the manifest {uri}: {unread}")
            self._paths = [each.path for each in found if each.path.lower().endswith(".parquet")]
        if not self._paths:
            raise UsageError(f"the manifest {uri} is neither Parquet nor CSV, nor a folder of them")

    def digest(self) -> str:
        """SHA-256 over the bytes of its files. Raises StorageError."""
        whole = hashlib.sha256()
        for path in self._paths:
            whole.update(hashlib.sha256(self._storage.read(path)).digest())
        return whole.hexdigest()

    def photos(self, source: Storage, ignored: Counter[str]) -> Iterator[StoredObject]:
        """The listed photos, in order; repeated ones are skipped and counted as "repeated".

        In a list in the order of paths, the same ones are neighbors, and none has to be kept in
        mind. The first that is out of order has the list read once more from its beginning. Size 0
        means unknown. Raises UsageError (a row outside the source, a missing column), StorageError.
        """
        last, told = "", 0
        for photo in self._rows_in(source) if self._in_order else ():
            if photo.path < last:
                self._in_order = False
                break
            if photo.path != last:
                yield photo
            else:
                ignored["repeated"] += 1
            last, told = photo.path, told + 1
        if self._in_order:
            return
        seen = Seen()
        for number, photo in enumerate(self._rows_in(source)):
            new = seen.add(photo.path)
            if number < told:
                continue
            if new:
                yield photo
            else:
                ignored["repeated"] += 1

    def _rows_in(self, source: Storage) -> Iterator[StoredObject]:
        """What each row lists. Raises as `photos` does."""
        for path in self._paths:
            uri = self._storage.uri_of(path)
            rows = self._csv(path) if path.lower().endswith(".csv") else self._parquet(path)
            for number, (listed, size) in enumerate(rows, 1):
                photo = _inside(listed, source)
                if photo is None:
                    named = shown_in_line(without_secrets(listed))[:_LONGEST] or "an empty uri"
                    raise UsageError(f"{uri}, row {number:,}: {named} is not in {source.uri}")
                yield StoredObject(photo, size)

    def _csv(self, path: str) -> Iterator[tuple[str, int]]:
        uri = self._storage.uri_of(path)
        try:
            with self._open(path) as file, io.TextIOWrapper(file, "utf-8-sig", newline="") as text:
                rows = csv.DictReader(text, strict=True)
                if "uri" not in (rows.fieldnames or ()):
                    raise UsageError(f"{uri} has no column 'uri' in its first line")
                _refuse_twice(uri, rows.fieldnames or ())
                for row in rows:
                    size = row.get("size") or ""
                    yield row["uri"] or "", int(size) if _SIZE.fullmatch(size) else 0
        except (csv.Error, UnicodeDecodeError) as error:
            raise UsageError(f"{uri} is not a CSV file in UTF-8: {error}") from error

    def _parquet(self, path: str) -> Iterator[tuple[str, int]]:
        uri = self._storage.uri_of(path)
        try:
            with self._open(path) as opened, open_parquet(opened) as file:
                names = set(file.schema_arrow.names)
                if not ({"uri"} <= names or {"bucket", "key"} <= names):
                    known = ", ".join(file.schema_arrow.names)
                    raise UsageError(f"{uri} has no column 'uri'; its columns are {known}")
                wanted = ["uri", "bucket", "key", "size", "is_latest", "is_delete_marker"]
                columns = [name for name in wanted if name in names]
                _refuse_twice(uri, file.schema_arrow.names)
                for batch in file.iter_batches(_BATCH, columns=columns, use_threads=False):
                    yield from _rows(pa.Table.from_batches([batch]))
        except (pa.ArrowException, OSError, TypeError, ValueError) as error:
            why = first_line(error)
            raise UsageError(f"{uri} is not a Parquet file that can be used: {why}") from error

    def _open(self, path: str) -> Any:
        if isinstance(self._storage, LocalStorage):
            return self._storage.open(path)
        return io.BytesIO(self._storage.read(path))


def _refuse_twice(uri: str, names: Sequence[str]) -> None:
    """Raise UsageError where a column comes twice: either could be meant."""
    for name in ("uri", "bucket", "key", "size"):
        if names.count(name) > 1:
            raise UsageError(f"{uri} has several columns {name!r}")


def _rows(table: pa.Table) -> Iterator[tuple[str, int]]:
    for name, wanted in (("is_latest", True), ("is_delete_marker", False)):
        if name in table.column_names:  # an inventory of versions
            table = table.filter(pc.equal(pc.fill_null(table[name], wanted), wanted))
    for name in sorted({"uri", "bucket", "key"} & {*table.column_names}):
        if any(not isinstance(each, str | None) for each in table[name].to_pylist()):
            raise TypeError(f"column {name!r} holds {table.schema.field(name).type}, not text")
    if "uri" in table.column_names:
        uris = [uri or "" for uri in table["uri"].to_pylist()]
    else:
        pairs = zip(table["bucket"].to_pylist(), table["key"].to_pylist(), strict=True)
        uris = [f"s3://{bucket}/{key}" for bucket, key in pairs]
    sizes = [0] * len(uris)
    if "size" in table.column_names:
        sizes = pc.cast(table["size"], pa.int64()).to_pylist()
    for uri, size in zip(uris, sizes, strict=True):
        if size or not uri.endswith("/"):  # how S3 consoles mark an empty folder
            yield uri, max(0, size or 0)


def _inside(listed: str, source: Storage) -> str | None:
    """The path of a listed photo relative to the source; None if it is elsewhere."""
    root = source.uri.rstrip("/") + "/"
    if listed.startswith(root):
        path = listed[len(root) :]
    elif "://" in listed or not listed:
        return None
    elif not isinstance(source, LocalStorage):
        path = listed  # a key names exactly one object
    elif listed.startswith("/"):
        return None
    else:
        path = posixpath.normpath(listed)
        if path.split("/")[0] in ("..", "."):
            path = listed  # reading it will report that it is outside
    return path or None
