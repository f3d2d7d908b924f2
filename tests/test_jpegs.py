"""JPEGs that decoders fill up, or work on for hours."""

import numpy as np
import pytest
from PIL import Image
from test_masters import by_pillow, gray

from pipeline.errors import PhotoError
from pipeline.images.pillow import read_full

NOISE = np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)


@pytest.mark.parametrize("color", [False, True])
def test_a_part_of_the_last_blocks_that_is_missing_is_told(color: bool) -> None:
    whole = by_pillow(Image.fromarray(NOISE if color else NOISE[..., 0]), "JPEG")
    for missing in (200, 500):
        with pytest.raises(PhotoError, match="ends before its pixels do") as error:
            read_full(whole[:-missing].rstrip(b"\xff") + b"\xff\xd9")
        assert error.value.reason == "corrupt"


def test_a_jpeg_may_have_a_gray_corner() -> None:
    pixels = NOISE.copy()
    pixels[-40:, -40:] = 128
    assert gray(by_pillow(Image.fromarray(pixels), "JPEG"))[-1, -1] == 128


def test_a_jpeg_of_thousands_of_scans_is_not_decoded() -> None:
    data = by_pillow(Image.fromarray(NOISE[..., 0]), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    with pytest.raises(PhotoError, match="a JPEG of more than 500 scans") as error:
        read_full(data[:-2] + data[last:-2] * 1000 + data[-2:])
    assert error.value.reason == "unsupported"
