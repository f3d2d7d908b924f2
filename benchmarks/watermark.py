"""How often the watermark is found after processing, and how visible it is.

    python benchmarks/watermark.py photographs.parquet --photos 40 --enlarge 3

Each photograph is first turned into an ideal result of Autochrome: its own colors at 256 x 256, put
onto its luminance. This is marked, processed, and read as by `autochrome inspect`.
"""

import io
from collections import deque
from collections.abc import Callable

import click
import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from model.lab import ciede2000, lab_from_rgb
from pipeline.images.chroma import LUMA, bands, put_color_on
from pipeline.images.frames import squeezed
from pipeline.images.watermark import READ_AT, find_watermark, watermarked
from pipeline.images.watermark_strength import TRIED_AT, least_strength
from pipeline.review.previews import Preview


def result(file: bytes, enlarge: int) -> np.ndarray:
    """A picture uint8 (H, W, 3)."""
    image = Image.open(io.BytesIO(file)).convert("RGB")
    image = image.resize((image.width * enlarge, image.height * enlarge))
    gray = np.rint(np.asarray(image) @ LUMA).astype(np.uint8)
    small = image.resize((256, 256), Image.Resampling.BOX)
    return put_color_on(gray, np.asarray(small))


def with_mark(rgb_HW3: np.ndarray, payload: int, strength: float | None) -> np.ndarray:
    height, width = rgb_HW3.shape[:2]
    if strength is None:  # as pipeline.run.rendering does
        tried = Preview(height, width, TRIED_AT)
        deque(tried.watch([rgb_HW3]), maxlen=0)
        strength = least_strength(tried.picture(), payload)
    parts = (rgb_HW3[rows] for rows in bands(height, width))
    return np.concatenate(list(watermarked(parts, height, width, payload, strength)))


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


def shifted(picture: Image.Image) -> Image.Image:
    """So that JPEG's blocks lie elsewhere than when the strength was chosen."""
    return picture.crop((3, 3, picture.width, picture.height))


HANDLING: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG, quality 75": as_jpeg,
    "half": halved,
    "crop to 80 %": cropped,
    "half, then JPEG": lambda picture: as_jpeg(halved(picture)),
    "crop, then JPEG": lambda picture: as_jpeg(cropped(picture)),
    "3 pixels less, then JPEG": lambda picture: as_jpeg(shifted(picture)),
    "as written": lambda picture: picture,
}


def read(picture: Image.Image) -> int | None:
    squeezed_SS3 = np.stack([squeezed(each, READ_AT) for each in picture.split()], axis=-1)
    return find_watermark(squeezed_SS3, picture.height, picture.width)


@click.command()
@click.argument("photographs")
@click.option("--photos", default=40, show_default=True)
@click.option("--enlarge", default=1, show_default=True, help="Times, before they are marked.")
@click.option("--strength", type=float, help="One for all; by default what each picture needs.")
@click.option("--skip", default=0, show_default=True, help="So many that are drawn first.")
@click.option("--handling", multiple=True, help="Only this one; may be given again.")
@click.option("--unmarked", default=0, show_default=True, help="Then so many without a mark.")
@click.option("--every", default=10, show_default=True, help="Tell what is known after so many.")
def main(
    photographs: str,
    photos: int,
    enlarge: int,
    strength: float | None,
    skip: int,
    handling: tuple[str, ...],
    unmarked: int,
    every: int,
) -> None:
    """Measure on color photographs, drawn at random, of a Parquet file with a column `image`."""
    column = pq.read_table(photographs, columns=["image"])["image"]
    random = np.random.default_rng(7)
    chosen = random.permutation(len(column))[skip : skip + photos + unmarked]
    files = column.take(chosen).to_pylist()
    seen: list[float] = []
    chosen_handling = {words: HANDLING[words] for words in handling or HANDLING}
    found, false = dict.fromkeys(chosen_handling, 0), 0
    for number, file in enumerate(files[:photos], start=1):
        plain, payload = result(file, enlarge), int(random.integers(0, 2**32))
        marked = with_mark(plain, payload, strength)
        seen.append(float(ciede2000(lab_from_rgb(plain), lab_from_rgb(marked)).mean()))
        for words, handle in chosen_handling.items():
            found[words] += read(handle(Image.fromarray(marked))) == payload
        if number % every == 0 or number == photos:
            print(
                f"{number} pictures, enlarged {enlarge} times, strength {strength or 'by picture'}"
            )
            print(f"  CIEDE2000 {np.mean(seen):.2f} on average, {max(seen):.2f} in the worst")
            for words, count in found.items():
                print(f"  {words:<24} found {count / number:.1%}", flush=True)
    for number, file in enumerate(files[photos:], start=1):
        false += read(Image.fromarray(result(file, enlarge))) is not None
        if number % (10 * every) == 0 or number == unmarked:
            print(f"  without a mark           found {false} of {number}", flush=True)


if __name__ == "__main__":
    main()
