"""Photographs for tests: smooth random color, so that neighbors agree as in real ones."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.images.encoding import encode
from pipeline.images.pictures import resize_rgb


def made_photograph(number: int, side: int = 24) -> np.ndarray:
    """uint8 (side, side, 3)."""
    coarse = np.random.default_rng(number).integers(256, size=(4, 4, 3), dtype=np.uint8)
    return resize_rgb(coarse, (side, side)).copy()  # else read-only


def made_png(number: int, side: int = 24) -> bytes:
    return encode(made_photograph(number, side), "PNG")


def write_photographs(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"{number:03d}.png").write_bytes(made_png(number))
    return folder


def write_parquet(path: Path, images: list[bytes], **columns: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": images, **columns}), path, row_group_size=5)
    return path
