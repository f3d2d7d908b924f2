"""JPEGs that decoders fill up, or work on for hours."""

import numpy as np
import pytest
from PIL import Image, ImageFile
from test_masters import by_pillow, gray

from pipeline.errors import PhotoError
from pipeline.images.masters import read_full

NOISE = np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_part_of_the_last_blocks_that_is_missing_is_told(mode: str) -> None:
    whole = by_pillow(Image.fromarray(NOISE).convert(mode), "JPEG")
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


def test_what_lies_behind_a_jpeg_or_in_its_thumbnail_is_no_scan() -> None:
    data = by_pillow(Image.fromarray(NOISE[..., 0]), "JPEG")
    marks = b"\xff\xda" * 5000
    thumbnail = b"\xff\xe1" + (2 + len(marks)).to_bytes(2, "big") + marks
    film = data + marks  # as of a moving photograph
    for file in (film, data[:2] + thumbnail + data[2:]):
        assert np.array_equal(gray(file), gray(data))


def test_scans_behind_a_comment_that_looks_like_an_end_count() -> None:
    data = by_pillow(Image.fromarray(NOISE[..., 0]), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    comment = b"\xff\xfe\0\4\xff\xd9"
    with pytest.raises(PhotoError, match="a JPEG of more than 500 scans"):
        read_full(data[:-2] + comment + data[last:-2] * 1000 + data[-2:])


@pytest.mark.parametrize("options", [{"restart_marker_blocks": 1}, {"progressive": True}])
def test_restarts_and_progressive_scans_may_end_in_gray(options: dict[str, object]) -> None:
    pixels = NOISE.copy()
    pixels[-40:, -40:] = 128
    assert gray(by_pillow(Image.fromarray(pixels), "JPEG", **options))[-1, -1] == 128


def middle_gray_by_arithmetic_codes(comment: bytes = b"") -> bytes:
    """A JPEG of 256 x 256 pixels in color, of which libjpeg needs three bytes."""
    side = (256).to_bytes(2, "big")
    return b"".join(
        (
            *(b"\xff\xd8\xff\xfe", (2 + len(comment)).to_bytes(2, "big"), comment),
            *(b"\xff\xdb\0\x43\0", b"\1" * 64),
            *(b"\xff\xc9\0\x11\x08", side, side, b"\3\1\x22\0\2\x11\0\3\x11\0"),
            b"\xff\xcc\0\x0a\0\x10\x10\5\1\x10\x11\5",
            b"\xff\xda\0\x0c\3\1\0\2\x11\3\x11\0\x3f\0\x1e\xb7\x80\xff\xd9",
        )
    )


def test_arithmetic_codes_may_end_before_their_last_zeros() -> None:
    assert (read_full(middle_gray_by_arithmetic_codes()).gray == 128).all()


def test_arithmetic_codes_beyond_what_pillow_reads_at_once() -> None:
    most = ImageFile.MAXBLOCK
    short = len(middle_gray_by_arithmetic_codes())
    data = middle_gray_by_arithmetic_codes(bytes(most - short + 4))
    assert len(data) > most
    assert (read_full(data).gray == 128).all()
