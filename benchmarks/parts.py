"""Files in parts, for machines that exchange only small files.

A Parquet file of photographs is split by rows into several, which are read together again. A
checkpoint is split into parts of its bytes, with an index that is written last and without which
the parts are ignored.
"""

import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import torch
from PIL import Image

MEGABYTE = 10**6
ROW_BYTES = 200  # of a row beside its image, at most
COLUMNS = ("image", "set", "split")
HELD_OUT = 20  # without a column `split`, one photograph of so many is held out


def cut_photographs(source: Path, folder: Path, megabytes: int, count: int) -> list[Path]:
    """At most `count` files below `megabytes` each, of rows in a random but fixed order.

    So the first files are a fair sample of a source that is larger. Raises ValueError where there
    is no column `image`.
    """
    names = parquet.read_schema(source).names
    if "image" not in names:
        raise ValueError(f"{source} has no column image, but {', '.join(names)}")
    table = parquet.read_table(source, columns=[name for name in COLUMNS if name in names])
    sizes = [len(data or b"") + ROW_BYTES for data in images_of(table)]
    most = megabytes * MEGABYTE - min(MEGABYTE, megabytes * MEGABYTE // 20)  # the rest is headers
    rows: list[list[int]] = [[]]
    total = 0
    for row in np.random.default_rng(0).permutation(len(sizes)).tolist():
        if sizes[row] > most:
            continue
        if total + sizes[row] > most:
            if len(rows) == count:
                break
            rows.append([])
            total = 0
        rows[-1].append(row)
        total += sizes[row]
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"photographs-{number:02}.parquet" for number in range(len(rows))]
    for file, chosen in zip(files, rows, strict=True):
        parquet.write_table(table.take(sorted(chosen)), file, compression="none")
    return files


def images_of(table: pa.Table) -> Iterator[bytes | None]:
    """The files in the column `image`: bytes, or {"bytes": ...} as Hugging Face has them."""
    for value in table["image"]:
        found = value.as_py()
        yield found["bytes"] if isinstance(found, dict) else found


@dataclass(frozen=True)
class Squares:
    """Photographs as squares: uint8 (N, S, S, 3) each, and how often to draw those to train on."""

    train: torch.Tensor
    weights: torch.Tensor
    held_out: torch.Tensor


def read_squares(source: Path, side: int, most_held_out: int) -> Squares:
    """All Parquet files of a folder, or one file, squeezed to (side, side); unreadable ones go.

    Sets are drawn by the root of their size. Raises ValueError where nothing to train on or to
    validate with is left.
    """
    files = sorted(source.glob("*.parquet")) if source.is_dir() else [source]
    rows = [row for file in files for row in _rows(file)]

    def decode(row: tuple[bytes, str, bool]) -> np.ndarray | None:
        try:
            with Image.open(io.BytesIO(row[0])) as picture:
                small = picture.convert("RGB").resize((side, side), Image.Resampling.BOX)
                return np.asarray(small)
        except (OSError, ValueError, Image.DecompressionBombError):
            return None

    with ThreadPoolExecutor() as pool:
        decoded = list(zip(rows, pool.map(decode, rows), strict=True))
    train = [(row[1], square) for row, square in decoded if square is not None and not row[2]]
    held = [square for row, square in decoded if square is not None and row[2]][:most_held_out]
    if not train or not held:
        raise ValueError(f"{source}: {len(train)} photographs to train on, {len(held)} held out")
    counts = Counter(name for name, _ in train)
    weights = torch.tensor([counts[name] ** -0.5 for name, _ in train], dtype=torch.float64)
    stacked = torch.from_numpy(np.stack([square for _, square in train]))
    return Squares(stacked, weights, torch.from_numpy(np.stack(held)))


def _rows(file: Path) -> Iterator[tuple[bytes, str, bool]]:
    """Image file, name of its set, and whether it is held out, of each row."""
    table = parquet.read_table(file)
    columns = table.column_names
    sets = table["set"].to_pylist() if "set" in columns else [""] * len(table)
    splits = table["split"].to_pylist() if "split" in columns else [None] * len(table)
    for data, name, split in zip(images_of(table), sets, splits, strict=True):
        if data:
            by_bytes = int(hashlib.sha256(data).hexdigest(), 16) % HELD_OUT == 0
            yield data, str(name), split in ("val", "validation") if split else by_bytes


def save_parts(state: dict[str, Any], folder: Path, part_bytes: int) -> None:
    """Write a checkpoint as `checkpoint-DIGEST.NN` of at most so many bytes, then its index."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    data = buffer.getvalue()
    digest = hashlib.sha256(data).hexdigest()
    names = []
    for number, start in enumerate(range(0, len(data), part_bytes)):
        names.append(f"checkpoint-{digest[:8]}.{number:02}")
        (folder / names[-1]).write_bytes(data[start : start + part_bytes])
    written = folder / "checkpoint.json.new"
    written.write_text(json.dumps({"sha256": digest, "parts": names}))
    written.replace(folder / "checkpoint.json")
    for old in folder.glob("checkpoint-*"):
        if old.name not in names:
            old.unlink()


def load_parts(folder: Path) -> dict[str, Any] | None:
    """What `save_parts` wrote, or None. Raises ValueError where a part is missing or damaged."""
    index = folder / "checkpoint.json"
    if not index.exists():
        return None
    entry = json.loads(index.read_text())
    missing = [name for name in entry["parts"] if not (folder / name).exists()]
    if missing:
        raise ValueError(f"{folder}: the checkpoint lacks {', '.join(missing)}")
    data = b"".join((folder / name).read_bytes() for name in entry["parts"])
    if hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise ValueError(f"{folder}: the checkpoint is damaged: its digest is another")
    state: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return state
