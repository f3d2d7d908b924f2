"""Strips and tiles of a TIFF: lengths that nobody wrote are found, and what is missing is told."""

import io
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from pipeline.errors import PhotoError
from pipeline.images.gray import eight_bits
from pipeline.images.masters import read_full, read_small

HEIGHT, WIDTH, ROWS = 96, 128, 32
DOWN, ACROSS = np.mgrid[:HEIGHT, :WIDTH]
GRAY = (20 + DOWN + ACROSS).astype(np.uint8)
DEEP = GRAY.astype(np.uint16) * 257
COLOR = np.dstack([GRAY, 255 - GRAY, GRAY])
PLAIN, GROUP_3, GROUP_4, JPEG, ZIP, PACK_BITS, ZSTD, LZW = 1, 3, 4, 7, 8, 32773, 50000, 5
GDAL_NO_DATA = {42113: (2, b"0\0")}
NEVER = {279: None}

PACKERS: dict[int, Callable[[bytes], bytes]] = {
    PLAIN: bytes,
    LZW: lambda data: bytes(imagecodecs.lzw_encode(data)),
    ZIP: zlib.compress,
    PACK_BITS: lambda data: bytes(imagecodecs.packbits_encode(data)),
    ZSTD: lambda data: bytes(imagecodecs.zstd_encode(data)),
}
Layout = dict[str, Any]
TILED: Layout = {"tile": (32, 64)}
IN_STRIPS: Layout = {}


def tiff(pieces: Sequence[bytes], bits: int, compression: int = PLAIN, **more: Any) -> bytes:
    """A little-endian gray TIFF. more: rows, of a strip; tile, its height and width; starts and
    counts, where they are not the truth; photometric; samples; fields, to add or, None, to leave
    out."""
    body, starts = b"", []
    for piece in pieces:
        starts.append(8 + len(body))
        body += piece + b"\0" * (len(piece) % 2)
    starts, counts = more.get("starts", starts), more.get("counts", [len(p) for p in pieces])
    samples = more.get("samples", 1)
    places = {273: (4, starts), 278: (4, [more.get("rows", ROWS)]), 279: (4, counts)}
    if "tile" in more:
        high, wide = more["tile"]
        places = {322: (3, [wide]), 323: (3, [high]), 324: (4, starts), 325: (4, counts)}
    fields = {
        256: (4, [WIDTH]),
        257: (4, [HEIGHT]),
        258: (3, [bits] * samples),
        259: (3, [compression]),
        262: (3, [more.get("photometric", 1)]),
        277: (3, [samples]),
        **places,
        **more.get("fields", {}),
    }
    directory, count = b"", 0
    for tag, field in sorted(fields.items()):
        if field is None:
            continue
        kind, values = field
        packed, number = values, len(values)
        if kind != 2:
            packed = struct.pack(f"<{number}{'H' if kind == 3 else 'I'}", *values)
        if len(packed) > 4:
            place, body = 8 + len(body), body + packed + b"\0" * (len(packed) % 2)
            packed = struct.pack("<I", place)
        directory += struct.pack("<HHI", tag, kind, number) + packed.ljust(4, b"\0")
        count += 1
    return (
        b"II*\0"
        + struct.pack("<I", 8 + len(body))
        + body
        + struct.pack("<H", count)
        + directory
        + b"\0" * 4
    )


def strips(pixels: np.ndarray, rows: int = ROWS) -> list[bytes]:
    return [pixels[top : top + rows].tobytes() for top in range(0, HEIGHT, rows)]


def tiles(pixels: np.ndarray) -> list[bytes]:
    return [
        pixels[top : top + 32, left : left + 64].tobytes()
        for top in range(0, HEIGHT, 32)
        for left in range(0, WIDTH, 64)
    ]


def read(data: bytes) -> np.ndarray:
    """Gray 0..255 that both readers agree on."""
    master = read_full(data)
    assert read_small(data, [16])[0] == master.info
    return eight_bits(master.gray).astype(int)


def is_corrupt(data: bytes) -> bool:
    for reader in (read_full, lambda data: read_small(data, [16])):
        with pytest.raises(PhotoError) as error:
            reader(data)
        if error.value.reason != "corrupt":
            return False
    return True


def starts_of(pieces: Sequence[bytes]) -> list[int]:
    return [
        8 + sum(len(one) + len(one) % 2 for one in pieces[:each]) for each in range(len(pieces))
    ]


