"""TIFFs as scanners, faxes, cameras and programs of old write them: right, or refused by name."""

import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from pipeline.errors import PhotoError
from pipeline.images.gray import eight_bits
from pipeline.images.masters import read_full, read_small

HEIGHT, WIDTH = 48, 64
ROWS, COLUMNS = np.mgrid[:HEIGHT, :WIDTH]
GRAY = (40 + ROWS * 2 + COLUMNS).astype(np.uint8)
DEEP = GRAY.astype(np.uint16) * 257
# Colors that change slowly, so that fewer of them than of lights are no great loss.
COLOR = np.stack([GRAY, 255 - GRAY, 90 + COLUMNS + ROWS], axis=-1).astype(np.uint8)
LUMA = COLOR @ np.array([0.299, 0.587, 0.114])
SHORT, LONG, RATIONAL = 3, 4, 5
FORM = {SHORT: "H", LONG: "I", RATIONAL: "I"}
UPRIGHT = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.T,
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].T,
    8: lambda stored: np.rot90(stored, 1),
}

Field = tuple[int, Sequence[int]]  # kind, values


def tiff(strip: bytes, bits: int, photometric: int, samples: int = 1, **more: Any) -> bytes:
    """A little-endian TIFF of one strip. more: compression; fields, to be added or, None, left out;
    start, what is to stand before the strip."""
    start = more.get("start", b"")
    fields: dict[int, Field | None] = {
        256: (LONG, [WIDTH]),
        257: (LONG, [HEIGHT]),
        258: (SHORT, [bits] * samples),
        259: (SHORT, [more.get("compression", 1)]),
        262: (SHORT, [photometric]),
        273: (LONG, [8 + len(start)]),
        277: (SHORT, [samples]),
        278: (LONG, [HEIGHT]),
        279: (LONG, [len(strip)]),
        **more.get("fields", {}),
    }
    body, directory, count = start + strip + b"\0" * (len(start + strip) % 2), b"", 0
    for tag, field in sorted(fields.items()):
        if field is None:
            continue
        kind, values = field
        packed = struct.pack(f"<{len(values)}{FORM[kind]}", *values)
        if len(packed) > 4:
            place, body = 8 + len(body), body + packed
            packed = struct.pack("<I", place)
        number = len(values) // (2 if kind == RATIONAL else 1)
        directory += struct.pack("<HHI", tag, kind, number) + packed.ljust(4, b"\0")
        count += 1
    head = b"II*\0" + struct.pack("<I", 8 + len(body))
    return head + body + struct.pack("<H", count) + directory + b"\0" * 4


def by_tifffile(pixels: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **options)
    return file.getvalue()


def read(data: bytes, tone: str = "gray") -> np.ndarray:
    """Gray 0..255 that both readers agree on."""
    master, (info, _) = read_full(data), read_small(data, [16])
    assert info == master.info and info.tone == tone
    assert master.gray.shape == (info.height, info.width)
    return eight_bits(master.gray).astype(int)


def refusal(data: bytes) -> PhotoError:
    with pytest.raises(PhotoError) as error:
        read_full(data)
    return error.value


def ycbcr(black: int = 0, white: int = 255) -> np.ndarray:
    """COLOR as Y Cb Cr, uint8 (H, W, 3), whose lights lie between black and white."""
    light = np.rint(black + LUMA * ((white - black) / 255))
    blue = 128 + (COLOR[..., 2] - LUMA) / 1.772
    red = 128 + (COLOR[..., 0] - LUMA) / 1.402
    return np.stack([light, np.rint(blue), np.rint(red)], axis=-1).clip(0, 255).astype(np.uint8)


