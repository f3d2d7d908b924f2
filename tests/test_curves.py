"""Tones that files state beside profiles: PNG, TIFF, BMP and AVIF."""

import io
import struct
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from pipeline.images.gray import luma
from pipeline.images.masters import read_full, read_small
from pipeline.images.pictures import srgb_profile
from pipeline.ledger.recipe import Recipe
from pipeline.run.rendering import render

RAMP: dict[int, np.ndarray] = {
    8: np.tile(np.arange(256, dtype=np.uint8), (64, 1)),
    16: np.tile(np.arange(0, 65536, 256, dtype=np.uint16), (64, 1)),
}
SMALL = np.full((16, 16, 3), (150, 120, 100), np.uint8)
RECIPE = Recipe(source="nowhere", format="png", weights={}, versions={"autochrome": "0"})


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def gamma(value: float) -> bytes:
    return chunk(b"gAMA", struct.pack(">I", round(value * 100_000)))


def png(pixels: np.ndarray, *chunks: bytes, color: int = 0) -> bytes:
    """A PNG of these pixels, with these chunks before them."""
    height, width = pixels.shape[:2]
    bits = 8 * pixels.dtype.itemsize
    rows = pixels.astype(">u2" if bits == 16 else "u1").reshape(height, -1)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0))
        + b"".join(chunks)
        + chunk(b"IDAT", zlib.compress(raw))
        + chunk(b"IEND", b"")
    )


def shown(light: np.ndarray) -> np.ndarray:
    """sRGB 0..1 of light 0..1."""
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def tones(data: bytes) -> np.ndarray:
    """The first row of what both readers agree on, 0..1."""
    master = read_full(data)
    [small] = read_small(data, [64])[1]
    whole = master.gray / np.iinfo(master.gray.dtype).max
    assert abs(small.mean() / 255 - whole.mean()) < 0.01
    return whole[0]


SRGB, LINEAR = chunk(b"sRGB", b"\0"), gamma(1.0)
ICCP = chunk(b"iCCP", b"x\0\0" + zlib.compress(srgb_profile()))
CODES = np.arange(256) / 255


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(
    ("chunks", "exponent"),
    [
        ([LINEAR], 1.0),
        ([gamma(0.55556)], 1 / 0.55556),
        ([gamma(0.4)], 2.5),
        ([gamma(1 / 2.2)], None),
        ([gamma(0.45)], None),
        ([gamma(0)], None),
        ([gamma(40_000)], None),
        ([gamma(1e-4)], None),
        ([SRGB, LINEAR], None),
        ([LINEAR, SRGB], None),
        ([chunk(b"cICP", bytes([1, 8, 0, 1])), SRGB, gamma(1 / 2.2)], 1.0),
        ([chunk(b"cICP", bytes([1, 13, 0, 1])), LINEAR], None),
    ],
)
def test_a_gray_png_is_read_with_the_tones_that_it_states(
    bits: int, chunks: list[bytes], exponent: float | None
) -> None:
    stored = RAMP[bits][0] / (2**bits - 1)
    expected = stored if exponent is None else shown(stored**exponent)
    found = tones(png(RAMP[bits], *chunks))
    assert np.abs(found - expected).max() <= (0.51 / 255 if bits == 8 else 0.51 / 65535)


def test_gray_with_alpha_and_palettes_have_the_same_tones() -> None:
    with_alpha = np.stack([RAMP[8], np.full_like(RAMP[8], 255)], axis=-1)
    expected = np.rint(255 * shown(CODES)) / 255
    assert np.array_equal(tones(png(with_alpha, LINEAR, color=4)), expected)
    deep = np.stack([RAMP[16], np.full_like(RAMP[16], 65535)], axis=-1)
    found = tones(png(deep, LINEAR, color=4))
    assert np.abs(found - shown(RAMP[16][0] / 65535)).max() <= 0.51 / 65535
    palette = chunk(b"PLTE", bytes(np.repeat(np.arange(256, dtype=np.uint8), 3)))
    assert np.array_equal(tones(png(RAMP[8], LINEAR, palette, color=3)), expected)


def test_a_profile_comes_before_the_curve_and_after_the_numbers_of_cicp() -> None:
    color = np.repeat(RAMP[8][..., None], 3, axis=-1)
    assert np.array_equal(tones(png(color, ICCP, LINEAR, color=2)), CODES)
    light = chunk(b"cICP", bytes([1, 8, 0, 1]))
    assert np.array_equal(
        tones(png(color, ICCP, light, color=2)), np.rint(255 * shown(CODES)) / 255
    )
    for transfer in (2, 16):  # not told, and PQ, which is not applied: the profile stands in
        unusable = chunk(b"cICP", bytes([1, transfer, 0, 1]))
        data = png(color, ICCP, unusable, color=2)
        assert np.array_equal(tones(data), CODES)
        [made] = render(data, [SMALL], RECIPE, [0])
        assert not isinstance(made, Exception) and not made.note


