"""Buckets: the only file that knows boto3."""

import hashlib
import mimetypes
import re
import time
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, BinaryIO

from pipeline.errors import (
    ObjectArchived,
    ObjectMissing,
    StorageError,
    StoreUnavailable,
    UsageError,
)
from pipeline.storage.base import SINGLE_WRITER, Skip, StoredObject, enter_all, refuse_size
from pipeline.storage.read_ahead import ReadAhead
from pipeline.storage.secrets import without_secrets

if TYPE_CHECKING:
    from botocore.exceptions import BotoCoreError, ClientError

_REFUSED = ("AccessDenied", "KeyTooLongError", "403", "400")
# Reading one object, for its name or its encryption; others can be read all the same.
_UNREADABLE = (
    *("InvalidRequest", "InvalidArgument", "InvalidURI", "MethodNotAllowed", "405"),
    *("KMS.DisabledException", "KMS.NotFoundException", "KMS.KMSInvalidStateException"),
    *("KMS.InvalidKeyUsageException", "KMS.AccessDeniedException"),
)
RETRIES = 9  # boto3 then waits 25 seconds for a network, two minutes for a store that throttles
READ_TIMEOUT = 60  # seconds without a byte
CONFLICT_WAITS = (0.2, 1.0, 5.0)  # seconds
_MD5 = re.compile("[0-9a-f]{32}")
LISTINGS = 16  # at once
PAGES_AHEAD = 32  # per listing; a page has a thousand objects

Page = list[StoredObject]


