"""JPEG 2000: orientation in boxes of metadata, and tiles that are missing."""

import struct

import imagecodecs
import numpy as np
import pytest
from PIL import Image
from test_masters import by_pillow
from test_stored_ways import DEEP, EIGHT, TURNED, gray, refusal

from pipeline.images.boxes import tiles_missing

EXIF = b"JpgTiffExif->JP2"
XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
PACKET = TURNED % b"<rdf:Description tiff:Orientation='6'/>"
TILE_PART = b"\xff\x90\0\x0a"


def jp2(pixels: np.ndarray) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(pixels, level=0, reversible=True, codecformat="jp2"))


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("kind", ["exif", "Exif", "xmp"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("pixels", [EIGHT, DEEP], ids=["8", "16"])
def test_the_orientation_in_a_box_is_honored(
    pixels: np.ndarray, channels: int, kind: str, first: bool
) -> None:
    exif = Image.Exif()
    exif[274] = 6
    block = exif.tobytes().removeprefix(b"Exif\0\0")
    said = {"exif": EXIF + block, "Exif": EXIF + b"Exif\0\0" + block, "xmp": XMP + PACKET}[kind]
    box = struct.pack(">I", 8 + len(said)) + b"uuid" + said
    data = jp2(np.dstack([pixels] * 3) if channels == 3 else pixels)
    place = data.index(b"jp2c") - 4 if first else len(data)
    found = gray(data[:place] + box + data[place:])
    assert np.array_equal(found, np.rot90(EIGHT, -1))


@pytest.mark.parametrize("boxed", [False, True])
@pytest.mark.parametrize("deep", [False, True])
def test_tiles_that_are_missing_are_told(deep: bool, boxed: bool) -> None:
    image = Image.fromarray(DEEP if deep else EIGHT)
    options = {"irreversible": False, "tile_size": (32, 32), "no_jp2": not boxed}
    data = by_pillow(image, "JPEG2000", **options)
    assert gray(data).shape == EIGHT.shape
    places = [at for at in range(len(data)) if data[at : at + 4] == TILE_PART]
    assert len(places) == 4
    for first, end in ((places[1], places[2]), (places[3], data.rindex(b"\xff\xd9"))):
        error = refusal(data[:first] + data[end:])
        assert error.reason == "corrupt"
        assert str(error) == "1 of 4 tiles are missing in the JPEG 2000"


@pytest.mark.parametrize("boxed", [False, True])
def test_tile_parts_may_leave_their_number_and_the_last_length_open(boxed: bool) -> None:
    options = {"irreversible": False, "tile_size": (32, 32), "no_jp2": not boxed}
    data = bytearray(by_pillow(Image.fromarray(EIGHT), "JPEG2000", **options))
    places = [at for at in range(len(data)) if data[at : at + 4] == TILE_PART]
    for place in places:
        data[place + 11] = 0
    data[places[-1] + 6 : places[-1] + 10] = bytes(4)
    assert np.array_equal(gray(bytes(data)), EIGHT)


def test_a_header_of_many_segments_ends_soon() -> None:
    image = Image.fromarray(EIGHT)
    data = by_pillow(image, "JPEG2000", irreversible=False, no_jp2=True)
    place = data.index(TILE_PART)
    assert np.array_equal(gray(data[:place] + b"\xff\x64\0\4\0\0" * 9 + data[place:]), EIGHT)
    endless = data[:place] + b"\xff\x64\0\2" * 200_000 + data[place:]
    with pytest.raises(struct.error, match="does not end"):
        tiles_missing(endless, 0)
