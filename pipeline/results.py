"""The ledger: one Parquet file per shard, whose existence is the commit of that shard."""

import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import StorageError
from pipeline.storage import Storage

SCHEMA_VERSION = "1"
SCHEMA = pa.schema(
    [
        ("photo", pa.string()),
        ("source_uri", pa.string()),
        ("source_sha256", pa.string()),
        ("source_bytes", pa.int64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("source_mode", pa.string()),
        ("shard", pa.int64()),
        ("attempt", pa.int32()),
        ("candidate", pa.int32()),
        ("rank", pa.int32()),
        ("seed", pa.int64()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("error", pa.string()),
        ("output_uri", pa.string()),
        ("output_sha256", pa.string()),
        ("output_bytes", pa.int64()),
        ("log_likelihood", pa.float64()),
        ("bits_per_pixel", pa.float64()),
        ("color_bits_per_dim", pa.float64()),
        ("spatial_bits_per_dim", pa.float64()),
        ("colorfulness", pa.float64()),
        ("read_seconds", pa.float64()),
        ("model_seconds", pa.float64()),
        ("write_seconds", pa.float64()),
        ("device", pa.string()),
        ("finished_at", pa.timestamp("us", tz="UTC")),
    ]
)
_NAME = re.compile(r"results/shard-(\d{6,})\.parquet")


@dataclass(frozen=True)
class Result:
    """One row: a photo's candidate, or a photo that failed before it had any (candidate 0).

    What is not known (yet) is None. candidate counts from 0, rank from 1 (the most likely of its
    photo), attempt from 1. reason is one of errors.REASONS.
    """

    photo: str
    source_uri: str
    shard: int
    source_bytes: int
    source_sha256: str | None = None
    width: int | None = None
    height: int | None = None
    source_mode: str | None = None
    attempt: int = 1
    candidate: int = 0
    rank: int | None = None
    seed: int | None = None
    status: str = "ok"  # ok, failed or skipped
    reason: str | None = None
    error: str | None = None
    output_uri: str | None = None
    output_sha256: str | None = None
    output_bytes: int | None = None
    log_likelihood: float | None = None
    bits_per_pixel: float | None = None
    color_bits_per_dim: float | None = None
    spatial_bits_per_dim: float | None = None
    colorfulness: float | None = None
    read_seconds: float | None = None
    model_seconds: float | None = None
    write_seconds: float | None = None
    device: str | None = None
    finished_at: datetime | None = None


def commit_shard(
    destination: Storage, shard: int, results: Iterable[Result], run_digest: str
) -> bool:
    """Write a shard's results, last and whole; False where another worker was first."""
    metadata = {"autochrome.schema_version": SCHEMA_VERSION, "autochrome.run_sha256": run_digest}
    table = pa.Table.from_pylist([asdict(result) for result in results], SCHEMA)
    file = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(metadata), file, compression="zstd")
    return destination.write_if_absent(results_path(shard), file.getvalue())


def results_path(shard: int) -> str:
    return f"results/shard-{shard:06d}.parquet"


def done_shards(destination: Storage) -> set[int]:
    """Which shards are committed, from a listing alone."""
    found = (_NAME.fullmatch(each.path) for each in destination.list("results"))
    return {int(match[1]) for match in found if match}


def read_results(destination: Storage, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """All committed rows, a table for each shard in order; all columns, or those named.

    Raises StorageError.
    """
    for shard in sorted(done_shards(destination)):
        path = results_path(shard)
        data = io.BytesIO(destination.read(path))
        try:
            yield pq.read_table(data, columns=columns).replace_schema_metadata()
        except (pa.ArrowException, OSError) as error:
            uri, cause = destination.uri_of(path), str(error).splitlines()[0]
            raise StorageError(f"{uri} is damaged: {cause}") from None
