"""What a run will do, decided once: settings and digests in run.json, photos in plan/.

`run.json` is written last and only if absent, so that it commits the plan: a destination without it
has no plan yet. Where it is there already, the frozen plan counts and the source is not listed
again; the shard size of a later command is then of no effect (pictures do not depend on it). What
a command may change between runs of one destination (device, batch size, progress) is no part of a
RunSpec; what decides pictures or names is, and a difference is refused.
"""

import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import DestinationMismatch, ObjectMissing, StorageError, UsageError
from pipeline.imaging import MASTER_SUFFIXES
from pipeline.storage import Storage, StoredObject, overlap

RUN = "run.json"
SCHEMA = pa.schema([("photo", pa.string()), ("bytes", pa.int64()), ("shard", pa.int64())])
PHOTOS_PER_PART = 100_000
_FORMAT = "autochrome-run-1"


@dataclass(frozen=True)
class RunSpec:
    """All that decides the pictures and their names.

    source: URI. candidates: pictures per photo. output_size: "full" or "256". format: auto, jpeg,
    png, tiff or webp. weights: SHA-256 by stage. versions: of the packages that decide bytes.
    """

    source: str
    seed: int
    temperature: float
    candidates: int
    output_size: str
    format: str
    weights: dict[str, str]
    versions: dict[str, str]


@dataclass(frozen=True)
class Plan:
    """How much there is to do; ignored counts files that are no photos, by suffix or "hidden"."""

    photos: int
    shards: int
    shard_size: int
    parts: int
    ignored: dict[str, int]

    def photos_in(self, shards: AbstractSet[int]) -> int:
        full = self.shard_size * len(shards)
        return full - (self.shards * self.shard_size - self.photos) * (self.shards - 1 in shards)


@dataclass(frozen=True)
class Run:
    """A frozen run; digest is the SHA-256 of its run.json."""

    spec: RunSpec
    plan: Plan
    digest: str


@dataclass(frozen=True)
class Shard:
    """The photos that are committed together."""

    number: int
    photos: tuple[StoredObject, ...]


def current_versions() -> dict[str, str]:
    """Versions of what computes and encodes; "+cpu" and the like, a matter of device, are cut."""
    return {name: version(name).partition("+")[0] for name in ("autochrome", "pillow", "torch")}


def prepare_run(source: Storage, destination: Storage, spec: RunSpec, shard_size: int) -> Run:
    """The destination's run: the one that is there, or a new one, planned now.

    Raises UsageError (no photo, places overlap, the destination holds something else),
    DestinationMismatch, StorageError.
    """
    if overlap(source, destination):
        raise UsageError(
            f"the destination {destination.uri} and the source {source.uri} must not lie inside"
            " each other"
        )
    found = load_run(destination)
    if found is None:
        _refuse_others_files(destination)
        found = _freeze(source, destination, spec, shard_size)
    changed = differences(asdict(found.spec), asdict(spec))
    if changed:
        raise DestinationMismatch(
            "\n".join([f"{destination.uri} belongs to a run with other settings", *changed])
        )
    return found


def load_run(destination: Storage) -> Run | None:
    """The run of a destination; None where there is none yet. Raises StorageError."""
    try:
        data = destination.read(RUN)
    except ObjectMissing:
        return None
    try:
        content = json.loads(data)
        if content.pop("format_version") != _FORMAT:
            raise ValueError("of another version")
        plan = Plan(**content.pop("plan"))
        return Run(RunSpec(**content), plan, hashlib.sha256(data).hexdigest())
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise StorageError(f"{destination.uri_of(RUN)} is no run of Autochrome: {error}") from None


def read_plan(
    destination: Storage, run: Run, done: AbstractSet[int] = frozenset()
) -> Iterator[Shard]:
    """The shards of a run in order, without those that are done. Raises StorageError."""
    for part in range(run.plan.parts):
        path = _part_path(part)
        try:
            table = pq.read_table(io.BytesIO(destination.read(path)), schema=SCHEMA)
        except pa.ArrowException as error:
            uri = destination.uri_of(path)
            raise StorageError(f"{uri} is damaged: {str(error).splitlines()[0]}") from None
        numbers = table["shard"].to_numpy()
        edges = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(numbers)]
        for start, stop in zip(edges, edges[1:], strict=False):
            number = int(numbers[start])
            if number not in done:
                rows = table.slice(start, stop - start).to_pylist()
                photos = tuple(StoredObject(row["photo"], row["bytes"]) for row in rows)
                yield Shard(number, photos)


