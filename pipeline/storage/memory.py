"""Storage in memory, which tests and trials use instead of folders and buckets."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import BinaryIO

from pipeline.errors import ObjectMissing
from pipeline.storage.base import Skip, StoredObject, enter_all, refuse_size


class MemoryStorage:
    """Storage in memory; a pickled copy is independent of the original."""

    def __init__(self, name: str = "memory") -> None:
        self.uri, self.conditional = f"memory://{name}", True
        self.objects: dict[str, bytes] = {}
        self.times: dict[str, float] = {}

    def list(self, folder: str = "", skip: Skip = enter_all) -> Iterator[StoredObject]:
        start, skipped = f"{folder.rstrip('/')}/" if folder else "", ""
        for path in sorted(self.objects, key=str.encode):
            if not path.startswith(start) or (skipped and path.startswith(skipped)):
                continue
            ends = [place + 1 for place in range(len(start), len(path)) if path[place] == "/"]
            skipped, why = next(
                ((path[:end], why) for end in ends if (why := skip(path[:end]))), ("", "")
            )
            if why:
                yield StoredObject(skipped, 0, skipped=why)
            else:
                yield StoredObject(path, len(self.objects[path]), self.times.get(path))

    def read(self, path: str, most: int | None = None) -> bytes:
        try:
            data = self.objects[path]
        except KeyError as error:
            raise ObjectMissing(f"{self.uri_of(path)} does not exist") from error
        refuse_size(self.uri_of(path), len(data), most)
        return data

    def exists(self, path: str) -> bool:
        return path in self.objects

    def find(self, path: str) -> StoredObject | None:
        data = self.objects.get(path)
        return None if data is None else StoredObject(path, len(data), self.times.get(path))

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

    def together(self) -> "AbstractContextManager[MemoryStorage]":
        return nullcontext(self)

    def delete(self, path: str) -> None:
        self.objects.pop(path, None)

    def uri_of(self, path: str) -> str:
        return f"{self.uri}/{path}"
