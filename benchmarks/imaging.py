"""Read and write one large master: seconds, and the peak of memory.

    python benchmarks/imaging.py --megapixels 100 --color
    python benchmarks/imaging.py --megapixels 500 --bits 8
    python benchmarks/imaging.py --megapixels 64 --rows 64 --bits 8

For comparison, the same pixels are also decoded and encoded without color.
"""

import io
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import click
import imagecodecs
import numpy as np
import tifffile

import memory


def master(megapixels: float, color: bool, bits: int, rows: int | None) -> bytes:
    """An uncompressed TIFF of a smooth picture with grain; a square where rows is None."""
    rows = rows or int((megapixels * 1e6) ** 0.5)
    columns = int(megapixels * 1e6) // rows
    random, places = np.random.default_rng(0), np.arange(columns, dtype=np.float32)
    gray = np.empty((rows, columns), np.uint16)
    for row in range(rows):
        smooth = 30000 + 20000 * np.sin(places / 700) * np.cos(np.float32(row) / 900)
        gray[row] = smooth.astype(np.uint16) + random.integers(0, 200, columns, dtype=np.uint16)
    if bits == 8:
        gray = (gray >> 8).astype(np.uint8)
    file = io.BytesIO()
    pixels = np.dstack([gray] * 3) if color else gray
    tifffile.imwrite(file, pixels, photometric="rgb" if color else "minisblack")
    return file.getvalue()


def bare(data: bytes) -> float:
    """Seconds to decode, and to encode three channels by Deflate with a predictor."""
    start = time.perf_counter()
    pixels = tifffile.imread(io.BytesIO(data))
    rgb = pixels if pixels.ndim == 3 else np.dstack([pixels] * 3)
    tifffile.imwrite(
        io.BytesIO(), rgb, photometric="rgb", compression="zlib", predictor=True, rowsperstrip=8
    )
    return time.perf_counter() - start


@click.command()
@click.option("--megapixels", default=100.0, show_default=True)
@click.option("--color", is_flag=True, help="A master of three channels.")
@click.option("--bits", type=click.Choice([8, 16]), default=16, show_default=True)
@click.option("--format", default="auto", show_default=True)
@click.option("--rows", type=int, help="Of a picture that is no square.")
def main(megapixels: float, color: bool, bits: int, format: str, rows: int | None) -> None:
    from pipeline.ledger.recipe import Recipe
    from pipeline.run.rendering import render

    with ProcessPoolExecutor(1, get_context("spawn")) as pool:  # whose memory does not count
        data = pool.submit(master, megapixels, color, bits, rows).result()
    recipe = Recipe(
        source="memory://", format=format, weights={}, versions={"autochrome": "benchmark"}
    )
    small = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    start = time.perf_counter()
    render(data, [small], recipe, [0])
    ours = time.perf_counter() - start
    peak = memory.peak_mib()
    click.echo(f"read, color, write {ours:.1f} s; bare decode and encode {bare(data):.1f} s")
    click.echo(
        f"peak {peak:,.0f} MiB, the master's file of {len(data) / 2**20:,.0f} MiB included;"
        f" imagecodecs {imagecodecs.__version__}"
    )


if __name__ == "__main__":
    main()