@pytest.mark.parametrize("compression", [PLAIN, ZIP, ZSTD])
@pytest.mark.parametrize("pixels", [GRAY, DEEP], ids=["8", "16"])
def test_missing_pieces_are_refused(pixels: np.ndarray, compression: int) -> None:
    bits = 8 * pixels.itemsize
    for cut, layout in ((strips(pixels), IN_STRIPS), (tiles(pixels), TILED)):
        pieces = [PACKERS[compression](piece) for piece in cut]
        assert np.array_equal(read(tiff(pieces, bits, compression, **layout)), GRAY)
        assert is_corrupt(tiff(pieces[:-1], bits, compression, **layout))
        starts, counts = starts_of(pieces), [len(piece) for piece in pieces]
        starts[1] = counts[1] = 0
        gone = {"starts": starts, "counts": counts, **layout}
        assert is_corrupt(tiff(pieces, bits, compression, **gone))


@pytest.mark.parametrize("compression", [PLAIN, ZIP])
@pytest.mark.parametrize("pixels", [GRAY, DEEP], ids=["8", "16"])
def test_tiles_of_a_map_may_hold_nothing(pixels: np.ndarray, compression: int) -> None:
    pieces = [PACKERS[compression](piece) for piece in tiles(pixels)]
    starts, counts = starts_of(pieces), [len(piece) for piece in pieces]
    starts[1] = counts[1] = 0
    layout = {"tile": (32, 64), "starts": starts, "counts": counts, "fields": GDAL_NO_DATA}
    expected = GRAY.copy()
    expected[:32, 64:] = 0
    assert np.array_equal(read(tiff(pieces, 8 * pixels.itemsize, compression, **layout)), expected)


def test_a_plane_beside_the_colors_may_be_missing() -> None:
    pieces = [zlib.compress(GRAY.tobytes()), b""]
    layout = {"samples": 2, "rows": HEIGHT, "starts": [8, 0], "fields": {284: (3, [2])}}
    data = tiff(pieces, 8, ZIP, **layout | {"fields": {284: (3, [2]), 338: (3, [0])}})
    assert np.array_equal(read(data), GRAY)


@pytest.mark.parametrize("compression", [PLAIN, ZIP])
@pytest.mark.parametrize("counts", [[0, 0, 0], None])
def test_lengths_that_nobody_wrote_are_found(counts: list[int] | None, compression: int) -> None:
    pieces = [PACKERS[compression](piece) for piece in strips(DEEP)]
    more = {"fields": NEVER} if counts is None else {"counts": counts}
    assert np.array_equal(read(tiff(pieces, 16, compression, **more)), GRAY)


@pytest.mark.parametrize("counts", [[ROWS * WIDTH] * 3, [1, 1, 1], [10**6] * 3, [3 * 8192, 0, 0]])
def test_lengths_that_are_wrong_are_corrected(counts: list[int]) -> None:
    assert np.array_equal(read(tiff(strips(DEEP), 16, counts=counts)), GRAY)


