"""The ledger: one Parquet file per shard, whose existence is the commit of that shard."""

import io
import math
import re
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import StorageError, first_line
from pipeline.ledger.plan import Schedule
from pipeline.ledger.run_file import Run
from pipeline.parquet import read_parquet
from pipeline.storage.base import Storage

SCHEMA_VERSION = "1"
SCHEMA = pa.schema(
    [
        ("photo", pa.string()),
        ("name", pa.string()),
        ("source_uri", pa.string()),
        ("source_sha256", pa.string()),
        ("source_bytes", pa.int64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("source_mode", pa.string()),
        ("source_tone", pa.string()),
        ("page", pa.int32()),
        ("pages", pa.int32()),
        ("shard", pa.int64()),
        ("attempt", pa.int32()),
        ("candidate", pa.int32()),
        ("rank", pa.int32()),
        ("rank_by", pa.string()),
        ("seed", pa.int64()),
        ("hints", pa.int32()),
        ("hints_sha256", pa.string()),
        ("palette_sha256", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("error", pa.string()),
        ("note", pa.string()),
        ("output_uri", pa.string()),
        ("output_sha256", pa.string()),
        ("output_bytes", pa.int64()),
        ("log_likelihood", pa.float64()),
        ("bits_per_pixel", pa.float64()),
        ("color_bits_per_dim", pa.float64()),
        ("spatial_bits_per_dim", pa.float64()),
        ("excess_bits", pa.float64()),
        ("mean_distance", pa.float64()),
        ("chroma_excess", pa.float64()),
        ("colorfulness", pa.float64()),
        ("preview", pa.int32()),
        ("phash", pa.string()),
        ("read_seconds", pa.float64()),
        ("model_seconds", pa.float64()),
        ("write_seconds", pa.float64()),
        ("device", pa.string()),
        ("finished_at", pa.timestamp("us", tz="UTC")),
    ]
)
DECISIVE = ("skipped", "ok", "failed")  # of a photo's rows, the last of these is what it is
_NEVER_NULL = {"photo", "source_uri", "shard", "page", "candidate", "attempt", "status"}
_ATTEMPT = "autochrome.attempt_id"
_READERS = 16
_NAME = re.compile(r"results/shard-(\d{6,})\.parquet")


@dataclass(frozen=True)
class Result:
    """One row: a candidate of a photo's page, or what failed before it had any (candidate 0).

    What is not known (yet) is None. candidate counts from 0, rank from 1 (the best of its page by
    rank_by, a way of ledger.ranking), attempt and page from 1. pages: how many the photo has, of
    which a run may take the first only. reason is one of errors.REASONS. name: as in plan.Photo.
    hints: how many of its page the model was given, with their digest (ledger.hints), and that of
    the palette: likelihoods are those given these.
    """

    photo: str
    source_uri: str
    shard: int
    source_bytes: int
    source_sha256: str | None = None
    name: str | None = None
    width: int | None = None
    height: int | None = None
    source_mode: str | None = None
    source_tone: str | None = None  # see images.tones.Tone
    page: int = 1
    pages: int | None = None
    attempt: int = 1
    candidate: int = 0
    rank: int | None = None
    rank_by: str | None = None  # None: there is but one, or older than the choice, by likelihood
    seed: int | None = None
    hints: int = 0
    hints_sha256: str | None = None
    palette_sha256: str | None = None
    status: str = "ok"  # ok, failed or skipped
    reason: str | None = None
    error: str | None = None
    note: str | None = None  # of a photo that is done: what was left out, or seen
    output_uri: str | None = None
    output_sha256: str | None = None
    output_bytes: int | None = None
    log_likelihood: float | None = None
    bits_per_pixel: float | None = None
    color_bits_per_dim: float | None = None
    spatial_bits_per_dim: float | None = None
    excess_bits: float | None = None  # this and the next two: see model.ranking
    mean_distance: float | None = None
    chroma_excess: float | None = None
    colorfulness: float | None = None
    preview: int | None = None  # its cell in the shard's sheets, see previews
    phash: str | None = None  # of the picture, see images.phash; None where it is blank
    read_seconds: float | None = None
    model_seconds: float | None = None
    write_seconds: float | None = None
    device: str | None = None
    finished_at: datetime | None = None


def commit_shard(
    destination: Storage,
    shard: int,
    results: Iterable[Result],
    run_digest: str,
    workers: Mapping[str, str] | None = None,
) -> bool:
    """Write a shard's results, last and whole; False where another worker was first.

    A store may apply a write whose answer is lost, and refuse its repetition: the attempt's own id
    in what is there tells such a write from another worker's. workers: who has done it, and beside
    how many (pipeline.ledger.advice); no picture depends on it. Raises StorageError.
    """
    attempt = uuid.uuid4().hex
    metadata = {
        "autochrome.schema_version": SCHEMA_VERSION,
        "autochrome.run_sha256": run_digest,
        _ATTEMPT: attempt,
        **{f"autochrome.{name}": value for name, value in (workers or {}).items()},
    }
    table = pa.Table.from_pylist([vars(result) for result in results], SCHEMA)
    file = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(metadata), file, compression="zstd")
    path = results_path(shard)
    if destination.write_if_absent(path, file.getvalue()):
        return True
    there = parse_results(destination.read(path), destination.uri_of(path))
    return (there.schema.metadata or {}).get(_ATTEMPT.encode()) == attempt.encode()


def results_path(shard: int) -> str:
    return f"results/shard-{shard:06d}.parquet"


def shard_of(path: str) -> int | None:
    """The inverse of results_path; None for what is no shard's results."""
    match = _NAME.fullmatch(path)
    return int(match[1]) if match and results_path(int(match[1])) == path else None


def committed_shards(destination: Storage) -> dict[int, float | None]:
    """Which shards are committed, and when by the store's clock, from a listing alone."""
    found = ((shard_of(each.path), each.modified) for each in destination.list("results"))
    return {shard: modified for shard, modified in found if shard is not None}


def read_shards(
    destination: Storage, shards: Iterable[int], columns: list[str] | None = None
) -> Iterator[pa.Table]:
    """The rows of each of these shards in order, read ahead; all columns, or those named.

    Their metadata comes with them. Raises StorageError.
    """

    def read(shard: int) -> pa.Table:
        path = results_path(shard)
        return parse_results(destination.read(path), destination.uri_of(path), columns)

    rest = iter(shards)
    with ThreadPoolExecutor(_READERS) as pool:
        while some := list(islice(rest, 8 * _READERS)):
            yield from pool.map(read, some)


def read_results(
    destination: Storage,
    run: Run,
    columns: list[str] | None = None,
    on_older: Callable[[pa.Table], None] = lambda rows: None,
    on_shard: Callable[[int, pa.Table], None] = lambda shard, rows: None,
    committed: Collection[int] | None = None,
) -> Iterator[pa.Table]:
    """The rows of each photo's last attempt, a table for each shard; all columns, or those named.

    on_older: is given the rows of attempts before the last, later attempts first. on_shard: is
    given each shard as it was read, with its metadata. committed: the shards, where they are known
    already. Memory does not grow with the photos, but with those that were tried again. Raises
    StorageError.
    """
    wanted = columns and [*columns, *({"photo"} - set(columns))]
    shards = sorted(committed_shards(destination) if committed is None else committed)
    again = Schedule(destination, run).retry_shards
    later: set[str] = set()  # of a photo's attempts, the last is in the shard of highest number
    retries = [shard for shard in shards if shard in again][::-1]
    for shard, table in zip(retries, read_shards(destination, retries, wanted), strict=True):
        on_shard(shard, table)
        yield _without(table, later, on_older).select(columns or table.column_names)
        later.update(table["photo"].to_pylist())
    firsts = [shard for shard in shards if shard not in again]
    for shard, table in zip(firsts, read_shards(destination, firsts, wanted), strict=True):
        on_shard(shard, table)
        yield _without(table, later, on_older).select(columns or table.column_names)


def null_if_nan(value: float) -> float | None:
    """A figure as a column holds it: None where a model does not compute it."""
    return None if math.isnan(value) else float(value)


def image_path(row: Mapping[str, Any]) -> str:
    """Where an image is in the destination, which may have moved since its URI was recorded."""
    name = row["photo"] if row["name"] is None else row["name"]
    stem = name.removesuffix(PurePosixPath(name).suffix)
    uri: str = row["output_uri"]
    return uri[uri.rfind(f"/images/{stem}") + 1 :]


def located(table: pa.Table, destination: Storage) -> pa.Table:
    """Rows of a destination with the URIs that its images have where it is now."""
    rows = table.select(["photo", "name", "output_uri"]).to_pylist()
    uris = [destination.uri_of(image_path(row)) if row["output_uri"] else None for row in rows]
    place = table.column_names.index("output_uri")
    return table.set_column(place, SCHEMA.field("output_uri"), pa.array(uris, pa.string()))


def _without(table: pa.Table, photos: set[str], on_removed: Callable[[pa.Table], None]) -> pa.Table:
    table = table.replace_schema_metadata()  # which differs from shard to shard
    there = set(table["photo"].to_pylist()) & photos
    if not there:
        return table
    removed = pc.is_in(table["photo"], pa.array(sorted(there), pa.string()))
    on_removed(table.filter(removed))
    return table.filter(pc.invert(removed))


def _checked(table: pa.Table) -> pa.Table:
    """Rows as SCHEMA has them. Raises ValueError, pa.ArrowException where they are not ours."""
    for place, name in enumerate(table.column_names):
        if name in SCHEMA.names and table[name].type != SCHEMA.field(name).type:
            field = SCHEMA.field(name)
            table = table.set_column(place, field, table[name].cast(field.type))
        if name in _NEVER_NULL and table[name].null_count:
            raise ValueError(f"a row has no {name}")
    if "status" in table.column_names:
        unknown = set(pc.unique(table["status"]).to_pylist()) - set(DECISIVE)
        if unknown:
            raise ValueError(f"unknown status {min(unknown)!r}")
    return table


def parse_results(data: bytes, uri: str, columns: list[str] | None = None) -> pa.Table:
    """The rows of a results file, with its metadata. Raises StorageError.

    Of a column that came later than the file, the rows have what Result has by itself.
    """
    try:
        table = _checked(read_parquet(data, columns))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise StorageError(f"{uri} is damaged: {first_line(error)}") from error
    there = table.column_names
    wanted = columns or [*there, *(name for name in SCHEMA.names if name not in there)]
    for name in wanted:
        if name not in there:
            value = pa.scalar(getattr(Result, name), SCHEMA.field(name).type)
            table = table.append_column(SCHEMA.field(name), pa.repeat(value, len(table)))
    return table if table.column_names == wanted else table.select(wanted)
