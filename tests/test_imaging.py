import io
import subprocess
import sys
import threading
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, JpegImagePlugin

from pipeline.errors import REASONS, PhotoError
from pipeline.images import masters as imaging
from pipeline.images.chroma import put_color_on
from pipeline.images.encoding import encode
from pipeline.images.formats import MASTER_SUFFIXES, MOST_PIXELS, MasterInfo, output_format
from pipeline.images.gray import eight_bits
from pipeline.images.masters import read_full, read_rgb, read_small

LOSSLESS = ("PNG", "TIFF", "WEBP")


def ramp(height: int = 48, width: int = 64) -> np.ndarray:
    """A gray picture that no rotation or mirror maps to itself."""
    rows, columns = np.mgrid[:height, :width]
    return ((rows * 5 + columns * 2) % 256).astype(np.uint8)


def saved(pixels: np.ndarray | Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(file, format, **options)
    return file.getvalue()


def as_tiff(pixels: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **options)
    return file.getvalue()


def refusal(data: bytes, max_pixels: int = imaging.MAX_PIXELS) -> PhotoError:
    """The error that both readers raise for a file."""
    with pytest.raises(PhotoError) as small:
        read_small(data, [64, 256], max_pixels)
    with pytest.raises(PhotoError) as full:
        read_full(data, max_pixels)
    assert (small.value.reason, str(small.value)) == (full.value.reason, str(full.value))
    assert "\n" not in str(full.value) and "object at" not in str(full.value)
    return full.value


@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("PNG", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
        ("WEBP", {"lossless": True}),
        ("JPEG2000", {}),
        ("BMP", {}),
        ("GIF", {}),
        ("PPM", {}),
    ],
)
def test_lossless_gray_masters_are_read_bit_by_bit(format: str, options: dict[str, str]) -> None:
    master = read_full(saved(ramp(), format, **options))
    assert master.gray.dtype == np.uint8
    assert np.array_equal(master.gray, ramp())
    assert (master.info.width, master.info.height, master.info.format) == (64, 48, format)


def test_color_master_gives_its_luma() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    gray = read_full(saved(rgb, "PNG")).gray
    assert np.abs(gray - rgb @ [0.299, 0.587, 0.114]).max() < 0.501


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_sixteen_bits_are_read_bit_by_bit(byteorder: str, compression: str | None) -> None:
    deep = np.linspace(0, 65535, 48 * 64).reshape(48, 64).round().astype(np.uint16)
    data = as_tiff(deep, byteorder=byteorder, photometric="minisblack", compression=compression)
    assert np.array_equal(read_full(data).gray, deep)
    assert np.array_equal(read_full(saved(deep, "PNG")).gray, deep)


def test_min_is_white_is_inverted_at_any_depth() -> None:
    eight = ramp()
    deep = eight.astype(np.uint16) * 257
    for pixels in (eight, deep, (deep / 65535).astype(np.float32)):
        data = as_tiff(pixels, photometric="miniswhite", byteorder="<")
        assert np.array_equal(eight_bits(read_full(data).gray), 255 - eight)


@pytest.mark.parametrize(("white", "largest"), [(1, 1.02), (255, 255), (65535, 60000), (1e6, 1e6)])
def test_float_masters_have_the_white_that_fits(white: float, largest: float) -> None:
    pixels = np.linspace(-0.05, largest, 48 * 64, dtype=np.float32).reshape(48, 64)
    pixels[0, 0] = np.nan
    gray = read_full(as_tiff(pixels, photometric="minisblack")).gray
    expected = np.clip(np.nan_to_num(pixels) * (65535 / white), 0, 65535)
    assert gray.dtype == np.uint16 and np.abs(gray - expected).max() <= 0.51


