"""Masters that say one thing of their colors and hold another, or hold them in a rare order."""

import struct
import zlib
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image
from test_masters import by_pillow
from test_pieces import ACROSS, DOWN, HEIGHT, PACK_BITS, PACKERS, PLAIN, WIDTH, ZIP, tiff

from pipeline.errors import PhotoError
from pipeline.images.gray import eight_bits
from pipeline.images.masters import read_full, read_small

GRAY = (40 + DOWN + ACROSS // 2).astype(np.uint8)
COLOR = np.stack([GRAY, 255 - GRAY, 90 + DOWN], axis=-1).astype(np.uint8)
LUMA = COLOR @ np.array([0.299, 0.587, 0.114])
ADOBE = b"\xff\xee\0\x0eAdobe\0d\0\0\0\0"
LONG, SHORT, JPEG = 4, 3, 7
RGB, CMYK, YCBCR = 2, 5, 6


def read(data: bytes) -> np.ndarray:
    """Gray 0..255 that both readers agree on."""
    master = read_full(data)
    assert read_small(data, [16])[0] == master.info
    return eight_bits(master.gray).astype(int)


def without(data: bytes, *markers: int) -> bytes:
    """A JPEG without some segments of its header."""
    kept, at = data[:2], 2
    while data[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        kept += b"" if data[at + 1] in markers else data[at:end]
        at = end
    return kept + data[at:]


def jpeg(colors: str, marker: bytes = b"", **options: Any) -> bytes:
    """COLOR in a JPEG, as RGB or YCbCr, with JFIF's marker or another in its place."""
    options |= {"keep_rgb": True} if colors == "rgb" else {}
    data = by_pillow(Image.fromarray(COLOR), "JPEG", quality=97, **options)
    data = without(data, 0xEE)
    return data if marker == b"JFIF" else data[:2] + marker + without(data, 0xE0)[2:]


YCC = {
    "JFIF": jpeg("ycc", b"JFIF", subsampling=0),
    "Adobe's": jpeg("ycc", ADOBE + b"\1", subsampling=0),
    "fewer colors": jpeg("ycc", subsampling=2),
}
AS_RGB = {"Adobe's": jpeg("rgb", ADOBE + b"\0"), "names": jpeg("rgb")}
SHARED: dict[int, Any] = {530: (SHORT, [1, 1])}


@pytest.mark.parametrize("name", YCC)
def test_a_tiff_that_says_rgb_of_a_jpeg_of_ycbcr(name: str) -> None:
    data = tiff([YCC[name]], 8, JPEG, samples=3, photometric=RGB, rows=HEIGHT)
    assert np.abs(read(data) - LUMA).max() <= 6


@pytest.mark.parametrize("name", AS_RGB)
def test_a_tiff_that_says_ycbcr_of_a_jpeg_of_rgb(name: str) -> None:
    layout = {"samples": 3, "photometric": YCBCR, "rows": HEIGHT, "fields": SHARED}
    assert np.abs(read(tiff([AS_RGB[name]], 8, JPEG, **layout)) - LUMA).max() <= 6


@pytest.mark.parametrize("stated", [[1, 1], [2, 1], [2, 2]])
@pytest.mark.parametrize("name", YCC)
def test_a_jpeg_knows_best_how_many_colors_it_has(name: str, stated: list[int]) -> None:
    fields: dict[int, Any] = {530: (SHORT, stated)}
    layout = {"samples": 3, "photometric": YCBCR, "rows": HEIGHT, "fields": fields}
    assert np.abs(read(tiff([YCC[name]], 8, JPEG, **layout)) - LUMA).max() <= 6


@pytest.mark.parametrize("bits", [8, 12])
def test_inks_without_adobes_marker_have_a_note(bits: int) -> None:
    none = np.full_like(GRAY, 255)
    stored = np.dstack([none, none, none, GRAY])
    if bits == 12:
        options: dict[str, Any] = {"bitspersample": 12, "colorspace": "CMYK"}
        options["outcolorspace"] = "CMYK"
        stored = (stored.astype(np.uint16) << 4) | 15
        data = bytes(imagecodecs.jpeg8_encode(stored, level=98, **options))
    else:
        data = by_pillow(Image.fromarray(255 - stored, "CMYK"), "JPEG", quality=97)
    assert np.abs(read(data) - GRAY).max() <= 4 and not read_full(data).metadata.notes
    silent = without(data, 0xEE)
    assert np.array_equal(read(silent), read(data))
    assert "four inks are taken as inverted" in read_full(silent).metadata.notes[0]


@pytest.mark.parametrize("order", ["<", ">"])
def test_planes_beyond_the_colors(order: str) -> None:
    planes = [*np.moveaxis(COLOR, -1, 0), GRAY, 255 - GRAY]
    for count, extra in ((4, None), (5, [2, 0]), (5, [0, 0])):
        pieces = [zlib.compress(plane.tobytes()) for plane in planes[:count]]
        fields: dict[int, Any] = {284: (SHORT, [2])}
        fields |= {} if extra is None else {338: (SHORT, extra)}
        layout = {"samples": count, "photometric": RGB, "rows": HEIGHT, "fields": fields}
        found = read(tiff(pieces, 8, ZIP, **layout))
        assert np.abs(found - LUMA).max() <= 1, (count, extra)


@pytest.mark.parametrize("bits", [10, 12])
def test_differences_wrap_at_the_stated_depth(bits: int) -> None:
    words = GRAY[:, ::-1].astype(np.int64) << (bits - 8)
    steps = np.diff(words, axis=1, prepend=0) & (2**bits - 1)
    packed = imagecodecs.packints_encode(steps.astype(np.uint16), bits)
    data = tiff([zlib.compress(packed)], bits, ZIP, rows=HEIGHT, fields={317: (SHORT, [2])})
    assert np.abs(read(data) - GRAY[:, ::-1]).max() <= 1


@pytest.mark.parametrize("compression", [PLAIN, ZIP])
def test_gray_and_its_alpha_multiplied_in_as_planes(compression: int) -> None:
    alpha = np.full_like(GRAY, 128)
    dimmed = np.rint(GRAY * (128 / 255)).astype(np.uint8)
    pieces = [PACKERS[compression](plane.tobytes()) for plane in (dimmed, alpha)]
    fields: dict[int, Any] = {284: (SHORT, [2]), 338: (SHORT, [1])}
    data = tiff(pieces, 8, compression, samples=2, rows=HEIGHT, fields=fields)
    assert np.abs(read(data) - GRAY).max() <= 2


@pytest.mark.parametrize("bits", [1, 4])
def test_tiles_whose_rows_end_within_a_byte(bits: int) -> None:
    levels = GRAY >> (8 - bits)
    wide = np.pad(levels, ((0, 0), (0, 6 * 23 - WIDTH)))
    pieces = [
        bytes(imagecodecs.packints_encode(tile.ravel(), bits, runlen=23))
        for tile in (wide[:, left : left + 23].copy() for left in range(0, 6 * 23, 23))
    ]
    data = tiff(pieces, bits, tile=(HEIGHT, 23))
    assert np.abs(read(data) - levels * (255 / (2**bits - 1))).max() <= 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_packbits_of_which_readers_disagree_are_unsupported(dtype: Any) -> None:
    pixels = GRAY.astype(dtype)
    strip = PACKERS[PACK_BITS](pixels.tobytes())
    layout: dict[str, Any] = {"rows": HEIGHT, "fields": {317: (SHORT, [2])}}
    with pytest.raises(PhotoError, match="PackBits with a predictor") as error:
        read_full(tiff([strip], 8 * pixels.itemsize, PACK_BITS, **layout))
    assert error.value.reason == "unsupported"


def test_numbers_that_are_no_brightness_are_unsupported() -> None:
    waves = GRAY.astype(np.complex64).tobytes()
    with pytest.raises(PhotoError) as error:
        read_full(tiff([waves], 64, rows=HEIGHT, fields={339: (SHORT, [6])}))
    assert error.value.reason == "unsupported"


@pytest.mark.parametrize("fill", [1, 2])
def test_a_palette_of_one_bit_in_any_order_of_bits(fill: int) -> None:
    bits = (DOWN + ACROSS) % 7 < 3
    fields: dict[int, Any] = {266: (SHORT, [fill]), 320: (SHORT, [65535, 0] * 3)}
    strip = np.packbits(bits, axis=1, bitorder="big" if fill == 1 else "little").tobytes()
    data = tiff([strip], 1, photometric=3, rows=HEIGHT, fields=fields)
    assert np.array_equal(read(data), ~bits * 255)


def test_an_old_jpeg_of_raw_scans_is_read_where_all_of_it_is_there() -> None:
    whole = bytes(imagecodecs.jpeg8_encode(GRAY, level=98))
    scan = whole.index(b"\xff\xda") + 2
    scan += int.from_bytes(whole[scan : scan + 2], "big")
    there: dict[str, Any] = {"starts": [8 + scan], "counts": [len(whole) - scan], "rows": HEIGHT}
    fields = {513: (LONG, [8]), 514: (LONG, [len(whole)])}
    assert np.abs(read(tiff([whole], 8, 6, fields=fields, **there)) - GRAY).max() <= 3
    with pytest.raises(PhotoError, match="a JPEG of the old kind") as error:
        read_full(tiff([whole], 8, 6, **there))
    assert error.value.reason == "unsupported"


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), kind) + body


