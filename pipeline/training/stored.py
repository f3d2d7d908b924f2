"""Training photographs in Ray's object stores, where they are decoded and read by training workers.

Ray Data decodes them into blocks, which stay where they are made; the calling process only gets
names and digests. A worker reads the blocks from its node's memory, which the workers of the node
share; what does not fit is on the node's disk.
"""

import pickle
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from pipeline.storage.base import Storage
from pipeline.training.candidates import Candidates, Task, list_candidates
from pipeline.training.decoding import Spot, read_row
from pipeline.training.photographs import (
    Found,
    PhotographSet,
    Wanted,
    collect_photographs,
    refuse_nothing,
)

_TASKS_A_GROUP = 16  # each of them reads its row group again


@dataclass(frozen=True)
class StoredPixels:
    """Squares in object stores.

    blocks: references to Arrow tables with the columns `number`, of a task, and `rgb`, the bytes of
    all its squares. spots: int64 (N, 2), the squares of the set.
    """

    blocks: list[Any]
    spots: np.ndarray
    side: int

    def __len__(self) -> int:
        return len(self.spots)

    def open(self) -> "Squares":
        """The squares, readable by this process without a copy."""
        import ray

        parts: dict[int, Tensor] = {}
        with warnings.catch_warnings():
            # Ray's memory is read-only, and nothing here writes to it.
            warnings.filterwarnings("ignore", "The given (NumPy array|buffer) is not writable")
            for table in ray.get(self.blocks):
                numbers = table["number"].to_pylist()
                for number, octets in zip(numbers, _octets(table["rgb"]), strict=True):
                    parts[number] = torch.from_numpy(octets.reshape(-1, self.side, self.side, 3))
        return Squares(parts, self.spots)


def _octets(column: pa.ChunkedArray) -> Iterator[np.ndarray]:
    """The bytes of each value, uint8, as views: Arrow's own scalars are copies."""
    for chunk in column.chunks:
        _, offsets, data = chunk.buffers()
        kind = np.int64 if pa.types.is_large_binary(chunk.type) else np.int32
        ends = np.frombuffer(offsets, kind)[chunk.offset : chunk.offset + len(chunk) + 1]
        octets = np.frombuffer(data, np.uint8) if data else np.empty(0, np.uint8)
        yield from (octets[start:stop] for start, stop in zip(ends, ends[1:], strict=False))


class Squares:
    """The photographs of a set one by one: uint8 (S, S, 3) each, in read-only memory."""

    def __init__(self, parts: dict[int, Tensor], spots: np.ndarray) -> None:
        self._parts, self._spots = parts, spots

    def __len__(self) -> int:
        return len(self._spots)

    def __getitem__(self, place: int, /) -> Tensor:
        number, row = self._spots[place].tolist()
        return self._parts[number][row]

    def copy(self) -> Tensor:
        """All squares, uint8 (N, S, S, 3), in this process's own memory."""
        return torch.stack([self[place] for place in range(len(self))])


class StoredSource:
    """A source of photographs, listed once, and decoded once for trainings that want the same.

    The last two sets are kept: one to train on and one to validate with.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self._list = cache(partial(list_candidates, source))
        self._store = lru_cache(maxsize=2)(self._decode)

    def refuse_nothing(self, wanted: Wanted) -> None:
        """Raise what `read_photographs` raises where a listing alone shows it; needs no Ray."""
        refuse_nothing(self._list(wanted.split_column, wanted.group_column), wanted)

    def read(self, wanted: Wanted) -> PhotographSet[StoredPixels]:
        """The photographs that `read_photographs` reads, in the same order, decoded by Ray Data.

        Ray must be running. Raises what `read_photographs` raises.
        """
        return self._store(wanted)

    def _decode(self, wanted: Wanted) -> PhotographSet[StoredPixels]:
        return store_photographs(self._list(wanted.split_column, wanted.group_column), wanted)


def store_photographs(candidates: Candidates, wanted: Wanted) -> PhotographSet[StoredPixels]:
    """Raises EmptySet, UsageError, StorageError."""
    blocks: list[Any] = []
    tasks = 0

    def read(some: Candidates, wave: slice) -> Iterator[Found[Spot]]:
        nonlocal tasks
        cut = list(some.tasks(wave, _TASKS_A_GROUP))
        yield from _decode(cut, tasks, some.storage, wanted, blocks)
        tasks += len(cut)

    def gather(spots: list[Spot]) -> StoredPixels:
        return StoredPixels(blocks, np.array(spots), wanted.side)

    return collect_photographs(candidates, wanted, read, gather)


def _decode(
    tasks: list[Task], first: int, storage: Storage, wanted: Wanted, blocks: list[Any]
) -> Iterator[Found[Spot]]:
    """The photographs that tasks find; adds their blocks of pixels. first: number of the first
    task.

    Our own errors are raised again with their class.
    """
    import ray.data

    rows = [{"number": first + n, "task": pickle.dumps(task)} for n, task in enumerate(tasks)]
    data = (
        ray.data.from_items(rows, override_num_blocks=len(rows))
        .map(read_row, fn_args=(storage, wanted))  # type: ignore[arg-type]
        .materialize()
    )
    blocks.extend(data.to_arrow_refs())
    for row in data.select_columns(["found"]).iter_rows():
        result = pickle.loads(row["found"])
        if isinstance(result, Exception):
            raise result
        yield from result