def test_primaries_count_where_there_is_color() -> None:
    # Those of Adobe RGB, whose green is greener than that of sRGB.
    adobe = struct.pack(">8I", 31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000)
    chunks = gamma(1 / 2.2), chunk(b"cHRM", adobe)
    teal = np.full((64, 64, 3), (60, 200, 120), np.uint8)
    light = (np.array([60, 200, 120]) / 255) ** 2.2
    to_srgb = [[1.3984, -0.3984, 0], [0, 1, 0], [0, -0.0429, 1.0429]]  # known, of D65 to D65
    shown_light = np.array(to_srgb) @ light
    expected = luma(np.rint(255 * shown(shown_light.clip(0, 1))).astype(np.uint8)[None, None])
    assert abs(255 * tones(png(teal, *chunks, color=2))[0] - float(expected[0, 0])) <= 3
    assert np.array_equal(tones(png(RAMP[8], *chunks)), CODES)  # gray is gray in all of them
    broken = chunk(b"cHRM", bytes(32))
    assert np.array_equal(
        tones(png(teal, gamma(1 / 2.2), broken, color=2)), tones(png(teal, color=2))
    )


@pytest.mark.parametrize("format", ["png", "tiff", "jpeg"])
def test_a_result_carries_no_gamma(format: str) -> None:
    recipe = Recipe(source="nowhere", format=format, weights={}, versions={"autochrome": "0"})
    [made] = render(png(RAMP[8], LINEAR), [SMALL], recipe, [0])
    assert not isinstance(made, Exception) and b"gAMA" not in made.file
    picture = Image.open(io.BytesIO(made.file))
    assert "gamma" not in picture.info and picture.info["icc_profile"]
    found = np.asarray(picture.convert("RGB"))[0] @ [0.299, 0.587, 0.114]
    assert np.abs(found - 255 * shown(CODES))[20:].mean() < 1


def tiff(pixels: np.ndarray, kind: str, *tags: tuple[int, int, int, tuple[int, ...]]) -> bytes:
    file = io.BytesIO()
    extra = [(code, type, count, values, True) for code, type, count, values in tags]
    tifffile.imwrite(file, pixels, photometric=kind, extratags=extra, metadata=None)
    return file.getvalue()


def transfer(table: np.ndarray) -> tuple[int, int, int, tuple[int, ...]]:
    values = tuple(np.rint(65535 * table).astype(int).tolist())
    return 301, 3, len(values), values


def test_a_tiff_is_read_by_its_transfer_function() -> None:
    expected = np.rint(255 * shown(CODES)) / 255
    assert np.array_equal(tones(tiff(RAMP[8], "minisblack", transfer(CODES))), expected)
    color = np.repeat(RAMP[8][..., None], 3, axis=-1)
    assert np.array_equal(tones(tiff(color, "rgb", transfer(CODES))), expected)
    assert np.array_equal(tones(tiff(color, "rgb", transfer(np.tile(CODES, 3)))), expected)
    deep = tones(tiff(RAMP[16], "minisblack", transfer(np.arange(65536) / 65535)))
    assert np.abs(deep - shown(RAMP[16][0] / 65535)).max() <= 0.51 / 65535


@pytest.mark.parametrize(
    "table", [CODES**2.2, CODES[::-1], 0 * CODES, CODES[:100]], ids=["srgb", "falls", "0", "short"]
)
def test_a_transfer_function_that_changes_or_makes_nothing_is_left_alone(
    table: np.ndarray,
) -> None:
    assert np.array_equal(tones(tiff(RAMP[8], "minisblack", transfer(table))), CODES)


def test_zero_is_white_in_the_table_too() -> None:
    table = transfer(1 - CODES)  # code 0 is full light
    found = tones(tiff(RAMP[8], "miniswhite", table))
    assert np.array_equal(found, np.rint(255 * shown(1 - CODES)) / 255)


def test_the_row_says_what_is_not_applied() -> None:
    densities = (291, 3, 256, tuple(range(2550, -1, -10)))
    data = tiff(RAMP[8], "minisblack", densities)
    assert np.array_equal(tones(data), CODES)
    [made] = render(data, [SMALL], RECIPE, [0])
    assert not isinstance(made, Exception)
    assert made.note == "its gray response curve is not applied"
    [made] = render(png(RAMP[8], chunk(b"cICP", bytes([9, 16, 0, 1]))), [SMALL], RECIPE, [0])
    assert not isinstance(made, Exception) and "PQ" in made.note


def bitmap(exponent: float) -> bytes:
    """A gray BMP of version 4 with calibrated colors, those of sRGB."""
    ends = [[0.4124, 0.2126, 0.0193], [0.3576, 0.7152, 0.1192], [0.1805, 0.0722, 0.9505]]
    head = struct.pack("<IiiHHIIiiII", 108, 256, 64, 1, 8, 0, 0, 0, 0, 256, 256)
    head += bytes(16) + bytes(4)  # masks; calibrated
    head += b"".join(struct.pack("<i", round(value * 2**30)) for each in ends for value in each)
    head += struct.pack("<III", *[round(exponent * 65536)] * 3)
    colors = b"".join(bytes([code, code, code, 0]) for code in range(256))
    start = 14 + len(head) + len(colors)
    body = RAMP[8][::-1].tobytes()
    return struct.pack("<2sIHHI", b"BM", start + len(body), 0, 0, start) + head + colors + body


