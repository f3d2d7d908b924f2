"""Which pictures are gray, toned or in color; historic scans: tests/test_imaging.py."""

import io
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image

from pipeline.images.masters import read_small
from pipeline.images.tones import tone_of


def saved(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_gray_sepia_and_color_are_told_apart() -> None:
    gray = np.random.default_rng(0).integers(0, 256, (64, 64, 1)).astype(float)
    assert tone_of(np.repeat(gray, 3, axis=-1).astype(np.uint8)) == "gray"
    sepia = 255 * (gray / 255) ** np.array([0.8, 1.0, 1.3])
    assert tone_of(sepia.astype(np.uint8)) == "toned"
    color = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert tone_of(color) == "color"


def test_readers_tell_the_tone_of_any_kind_of_master() -> None:
    color = np.full((64, 64, 3), (150, 60, 60), np.uint8)
    color[32:] = (40, 100, 110)
    color += np.random.default_rng(0).integers(0, 90, (64, 64, 1), dtype=np.uint8)
    for pixels, tone in ((color, "color"), (color[..., 0], "gray"), (color * 0 + 9, "gray")):
        assert read_small(saved(pixels), [8])[0].tone == tone
    assert read_small(saved(np.full((9, 9, 3), (120, 100, 70), np.uint8)), [8])[0].tone == "toned"


@pytest.mark.slow
def test_nearly_all_color_photographs_count_as_such(shared: Path) -> None:
    path = shared / "photos" / "train256.parquet"
    if not path.exists():
        pytest.skip("no color photographs beside the checkout")
    images = pyarrow.parquet.read_table(path, columns=["image"])["image"].to_pylist()[::16]
    data = [image["bytes"] if isinstance(image, dict) else image for image in images]
    tones = [read_small(each, [64])[0].tone for each in data]
    assert tones.count("color") > 0.94 * len(tones) > 100
