"""Color follows contours, and borders stay gray: against plain interpolation."""

import io
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image

from pipeline.images.chroma import means, put_color_on, resample
from pipeline.images.guide import picture_area

LUMA = np.array([0.299, 0.587, 0.114])


def error_of(truth: np.ndarray, side: int) -> tuple[float, float]:
    """Mean squared distance of R and B from the truth, guided and by plain interpolation.

    truth uint8 (H, W, 3) is seen at (side, side) by the prediction.
    """
    height, width, _ = truth.shape
    gray = np.rint(truth @ LUMA).astype(np.uint8)
    small = np.stack([means(truth[..., channel], side, side) for channel in range(3)], axis=-1)
    small = np.rint(small).astype(np.uint8)
    large = [resample(small[..., channel], height, width) for channel in range(3)]
    plain = put_color_on(gray, np.rint(np.stack(large, axis=-1)).astype(np.uint8))
    guided = put_color_on(gray, small)
    ends = [0, 2]
    errors = [
        float(np.square(picture[..., ends].astype(float) - truth[..., ends]).mean())
        for picture in (guided, plain)
    ]
    return errors[0], errors[1]


def test_colors_bleed_less_over_a_contour() -> None:
    """A bright thing before a dark ground, at eight times the prediction's size."""
    rows, columns = np.mgrid[:256, :256]
    inside = (rows - 128) ** 2 + (columns - 120) ** 2 < 70**2
    truth = np.where(inside[..., None], (210, 150, 90), (40, 60, 110)).astype(np.uint8)
    guided, plain = error_of(truth, 32)
    assert guided < 0.25 * plain


def test_color_without_a_contour_is_interpolated_plainly() -> None:
    """Where luminance says nothing of color, nothing is made of it."""
    random = np.random.default_rng(0)
    gray = random.integers(60, 200, (256, 256), dtype=np.uint8)
    color = np.full((32, 32, 3), (150, 120, 100), np.uint8)
    result = put_color_on(gray, color).astype(int)
    difference = result[..., 0] - gray
    assert difference.min() >= difference.max() - 1


def test_real_photographs_come_nearer_to_their_colors(shared: Path) -> None:
    """Root mean squared error of R and B, of photographs without anything like a border."""
    path = shared / "photos" / "train256.parquet"
    if not path.exists():
        pytest.skip("no color photographs beside the checkout")
    images = pyarrow.parquet.read_table(path, columns=["image"])["image"].to_pylist()[7::60]
    errors = []
    for image in images:
        data = image["bytes"] if isinstance(image, dict) else image
        truth = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))[:256, :256]
        small = means(np.rint(truth @ LUMA).astype(np.uint8), 64, 64)
        if picture_area(small) == (0, 64, 0, 64):
            errors.append(error_of(truth, 64))
    guided, plain = np.sqrt(np.mean(errors, axis=0))
    assert len(errors) > 25 and guided < 0.95 * plain


@pytest.mark.parametrize("border", [250, 10])
def test_borders_stay_gray(border: int) -> None:
    random = np.random.default_rng(0)
    gray = np.full((256, 320), border, np.uint8)
    gray[24:-24, 40:-40] = random.integers(60, 200, (208, 240), dtype=np.uint8)
    result = put_color_on(gray, np.full((64, 64, 3), (200, 90, 60), np.uint8))
    for part in (result[:20], result[-20:], result[:, :34], result[:, -34:]):
        assert np.ptp(part.astype(int), axis=-1).max() == 0
    assert np.ptp(result[30:-30, 50:-50].astype(int), axis=-1).mean() > 40


def test_skies_and_nights_are_no_borders() -> None:
    picture = np.random.default_rng(0).integers(60, 200, (60, 60)).astype(float)
    assert picture_area(picture) == (0, 60, 0, 60)
    sky = picture.copy()
    sky[:25] = 240
    assert picture_area(sky) == (0, 60, 0, 60)
    framed = picture.copy()
    framed[:5], framed[:, -3:] = 20, 20
    assert picture_area(framed) == (5, 60, 0, 57)
    assert picture_area(np.zeros((60, 60))) == (0, 60, 0, 60)


def test_means_are_those_of_blocks_without_gaps() -> None:
    plane = np.random.default_rng(0).integers(0, 65536, (37, 53), dtype=np.uint16)
    found = means(plane, 5, 7)
    assert found[0, 0] == plane[:7, :7].mean()
    assert found[4, 6] == plane[29:, 45:].mean()
