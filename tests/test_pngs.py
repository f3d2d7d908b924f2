"""PNGs whose stream ends before their pixels do, EXIF as ImageMagick once wrote it, and texts and
profiles that are long."""

import io
import struct
import zlib

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from pipeline.errors import PhotoError
from pipeline.images.gray import eight_bits
from pipeline.images.masters import read_full, read_small

RAMP = (np.mgrid[:47, :61][0] * 4 + np.mgrid[:47, :61][1] + 1).astype(np.uint8)
PASSES = (
    *((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4)),
    *((2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)),
)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def rows_of(pixels: np.ndarray) -> list[bytes]:
    return [b"\0" + np.ascontiguousarray(row).tobytes() for row in pixels]


def png(
    rows: list[bytes], depth: int = 8, interlaced: bool = False, size: tuple[int, int] = (47, 61)
) -> bytes:
    header = struct.pack(">IIBBBBB", size[1], size[0], depth, 0, 0, 0, interlaced)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"".join(rows)))
        + chunk(b"IEND", b"")
    )


def test_a_stream_without_its_checksum_before_zeros_that_follow_the_end() -> None:
    data = png(rows_of(RAMP))
    stream = zlib.compress(b"".join(rows_of(RAMP)))
    given = data.replace(chunk(b"IDAT", stream), chunk(b"IDAT", stream[:-4])) + bytes(4096)
    assert np.array_equal(read_full(given).gray, RAMP)


@pytest.mark.parametrize("dtype", [">u1", ">u2"])
@pytest.mark.parametrize("black", [False, True])
def test_rows_that_are_missing_are_not_black(dtype: str, black: bool) -> None:
    rows, depth = rows_of((RAMP * (not black)).astype(dtype)), 8 * np.dtype(dtype).itemsize
    whole = read_full(png(rows, depth)).gray
    assert np.array_equal(whole, RAMP * (not black))
    for missing in (1, 2, 20):
        data = png(rows[:-missing], depth)
        for read in (read_full, lambda data: read_small(data, [16])):
            with pytest.raises(PhotoError, match="ends before its pixels do") as error:
                read(data)
            assert error.value.reason == "corrupt"


def test_an_interlaced_png_is_counted_pass_by_pass() -> None:
    for pixels in (RAMP, RAMP * 0):
        parts = [pixels[top::down, left::across] for top, left, down, across in PASSES]
        rows = [row for part in parts for row in rows_of(part)]
        assert np.array_equal(read_full(png(rows, interlaced=True)).gray, pixels)
        with pytest.raises(PhotoError) as error:
            read_full(png(rows[:-1], interlaced=True))
        assert error.value.reason == "corrupt"


@pytest.mark.parametrize("side", [1023, 3000])
def test_black_pictures_that_are_much_smaller_as_files_are_whole(side: int) -> None:
    file = io.BytesIO()
    Image.new("RGB", (side, 800)).save(file, "PNG")
    assert len(file.getvalue()) < 20_000
    assert not read_full(file.getvalue()).gray.any()


@pytest.mark.parametrize("name", [b"exif", b"APP1"])
def test_the_orientation_of_exif_as_text_is_honored(name: bytes) -> None:
    exif = Image.Exif()
    exif[274] = 6
    block = exif.tobytes()
    text = f"\n{name.decode()}\n{len(block):8}\n{block.hex()}\n".encode()
    data = png(rows_of(RAMP))
    profile = chunk(b"zTXt", b"Raw profile type " + name + b"\0\0" + zlib.compress(text))
    assert np.array_equal(read_full(data[:33] + profile + data[33:]).gray, np.rot90(RAMP, -1))


def linear_profile(size: int) -> bytes:
    """A profile of linear gray with as much behind it as a scanner's tables take."""
    profile = imagecodecs.cms_profile("gray", gamma=1.0)
    whole = profile + np.random.default_rng(0).bytes(size - len(profile))
    return struct.pack(">I", size) + whole[4:]


@pytest.mark.parametrize("depth", [8, 16])
def test_a_profile_of_megabytes_is_honored(depth: int) -> None:
    data = png(rows_of(RAMP if depth == 8 else (RAMP * 257.0).astype(">u2")), depth)
    short, long = (
        read_full(data[:33] + profile_chunk(linear_profile(size)) + data[33:])
        for size in (1000, 3 * 2**20)
    )
    assert np.array_equal(short.gray, long.gray) and short.gray.mean() > 1.2 * RAMP.mean()


def profile_chunk(profile: bytes) -> bytes:
    return chunk(b"iCCP", b"scanner\0\0" + zlib.compress(profile))


@pytest.mark.parametrize("depth", [8, 16])
def test_texts_that_would_take_gigabytes_do_not_harm_the_picture(depth: int) -> None:
    data = png(rows_of(RAMP if depth == 8 else (RAMP * 257.0).astype(">u2")), depth)
    bomb = zlib.compress(bytes(2**25))
    kinds = {
        "one text": chunk(b"zTXt", b"a\0\0" + bomb),
        "a profile": chunk(b"iCCP", b"a\0\0" + bomb),
        "XMP": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + bomb),
        "many": chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**23))) * 7,
    }
    for parts in kinds.values():
        for place in (33, len(data) - 12):
            master = read_full(data[:place] + parts + data[place:])
            assert np.array_equal(eight_bits(master.gray), RAMP)
            assert "texts or a profile left out: too long" in master.metadata.notes
    kept = read_full(data[:33] + chunk(b"tEXt", b"Title\0Harbor") + data[33:])
    assert kept.metadata.texts["Title"] == "Harbor" and not kept.metadata.notes


def test_a_single_long_chunk_of_pixels_is_counted() -> None:
    wide = np.random.default_rng(0).integers(1, 256, (1100, 2000), dtype=np.uint8)
    wide[-1] = 0
    whole = png(rows_of(wide), size=(1100, 2000))
    assert len(whole) > 2**21 and np.array_equal(read_full(whole).gray, wide)
    with pytest.raises(PhotoError, match="ends before its pixels do"):
        read_full(png(rows_of(wide[:-1]), size=(1100, 2000)))
