"""Masters that Pillow alone would read with fewer bits, and color profiles: gray bit by bit."""

import csv
import io
import struct
import zlib
from pathlib import Path
from typing import Any, Literal

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from pipeline.errors import REASONS, PhotoError
from pipeline.images.gray import luma
from pipeline.images.masters import read_full, read_small
from pipeline.run.isolation import call_isolated

DEEP = np.random.default_rng(0).integers(0, 65536, (48, 64, 3), dtype=np.uint16)
EXACT = DEEP @ [0.299, 0.587, 0.114]


def png(pixels: np.ndarray, color_type: int, extra: bytes = b"") -> bytes:
    """A PNG of 16 bits a sample, by hand; extra: chunks before the pixels."""
    height, width = pixels.shape[:2]
    rows = pixels.astype(">u2").reshape(height, -1)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, 16, color_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + extra
        + chunk(b"IDAT", zlib.compress(raw))
        + chunk(b"IEND", b"")
    )


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def tiff(
    pixels: np.ndarray, photometric: int, order: Literal["<", ">"] = "<", **more: int
) -> bytes:
    """A TIFF of one strip, by hand; more: orientation, extra (ExtraSamples)."""
    height, width, count = pixels.shape
    strip = zlib.compress(pixels.astype(pixels.dtype.newbyteorder(order)).tobytes())
    kind = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    bits = 8 * pixels.dtype.itemsize
    fields = [
        (256, 4, [width]),
        (257, 4, [height]),
        (258, 3, [bits] * count),
        (259, 3, [8]),
        (262, 3, [photometric]),
        (273, 4, [8]),
        (274, 3, [more.get("orientation", 1)]),
        (277, 3, [count]),
        (278, 4, [height]),
        (279, 4, [len(strip)]),
    ]
    if "extra" in more:
        fields.append((338, 3, [more["extra"]]))
    fields.append((339, 3, [kind] * count))
    body, directory = strip + b"\0" * (len(strip) % 2), b""
    for tag, size, values in fields:
        packed = struct.pack(f"{order}{len(values)}{'H' if size == 3 else 'I'}", *values)
        if len(packed) > 4:
            place, body = 8 + len(body), body + packed
            packed = struct.pack(f"{order}I", place)
        directory += struct.pack(f"{order}HHI", tag, size, len(values)) + packed.ljust(4, b"\0")
    start = b"II*\0" if order == "<" else b"MM\0*"
    head = start + struct.pack(f"{order}I", 8 + len(body))
    return head + body + struct.pack(f"{order}H", len(fields)) + directory + b"\0" * 4


def by_tifffile(pixels: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **options)
    return file.getvalue()


def by_pillow(image: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def jpeg_2000(pixels: np.ndarray, **options: Any) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(pixels, level=0, reversible=True, **options))


def gray(data: bytes) -> np.ndarray:
    """What both readers agree on."""
    master = read_full(data)
    assert master.gray.shape == (master.info.height, master.info.width)
    assert read_small(data, [16])[0] == master.info
    return master.gray


def is_rounded(found: np.ndarray) -> bool:
    """Whether this is the luma of DEEP, rounded; halves may go either way."""
    return found.dtype == np.uint16 and bool(np.abs(found - EXACT).max() < 0.5001)


def test_sixteen_bits_of_color_give_their_luma_in_sixteen_bits() -> None:
    master = read_full(png(DEEP, 2))
    assert master.info.mode == "RGB;16"
    files = [png(DEEP, 2), tiff(DEEP, 2), tiff(DEEP, 2, ">")]
    for data in files:
        assert is_rounded(gray(data))
        low = np.abs(np.asarray(Image.open(io.BytesIO(data)).convert("L")) * 257.0 - EXACT)
        assert low.max() > 100, "Pillow reads this with all its bits now"


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "lzw"},
        {"compression": "zlib", "predictor": True},
        {"compression": "lzw", "tile": (16, 32)},
        {"planarconfig": "separate"},
        {"bigtiff": True},
        {"bigtiff": True, "byteorder": ">", "compression": "zlib", "rowsperstrip": 5},
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_tiff_is_read_bit_by_bit_however_it_is_stored(
    options: dict[str, Any], channels: int
) -> None:
    if channels == 1:
        options = {name: value for name, value in options.items() if name != "planarconfig"}
        data = by_tifffile(DEEP[..., 0], photometric="minisblack", **options)
        assert np.array_equal(gray(data), DEEP[..., 0])
    else:
        pixels = np.moveaxis(DEEP, -1, 0) if "planarconfig" in options else DEEP
        assert is_rounded(gray(by_tifffile(pixels, photometric="rgb", **options)))