def test_other_kinds_of_pixels() -> None:
    bilevel = Image.fromarray(ramp() > 127)
    assert set(np.unique(read_full(saved(bilevel, "PNG")).gray)) == {0, 255}
    palette = Image.fromarray(ramp()).convert("P")
    palette.info["transparency"] = bytes(range(256))  # a warning in Pillow, unless alpha is dropped
    assert np.array_equal(read_full(saved(palette, "PNG")).gray, ramp())
    alpha = Image.merge("LA", [Image.fromarray(ramp()), Image.fromarray(ramp()[::-1])])
    assert np.array_equal(read_full(saved(alpha, "PNG")).gray, ramp())
    black = Image.merge("CMYK", [Image.new("L", (64, 48))] * 3 + [Image.fromarray(255 - ramp())])
    assert np.array_equal(read_full(saved(black, "TIFF")).gray, ramp())
    lightness = Image.frombytes("LAB", (3, 1), bytes([0, 0, 0, 128, 0, 0, 255, 0, 0]))
    assert read_full(saved(lightness, "TIFF")).gray.tolist() == [[0, 119, 255]]


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_turns_the_picture_upright(format: str, orientation: int) -> None:
    upright = ramp()
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: upright.T[::-1],
        7: upright.T[::-1, ::-1],
        8: upright.T[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[274] = orientation
    every: dict[str, dict[str, Any]] = {"JPEG": {"quality": 100}, "WEBP": {"lossless": True}}
    options = every.get(format, {})
    data = saved(np.ascontiguousarray(stored), format, exif=exif, **options)
    master = read_full(data)
    assert np.abs(master.gray.astype(int) - upright).max() <= 3
    info, (square,) = read_small(data, [32])
    assert info == master.info == MasterInfo(64, 48, master.info.mode, format)
    upright_square = read_small(saved(upright, format, **options), [32])[1][0]
    assert np.abs(square.astype(int) - upright_square).max() <= 3


def test_small_squares_are_means_of_areas_of_the_whole_frame() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (1024, 2048), dtype=np.uint8)
    info, (small, large) = read_small(saved(pixels, "PNG"), [64, 256])
    assert (info.width, info.height) == (2048, 1024)
    assert small.dtype == large.dtype == np.uint8
    for square in (small, large):
        side = len(square)
        means = pixels.reshape(side, 1024 // side, side, 2048 // side).mean(axis=(1, 3))
        assert np.abs(square - means).max() <= 1


@pytest.mark.parametrize(("height", "width"), [(64, 165), (165, 64), (64, 64)])
def test_a_center_crop_is_the_largest_square_in_the_middle(height: int, width: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    top, left = (height - 64) // 2, (width - 64) // 2
    means = pixels[top : top + 64, left : left + 64].reshape(16, 4, 16, 4, 3).mean(axis=(1, 3))
    assert np.abs(read_rgb(saved(pixels, "PNG"), 16, fit="crop") - means).max() <= 1
    assert (np.abs(read_rgb(saved(pixels, "PNG"), 16) - means).max() <= 1) == (height == width)


def test_a_center_crop_is_that_of_the_upright_picture_decoded_at_a_reduced_scale() -> None:
    rows, columns = np.mgrid[:480, :1600]
    upright = np.stack([columns * 255 // 1599, rows * 255 // 479, 0 * rows], -1).astype(np.uint8)
    exif = Image.Exif()
    exif[274] = 6
    turned = saved(np.rot90(upright).copy(), "JPEG", exif=exif, quality=95)
    crop = read_rgb(turned, 16, fit="crop").astype(int)
    plain = read_rgb(saved(upright[:, 560:1040].copy(), "PNG"), 16)
    assert np.abs(crop - plain).max() <= 4


@pytest.mark.parametrize("format", ["JPEG", "JPEG2000"])
def test_reduced_decoding_shows_the_same_picture(format: str) -> None:
    smooth = np.asarray(
        Image.fromarray(ramp(12, 16)).resize((3000, 2500), Image.Resampling.BICUBIC)
    )
    options = {"quality": 95} if format == "JPEG" else {}
    data = saved(smooth, format, **options)
    info, (square,) = read_small(data, [64])
    assert (info.width, info.height) == (3000, 2500)
    expected = read_small(saved(smooth, "PNG"), [64])[1][0]
    assert np.abs(square.astype(int) - expected).mean() < 1


@pytest.mark.slow
def test_jpeg_2000_with_too_few_levels_is_decoded_whole() -> None:
    large = np.tile(ramp(), (40, 40))
    data = saved(large, "JPEG2000", num_resolutions=1)
    assert np.array_equal(read_small(data, [64])[1][0], read_small(saved(large, "PNG"), [64])[1][0])


def test_refusals_say_why_in_one_line() -> None:
    jpeg, png = saved(ramp(), "JPEG"), saved(ramp(), "PNG")
    assert refusal(b"").reason == "corrupt"
    assert refusal(b"The quick brown fox\n" * 20).reason == "unsupported"
    assert str(refusal(b"%PDF-1.4\n" * 20)).startswith("a PDF document, not a picture: export ")
    assert refusal(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n").reason == "unsupported"
    assert refusal(jpeg[: len(jpeg) // 2]).reason == "corrupt"
    assert refusal(png[: len(png) // 2]).reason == "corrupt"
    assert refusal(png[:12]).reason == "corrupt"


@pytest.mark.parametrize("brands", [b"heic", b"mif1\0\0\0\0mif1heic", b"msf1\0\0\0\0msf1hevc"])
def test_heic_is_no_damaged_avif(brands: bytes) -> None:
    box = b"ftyp" + brands.ljust(16, b"\0")
    error = refusal((len(box) + 4).to_bytes(4, "big") + box + bytes(200))
    assert error.reason == "unsupported"
    avif = saved(ramp(), "AVIF")
    assert refusal(avif[:8] + b"mif1" + avif[12:100]).reason == "corrupt"


def test_pixel_limit_is_checked_before_decoding() -> None:
    bomb = bytearray(saved(np.zeros((8, 8), np.uint8), "PNG"))
    bomb[16:24] = (100_000).to_bytes(4, "big") * 2
    bomb[29:33] = zlib.crc32(bomb[12:29]).to_bytes(4, "big")
    error = refusal(bytes(bomb))
    assert error.reason == "too_large"
    assert str(error) == "100,000 x 100,000 pixels are 10,000 megapixels; the limit is 500"
    assert refusal(saved(ramp(), "PNG"), max_pixels=64 * 48 - 1).reason == "too_large"
    row = bytearray(saved(np.zeros((1, 8), np.uint8), "PNG"))
    row[16:20] = (2**21 + 1).to_bytes(4, "big")
    row[29:33] = zlib.crc32(row[12:29]).to_bytes(4, "big")
    error = refusal(bytes(row))
    assert (error.reason, str(error)) == (
        "too_large",
        "2,097,153 x 1 pixels; the limit of a side is 2,097,152",
    )
    assert read_full(saved(ramp(), "PNG"), max_pixels=64 * 48).gray.shape == (48, 64)


@pytest.mark.slow
def test_pictures_above_the_limit_of_pillow_itself_are_read() -> None:
    large = saved(Image.new("1", (20_000, 10_000), 1), "TIFF", compression="group4")
    assert read_full(large).gray.min() == 255


@pytest.mark.parametrize("format", LOSSLESS)
def test_lossless_results_keep_the_luminance(format: str) -> None:
    color = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    result = put_color_on(ramp(), color)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(encode(result, format)))), result)
    assert np.abs(result @ [0.299, 0.587, 0.114] - ramp()).max() <= 0.3


def test_jpeg_results_are_close_and_keep_full_color_resolution() -> None:
    color = np.full((16, 16, 3), (200, 120, 90), np.uint8)
    result = put_color_on(ramp(), color)
    image = Image.open(io.BytesIO(encode(result, "JPEG")))
    assert isinstance(image, JpegImagePlugin.JpegImageFile)
    assert JpegImagePlugin.get_sampling(image) == 0  # 4:4:4
    assert np.abs(np.asarray(image).astype(int) - result).mean() < 2


@pytest.mark.parametrize("format", [*LOSSLESS, "JPEG"])
def test_files_are_the_same_each_time_and_keep_the_resolution(format: str) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    master = read_full(saved(ramp(), "TIFF", dpi=(600, 300)))
    assert master.dpi == (600.0, 300.0)
    data = encode(rgb, format, master)
    assert data == encode(rgb, format, master)
    if format != "WEBP":
        assert read_full(data).dpi == pytest.approx((600, 300), rel=1e-3)
    assert read_full(encode(rgb, format)).dpi is None


def test_resolution_turns_with_the_picture() -> None:
    exif = Image.Exif()
    exif[274] = 6
    assert read_full(saved(ramp(), "JPEG", exif=exif, dpi=(600, 300))).dpi == (300.0, 600.0)


def test_output_formats() -> None:
    def of(requested: str, format: str) -> tuple[str, str]:
        return output_format(requested, MasterInfo(1, 1, "L", format))

    assert of("auto", "JPEG") == ("JPEG", "jpg")
    assert of("auto", "TIFF") == ("TIFF", "tif")
    assert of("auto", "WEBP") == ("WEBP", "webp")
    assert of("auto", "GIF") == of("png", "JPEG") == ("PNG", "png")
    assert of("auto", "JPEG2000") == of("jp2", "JPEG") == ("JPEG2000", "jp2")
    assert of("avif", "JPEG") == ("AVIF", "avif")
    with pytest.raises(KeyError):
        of("gif", "JPEG")


def test_picture_too_long_for_a_format_is_a_write_error() -> None:
    with pytest.raises(PhotoError, match="16,383 pixels a side, not 20,000") as error:
        encode(np.zeros((1, 20_000, 3), np.uint8), "WEBP")
    assert error.value.reason == "write_error"


def test_what_takes_much_memory_may_be_less_large(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = np.zeros((10, 100, 3), np.uint8)
    monkeypatch.setitem(MOST_PIXELS, "WEBP", 999)
    with pytest.raises(PhotoError, match="WEBP is written up to 0 megapixels") as error:
        encode(picture, "WEBP")
    assert error.value.reason == "write_error"
    info = MasterInfo(100, 10, "L", "WEBP")
    assert output_format("auto", info, pixels=1000) == ("PNG", "png")
    assert output_format("auto", info, pixels=999) == ("WEBP", "webp")
    assert output_format("webp", info, pixels=1000) == ("WEBP", "webp"), "and is refused"
    gray = saved(picture[..., 0], "PNG")
    deep = io.BytesIO()
    tifffile.imwrite(deep, picture.astype(np.uint16), photometric="rgb")
    costly = [saved(picture, "WEBP"), saved(picture, "JPEG2000"), deep.getvalue()]
    for data, most in ((gray, 1000), *((each, 2000) for each in costly)):
        assert read_full(data, most).gray.shape == (10, 100)
        assert refusal(data, most - 1).reason == "too_large"


def test_nothing_global_changes_at_import() -> None:
    code = (
        "import warnings, numpy; from PIL import Image;"
        "before = Image.MAX_IMAGE_PIXELS, warnings.filters[:]; import pipeline.images.masters;"
        "assert before == (Image.MAX_IMAGE_PIXELS, warnings.filters)"
    )
    folder = Path(__file__).resolve().parents[1]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=folder)


def test_threads_read_at_the_same_time() -> None:
    files = [saved(ramp(48 + index, 64), "PNG") for index in range(8)]
    shapes: dict[int, tuple[int, ...]] = {}

    def read(index: int) -> None:
        shapes[index] = read_full(files[index]).gray.shape

    threads = [threading.Thread(target=read, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert shapes == {index: (48 + index, 64) for index in range(8)}


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP", "JPEG2000", "GIF", "BMP", "PPM"])
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.integers(0), st.integers(0, 255)), max_size=12))
def test_damaged_files_only_ever_raise_our_error(
    format: str, changes: list[tuple[int, int]], capfd: pytest.CaptureFixture[str]
) -> None:
    data = bytearray(saved(ramp(), format))
    for place, value in changes:
        data[place % len(data)] = value
    _reads_or_refuses(bytes(data), 10**6)
    capfd.readouterr()  # libtiff writes to standard error


def _reads_or_refuses(data: bytes, max_pixels: int = imaging.MAX_PIXELS) -> PhotoError | None:
    try:
        info, _ = read_small(data, [64, 256], max_pixels)
        assert read_full(data, max_pixels).info == info
    except PhotoError as error:
        assert error.reason in REASONS and "\n" not in str(error)
        return error
    return None


@pytest.mark.slow
def test_historic_scans_are_all_read_keep_their_luminance_and_never_count_as_color(
    shared: Path,
) -> None:
    paths, tones = sorted((shared / "photos" / "historic").glob("h*")), []
    assert len(paths) > 100
    color = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    for path in paths:
        data = path.read_bytes()
        info, squares = read_small(data, [64, 256])
        tones.append(info.tone)
        assert [square.shape for square in squares] == [(64, 64), (256, 256)]
        if info.width * info.height < 2e6:
            gray = read_full(data).gray
            assert gray.shape == (info.height, info.width)
            luma = put_color_on(gray, color) @ np.array([0.299, 0.587, 0.114], np.float32)
            assert np.abs(luma - gray).max() < 0.31, path.name
    assert tones.count("color") == 0
    assert tones.count("toned") > 10


def test_examples_are_small_photographs_that_anyone_may_use(repository: Path) -> None:
    folder = repository / "examples" / "photos"
    sources = (folder / "SOURCES.md").read_text(encoding="utf-8")
    photos = [path for path in folder.rglob("*") if path.suffix in MASTER_SUFFIXES]
    assert len(photos) == 8
    for path in photos:
        assert f"`{path.relative_to(folder).as_posix()}`" in sources
        assert path.stat().st_size < 150_000
        master = read_full(path.read_bytes())
        assert master.info.mode == "L" and 400 <= max(master.gray.shape) <= 800
