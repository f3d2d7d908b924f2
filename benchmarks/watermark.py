"""A watermark in chroma alone, tried: what is found of it after handling, and how much one sees.

    python benchmarks/watermark.py photographs.parquet --photos 60 --amplitude 2

A picture is part of a fixed square of cells, as many along its longer side as --cells says, so that
another size changes nothing. In each cell Cb and Cr are raised or lowered by --amplitude codes:
some cells by a pattern that is always the same, by which the place is found, the others by a bit of
the payload, 32 bits and a checksum of 16. Luminance stays, within the 0.3 codes of rounding.
Nothing in Autochrome writes this mark: docs/benchmarks.md tells why.

Legend: H W rows and columns of a picture, G cells along its longer side.
"""

import io
import zlib
from collections.abc import Callable
from typing import NamedTuple

import click
import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from model.lab import ciede2000, lab_from_rgb
from pipeline.images.chroma import LUMA

BITS, CHECK = 48, 16
SAMPLES = 4  # of a cell, where it is read
SYNC_SHARE = 0.3
PAYLOAD = 0xC0FFEE42
LEVELS = np.linspace(0.78, 1.02, 25)  # shares of the whole that a reader who knows nothing tries


class Cells(NamedTuple):
    """Patterns (2, G, G) of Cb and Cr: signs, whose cells are for finding, and whose bit it is."""

    signs: np.ndarray
    sync: np.ndarray
    owner: np.ndarray


class Found(NamedTuple):
    """likeness: of the place, in standard deviations of chance, about. sound: the checksum fits."""

    likeness: float
    payload: int
    sound: bool


def make_cells(count: int) -> Cells:
    random = np.random.default_rng(20260802)
    shape = (2, count, count)
    signs, sync = random.choice([-1.0, 1.0], shape), random.random(shape) < SYNC_SHARE
    return Cells(signs, sync, random.integers(0, BITS, shape))


def marked(rgb_HW3: np.ndarray, cells: Cells, amplitude: float) -> np.ndarray:
    """The picture, uint8, with the payload in its chroma; what would leave the gamut stays."""
    height, width = rgb_HW3.shape[:2]
    number = PAYLOAD << CHECK | zlib.crc32(PAYLOAD.to_bytes(4, "big")) & 0xFFFF
    word = np.array([1.0 if number >> bit & 1 else -1.0 for bit in range(BITS)])
    pattern = cells.signs * np.where(cells.sync, 1.0, word[cells.owner])
    side = max(height, width)
    blue, red = (scaled(plane, side, side)[:height, :width] * amplitude for plane in pattern)
    before = rgb_HW3.astype(np.float64)
    luma = before @ LUMA
    after = np.empty_like(before)
    after[..., 0] = np.rint(before[..., 0] + 1.402 * red).clip(0, 255)
    after[..., 2] = np.rint(before[..., 2] + 1.772 * blue).clip(0, 255)
    rest = luma - LUMA[0] * after[..., 0] - LUMA[2] * after[..., 2]
    after[..., 1] = np.rint(rest / LUMA[1]).clip(0, 255)
    outside = np.abs(after @ LUMA - luma) > 0.3
    after[outside] = before[outside]
    return after.astype(np.uint8)


def find(picture: Image.Image, cells: Cells, levels: np.ndarray) -> Found:
    """What is read where the pattern fits best; levels: shares of the whole that may be left."""
    side = cells.signs.shape[1] * SAMPLES
    sync, data = (
        np.stack([scaled(plane, side, side) for plane in cells.signs * chosen])
        for chosen in (cells.sync, ~cells.sync)
    )
    spectra = np.fft.rfft2(sync, (2 * side, 2 * side))
    owner = cells.owner.repeat(SAMPLES, 1).repeat(SAMPLES, 2)
    chroma = np.asarray(picture.convert("YCbCr"), np.float32)[..., 1:]
    best, likeness = None, -np.inf
    for level in levels:
        scale = side * level / max(picture.size)
        width, height = (min(side, max(16, round(each * scale))) for each in picture.size)
        planes = np.stack([whitened(scaled(chroma[..., k], height, width)) for k in range(2)])
        own = np.fft.rfft2(planes, (2 * side, 2 * side)).conj()
        fits = np.fft.irfft2((spectra * own).sum(0), (2 * side, 2 * side))
        fits = fits[: side - height + 1, : side - width + 1] / np.sqrt(height * width)
        if fits.max() > likeness:
            likeness = float(fits.max())
            top, left = np.unravel_index(int(fits.argmax()), fits.shape)
            best = planes, slice(int(top), int(top) + height), slice(int(left), int(left) + width)
    assert best is not None
    planes, rows, columns = best
    votes = planes * data[:, rows, columns]
    sums = np.bincount(owner[:, rows, columns].ravel(), votes.ravel(), BITS)
    number = sum(1 << bit for bit in range(BITS) if sums[bit] > 0)
    payload = number >> CHECK
    sound = zlib.crc32(payload.to_bytes(4, "big")) & 0xFFFF == number & 0xFFFF
    return Found(likeness, payload, sound)


