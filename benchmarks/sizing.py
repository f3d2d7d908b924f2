"""Core seconds and bytes that reading and writing take, by kind of master.

    python benchmarks/sizing.py

The master is a smooth picture with grain in each size, as from a scanner; the result has the same
format. Seconds are CPU time, which other work on the machine hardly affects. The last columns are
for ten photographs per second, roughly the speed of a GPU with 50 TFLOP/s at the published size.
"""

import io
import time

import click
import numpy as np
import tifffile
from PIL import Image

from machine import commit, processor
from pipeline.images.masters import read_small
from pipeline.ledger.recipe import Recipe
from pipeline.run.rendering import render

KINDS = (  # format, bits, megapixels
    ("JPEG", 8, 1),
    ("JPEG", 8, 12),
    ("JPEG", 8, 50),
    ("TIFF", 8, 12),
    ("TIFF", 16, 12),
    ("TIFF", 16, 50),
)
PHOTOS_A_SECOND = 10


def master(format: str, bits: int, megapixels: float) -> bytes:
    """A gray file of so many megapixels, three to two."""
    height = round((megapixels * 1e6 / 1.5) ** 0.5)
    width = round(height * 1.5)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    gray = 0.5 + 0.3 * np.sin(columns / 70) * np.cos(rows / 90)
    gray += np.random.default_rng(0).normal(0, 0.01, gray.shape).astype(np.float32)
    codes = (gray.clip(0, 1) * (2**bits - 1)).astype(np.uint8 if bits == 8 else np.uint16)
    file = io.BytesIO()
    if format == "JPEG":
        Image.fromarray(codes).save(file, "JPEG", quality=92)
    else:
        tifffile.imwrite(file, codes, photometric="minisblack")
    return file.getvalue()


@click.command()
@click.option("--repeats", default=3, show_default=True, help="Report the least of so many.")
def main(repeats: int) -> None:
    recipe = Recipe(source="memory://", weights={}, versions={"autochrome": "benchmark"})
    small = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    click.echo(f"{processor()}, commit {commit()}")
    click.echo("master             read s  write s  MB in  MB out  | cores  MB/s in  MB/s out")
    for format, bits, megapixels in KINDS:
        data = master(format, bits, megapixels)
        reads, writes = [], []
        for _ in range(repeats):
            start = time.process_time()
            read_small(data, (64, 256))
            middle = time.process_time()
            [picture] = render(data, [small], recipe, [0])
            reads.append(middle - start)
            writes.append(time.process_time() - middle)
        size, out = len(data) / 1e6, len(picture.file) / 1e6  # type: ignore[union-attr]
        cores = PHOTOS_A_SECOND * (min(reads) + min(writes))
        click.echo(
            f"{format} {bits:2} bit {megapixels:3} MP {min(reads):8.3f} {min(writes):8.3f}"
            f" {size:6.1f} {out:7.1f}  | {cores:5.1f} {2 * PHOTOS_A_SECOND * size:8.0f}"
            f" {PHOTOS_A_SECOND * out:9.0f}"
        )


if __name__ == "__main__":
    main()
