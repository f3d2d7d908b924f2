"""Masters that a copy has cut or filled up with zeros: refused, or noted if zeros may be black."""

import io
import re
import struct
import zlib
from collections.abc import Callable

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image
from test_masters import by_pillow

from pipeline.errors import PhotoError
from pipeline.images.masters import read_full, read_small

ROWS, COLUMNS = np.mgrid[:300, :501]
NOISE = np.random.default_rng(0).normal(0, 5, ROWS.shape)
GRAY = (128 + 70 * np.sin(ROWS / 37) * np.cos(COLUMNS / 23) + NOISE).clip(1, 255).astype(np.uint8)
DEEP = GRAY.astype(np.uint16) * 257
PHOTO = Image.fromarray(GRAY)
BLACK = (ROWS - 150) ** 2 + (COLUMNS - 250) ** 2 < 90**2
END_OF_JPEG = b"\xff\xd9"
TURNED = bytes(int(f"{each:08b}"[::-1], 2) for each in range(256))
END_OF_LINE = "000000000001"

WITH_AN_END: dict[str, Callable[[], bytes]] = {
    "PNG": lambda: by_pillow(PHOTO, "PNG"),
    "JPEG": lambda: by_pillow(PHOTO, "JPEG"),
    "JPEG with codes of its own": lambda: by_pillow(PHOTO, "JPEG", quality=98, optimize=True),
    "JPEG 2000": lambda: by_pillow(PHOTO, "JPEG2000"),
    "JPEG 2000 of 16 bits": lambda: bytes(
        imagecodecs.jpeg2k_encode(DEEP, level=0, codecformat="jp2")
    ),
    "WebP": lambda: by_pillow(PHOTO, "WEBP"),
    "WebP without loss": lambda: by_pillow(PHOTO, "WEBP", lossless=True),
    "AVIF": lambda: by_pillow(PHOTO, "AVIF"),
    "AVIF of 10 bits": lambda: bytes(imagecodecs.avif_encode(DEEP >> 6, bitspersample=10)),
    "TIFF": lambda: tiff(zlib.compress(GRAY.tobytes()), 8, 8),
    "TIFF of 16 bits": lambda: tiff(zlib.compress(DEEP.tobytes()), 16, 8),
}


def tiff(
    strip: bytes,
    bits: int,
    compression: int,
    photometric: int = 1,
    order: int = 1,
    size: tuple[int, ...] = GRAY.shape,
) -> bytes:
    """A little-endian TIFF with its directory before its only strip. order: FillOrder."""
    height, width = size
    fields = (
        *((256, width), (257, height), (258, bits), (259, compression), (262, photometric)),
        *((266, order), (273, 8 + 2 + 10 * 12 + 4), (277, 1), (278, height), (279, len(strip))),
    )
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in fields)
    head = b"II*\0\x08\0\0\0" + struct.pack("<H", len(fields))
    return head + directory + b"\0" * 4 + (strip if order == 1 else strip.translate(TURNED))


def is_corrupt(data: bytes) -> bool:
    for reader in (read_full, lambda data: read_small(data, [16])):
        try:
            reader(data)
        except PhotoError as error:
            if error.reason == "corrupt":
                continue
        return False
    return True


def blank_from(data: bytes, share: float, block: int = 512) -> bytes:
    kept = int(len(data) * share) // block * block
    return data[:kept] + bytes(len(data) - kept)


@pytest.mark.parametrize("name", WITH_AN_END)
def test_compressed_pixels_that_end_in_zeros_are_refused(name: str) -> None:
    data = WITH_AN_END[name]()
    assert not read_full(data).metadata.notes
    for share in (0.5, 0.9, 0.97):
        assert is_corrupt(blank_from(data, share)), share


@pytest.mark.parametrize("name", ["PNG", "JPEG", "JPEG 2000 of 16 bits", "TIFF"])
def test_zeros_behind_the_end_do_no_harm(name: str) -> None:
    data = WITH_AN_END[name]()
    assert np.array_equal(read_full(data + bytes(4096)).gray, read_full(data).gray)


def test_an_avif_may_end_in_room_for_more() -> None:
    data = by_pillow(PHOTO, "AVIF")
    at = data.index(b"mdat") - 4
    assert at + int.from_bytes(data[at : at + 4], "big") == len(data)
    room = 2000
    assert len(data) % 512
    longer = data[:at] + (len(data) - at + room).to_bytes(4, "big") + data[at + 4 :] + bytes(room)
    assert np.array_equal(read_full(longer).gray, read_full(data).gray)


def test_white_in_a_webp_may_be_zeros() -> None:
    white = by_pillow(Image.new("L", (4000, 3000), 255), "WEBP")
    assert not any(white[-512:])
    assert (read_full(white).gray == 255).all()


@pytest.mark.parametrize("name", ["BMP", "PPM", "TIFF", "TIFF 16"])
def test_plain_pixels_that_end_in_zeros_have_a_note(name: str) -> None:
    pixels = DEEP if name == "TIFF 16" else GRAY
    data = by_pillow(PHOTO, name) if name in ("BMP", "PPM") else None
    data = data or tiff(pixels.tobytes(), 8 * pixels.itemsize, 1)
    assert not read_full(data).metadata.notes
    [note] = read_full(blank_from(data, 0.9)).metadata.notes
    assert "bytes are zeros, as if a copy had broken off" in note
    row = GRAY.shape[1] * pixels.itemsize
    black = data[: -40 * row] + bytes(40 * row)
    assert not read_full(black).metadata.notes


