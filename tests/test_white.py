"""Which number is white, where samples are wider than what is in them."""

import numpy as np
import pytest
from test_masters import png
from test_tiffs import DEEP, GRAY, HEIGHT, WIDTH, by_tifffile, read, tiff

from pipeline.images.gray import eight_bits
from pipeline.images.masters import read_full

SHORT = 3
MAX_SAMPLE, LARGEST_SAMPLE = 281, 341


def elsewhere(found: np.ndarray) -> float:
    """The largest difference from GRAY behind the hot pixels."""
    return float(np.abs(found.astype(int) - GRAY)[:, 3:].max())


@pytest.mark.parametrize("hot", [3.0, 300.0, 65535.0, 1e6, 1e20])
@pytest.mark.parametrize("white", [1, 255, 65535])
def test_a_few_hot_pixels_do_not_darken_floats(white: int, hot: float) -> None:
    pixels = (DEEP / 65535 * white).astype(np.float32)
    pixels[0, :3] = hot * white
    assert elsewhere(read(by_tifffile(pixels, photometric="minisblack"))) <= 1
    color = np.dstack([pixels] * 3)
    assert elsewhere(read(by_tifffile(color, photometric="rgb"))) <= 1


@pytest.mark.parametrize("kind", [np.uint32, np.int32])
def test_a_few_hot_pixels_do_not_darken_whole_numbers_of_32_bits(kind: type) -> None:
    pixels = DEEP.astype(kind)
    pixels[0, :3] = np.iinfo(kind).max
    assert elsewhere(read(by_tifffile(pixels, photometric="minisblack"))) <= 1


def test_a_few_hot_pixels_do_not_darken_a_pfm() -> None:
    pixels = (GRAY / 255).astype("<f4")
    pixels[0, :3] = 1e5
    data = b"Pf\n%d %d\n-1.0\n" % (WIDTH, HEIGHT) + pixels[::-1].tobytes()
    assert elsewhere(read(data)) <= 1


@pytest.mark.parametrize("opaque", [1, 255, 65535])
def test_the_white_of_alpha_is_not_that_of_gray(opaque: int) -> None:
    pixels = np.stack([GRAY / 255, np.full(GRAY.shape, opaque)], axis=-1).astype(np.float32)
    fields = {338: (SHORT, [2]), 339: (SHORT, [3, 3])}
    assert np.array_equal(read(tiff(pixels.tobytes(), 32, 1, 2, fields=fields)), GRAY)


def test_bright_lights_in_floats_are_no_hot_pixels() -> None:
    pixels = np.full((HEIGHT, WIDTH), 1.0, np.float32)
    pixels[:6] = 200.0
    gray = eight_bits(read_full(by_tifffile(pixels, photometric="minisblack")).gray)
    assert gray[0, 0] == 200 and gray[-1, -1] == 1


@pytest.mark.parametrize("tag", [MAX_SAMPLE, LARGEST_SAMPLE])
@pytest.mark.parametrize("photometric", [0, 1])
def test_twelve_bits_in_sixteen_where_file_and_pixels_say_so(photometric: int, tag: int) -> None:
    twelve = DEEP >> 4 if photometric else 4095 - (DEEP >> 4)
    data = tiff(twelve.tobytes(), 16, photometric, fields={tag: (SHORT, [4095])})
    assert np.array_equal(read(data), GRAY)
    assert read_full(data).metadata.notes == ("its white is 4,095, as it states",)


def test_twelve_bits_in_sixteen_of_colors() -> None:
    color = np.dstack([DEEP >> 4] * 3)
    data = tiff(color.tobytes(), 16, 2, 3, fields={MAX_SAMPLE: (SHORT, [4095] * 3)})
    assert np.array_equal(read(data), GRAY)


@pytest.mark.parametrize("stated", [255, 3000, 4095, 65535])
def test_a_statement_that_is_no_white_changes_nothing(stated: int) -> None:
    data = tiff(DEEP.tobytes(), 16, 1, fields={MAX_SAMPLE: (SHORT, [stated])})
    assert np.array_equal(read(data), GRAY) and not read_full(data).metadata.notes


def test_dark_pictures_stay_dark_and_the_row_says_so() -> None:
    twelve = DEEP >> 4
    color = np.dstack([twelve] * 3)
    for data in (tiff(twelve.tobytes(), 16, 1), tiff(color.tobytes(), 16, 2, 3), png(color, 2)):
        master = read_full(data)
        assert np.array_equal(master.gray, twelve)
        [note] = master.metadata.notes
        assert note.startswith(f"no tone is brighter than {twelve.max():,} of 65,535")
    assert not read_full(tiff((twelve * 0).tobytes(), 16, 1)).metadata.notes