class S3Storage:
    """A prefix of a bucket. Credentials, region and endpoint come from the usual AWS settings."""

    def __init__(self, bucket: str, prefix: str = "", conditional: bool = True) -> None:
        self.bucket, self.prefix, self.conditional = bucket, prefix.rstrip("/"), conditional
        self.uri = f"s3://{bucket}/{self.prefix}".rstrip("/")
        self._opened: Any = None

    def __reduce__(self) -> tuple[type["S3Storage"], tuple[str, str, bool]]:
        # Every process makes its own client.
        return S3Storage, (self.bucket, self.prefix, self.conditional)

    def list(self, folder: str = "", skip: Skip = enter_all) -> Iterator[StoredObject]:
        """See Storage.list. The folders of the first level that has several are listed in parallel.
        Each is listed as a whole: below them, `skip` is not asked."""
        start = self._key(f"{folder.rstrip('/')}/" if folder else "")
        waiting: deque[list[Page] | ReadAhead[Page]] = deque()
        try:
            for entry in self._parts(start, skip):
                waiting.append(self._list_ahead(entry) if isinstance(entry, str) else [entry])
                while len(waiting) >= LISTINGS:
                    yield from _first_of(waiting)
            while waiting:
                yield from _first_of(waiting)
        except _boto_errors() as error:
            raise _refused("list", self.uri_of(folder), error) from error
        finally:
            for each in waiting:
                if isinstance(each, ReadAhead):
                    each.stop()

    def _list_ahead(self, prefix: str) -> ReadAhead[Page]:
        """All objects below a prefix."""
        pages = (self._objects(page.get("Contents", ())) for page in self._pages(prefix))
        return ReadAhead(pages, PAGES_AHEAD, f"listing {prefix}")

    def _parts(self, start: str, skip: Skip) -> Iterator[Page | str]:
        """What lies directly below a prefix, in order: pages of objects, and folders' prefixes."""
        only, root = "", len(self._key(""))
        for first, page in enumerate(self._pages(start, "/")):
            folders = [each["Prefix"] for each in page.get("CommonPrefixes", ())]
            files = page.get("Contents", ())
            if first == 0 and not page["IsTruncated"] and not files and len(folders) == 1:
                if not skip(folders[0][root:]):
                    only = folders[0]
                    break
            entries = [(key, None) for key in folders] + [(file["Key"], file) for file in files]
            objects: Page = []
            for key, file in sorted(entries, key=lambda entry: entry[0].encode()):
                if file is not None:
                    objects += self._objects([file])
                    continue
                if why := skip(key[root:]):
                    objects.append(StoredObject(key[root:], 0, skipped=why))
                    continue
                yield objects
                yield key
                objects = []
            yield objects
        if only:
            yield from self._parts(only, skip)

    def _pages(self, start: str, delimiter: str = "") -> Iterator[dict[str, Any]]:
        pages = self._client.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self.bucket, Prefix=start, Delimiter=delimiter):
            objects, folders = page.get("Contents", ()), page.get("CommonPrefixes", ())
            whole = all(each.keys() >= {"Key", "Size", "LastModified"} for each in objects)
            if "IsTruncated" not in page or not whole or not all(map(bool, folders)):
                raise self._no_store("list")
            if page["IsTruncated"] and not page.get("NextContinuationToken"):
                raise StoreUnavailable(f"cannot list {self.uri}: the store does not tell the rest")
            yield page

    def _no_store(self, verb: str, path: str = "") -> StoreUnavailable:
        """The error for an answer "200 OK" that does not come from a store, but from a gateway, for
        example."""
        uri = self.uri_of(path)
        return StoreUnavailable(f"cannot {verb} {uri}: what answers is not an S3 store")

    def _objects(self, contents: Any) -> Page:
        root = len(self._key(""))
        return [
            StoredObject(found["Key"][root:], found["Size"], found["LastModified"].timestamp())
            for found in contents
            if found["Size"] or not found["Key"].endswith("/")  # how consoles mark empty folders
        ]

    def read(self, path: str, most: int | None = None) -> bytes:
        """See Storage. If the store gives an MD5, the bytes are checked against it."""
        for last in (False, False, True):
            try:
                answer = self._client.get_object(Bucket=self.bucket, Key=self._key(path))
                if "ETag" not in answer:
                    raise self._no_store("read", path)
                refuse_size(self.uri_of(path), answer.get("ContentLength") or 0, most)
                data: bytes = answer["Body"].read(None if most is None else most + 1)
            except _boto_errors() as error:
                # boto3 retries requests, but not a body that breaks off.
                if last or _code(error):
                    raise _refused("read", self.uri_of(path), error) from error
                continue
            refuse_size(self.uri_of(path), len(data), most)
            differs = self._difference(answer, data)
            if not differs:
                return data
        raise StoreUnavailable(f"cannot read {self.uri_of(path)}: {differs}")

    def _difference(self, answer: dict[str, Any], data: bytes) -> str:
        """How bytes that came differ from what the store says of them; "" where they do not."""
        announced = answer.get("ContentLength", len(data))
        if len(data) != announced:
            return f"{len(data):,} of its {announced:,} bytes came"
        md5 = self._md5(answer)
        if md5 is None or hashlib.md5(data, usedforsecurity=False).hexdigest() == md5:
            return ""
        return f"its bytes are not those of its ETag, {md5}"

    def _md5(self, answer: dict[str, Any]) -> str | None:
        """The MD5 in an ETag; None for encrypted objects and directory buckets, whose ETags are
        something else."""
        etag = (answer.get("ETag") or "").strip('"')
        other = (
            answer.get("ServerSideEncryption", "AES256") != "AES256"
            or "SSECustomerAlgorithm" in answer
            or self.bucket.endswith("--x-s3")
        )
        return None if other or not _MD5.fullmatch(etag) else etag

    def exists(self, path: str) -> bool:
        return self.find(path) is not None

    def find(self, path: str) -> StoredObject | None:
        try:
            answer = self._client.head_object(Bucket=self.bucket, Key=self._key(path))
        except _boto_errors() as error:
            if _code(error) in ("404", "NoSuchKey"):
                return None
            raise _refused("read", self.uri_of(path), error) from error
        if "ETag" not in answer:
            raise self._no_store("read", path)
        modified = answer.get("LastModified")
        size = answer.get("ContentLength") or 0
        return StoredObject(path, size, modified.timestamp() if modified else None)

    def write(self, path: str, data: bytes) -> None:
        try:
            # Browsers show a page only if its content type says so.
            kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
            self._put(path, data, ContentType=kind)
        except _boto_errors() as error:
            raise _refused("write", self.uri_of(path), error) from error

    def _put(self, path: str, data: bytes, **more: str) -> None:
        """Write an object in one request. more: of its parameters. Raises errors of boto3."""
        answer = self._client.put_object(Bucket=self.bucket, Key=self._key(path), Body=data, **more)
        if "ETag" not in answer:
            raise self._no_store("write", path)

    def write_file(self, path: str, file: BinaryIO) -> None:
        """See Storage. Large files are uploaded in several parts at once."""
        try:
            self._client.upload_fileobj(file, self.bucket, self._key(path))
        except _boto_errors() as error:
            raise _refused("write", self.uri_of(path), error) from error

    def write_if_absent(self, path: str, data: bytes) -> bool:
        """See Storage. Also returns False if the answer to a request was lost and boto3, repeating
        it, met its own write. Callers who must know read the object back."""
        if not self.conditional:
            if self.exists(path):
                return False
            self.write(path, data)
            return True
        for wait in (*CONFLICT_WAITS, None):
            try:
                self._put(path, data, IfNoneMatch="*")
                return True
            except _boto_errors() as error:
                if _code(error) in ("PreconditionFailed", "412"):
                    return False
                if _code(error) in ("NotImplemented", "501"):
                    raise UsageError(
                        f"{self.uri} refuses If-None-Match: {SINGLE_WRITER}"
                    ) from error
                # Two conditional writes collided; only a new attempt tells which of them won.
                if wait is None or _code(error) not in ("ConditionalRequestConflict", "409"):
                    raise _refused("write", self.uri_of(path), error) from error
                time.sleep(wait)
        raise AssertionError("unreachable")

    def together(self) -> "AbstractContextManager[S3Storage]":
        return nullcontext(self)

    def delete(self, path: str) -> None:
        try:
            self._client.delete_object(Bucket=self.bucket, Key=self._key(path))
        except _boto_errors() as error:
            raise _refused("delete", self.uri_of(path), error) from error

    def uri_of(self, path: str) -> str:
        return f"{self.uri}/{path}" if path else self.uri

    def _key(self, path: str) -> str:
        return f"{self.prefix}/{path}" if self.prefix else path

    @property
    def _client(self) -> Any:
        if self._opened is None:
            import boto3
            from botocore.config import Config

            settings = Config(
                retries={"mode": "adaptive", "max_attempts": RETRIES},
                connect_timeout=10,
                read_timeout=READ_TIMEOUT,
                max_pool_connections=2 * LISTINGS,
                # Some S3-compatible stores refuse the newer checksums; bodies are signed either
                # way.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            )
            try:
                self._opened = boto3.session.Session().client("s3", config=settings)
            except _boto_errors() as error:
                raise _refused("open", self.uri, error) from error
        return self._opened


def _first_of(waiting: deque[list[Page] | ReadAhead[Page]]) -> Iterator[StoredObject]:
    """The objects of the first listing, which waits until all of them are taken."""
    for page in waiting[0]:
        yield from page
    waiting.popleft()


def _boto_errors() -> Any:
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    # ValueError: numbers and times in an answer that are none.
    return (BotoCoreError, ClientError, ResponseParserError, ValueError)


def _code(error: "BotoCoreError | ClientError | ValueError") -> str:
    """The error code of an answer of S3; empty if no answer came."""
    response: dict[str, Any] = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


def _refused(
    verb: str, uri: str, error: "BotoCoreError | ClientError | ValueError"
) -> StorageError:
    code = _code(error)
    if code in ("NoSuchKey", "404"):
        return ObjectMissing(f"{uri} does not exist")
    if code == "InvalidObjectState":
        return ObjectArchived(f"{uri} is in cold storage: restore it, then resume --retry-failed")
    refused = code in _REFUSED or (verb == "read" and code in _UNREADABLE)
    kind = StorageError if refused else StoreUnavailable
    return kind(f"cannot {verb} {uri}: {without_secrets(' '.join(str(error).split()))}")
