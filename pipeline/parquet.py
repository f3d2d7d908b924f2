"""Parquet in memory, read in the caller's own thread.

Arrow's own threads may still run when a command ends, and then abort it after its work is done:
"terminate called without an active exception", apache/arrow#34314.
"""

import io
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


def open_parquet(origin: Any) -> pq.ParquetFile:
    """A file whose `read` and `iter_batches` need no threads if use_threads is false.

    origin: a file that is open for reading, or a memory map. Raises ArrowException, OSError or
    ValueError.
    """
    return pq.ParquetFile(origin, pre_buffer=False)


def read_parquet(data: bytes, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of a file: all columns, or those of `columns` that it has, with its metadata.

    Raises ArrowException, OSError or ValueError, also where one of these columns comes twice.
    """
    with open_parquet(io.BytesIO(data)) as file:
        there = file.schema_arrow.names
        wanted = there if columns is None else [name for name in columns if name in there]
        if twice := [name for name in wanted if there.count(name) > 1]:
            raise ValueError(f"the column {twice[0]!r} comes twice")
        return file.read(wanted, use_threads=False)