def subsampled(across: int, down: int) -> bytes:
    """The lights of some pixels, and one color of them all."""
    blocks = ycbcr().reshape(HEIGHT // down, down, WIDTH // across, across, 3).swapaxes(1, 2)
    blocks = blocks.reshape(HEIGHT // down, WIDTH // across, down * across, 3)
    colors = np.rint(blocks[..., 1:].mean(axis=2)).astype(np.uint8)
    return np.concatenate([blocks[..., 0], colors], axis=-1).tobytes()


@pytest.mark.parametrize("compression", [1, 5])
@pytest.mark.parametrize("sampling", [(2, 2), (2, 1), (4, 1), (1, 2), None])
def test_ycbcr_of_fewer_colors_than_lights(
    sampling: tuple[int, int] | None, compression: int
) -> None:
    strip = subsampled(*(sampling or (2, 2)))
    strip = strip if compression == 1 else bytes(imagecodecs.lzw_encode(strip))
    fields = {530: (SHORT, sampling)} if sampling else {}
    data = tiff(strip, 8, 6, 3, compression=compression, fields=fields)
    assert np.abs(read(data, "color") - LUMA).max() <= 5


def test_ycbcr_that_was_cut_is_refused() -> None:
    assert refusal(tiff(subsampled(2, 2)[:-9], 8, 6, 3)).reason == "corrupt"


def test_ycbcr_in_planes() -> None:
    planes, size = np.moveaxis(ycbcr(), -1, 0).tobytes(), HEIGHT * WIDTH
    fields = {
        273: (LONG, [8, 8 + size, 8 + 2 * size]),
        279: (LONG, [size] * 3),
        284: (SHORT, [2]),
        530: (SHORT, [1, 1]),
    }
    assert np.abs(read(tiff(planes, 8, 6, 3, fields=fields), "color") - LUMA).max() <= 2


@pytest.mark.parametrize("compression", [1, 8])
def test_ycbcr_of_the_range_of_video(compression: int) -> None:
    strip = ycbcr(16, 235).tobytes()
    strip = strip if compression == 1 else zlib.compress(strip)
    ends = [16, 1, 235, 1, 128, 1, 255, 1, 128, 1, 255, 1]
    fields = {530: (SHORT, [1, 1]), 532: (RATIONAL, ends)}
    data = tiff(strip, 8, 6, 3, compression=compression, fields=fields)
    assert np.abs(read(data, "color") - LUMA).max() <= 3


@pytest.mark.parametrize("compression", [1, 5])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_ycbcr_of_any_orientation(orientation: int, compression: int) -> None:
    strip = subsampled(2, 2)
    strip = strip if compression == 1 else bytes(imagecodecs.lzw_encode(strip))
    fields = {530: (SHORT, [2, 2]), 274: (SHORT, [orientation])}
    data = tiff(strip, 8, 6, 3, compression=compression, fields=fields)
    assert np.abs(read(data, "color") - UPRIGHT[orientation](LUMA)).max() <= 5


def test_where_no_photometric_is_stated_zero_is_black_but_in_faxes() -> None:
    for pixels in (GRAY, DEEP):
        data = tiff(pixels.tobytes(), 8 * pixels.itemsize, 1, fields={262: None})
        assert np.array_equal(read(data), GRAY)
    color = tiff(COLOR.tobytes(), 8, 2, 3, fields={262: None})
    assert np.abs(read(color, "color") - LUMA).max() <= 0.501
    file = io.BytesIO()
    Image.fromarray(GRAY > 99).save(file, "TIFF", compression="group4", tiffinfo={262: 0})
    stated = file.getvalue()
    [(place, size)] = zip(*_strips(stated), strict=True)
    strip = stated[place : place + size]
    unsaid = tiff(strip, 1, 0, compression=4, fields={262: None})
    assert np.array_equal(read(unsaid), read(stated))


def _strips(data: bytes) -> tuple[tuple[int, ...], tuple[int, ...]]:
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        return file.pages.first.dataoffsets, file.pages.first.databytecounts


@pytest.mark.parametrize("count", [0, HEIGHT * WIDTH * 2 + 5000, None])
def test_one_strip_whose_length_is_not_told_or_too_long(count: int | None) -> None:
    for pixels in (GRAY, DEEP):
        fields = {279: None if count is None else (LONG, [count])}
        assert np.array_equal(
            read(tiff(pixels.tobytes(), 8 * pixels.itemsize, 1, fields=fields)), GRAY
        )
    short = {279: (LONG, [DEEP.nbytes - 2])}
    assert np.array_equal(read(tiff(DEEP.tobytes(), 16, 1, fields=short)), GRAY)
    assert refusal(tiff(DEEP.tobytes()[:-2], 16, 1)).reason == "corrupt"
    ends = tiff(b"", 16, 1, fields={279: (LONG, [0])})
    assert refusal(ends).reason == "corrupt"


def test_whole_numbers_of_24_bits_of_either_byte_order() -> None:
    wide = DEEP.astype("<u4") << 8 | 255
    little = np.ascontiguousarray(wide.view(np.uint8).reshape(HEIGHT, WIDTH, 4)[..., :3])
    assert np.array_equal(read(tiff(little.tobytes(), 24, 1)), GRAY)
    data = bytearray(by_tifffile(little, photometric="rgb", byteorder=">", metadata=None))
    data = data.replace(little.tobytes(), little[..., ::-1].tobytes())
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        places = {tag: file.pages.first.tags[tag] for tag in (258, 262, 277)}
    three = places[258].valueoffset
    data[places[258].offset : places[258].offset + 12] = struct.pack(">HHIHH", 258, 3, 1, 24, 0)
    for tag in (262, 277):
        data[places[tag].valueoffset : places[tag].valueoffset + 2] = b"\0\1"
    assert three != places[258].offset and np.array_equal(read(bytes(data)), GRAY)


@pytest.mark.parametrize("none", [3.4028235e38, 1e20, -9999.0, -3.4028235e38])
def test_what_stands_for_no_value_is_not_the_white(none: float) -> None:
    pixels = (DEEP / 65535).astype(np.float32)
    pixels[:5, :5] = none
    data = by_tifffile(pixels, extratags=[(42113, 2, 0, f"{none:.9g}", True)])
    found = read(data)
    assert np.array_equal(found[5:], GRAY[5:]) and not found[:5, :5].any()


@pytest.mark.parametrize("pixels", [GRAY, DEEP])
def test_gray_with_its_alpha_multiplied_in(pixels: np.ndarray) -> None:
    highest = np.iinfo(pixels.dtype).max
    alpha = np.full_like(pixels, highest // 2 + 1)
    dimmed = np.rint(pixels * (alpha / highest)).astype(pixels.dtype)
    pair = np.stack([dimmed, alpha], axis=-1)
    options: dict[str, Any] = {"photometric": "minisblack", "planarconfig": "contig"}
    data = by_tifffile(pair, extrasamples=["assocalpha"], **options)
    assert np.abs(read(data) - GRAY).max() <= 2


def test_jpeg_of_the_old_kind_and_where_it_was_cut() -> None:
    jpeg = bytes(imagecodecs.jpeg8_encode(GRAY, level=100))
    assert np.abs(read(tiff(jpeg, 8, 1, compression=6)) - GRAY).max() <= 3
    assert refusal(tiff(jpeg[: len(jpeg) // 2], 8, 1, compression=6)).reason == "corrupt"
    deep = bytes(imagecodecs.jpeg8_encode(DEEP >> 4, bitspersample=12, level=100))
    assert np.abs(read(tiff(deep, 12, 1, compression=7)) - GRAY).max() <= 2
    assert refusal(tiff(deep[: len(deep) // 2], 12, 1, compression=7)).reason == "corrupt"


def test_previews_and_kinds_that_nobody_reads_are_refused_by_name() -> None:
    jpeg = bytes(imagecodecs.jpeg8_encode(COLOR, level=100))
    preview = tiff(jpeg, 8, 6, 3, compression=6, start=b"CR\2\0\0\0\0\0")
    assert str(refusal(preview)) == "a camera's raw file (CR2)"
    for data in (
        tiff(GRAY.tobytes(), 8, 8),
        tiff(GRAY.tobytes(), 8, 2),
        tiff(GRAY.tobytes(), 8, 5),
    ):
        assert refusal(data).reason == "unsupported" and "of 8 bits and kind" in str(refusal(data))