def test_a_bmp_of_version_4_is_read_by_its_gamma() -> None:
    assert np.array_equal(tones(bitmap(1.0)), np.rint(255 * shown(CODES)) / 255)
    assert np.array_equal(tones(bitmap(2.2)), CODES)
    assert np.array_equal(tones(bitmap(0)), CODES)


def avif(pixels: np.ndarray, bits: int, transfer: int = 2, layout: str | None = None) -> bytes:
    data = bytes(imagecodecs.avif_encode(pixels, level=100, bitspersample=bits, pixelformat=layout))
    at = data.index(b"colrnclx") + 8
    return data[: at + 2] + struct.pack(">H", transfer) + data[at + 4 :]


@pytest.mark.parametrize("bits", [8, 10, 12])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_avif_is_read_with_all_its_bits(bits: int, channels: int) -> None:
    white = 2**bits - 1
    codes = np.tile(np.linspace(0, white, 256).round(), (64, 1))
    pixels = np.repeat(codes[..., None], channels, axis=-1)
    pixels = (pixels if channels > 1 else codes).astype(np.uint8 if bits == 8 else np.uint16)
    data = avif(pixels, bits, layout="444" if channels >= 3 else "400")
    master = read_full(data)
    if bits == 8:
        assert master.gray.dtype == np.uint8 and np.abs(master.gray - codes).max() <= 1
        return
    assert master.info.mode == f"{'RGB' if channels == 4 or channels == 3 else 'L'};{bits}"
    assert master.gray.dtype == np.uint16
    assert np.abs(master.gray - codes * (65535 / white)).max() <= 65535 / white
    assert read_small(data, [64])[0] == master.info
    other_brand = data[:8] + b"mif1" + data[12:]
    assert np.array_equal(read_full(other_brand).gray, master.gray)


@pytest.mark.parametrize("bits", [8, 10])
def test_avif_is_read_by_its_transfer_function(bits: int) -> None:
    white = 2**bits - 1
    codes = np.tile(np.linspace(0, white, 256).round(), (64, 1))
    pixels = codes.astype(np.uint8 if bits == 8 else np.uint16)
    found = tones(avif(pixels, bits, transfer=8))
    assert np.abs(found - shown(codes[0] / white)).max() < 2 / 255
    assert np.abs(tones(avif(pixels, bits, transfer=13)) - codes[0] / white).max() < 1 / 255


def test_avif_of_ten_bits_with_a_profile_is_upright_and_has_it_applied() -> None:
    linear = linear_profile()
    pixels = np.tile(np.linspace(0, 1023, 256).round().astype(np.uint16), (64, 1))
    data = with_properties(avif(pixels, 10), icc=linear, turns=1)
    master = read_full(data)
    assert master.gray.shape == (256, 64) and master.info.mode == "L;10"
    found = master.gray[::-1, 0] / 65535
    assert np.abs(found - shown(pixels[0] / 1023)).max() < 1 / 255


def linear_profile() -> bytes:
    """A gray profile whose curve is a straight line."""
    curve = b"curv" + bytes(8)
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    head = 128 + 4 + 2 * 12
    tags = struct.pack(">I4sII4sII", 2, b"kTRC", head, 12, b"wtpt", head + 12, 20)
    body = struct.pack(">I", head + 32) + b"lcms\x02\x20\0\0mntrGRAYXYZ "
    body += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return body.ljust(128, b"\0") + tags + curve + white


def with_properties(data: bytes, icc: bytes, turns: int) -> bytes:
    """An AVIF with a profile in the place of its numbers, turned by quarters to the left."""
    at, sizes = data.index(b"colrnclx") - 4, {}
    profile = struct.pack(">I", 12 + len(icc)) + b"colrprof" + icc
    rotation = struct.pack(">I4sB", 9, b"irot", turns)
    added = len(profile) + len(rotation) - 19
    result = bytearray(data[:at] + profile + rotation + data[at + 19 :])
    for box in (b"meta", b"iprp", b"ipco"):
        sizes[box] = result.index(box) - 4
    for place in sizes.values():
        [length] = struct.unpack_from(">I", result, place)
        struct.pack_into(">I", result, place, length + added)
    ipma = result.index(b"ipma")
    count = ipma + 4 + 4 + 4 + 2
    result[count] += 1
    last = count + result[count]
    result[last:last] = bytes([0x80 | 5])
    for place in (ipma - 4, sizes[b"iprp"], sizes[b"meta"]):
        [length] = struct.unpack_from(">I", result, place)
        struct.pack_into(">I", result, place, length + 1)
    offset = result.index(b"iloc") + 4 + 4 + 2 + 2 + 2 + 2 + 2
    [where] = struct.unpack_from(">I", result, offset)
    struct.pack_into(">I", result, offset, where + added + 1)
    return bytes(result)
