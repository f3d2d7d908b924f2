import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.color import bands, colorfulness, put_color_on, resample

LUMA = np.array([0.299, 0.587, 0.114])


def luma(rgb: np.ndarray) -> np.ndarray:
    return rgb.astype(np.float64) @ LUMA


def picture(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@settings(max_examples=60)
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    side=st.integers(1, 40),
    seed=st.integers(0, 2**32),
    extreme=st.booleans(),
)
def test_luminance_of_every_pixel_is_the_gray_that_came_in(
    height: int, width: int, side: int, seed: int, extreme: bool
) -> None:
    gray, color = picture(seed, height, width), picture(seed + 1, side, side, 3)
    if extreme:
        color = (color >> 7) * np.uint8(255)
        gray = np.where(gray < 85, 0, np.where(gray > 170, 255, gray)).astype(np.uint8)
    result = put_color_on(gray, color)
    assert result.dtype == np.uint8 and result.shape == (height, width, 3)
    assert np.abs(luma(result) - gray).max() <= 0.3


def test_every_gray_with_every_extreme_color() -> None:
    corners = np.array([[r, g, b] for r in (0, 255) for g in (0, 255) for b in (0, 255)], np.uint8)
    gray = np.arange(256, dtype=np.uint8)[:, None]
    for corner in corners:
        assert np.abs(luma(put_color_on(gray, corner[None, None])) - gray).max() <= 0.3


@given(gray=st.integers(0, 255), color=st.tuples(*[st.integers(0, 255)] * 3))
def test_hue_is_kept_and_chroma_is_the_largest_inside_the_gamut(
    gray: int, color: tuple[int, int, int]
) -> None:
    result = put_color_on(np.full((1, 1), gray, np.uint8), np.array([[color]], np.uint8))[0, 0]
    difference = np.array(color) - np.array(color) @ LUMA
    room = np.where(difference > 0, 255 - gray, gray)
    factors = room[difference != 0] / np.abs(difference[difference != 0])
    expected = gray + min(1.0, *factors, 1.0) * difference
    assert np.abs(result - expected).max() < 0.86  # green also makes up for the others' rounding


def test_gray_stays_gray_and_photograph_of_one_color_gets_it_everywhere() -> None:
    gray = picture(0, 300, 500)
    level = np.repeat(picture(1, 256, 256, 1), 3, axis=2)
    assert np.array_equal(put_color_on(gray, level), np.repeat(gray[..., None], 3, axis=2))
    flat = np.full((600, 500), 120, np.uint8)
    result = put_color_on(flat, np.full((256, 256, 3), (150, 110, 100), np.uint8))
    assert len(np.unique(result.reshape(-1, 3), axis=0)) == 1


def test_color_lands_where_the_prediction_has_it() -> None:
    color = np.full((256, 256, 3), 128, np.uint8)
    color[:128, :128] = (200, 100, 80)
    for height, width in ((1000, 700), (100, 60), (700, 90), (90, 2000)):
        result = put_color_on(np.full((height, width), 128, np.uint8), color).astype(int)
        reddish = result[..., 0] - result[..., 2] > 60
        quarter = np.zeros((height, width), bool)
        quarter[: height // 2, : width // 2] = True
        assert np.mean(reddish == quarter) > 0.97


def test_bands_make_no_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    gray, color = picture(0, 211, 97), picture(1, 64, 64, 3)
    whole = put_color_on(gray, color)
    monkeypatch.setattr("pipeline.color._BAND_PIXELS", 97 * 10)
    assert len(list(bands(211, 97))) == 22
    assert np.array_equal(put_color_on(gray, color), whole)


def test_other_arrays_are_refused_with_their_shapes() -> None:
    gray, color = picture(0, 8, 8), picture(1, 4, 4, 3)
    with pytest.raises(ValueError, match=r"float64 \(8, 8\)"):
        put_color_on(gray / 255, color)
    with pytest.raises(ValueError, match=r"\(4, 4\)"):
        put_color_on(gray, color[..., 0])


def test_resample_averages_areas_and_interpolates_linearly() -> None:
    plane = np.array([[0, 10], [20, 50]])
    assert resample(plane, 1, 1) == pytest.approx(20)
    assert resample(plane[:1], 1, 4)[0] == pytest.approx([0, 2.5, 7.5, 10])
    thirds = resample(np.array([[30, 60, 90]]), 1, 2)
    assert thirds[0] == pytest.approx([40, 80], rel=1e-4)
    assert np.array_equal(resample(plane, 2, 2), plane)


def test_colorfulness_is_that_of_the_paper() -> None:
    assert colorfulness(np.full((50, 50, 3), 77, np.uint8)) == 0
    rgb = picture(3, 700, 300, 3)
    red, green, blue = np.moveaxis(rgb.astype(np.float64), 2, 0)
    opponents = (red - green, (red + green) / 2 - blue)
    deviation = np.hypot(*(np.std(opponent) for opponent in opponents))
    mean = np.hypot(*(np.mean(opponent) for opponent in opponents))
    assert colorfulness(rgb) == pytest.approx(deviation + 0.3 * mean, rel=1e-5)
