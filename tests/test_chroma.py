"""Predicted color on the luminance of a master (pipeline/images/chroma.py)."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from pipeline.images.chroma import (
    Stretched,
    color_bands,
    colorfulness,
    put_color_on,
    resample,
)

LUMA = np.array([0.299, 0.587, 0.114])


@given(
    seed=some.integers(0, 2**32 - 1),
    height=some.integers(1, 60),
    width=some.integers(1, 60),
    side=some.integers(1, 24),
    dtype=some.sampled_from([np.uint8, np.uint16]),
)
def test_luminance_stays_that_of_the_master(
    seed: int, height: int, width: int, side: int, dtype: type
) -> None:
    random = np.random.default_rng(seed)
    gray: np.ndarray = random.integers(0, np.iinfo(dtype).max + 1, (height, width)).astype(dtype)
    color = random.integers(0, 256, (side, side, 3), dtype=np.uint8)
    result = put_color_on(gray, color)
    assert (result.shape, result.dtype) == ((height, width, 3), gray.dtype)
    assert np.abs(result @ LUMA - gray).max() < 0.5


def test_gray_stays_gray_and_color_is_seen() -> None:
    gray = np.random.default_rng(0).integers(60, 200, (40, 50), np.uint8)
    even = np.full((16, 16, 3), 90, np.uint8)
    assert (put_color_on(gray, even) == gray[..., None]).all()
    assert colorfulness(put_color_on(gray, even)) == 0
    red = put_color_on(gray, np.full((16, 16, 3), (200, 60, 60), np.uint8))
    assert (red[..., 0] > red[..., 1]).all() and colorfulness(red) > 20


@pytest.mark.parametrize(
    ("gray", "color"),
    [
        (np.zeros((4, 4), np.float32), np.zeros((4, 4, 3), np.uint8)),
        (np.zeros((4, 4, 1), np.uint8), np.zeros((4, 4, 3), np.uint8)),
        (np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8)),
        (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.uint16)),
    ],
)
def test_what_is_no_gray_or_no_color_is_refused(gray: np.ndarray, color: np.ndarray) -> None:
    with pytest.raises(ValueError, match="must be uint8"):
        put_color_on(gray, color)


@given(
    seed=some.integers(0, 2**32 - 1),
    height=some.integers(1, 90),
    width=some.integers(1, 90),
    rows=some.integers(1, 24),
    columns=some.integers(1, 24),
    step=some.integers(1, 9),
)
def test_a_plane_is_stretched_band_by_band_as_it_is_whole(
    seed: int, height: int, width: int, rows: int, columns: int, step: int
) -> None:
    plane = np.random.default_rng(seed).integers(-(2**18), 2**18, (rows, columns))
    stretched = Stretched(plane, 0.003, height, width)
    tops = range(0, height, step)
    found = [stretched.band(slice(top, min(top + step, height))) for top in tops]
    whole = (resample(plane, min(rows, height), width) * 0.003).astype(np.float32)
    places = (np.arange(height) + 0.5) * (len(whole) / height) - 0.5
    places = places.clip(0, len(whole) - 1)
    above = places.astype(int)
    upper, lower = whole[above], whole[np.minimum(above + 1, len(whole) - 1)]
    expected = (lower - upper) * (places - above).astype(np.float32)[:, None] + upper
    assert np.array_equal(np.concatenate(found), expected)


@pytest.mark.parametrize("height", [3, 300])
def test_a_very_wide_picture_takes_little_memory_beside_its_own(height: int) -> None:
    """Whole, its five planes of 256 rows would be 5,120 bytes a column."""
    width = 100_000
    gray = np.full((height, width), 99, np.uint8)
    color = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    tracemalloc.start()
    try:
        rows = sum(len(band) for band in color_bands(gray, color))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert rows == height and peak < 300 * width