def _freeze(source: Storage, destination: Storage, spec: RunSpec, shard_size: int) -> Run:
    """List the source into plan/, then write run.json."""
    ignored: Counter[str] = Counter()
    per_part = max(1, PHOTOS_PER_PART // shard_size) * shard_size  # no shard lies in two parts
    rows: list[dict[str, Any]] = []
    photos = parts = 0
    for photo in _photos(source, ignored):
        if len(rows) == per_part:
            _write_part(destination, parts, rows)
            rows, parts = [], parts + 1
        rows.append({"photo": photo.path, "bytes": photo.size, "shard": photos // shard_size})
        photos += 1
    if not rows:
        others = f"; {describe_ignored(ignored)}" if ignored else ""
        raise UsageError(f"no photograph in {source.uri}{others}")
    _write_part(destination, parts, rows)
    plan = Plan(
        photos, -(-photos // shard_size), shard_size, parts + 1, dict(sorted(ignored.items()))
    )
    content = {"format_version": _FORMAT, **asdict(spec), "plan": asdict(plan)}
    destination.write_if_absent(RUN, json.dumps(content, indent=2, sort_keys=True).encode() + b"\n")
    run = load_run(destination)  # another command's, where that came first
    if run is None:
        raise StorageError(f"{destination.uri_of(RUN)} was written and is not there")
    return run


def _write_part(destination: Storage, part: int, rows: list[dict[str, Any]]) -> None:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), file, compression="zstd")
    path = _part_path(part)
    if not destination.write_if_absent(path, file.getvalue()):
        # Of an interrupted start, or of a command that starts just now: the same, or a conflict.
        if destination.read(path) != file.getvalue():
            raise UsageError(
                f"{destination.uri_of(path)} is of an interrupted start with another source or"
                " shard size; remove plan/ there, and start again"
            )


def _part_path(part: int) -> str:
    return f"plan/part-{part:05d}.parquet"


def _photos(source: Storage, ignored: Counter[str]) -> Iterator[StoredObject]:
    """What is taken for a photograph; the rest is counted."""
    for found in source.list():
        suffix = PurePosixPath(found.path).suffix.lower()
        if any(part.startswith(".") for part in found.path.split("/")):
            ignored["hidden"] += 1
        elif suffix and suffix not in MASTER_SUFFIXES:
            ignored[suffix] += 1
        else:
            yield found


def describe_ignored(ignored: dict[str, int]) -> str:
    """A phrase for people: `3 other files ignored (2 .txt, 1 hidden)`."""
    count = sum(ignored.values())
    kinds = sorted(ignored.items(), key=lambda item: (-item[1], item[0]))
    named = ", ".join(f"{number:,} {kind}" for kind, number in kinds[:5])
    more = ", ..." if len(kinds) > 5 else ""
    return f"{count:,} other file{'' if count == 1 else 's'} ignored ({named}{more})"


def _refuse_others_files(destination: Storage) -> None:
    """A destination without a run must not hold pictures that ours could replace."""
    for folder in ("images", "results"):
        for found in destination.list(folder):
            raise UsageError(
                f"{destination.uri} holds {found.path} and no run.json: it is no destination of"
                " Autochrome; choose an empty one"
            )


def differences(was: dict[str, Any], now: dict[str, Any], above: str = "") -> list[str]:
    """One line for each setting that differs: `weights.core: was X, now Y`."""
    lines = []
    for name in sorted(was.keys() | now.keys()):
        old, new = was.get(name, "absent"), now.get(name, "absent")
        if isinstance(old, dict) and isinstance(new, dict):
            lines += differences(old, new, f"{above}{name}.")
        elif old != new:
            lines.append(f"{above}{name}: was {old}, now {new}")
    return lines
