"""Perceptual hashes are those of imagehash, and hold after other encodings and sizes."""

from pathlib import Path

import imagehash
import numpy as np
import pytest
from PIL import Image

from pipeline.images.encoding import encode
from pipeline.images.masters import read_full
from pipeline.images.phash import BITS, distances, perceptual_hash
from pipeline.images.pictures import resize_rgb


def examples(repository: Path) -> dict[str, np.ndarray]:
    folder = repository / "examples" / "photos"
    paths = [path for path in folder.rglob("*") if path.suffix in (".jpg", ".png", ".tif")]
    return {path.name: read_full(path.read_bytes()).gray for path in paths}


def test_bits_are_those_of_imagehash(repository: Path) -> None:
    pictures = examples(repository)
    assert len(pictures) == 8
    for name, gray in pictures.items():
        assert perceptual_hash(gray) == str(imagehash.phash(Image.fromarray(gray))), name
    color = np.random.default_rng(1).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    theirs = str(imagehash.phash(Image.fromarray(color)))
    assert distances([perceptual_hash(color)], theirs)[0] <= 2, "luma is rounded otherwise"


def test_hashes_hold_after_handling_and_tell_photographs_apart(repository: Path) -> None:
    pictures = examples(repository)
    hashes = [perceptual_hash(gray) for gray in pictures.values()]
    for own, gray in zip(hashes, pictures.values(), strict=True):
        half = resize_rgb(gray, (gray.shape[1] // 2, gray.shape[0] // 2))
        poor = read_full(encode(gray, "JPEG", quality=40)).gray
        for other in (half, poor, gray.astype(np.uint16) * 257):
            handled = perceptual_hash(other)
            assert handled is not None
            far = distances(hashes, handled)
            assert far.min() <= 2 and hashes[int(far.argmin())] == own
            assert np.sort(far)[1] > 10


def test_blank_pictures_have_none() -> None:
    assert perceptual_hash(np.full((50, 50), 200, np.uint8)) is None
    assert distances([None, "00" * 8, "ff" * 8], "00" * 7 + "01").tolist() == [BITS + 1, 1, 63]


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (8, 2)])
def test_small_pictures(size: tuple[int, int]) -> None:
    gray = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    found = perceptual_hash(gray)
    assert found is None or len(found) == 16