@pytest.mark.parametrize("compression", [PLAIN, LZW, ZIP, PACK_BITS])
@pytest.mark.parametrize("pixels", [GRAY, DEEP], ids=["8", "16"])
def test_the_last_length_may_lead_out_of_the_file(pixels: np.ndarray, compression: int) -> None:
    bits, pieces = 8 * pixels.itemsize, [PACKERS[compression](piece) for piece in strips(pixels)]
    counts = [len(piece) for piece in pieces]
    counts[-1] += 5000
    assert np.array_equal(read(tiff(pieces, bits, compression, counts=counts)), GRAY)
    pieces[-1] = pieces[-1][: len(pieces[-1]) // 2]
    assert is_corrupt(tiff(pieces, bits, compression, counts=counts))


@pytest.mark.parametrize("count", [1, WIDTH * HEIGHT])
def test_the_length_of_one_strip_may_be_too_short_if_its_pixels_are_there(count: int) -> None:
    one, text = DEEP.tobytes(), {270: (2, b"x" * 4000 + b"\0")}
    for fields in ({}, text):
        assert np.array_equal(
            read(tiff([one], 16, rows=HEIGHT, counts=[count], fields=fields)), GRAY
        )
        assert is_corrupt(tiff([one[:-500]], 16, rows=HEIGHT, counts=[count], fields=fields))
        assert is_corrupt(tiff([one[:-500]], 16, rows=HEIGHT, counts=[0], fields=fields))


@pytest.mark.parametrize("pixels", [GRAY, DEEP], ids=["8", "16"])
def test_all_rows_in_one_strip_whatever_is_said_of_its_rows(pixels: np.ndarray) -> None:
    data = tiff([pixels.tobytes()], 8 * pixels.itemsize, rows=16)
    assert np.array_equal(read(data), GRAY)


@pytest.mark.parametrize("pixels", [GRAY, DEEP], ids=["8", "16"])
def test_a_short_piece_does_not_go_on_in_the_next(pixels: np.ndarray) -> None:
    for cut, layout in ((strips(pixels), IN_STRIPS), (tiles(pixels), TILED)):
        cut[1] = cut[1][: len(cut[1]) // 2]
        assert is_corrupt(tiff(cut, 8 * pixels.itemsize, **layout))


@pytest.mark.parametrize("compression", [ZIP, PACK_BITS, ZSTD])
@pytest.mark.parametrize("pixels", [GRAY, DEEP], ids=["8", "16"])
def test_the_last_strip_may_have_rows_below_the_picture(
    pixels: np.ndarray, compression: int
) -> None:
    cut = strips(pixels, 40)
    cut[-1] = cut[-1].ljust(len(cut[0]), b"\0")
    packed = [PACKERS[compression](piece) for piece in cut]
    assert np.array_equal(read(tiff(packed, 8 * pixels.itemsize, compression, rows=40)), GRAY)
    bad = bytearray(packed[0])
    bad[len(bad) // 2] ^= 0xFF
    if compression == ZIP:
        assert is_corrupt(tiff([bytes(bad), *packed[1:]], 8 * pixels.itemsize, ZIP, rows=40))


@pytest.mark.parametrize("pixels", [GRAY, DEEP], ids=["8", "16"])
def test_a_predictor_without_compression_means_nothing(pixels: np.ndarray) -> None:
    data = tiff(strips(pixels), 8 * pixels.itemsize, fields={317: (3, [2])})
    assert np.array_equal(read(data), GRAY)


def test_a_predictor_of_floats_for_whole_numbers_is_refused() -> None:
    pieces = [zlib.compress(piece) for piece in strips(DEEP)]
    assert is_corrupt(tiff(pieces, 16, ZIP, fields={317: (3, [3])}))


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_fewer_bits_in_words_of_sixteen(bits: int) -> None:
    words = DEEP >> (16 - bits)
    assert np.abs(read(tiff(strips(words), bits)) - GRAY).max() <= 1


def jpegs(pixels: np.ndarray, bits: int = 8) -> list[bytes]:
    return [
        bytes(imagecodecs.jpeg8_encode(pixels[top : top + ROWS], level=97, bitspersample=bits))
        for top in range(0, HEIGHT, ROWS)
    ]


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("bits", [8, 12])
def test_a_jpeg_in_a_strip_that_ends_early_is_refused(bits: int, number: int) -> None:
    whole = jpegs(GRAY if bits == 8 else DEEP >> 4, bits)
    assert np.abs(read(tiff(whole, bits, JPEG)) - GRAY).max() <= 4
    for share in (0.5, 0.9):
        cut = whole[number][: int(len(whole[number]) * share)].rstrip(b"\xff")
        for end in (b"", b"\xff\xd9"):
            pieces = [*whole[:number], cut + end, *whole[number + 1 :]]
            assert is_corrupt(tiff(pieces, bits, JPEG))


def test_a_jpeg_that_is_smaller_than_its_strip_is_refused() -> None:
    whole = jpegs(GRAY)
    for part in (GRAY[:16], GRAY[:ROWS, :64]):
        small = bytes(imagecodecs.jpeg8_encode(np.ascontiguousarray(part), level=97))
        assert is_corrupt(tiff([whole[0], small, whole[2]], 8, JPEG))


def test_a_jpeg_in_a_strip_may_end_in_middle_gray() -> None:
    canvas = GRAY.copy()
    canvas[16:32] = canvas[80:] = 128
    assert np.abs(read(tiff(jpegs(canvas), 8, JPEG)) - canvas).max() <= 9


@pytest.mark.parametrize(("name", "code"), [("group3", GROUP_3), ("group4", GROUP_4)])
@pytest.mark.parametrize("margin", [0, 20])
def test_a_fax_that_ends_early_is_refused(name: str, code: int, margin: int) -> None:
    black = np.random.default_rng(0).random((HEIGHT, WIDTH)) < 0.2
    black[HEIGHT - margin :] = False
    file = io.BytesIO()
    Image.fromarray(~black).save(file, "TIFF", compression=name)
    with tifffile.TiffFile(io.BytesIO(file.getvalue())) as stored:
        [(start, count)] = zip(
            stored.pages.first.dataoffsets, stored.pages.first.databytecounts, strict=True
        )
        photometric = int(stored.pages.first.photometric)
    strip = file.getvalue()[start : start + count]
    more: dict[str, Any] = {"photometric": photometric, "rows": HEIGHT}
    assert np.array_equal(read(tiff([strip], 1, code, **more)), ~black * 255)
    for share in (0.3, 0.7):
        assert is_corrupt(tiff([strip[: int(count * share)]], 1, code, **more))


@pytest.mark.parametrize("margin", [0, 20])
def test_a_fax_of_two_dimensions_that_ends_early_is_refused(margin: int) -> None:
    black = np.random.default_rng(0).random((HEIGHT, WIDTH)) < 0.2
    black[HEIGHT - margin :] = False
    file = io.BytesIO()
    Image.fromarray(~black).save(file, "TIFF", compression="group3")
    with tifffile.TiffFile(io.BytesIO(file.getvalue())) as stored:
        page = stored.pages.first
        strip = file.getvalue()[page.dataoffsets[0] :][: page.databytecounts[0]]
        photometric = int(page.photometric)
    end = "000000000001"
    bits = "".join(f"{each:08b}" for each in strip).replace(end, end + "1")  # of one dimension

    def fax(bits: str) -> bytes:
        bits += "0" * (-len(bits) % 8)
        piece = int(bits, 2).to_bytes(len(bits) // 8, "big")
        more: dict[str, Any] = {"photometric": photometric, "rows": HEIGHT}
        return tiff([piece], 1, GROUP_3, fields={292: (4, [1])}, **more)

    for mark in ("", 6 * (end + "1")):
        assert np.array_equal(read(fax(bits + mark)), ~black * 255)
        for share in (0.3, 0.7):
            assert is_corrupt(fax(bits[: int(len(bits) * share)] + mark))


@pytest.mark.parametrize("pixels", [GRAY, DEEP], ids=["8", "16"])
def test_a_jpeg_xr_that_ends_early_is_refused(pixels: np.ndarray) -> None:
    whole = bytes(imagecodecs.jpegxr_encode(pixels, level=100))
    bits = 8 * pixels.itemsize
    assert np.array_equal(read(tiff([whole], bits, 22610, rows=HEIGHT)), GRAY)
    assert is_corrupt(tiff([whole[: len(whole) // 2]], bits, 22610, rows=HEIGHT))


def test_a_picture_that_is_larger_than_its_strip_is_refused_before_it_takes_memory() -> None:
    large = np.zeros((2000, 2000), np.uint8)
    kinds = {
        34712: imagecodecs.jpeg2k_encode(large),
        34933: imagecodecs.png_encode(large),
        50001: imagecodecs.webp_encode(np.dstack([large] * 3), lossless=True),
    }
    for code, piece in kinds.items():
        samples = 3 if code == 50001 else 1
        layout = {"rows": HEIGHT, "samples": samples, "photometric": 1 + samples // 2}
        with pytest.raises(PhotoError, match="a piece of the TIFF is a picture of 2000 x 2000"):
            read_full(tiff([bytes(piece)], 8, code, **layout))
    deep = bytes(imagecodecs.jpeg8_encode(large.astype(np.uint16), bitspersample=12))
    with pytest.raises(PhotoError, match="a piece of the TIFF is a picture of 2000 x 2000"):
        read_full(tiff([deep], 12, JPEG, rows=HEIGHT))


@pytest.mark.parametrize("pixels", [GRAY, DEEP], ids=["8", "16"])
def test_strips_beyond_the_picture_are_left_alone(pixels: np.ndarray) -> None:
    cut = strips(pixels)
    more = [pixels[-ROWS:].tobytes()] * 2
    assert np.array_equal(read(tiff(cut + more, 8 * pixels.itemsize)), GRAY)


@pytest.mark.parametrize("compression", [ZIP, PACK_BITS, ZSTD])
@pytest.mark.parametrize("pixels", [GRAY, DEEP], ids=["8", "16"])
def test_pieces_may_be_padded(pixels: np.ndarray, compression: int) -> None:
    bits = 8 * pixels.itemsize
    for cut, layout in ((strips(pixels), IN_STRIPS), (tiles(pixels), TILED)):
        padded = [PACKERS[compression](piece) + bytes(512) for piece in cut]
        assert np.array_equal(read(tiff(padded, bits, compression, **layout)), GRAY)
        padded[1] = PACKERS[compression](cut[1][:-64])
        assert is_corrupt(tiff(padded, bits, compression, **layout))


@pytest.mark.parametrize("compression", [PLAIN, LZW, ZIP, PACK_BITS])
@pytest.mark.parametrize("shared", [1, 2])
def test_a_short_piece_of_ycbcr_is_not_filled_up(shared: int, compression: int) -> None:
    cells = GRAY.reshape(HEIGHT // shared, shared, WIDTH // shared, shared).swapaxes(1, 2)
    cells = cells.reshape(HEIGHT // shared, WIDTH // shared, shared * shared)
    colors = np.full((*cells.shape[:2], 2), 128, np.uint8)
    units = np.concatenate([cells, colors], axis=-1)
    cut = [each.tobytes() for each in np.split(units, HEIGHT // ROWS)]
    layout = {"samples": 3, "photometric": 6, "fields": {530: (3, [shared, shared])}}
    pieces = [PACKERS[compression](piece) for piece in cut]
    assert np.abs(read(tiff(pieces, 8, compression, **layout)) - GRAY).max() <= 1
    pieces[1] = PACKERS[compression](cut[1][: len(cut[1]) // 2])
    assert is_corrupt(tiff(pieces, 8, compression, **layout))


@pytest.mark.parametrize("more", [500, 2**22])
def test_pieces_of_deflate_may_hold_more_than_their_rows(more: int) -> None:
    for cut, layout in ((strips(GRAY), IN_STRIPS), (tiles(GRAY), TILED)):
        longer = [zlib.compress(piece + bytes(more)) + bytes(100) for piece in cut]
        assert np.array_equal(read(tiff(longer, 8, ZIP, **layout)), GRAY)


def test_pack_bits_that_unpack_to_too_many_pixels_are_refused() -> None:
    cut = [PACKERS[PACK_BITS](piece) for piece in strips(DEEP)]
    cut[0] = b"\x80\xfe\x07" + cut[0]
    assert is_corrupt(tiff(cut, 16, PACK_BITS))


def test_tiles_of_jpeg_may_be_cut_at_the_edges_of_the_picture() -> None:
    def at(wide: int) -> list[bytes]:
        places = [(0, 0, 80), (0, 80, wide), (64, 0, 80), (64, 80, wide)]
        return [
            bytes(imagecodecs.jpeg8_encode(GRAY[y : y + 64, x : x + w].copy(), level=97))
            for y, x, w in places
        ]

    assert np.abs(read(tiff(at(48), 8, JPEG, tile=(64, 80))) - GRAY).max() <= 4
    assert is_corrupt(tiff(at(40), 8, JPEG, tile=(64, 80)))


def test_pixels_may_look_like_the_start_of_a_jpeg() -> None:
    words = np.full((HEIGHT, WIDTH), 0xFFFF, "<u2")
    start = b"\xff\xd8", b"\xff\xc0\0\x08\x08\xff\xff\xff\xff\x01", b"\xff\xda\0\x08"
    words[0, :8] = np.frombuffer(b"".join(start), "<u2")
    assert np.array_equal(read_full(tiff([words.tobytes()], 16, rows=HEIGHT)).gray, words)


def test_more_tiles_than_can_be_read_in_time_are_refused() -> None:
    large = {256: (4, [20_000]), 257: (4, [20_000])}
    data = tiff([zlib.compress(bytes(256))], 8, ZIP, tile=(16, 16), fields=large)
    with pytest.raises(PhotoError, match="a TIFF of 1,562,500 tiles") as error:
        read_full(data)
    assert error.value.reason == "unsupported"