def test_big_endian_bigtiff_of_few_bits_is_read_too() -> None:
    eight = (DEEP[..., 0] >> 8).astype(np.uint8)
    data = by_tifffile(eight, photometric="minisblack", bigtiff=True, byteorder=">")
    assert read_full(data).gray.dtype == np.uint8
    assert np.array_equal(gray(data), eight)
    bits = by_tifffile(eight > 99, photometric="minisblack", bigtiff=True, byteorder=">")
    assert np.array_equal(gray(bits), (eight > 99) * 255)


def test_gray_with_alpha_keeps_its_bits() -> None:
    pair = DEEP[..., :2]
    assert np.array_equal(gray(png(pair, 4)), DEEP[..., 0])
    assert np.array_equal(gray(tiff(pair, 1, extra=2)), DEEP[..., 0])
    assert np.array_equal(gray(tiff(pair, 0, extra=2)), 65535 - DEEP[..., 0])
    color = np.dstack([DEEP, DEEP[..., 0]])
    assert is_rounded(gray(png(color, 6)))
    assert is_rounded(gray(tiff(color, 2, extra=2)))


def test_alpha_that_is_multiplied_in_is_taken_out() -> None:
    alpha = np.full((48, 64, 1), 32768, np.uint16)
    halved = np.concatenate([(DEEP // 2), alpha], axis=-1)
    assert np.abs(gray(tiff(halved, 2, extra=1)).astype(int) - EXACT).max() <= 4


def test_floats_of_any_size_and_whole_numbers_of_32_bits() -> None:
    for kind, tolerance in ((np.float16, 32), (np.float32, 0), (np.float64, 0)):
        shares = (DEEP / 65535).astype(kind)
        assert np.abs(gray(tiff(shares, 2)).astype(int) - EXACT).max() <= tolerance + 1
        one = gray(tiff(shares[..., :1], 1)).astype(int)
        assert np.abs(one - DEEP[..., 0]).max() <= tolerance
    assert is_rounded(gray(tiff(DEEP.astype(np.uint32), 2)))


def test_cmyk_of_sixteen_bits() -> None:
    ink = np.zeros((48, 64, 4), np.uint16)
    ink[..., 3] = 65535 - DEEP[..., 0]
    assert np.array_equal(gray(tiff(ink, 5)), DEEP[..., 0])
    ink[...] = 0
    ink[..., :3] = 65535 - DEEP
    assert is_rounded(gray(tiff(ink, 5)))


def test_palettes_of_sixteen_bits_are_looked_up_and_raw_ycbcr_is_refused() -> None:
    colors = np.random.default_rng(1).integers(0, 65536, (3, 65536), dtype=np.uint16)
    data = by_tifffile(DEEP[..., 0], photometric="palette", colormap=colors)
    assert read_full(data).info.mode == "P;16"
    assert np.array_equal(gray(data), luma(np.moveaxis(colors, 0, -1)[DEEP[..., 0]]))
    for photometric in (3, 6):  # a palette without its colors is none
        with pytest.raises(PhotoError, match="a TIFF of 16 bits and kind") as error:
            read_full(tiff(DEEP[..., :1] if photometric == 3 else DEEP, photometric))
        assert error.value.reason == "unsupported"


def test_jpeg_2000_keeps_its_bits() -> None:
    deep = by_pillow(Image.fromarray(DEEP[..., 0]), "JPEG2000", irreversible=False)
    assert np.array_equal(gray(deep), DEEP[..., 0])
    color = jpeg_2000(DEEP)
    assert is_rounded(gray(color))
    twelve = jpeg_2000(DEEP >> 4, bitspersample=12)
    assert np.abs(gray(twelve) - luma((DEEP >> 4).astype(np.uint16)) * (65535 / 4095)).max() <= 17


@pytest.mark.parametrize("bits", [1, 2, 4, 7])
def test_jpeg_2000_of_few_bits_has_white(bits: int) -> None:
    few = (DEEP[..., 0] >> (16 - bits)).astype(np.uint8)
    for container in ("j2k", "jp2"):
        found = gray(jpeg_2000(few, bitspersample=bits, codecformat=container))
        assert found.dtype == np.uint8
        assert np.abs(found - few * (255 / (2**bits - 1))).max() <= 0.501


@pytest.mark.parametrize(
    "data",
    [
        imagecodecs.jpeg8_encode(DEEP[..., 0] >> 4, bitspersample=12),
        imagecodecs.ljpeg_encode(DEEP[..., 0]),
        imagecodecs.jpegls_encode(DEEP[..., 0]),
    ],
    ids=["12 bits", "lossless", "JPEG-LS"],
)
def test_jpegs_beyond_pillow_that_were_cut_are_refused(data: bytes) -> None:
    assert gray(data + b"garbage").shape == (48, 64)
    for cut in (2, 100, len(data) // 2):
        with pytest.raises(PhotoError) as error:
            read_full(data[:-cut])
        assert error.value.reason == "corrupt"


@pytest.mark.parametrize("color", [False, True])
def test_a_jpeg_that_ends_early_is_refused_in_spite_of_its_end(color: bool) -> None:
    random = np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)
    pixels = random if color else random[..., 0]
    whole = by_pillow(Image.fromarray(pixels), "JPEG")
    assert gray(whole).shape == (400, 400)
    for share in (0.3, 0.9):
        cut = whole[: int(len(whole) * share)].rstrip(b"\xff")
        for data in (cut + b"\xff\xd9", cut + b"\xff\xd9garbage\xff\xd9"):
            for read in (read_full, lambda data: read_small(data, [16])):
                with pytest.raises(PhotoError, match="ends before its pixels do") as error:
                    read(data)
                assert error.value.reason == "corrupt"
    pixels[-50:] = 128  # a gray canvas below a picture
    for options in ({}, {"progressive": True}, {"restart_marker_rows": 1}):
        canvas = by_pillow(Image.fromarray(pixels), "JPEG", **options)
        assert np.array_equal(gray(canvas + b"garbage")[-8:], np.full((8, 400), 128))


@pytest.mark.parametrize("bits", [8, 12])
def test_the_height_of_a_jpeg_may_follow_its_scan(bits: int) -> None:
    pixels = DEEP[..., 0] >> (16 - bits)
    small = pixels.astype(np.uint8 if bits == 8 else np.uint16)
    whole = bytes(imagecodecs.jpeg8_encode(small, bitspersample=bits, level=90))
    [place] = [whole.find(marker) + 5 for marker in (b"\xff\xc0", b"\xff\xc1") if marker in whole]
    told = b"\xff\xdc\0\4" + whole[place : place + 2]
    late = whole[:place] + b"\0\0" + whole[place + 2 : -2] + told + whole[-2:]
    assert np.array_equal(gray(late), gray(whole))
    with pytest.raises(PhotoError) as error:
        read_full(whole[:place] + b"\0\0" + whole[place + 2 :])
    assert error.value.reason == "corrupt"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_deep_masters_are_turned_upright(orientation: int) -> None:
    plain = by_pillow(Image.fromarray((DEEP >> 8).astype(np.uint8)), "TIFF")
    exif = Image.Exif()
    exif[274] = orientation
    turned = by_pillow(Image.open(io.BytesIO(plain)), "TIFF", exif=exif)
    expected = read_full(turned).gray.astype(int)
    for data in (
        tiff(DEEP, 2, orientation=orientation),
        png(DEEP, 2, chunk(b"eXIf", exif.tobytes()[6:])),
    ):
        assert np.abs(gray(data) // 256 - expected).max() <= 1


@pytest.fixture(scope="module")
def deep_files() -> list[bytes]:
    tiles = by_tifffile(DEEP, compression="lzw", tile=(16, 16))
    return [png(DEEP, 2), tiff(DEEP, 2), tiles, jpeg_2000(DEEP)]


def test_damaged_deep_masters_are_refused() -> None:
    files = [png(DEEP, 2), tiff(DEEP, 2), by_tifffile(DEEP, compression="lzw")]
    files.append(jpeg_2000(DEEP))
    for data in files:
        cut = data[: len(data) // 2]
        with pytest.raises(PhotoError) as error:
            read_full(cut)
        assert error.value.reason == "corrupt"
    with pytest.raises(PhotoError) as error:
        read_full(png(DEEP, 2), max_pixels=1000)
    assert error.value.reason == "too_large"


@pytest.mark.parametrize("number", range(4), ids=["PNG", "TIFF", "tiles", "JPEG 2000"])
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(st.tuples(st.integers(0), st.integers(0, 255)), min_size=1, max_size=12),
    cut=st.floats(0.2, 1),
)
def test_deep_masters_of_any_damage_only_ever_raise_our_error(
    number: int,
    changes: list[tuple[int, int]],
    cut: float,
    deep_files: list[bytes],
    capfd: pytest.CaptureFixture[str],
) -> None:
    data = bytearray(deep_files[number])
    for place, value in changes:
        data[place % len(data)] = value
    try:
        master = read_full(bytes(data[: int(len(data) * cut)]), max_pixels=10**6)
    except PhotoError as error:
        assert error.reason in REASONS and "\n" not in str(error)
    else:
        assert master.gray.dtype in (np.uint8, np.uint16)
    capfd.readouterr()  # codecs write to standard error


def test_a_profile_is_honored_and_srgb_changes_nothing() -> None:
    eight = (DEEP >> 8).astype(np.uint8)
    adobe = imagecodecs.cms_profile("adobergb")
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    moved = ImageCms.profileToProfile(
        Image.fromarray(eight),
        ImageCms.ImageCmsProfile(io.BytesIO(adobe)),
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
    )
    assert moved is not None
    expected = np.asarray(moved) @ [0.299, 0.587, 0.114]
    assert np.abs(expected - eight @ [0.299, 0.587, 0.114]).max() > 10
    image = Image.fromarray(eight)
    assert np.abs(gray(by_pillow(image, "PNG", icc_profile=adobe)) - expected).max() <= 1.5
    profile = chunk(b"iCCP", b"a\0\0" + zlib.compress(adobe))
    deep = gray(png(eight.astype(np.uint16) * 257, 2, profile)) / 257
    assert np.abs(deep - expected).max() <= 1.5
    assert np.array_equal(
        gray(by_pillow(image, "PNG", icc_profile=srgb)), gray(by_pillow(image, "PNG"))
    )
    damaged = by_pillow(image, "TIFF", icc_profile=adobe[:100])
    assert np.array_equal(gray(damaged), gray(by_pillow(image, "TIFF")))


def test_a_gray_profile_is_honored_at_both_depths() -> None:
    linear = imagecodecs.cms_profile("gray", gamma=1.0)
    for pixels, white in (((DEEP[..., 0] >> 8).astype(np.uint8), 255), (DEEP[..., 0], 65535)):
        light = pixels / white
        encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
        for format in ("PNG", "TIFF"):
            found = gray(by_pillow(Image.fromarray(pixels), format, icc_profile=linear))
            assert np.abs(found / white - encoded).max() < 0.0025


def verdicts(folder: Path) -> dict[str, str]:
    """By file, the reason why it is refused, or "ok"."""
    found = {}
    for path in sorted(folder.iterdir()):
        if path.name == "index.csv":
            continue
        try:
            data = path.read_bytes()
            info, _ = read_small(data, [64, 256])
            if info.width * info.height <= 100_000_000:  # a larger one takes long
                assert read_full(data).info == info
            found[path.name] = "ok"
        except PhotoError as error:
            found[path.name] = error.reason
    return found


@pytest.mark.slow
def test_awkward_files_harm_no_process_and_are_as_their_index_says(shared: Path) -> None:
    folder = shared / "photos" / "awkward"
    if not folder.is_dir():
        pytest.skip("no shared/photos/awkward folder beside the checkout")
    found = call_isolated(verdicts, folder)
    with open(folder / "index.csv", newline="", encoding="utf-8") as index:
        rows = list(csv.DictReader(index))
    assert len(rows) == len(found) > 150
    for row in rows:
        verdict = found[row["file"]]
        assert (verdict == "ok") == (row["expect"] == "accept") or row["expect"] == "either", row
        assert verdict != "internal"