def test_black_rows_of_one_bit_that_start_with_a_block_have_no_note() -> None:
    data = tiff(b"\x5a" * (3 * 126) + bytes(3 * 175), 1, 1, size=(301, 24))
    assert data[511] and not any(data[512:])
    assert not read_full(data).metadata.notes


@pytest.mark.parametrize("color", [False, True])
def test_a_progressive_jpeg_that_ends_before_its_last_scan_is_refused(color: bool) -> None:
    photo = PHOTO.convert("RGB") if color else PHOTO
    data = by_pillow(photo, "JPEG", progressive=True)
    assert read_full(data).gray.shape == GRAY.shape
    [*scans] = (found.start() for found in re.finditer(b"\xff\xda", data))
    for start, end in zip(scans[:-1], scans[1:], strict=True):
        assert is_corrupt(data[: (start + end) // 2].rstrip(b"\xff") + END_OF_JPEG)


def test_a_jpeg_without_one_of_its_colors_is_refused() -> None:
    colors = np.dstack([GRAY, 255 - GRAY, GRAY])
    data = by_pillow(Image.fromarray(colors), "JPEG", progressive=True)
    scan = data.index(b"\xff\xda")
    of_one = b"\xff\xda\0\x08\x01\x01\0\0\0\x01"
    assert is_corrupt(data[:scan] + of_one + data[scan + 14 :][:400] + END_OF_JPEG)


def test_a_jpeg_that_lacks_a_part_between_restarts_is_refused() -> None:
    for more in ({}, {"progressive": True}):
        data = by_pillow(PHOTO, "JPEG", restart_marker_rows=1, **more)
        assert read_full(data).gray.shape == GRAY.shape
        [*marks] = (found.start() for found in re.finditer(b"\xff[\xd0-\xd7]", data))
        assert len(marks) > 20 and is_corrupt(data[: marks[5]] + data[marks[6] :])
        parts = [data[marks[each] : marks[each + 1]] for each in (5, 6)]
        assert is_corrupt(data[: marks[5]] + parts[1] + parts[0] + data[marks[7] :])


def test_comments_are_no_part_of_the_data_between_restarts() -> None:
    comment = b"\xff\xfe\0\x06\xff\xd3\xff\xd9"
    for more in ({}, {"progressive": True}):
        data = by_pillow(PHOTO, "JPEG", restart_marker_rows=1, **more)
        for mark in (b"\xff\xda", END_OF_JPEG):
            at = data.rindex(mark)
            given = data[:at] + comment + data[at:]
            assert np.array_equal(read_full(given).gray, read_full(data).gray)


@pytest.mark.parametrize(
    "data",
    [
        bytes(imagecodecs.ljpeg_encode(GRAY)),
        bytes(imagecodecs.jpeg8_encode(GRAY, lossless=True)),
        bytes(imagecodecs.jpeg8_encode(DEEP >> 4, bitspersample=12, level=92)),
    ],
    ids=["lossless", "lossless by libjpeg", "12 bits"],
)
def test_a_jpeg_beyond_pillow_that_ends_early_is_refused_in_spite_of_its_end(data: bytes) -> None:
    assert read_full(data).gray.shape == GRAY.shape
    for share in (0.3, 0.6, 0.9):
        assert is_corrupt(data[: int(len(data) * share)].rstrip(b"\xff") + END_OF_JPEG)


@pytest.mark.parametrize(
    ("name", "code", "marks"), [("tiff_ccitt", 2, 0), ("group3", 3, 6), ("group4", 4, 2)]
)
@pytest.mark.parametrize("order", [1, 2])
def test_a_fax_of_too_few_rows_is_refused_in_spite_of_its_end(
    name: str, code: int, marks: int, order: int
) -> None:
    whole = by_pillow(Image.fromarray(~BLACK), "TIFF", compression=name)
    with tifffile.TiffFile(io.BytesIO(whole)) as file:
        page = file.pages.first
        strip = whole[page.dataoffsets[0] :][: page.databytecounts[0]]
        photometric = int(page.photometric)

    def fax(piece: bytes) -> bytes:
        return tiff(piece, 1, code, photometric, order)

    bits = "".join(f"{each:08b}" for each in strip)
    for sound in (strip, strip + bytes(100)):
        assert np.array_equal(read_full(fax(sound)).gray, ~BLACK * 255)
    for share in (0.3, 0.7):
        kept = bits[: int(len(bits) * share)] + END_OF_LINE * marks
        kept += "0" * (-len(kept) % 8)
        cut = int(kept, 2).to_bytes(len(kept) // 8, "big")
        assert is_corrupt(fax(cut))
        assert is_corrupt(fax(cut + bytes(1000)))


def test_deflate_of_eight_bits_is_held_to_its_checksum() -> None:
    strip = bytearray(zlib.compress(GRAY.tobytes()))
    assert np.array_equal(read_full(tiff(bytes(strip), 8, 8)).gray, GRAY)
    strip[-1] ^= 1
    assert is_corrupt(tiff(bytes(strip), 8, 8))
    assert np.array_equal(read_full(tiff(bytes(strip[:-4]), 8, 8)).gray, GRAY)


def test_what_deflate_holds_beyond_the_rows_is_not_unpacked() -> None:
    packer = zlib.compressobj()
    parts = [packer.compress(GRAY.tobytes()), *(packer.compress(bytes(2**22)) for _ in range(4))]
    data = tiff(b"".join((*parts, packer.flush()[:-1], b"\xff")), 8, 8)
    assert np.array_equal(read_full(data).gray, GRAY)