def scaled(plane: np.ndarray, height: int, width: int) -> np.ndarray:
    """float32 (height, width): by areas where it gets smaller, else smoothly."""
    image = Image.fromarray(plane.astype(np.float32))
    smaller = width < image.width
    return np.asarray(
        image.resize((width, height), Image.Resampling.BOX if smaller else Image.Resampling.BICUBIC)
    )


def whitened(plane: np.ndarray) -> np.ndarray:
    """What differs from the neighborhood, in its own deviations."""
    detail = plane - means(plane, SAMPLES)
    return np.asarray(detail / np.sqrt(means(np.square(detail), 2 * SAMPLES) + 0.15))


def means(plane: np.ndarray, reach: int) -> np.ndarray:
    """Over squares of 2 * reach + 1."""
    sums = np.pad(plane, reach, mode="reflect").astype(np.float64).cumsum(0).cumsum(1)
    sums, size = np.pad(sums, ((1, 0), (1, 0))), 2 * reach + 1
    total = sums[size:, size:] - sums[:-size, size:] - sums[size:, :-size] + sums[:-size, :-size]
    return np.asarray(total / size**2)


def as_jpeg(picture: Image.Image) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=75)
    return Image.open(file).convert("RGB")


def halved(picture: Image.Image) -> Image.Image:
    size = picture.width // 2, picture.height // 2
    return picture.resize(size, Image.Resampling.LANCZOS)


def cropped(picture: Image.Image) -> Image.Image:
    left, top = picture.width // 10, picture.height // 10
    return picture.crop((left, top, left + picture.width * 4 // 5, top + picture.height * 4 // 5))


HANDLING: dict[str, Callable[[Image.Image], Image.Image]] = {
    "as written": lambda picture: picture,
    "JPEG, quality 75": as_jpeg,
    "half": halved,
    "half, then JPEG": lambda picture: as_jpeg(halved(picture)),
    "crop to 80 %": cropped,
}


@click.command()
@click.argument("photographs")
@click.option("--photos", default=60, show_default=True)
@click.option("--cells", "count", default=48, show_default=True)
@click.option("--amplitude", default=2.0, show_default=True)
@click.option("--enlarge", default=1, show_default=True, help="Times, before they are marked.")
def main(photographs: str, photos: int, count: int, amplitude: float, enlarge: int) -> None:
    """Measure on the first color photographs of a Parquet file with a column `image`."""
    cells, whole = make_cells(count), np.ones(1)
    files = pq.read_table(photographs, columns=["image"])["image"].slice(0, photos).to_pylist()
    plain = [Image.open(io.BytesIO(file)).convert("RGB") for file in files]
    plain = [each.resize((each.width * enlarge, each.height * enlarge)) for each in plain]
    with_mark = [Image.fromarray(marked(np.asarray(each), cells, amplitude)) for each in plain]
    seen = [
        ciede2000(lab_from_rgb(np.asarray(one)), lab_from_rgb(np.asarray(other))).mean()
        for one, other in zip(plain, with_mark, strict=True)
    ]
    print(f"{len(plain)} pictures, {count} cells, amplitude {amplitude:g}: CIEDE2000", end=" ")
    print(f"{np.mean(seen):.2f} on average")
    for words, handle in HANDLING.items():
        levels = LEVELS if handle is cropped else whole
        found = [find(handle(each), cells, levels) for each in with_mark]
        share = np.mean([each.sound and each.payload == PAYLOAD for each in found])
        print(f"  {words:<18} found {share:.1%}", flush=True)
    false = [find(each, cells, whole) for each in plain]
    print(f"  without a mark     found {sum(each.sound for each in false)} of {len(false)}")


if __name__ == "__main__":
    main()