def jp2(pixels: np.ndarray, space: int, *more: bytes) -> bytes:
    """A JPEG 2000 file. space: enumerated; more: boxes of its header."""
    height, width, channels = pixels.shape
    bits = 8 * pixels.itemsize
    options: dict[str, Any] = {"level": 0, "codecformat": "j2k", "mct": False}
    stream = bytes(imagecodecs.jpeg2k_encode(np.squeeze(pixels), **options))
    about = box(b"ihdr", struct.pack(">IIHBBBB", height, width, channels, bits - 1, 7, 0, 0))
    about += box(b"colr", b"\1\0\0" + struct.pack(">I", space)) + b"".join(more)
    head = box(b"jP  ", b"\r\n\x87\n") + box(b"ftyp", b"jp2 \0\0\0\0jp2 ")
    return head + box(b"jp2h", about) + box(b"jp2c", stream)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_channels_of_jpeg_2000_lie_as_it_defines(dtype: Any) -> None:
    alpha = 255 - GRAY
    scale = dtype(np.iinfo(dtype).max // 255)
    kinds = (
        ([COLOR[..., 2], COLOR[..., 1], COLOR[..., 0]], [(0, 3), (0, 2), (0, 1)], LUMA, 16),
        ([alpha, *np.moveaxis(COLOR, -1, 0)], [(1, 0), (0, 1), (0, 2), (0, 3)], LUMA, 16),
        ([alpha, GRAY], [(1, 0), (0, 1)], GRAY, 17),
    )
    for planes, meaning, expected, space in kinds:
        channels = (struct.pack(">HHH", each, *what) for each, what in enumerate(meaning))
        defined = box(b"cdef", struct.pack(">H", len(meaning)) + b"".join(channels))
        data = jp2(np.stack(planes, axis=-1).astype(dtype) * scale, space, defined)
        assert np.abs(read(data) - expected).max() <= 1, space


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_one_channel_of_jpeg_2000_is_gray_whatever_its_space(dtype: Any) -> None:
    pixels = GRAY[..., None].astype(dtype) * dtype(np.iinfo(dtype).max // 255)
    assert np.array_equal(read(jp2(pixels, 16)), GRAY)


def test_a_palette_of_gray_in_jpeg_2000_is_unsupported() -> None:
    levels = box(b"pclr", struct.pack(">HBB", 256, 1, 7) + bytes(range(255, -1, -1)))
    data = jp2(GRAY[..., None], 17, levels, box(b"cmap", b"\0\0\1\0"))
    with pytest.raises(PhotoError, match="a palette") as error:
        read_full(data)
    assert error.value.reason == "unsupported"
