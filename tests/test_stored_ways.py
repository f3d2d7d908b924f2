"""Masters stored in ways that few readers know: read with the right numbers, or refused by name."""

import io
import struct
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image
from test_masters import by_pillow, by_tifffile, chunk, png, tiff

from pipeline.errors import PhotoError
from pipeline.images.gray import eight_bits
from pipeline.images.masters import read_full, read_small

ROWS, COLUMNS = np.mgrid[:48, :64]
EIGHT = ((ROWS * 4 + COLUMNS) % 251 + 2).astype(np.uint8)  # no symmetry, and no black or white
DEEP = EIGHT.astype(np.uint16) * 257
COLOR = np.stack([EIGHT, 255 - EIGHT, np.full_like(EIGHT, 90)], axis=-1)
TURNED = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF xmlns:rdf='x'>%s</rdf:RDF></x:xmpmeta>"
XMPS = [
    TURNED % b"<rdf:Description tiff:Orientation='6'/>",
    TURNED % b'<rdf:Description tiff:Orientation="6"/>',
    TURNED % b"<rdf:Description><tiff:Orientation>6</tiff:Orientation></rdf:Description>",
]


def gray(data: bytes) -> np.ndarray:
    """What both readers agree on, as 8 bits."""
    master = read_full(data)
    assert read_small(data, [16])[0] == master.info
    return eight_bits(master.gray).astype(int)


def refusal(data: bytes) -> PhotoError:
    with pytest.raises(PhotoError) as error:
        read_full(data)
    return error.value


def tone(data: bytes) -> str | None:
    return read_small(data, [16])[0].tone


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i1", "i2", "f2", "f4", "f8"])
def test_numbers_are_what_their_type_says(dtype: str, photometric: str, byteorder: Any) -> None:
    kind = np.dtype(dtype)
    white = 1.0 if kind.kind == "f" else float(np.iinfo(kind).max)
    stored = EIGHT / 255 if photometric == "minisblack" else 1 - EIGHT / 255
    pixels = (stored * white).astype(kind)
    data = by_tifffile(pixels, photometric=photometric, byteorder=byteorder)
    assert np.abs(gray(data) - EIGHT).max() <= 2


def test_what_is_below_zero_is_black() -> None:
    pixels = np.array([[-128, -1, 0, 64, 127]], np.int8)
    assert gray(by_tifffile(pixels, photometric="minisblack")).tolist() == [[0, 0, 0, 129, 255]]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("photometric", [0, 1])
def test_packed_bits(bits: int, order: Any, photometric: int) -> None:
    values = np.rint(EIGHT / 255 * (2**bits - 1)).astype(np.uint16)
    values = values if photometric else (2**bits - 1) - values
    data = bytearray(by_tifffile(values, photometric="minisblack", byteorder=order, metadata=None))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages.first
        places = {tag: page.tags[tag].valueoffset for tag in (258, 262, 279)}
        start = page.dataoffsets[0]
    packed = imagecodecs.packints_encode(values, bits)
    data[start : start + len(packed)] = packed
    struct.pack_into(f"{order}H", data, places[258], bits)
    struct.pack_into(f"{order}H", data, places[262], photometric)
    assert np.abs(gray(bytes(data)) - EIGHT).max() <= 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("compression", ["jpeg2000", "jpegxl", "lerc", "png", "zstd", "lzma"])
@pytest.mark.parametrize("tile", [None, (16, 32)])
def test_compressions(compression: str, dtype: Any, tile: Any) -> None:
    pixels = EIGHT if dtype == np.uint8 else DEEP
    options: dict[str, Any] = {"compression": compression, "tile": tile}
    if compression == "jpegxl":
        options["compressionargs"] = {"lossless": True}
    assert np.array_equal(gray(by_tifffile(pixels, photometric="minisblack", **options)), EIGHT)
    color = COLOR if dtype == np.uint8 else COLOR.astype(np.uint16) * 257
    luma = COLOR @ [0.299, 0.587, 0.114]
    found = gray(by_tifffile(color, photometric="rgb", **options))
    assert np.abs(found - luma).max() <= 1.1


def test_webp_in_a_tiff() -> None:
    args = {"compression": "webp", "compressionargs": {"lossless": True}}
    found = gray(by_tifffile(COLOR, photometric="rgb", **args))
    assert np.abs(found - COLOR @ [0.299, 0.587, 0.114]).max() <= 1


def test_what_nobody_decodes_is_unsupported_by_name() -> None:
    data = bytearray(by_tifffile(EIGHT, photometric="minisblack", compression="zlib"))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        place = file.pages.first.tags[259].valueoffset
    for code, name in ((34676, "SGILOG"), (34661, "JBIG"), (61234, "61234")):
        struct.pack_into("<H", data, place, code)
        error = refusal(bytes(data))
        assert (error.reason, str(error)) == ("unsupported", f"a TIFF compressed by {name}")


@pytest.mark.parametrize("compression", [None, "jpeg2000", "lerc", "png", "zlib", "lzw"])
@pytest.mark.parametrize("pixels", [EIGHT, DEEP], ids=["8", "16"])
def test_only_damage_is_corrupt(compression: Any, pixels: np.ndarray) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64)).astype(pixels.dtype)
    data = by_tifffile(noise, photometric="minisblack", compression=compression, metadata=None)
    assert refusal(data[: len(data) - 900]).reason == "corrupt"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("separate", [False, True])
def test_alpha_and_inks_in_any_layout(dtype: Any, separate: bool) -> None:
    plane = EIGHT if dtype == np.uint8 else DEEP
    white = np.full_like(plane, np.iinfo(dtype).max)
    none = np.zeros_like(plane)
    kinds = {
        "minisblack": [plane, white],
        "rgb": [plane, plane, plane, white],
        "separated": [none, none, none, white - plane],
    }
    for photometric, planes in kinds.items():
        extra = {} if photometric == "separated" else {"extrasamples": ["unassalpha"]}
        pixels = np.stack(planes, axis=0 if separate else -1)
        layout = "separate" if separate else "contig"
        data = by_tifffile(pixels, photometric=photometric, planarconfig=layout, **extra)
        assert np.array_equal(gray(data), EIGHT), photometric
        assert tone(data) == "gray"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("photometric", ["cielab", "icclab"])
@pytest.mark.parametrize("alpha", [False, True])
def test_cie_lab_is_gray_or_in_color_by_its_colors(
    photometric: str, dtype: Any, alpha: bool
) -> None:
    code, unit = {"cielab": 8, "icclab": 9}[photometric], 1 if dtype == np.uint8 else 256
    light = (EIGHT.astype(int) * (1 if dtype == np.uint8 else 257)).astype(dtype)
    zero = 0 if code == 8 else 128 * unit
    for vivid in (False, True):
        shifts = (60 * np.sign(COLUMNS - 32), 60 * np.sign(ROWS - 24)) if vivid else (0, 0)
        ab = [(zero + shift * unit + 0 * light.astype(int)).astype(dtype) for shift in shifts]
        planes = [light, *ab, *([light] if alpha else [])]
        data = tiff(np.stack(planes, axis=-1), code, extra=2) if alpha else None
        data = data or tiff(np.stack(planes, axis=-1), code)
        assert tone(data) == ("color" if vivid else "gray")


def test_inks_of_sixteen_bits_in_color() -> None:
    cyan, magenta = (np.where(there, 40000, 0) for there in (ROWS > 24, COLUMNS > 32))
    inks = np.stack([cyan, magenta, 0 * ROWS, 65535 - DEEP], axis=-1).astype(np.uint16)
    assert tone(tiff(inks, 5)) == "color"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_color_maps_of_eight_bits(dtype: Any, byteorder: Any) -> None:
    pixels = EIGHT if dtype == np.uint8 else EIGHT.astype(np.uint16)
    count = 256 if dtype == np.uint8 else 65536
    ramp = np.minimum(np.arange(count), 255)
    for scale in (1, 257):
        colors = np.tile((ramp * scale).astype(np.uint16), (3, 1))
        data = by_tifffile(pixels, photometric="palette", colormap=colors, byteorder=byteorder)
        assert np.array_equal(gray(data), EIGHT)


@pytest.mark.parametrize(
    ("bits", "options"),
    [
        (12, {"bitspersample": 12, "level": 98}),
        (8, {"lossless": True}),
        (12, {"lossless": True, "bitspersample": 12}),
        (16, {"lossless": True, "bitspersample": 16, "predictor": 4}),
    ],
)
def test_jpegs_of_other_depths_and_lossless_ones(bits: int, options: dict[str, Any]) -> None:
    scale = (2**bits - 1) / 255
    for pixels, expected in ((EIGHT, EIGHT), (COLOR, COLOR @ [0.299, 0.587, 0.114])):
        stored = np.rint(pixels * scale).astype(np.uint8 if bits == 8 else np.uint16)
        data = bytes(imagecodecs.jpeg8_encode(stored, **options))
        assert np.abs(gray(data) - expected).mean() < 3
        assert read_full(data).info.format == "JPEG"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_jpeg_ls(dtype: Any) -> None:
    scale = 1 if dtype == np.uint8 else 257
    data = bytes(imagecodecs.jpegls_encode(EIGHT.astype(dtype) * dtype(scale)))
    assert np.array_equal(gray(data), EIGHT)
    color = bytes(imagecodecs.jpegls_encode(COLOR.astype(dtype) * dtype(scale)))
    assert np.abs(gray(color) - COLOR @ [0.299, 0.587, 0.114]).max() <= 1
    assert refusal(data[: len(data) // 2]).reason == "corrupt"


def test_a_bitmap_of_rare_masks_is_unsupported() -> None:
    head = struct.pack("<IiiHHIIiiII", 40, 64, 48, 1, 32, 3, 4 * 64 * 48, 0, 0, 0, 0)
    masks = struct.pack("<3I", 0x3FF00000, 0xFFC00, 0x3FF)
    body = head + masks + bytes(4 * 64 * 48)
    error = refusal(b"BM" + struct.pack("<IHHI", 14 + len(body), 0, 0, 66) + body)
    assert error.reason == "unsupported" and "bitfields layout" in str(error)


def test_a_bitmap_of_runs_may_have_half_as_many_pixels() -> None:
    runs = b"\xff\x07" * 100 + b"\0\1"
    head = struct.pack("<IiiHHIIiiII", 40, 20_000, 20_000, 1, 8, 1, len(runs), 0, 0, 256, 0)
    start = 14 + 40 + 1024
    data = b"BM" + struct.pack("<IHHI", start + len(runs), 0, 0, start) + head + bytes(1024) + runs
    error = refusal(data)
    assert error.reason == "too_large" and "the limit is 250" in str(error)


def test_a_hierarchical_jpeg_is_unsupported_by_name() -> None:
    data = bytearray(by_pillow(Image.fromarray(EIGHT), "JPEG"))
    data[data.index(b"\xff\xc0") + 1] = 0xC5
    error = refusal(bytes(data))
    assert error.reason == "unsupported" and "hierarchical sequential" in str(error)


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("bits", [12, 16])
def test_jpeg_2000_with_a_profile(channels: int, bits: int) -> None:
    kind = "gray" if channels < 3 else "rgb"
    icc = imagecodecs.cms_profile(kind, gamma=1.0) if channels < 3 else None
    plane = np.rint(EIGHT / 255 * (2**bits - 1)).astype(np.uint16)
    pixels = plane if channels == 1 else np.stack([plane] * channels, axis=-1)
    options: dict[str, Any] = {
        "level": 0,
        "reversible": True,
        "codecformat": "jp2",
        "bitspersample": bits,
    }
    data = bytes(imagecodecs.jpeg2k_encode(pixels, **options))
    plain = gray(data)
    assert np.abs(plain - EIGHT).max() <= 1
    assert np.abs(gray(data[data.index(b"jp2c") + 4 :]) - EIGHT).max() <= 1
    if icc is not None:
        expected = 255 * srgb_encoded(EIGHT / 255)
        assert np.abs(gray(with_profile(data, icc)) - expected).max() <= 2
        jpx = with_profile(data, icc, b"\x03").replace(b"ftypjp2 ", b"ftypjpx ")
        assert np.abs(gray(jpx) - expected).max() <= 2


def srgb_encoded(light: np.ndarray) -> np.ndarray:
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def with_profile(data: bytes, icc: bytes, method: bytes = b"\x02") -> bytes:
    """A JPEG 2000 whose color box has a profile in it."""
    start = data.index(b"colr") - 4
    [length] = struct.unpack_from(">I", data, start)
    box = struct.pack(">I", 11 + len(icc)) + b"colr" + method + b"\0\0" + icc
    header = data.index(b"jp2h") - 4
    [whole] = struct.unpack_from(">I", data, header)
    grown = struct.pack(">I", whole + len(box) - length)
    return data[:header] + grown + data[header + 4 : start] + box + data[start + length :]


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("marked", [0, 1])
def test_a_thumbnail_gives_way_to_its_picture(byteorder: Any, bigtiff: bool, marked: int) -> None:
    file = io.BytesIO()
    with tifffile.TiffWriter(file, byteorder=byteorder, bigtiff=bigtiff) as writer:
        thumbnail: dict[str, Any] = {
            "subfiletype": marked,
            "subifds": 2,
            "photometric": "minisblack",
        }
        orientation = [(274, 3, 1, 3, True)]
        writer.write(EIGHT[::8, ::8].copy(), extratags=orientation, **thumbnail)
        writer.write(EIGHT[::2, ::2].copy(), subfiletype=1, photometric="minisblack")
        writer.write(DEEP, subfiletype=0, photometric="minisblack")
    assert np.array_equal(gray(file.getvalue()), EIGHT[::-1, ::-1])


def test_reduced_versions_below_a_picture_do_not_take_its_place() -> None:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(EIGHT, subifds=1, photometric="minisblack")
        writer.write(EIGHT[::2, ::2].copy(), subfiletype=1, photometric="minisblack")
    assert np.array_equal(gray(file.getvalue()), EIGHT)


@pytest.mark.parametrize("kind", ["TIFF 8", "TIFF 16", "TIFF RGB", "PNG 8", "PNG 16", "JPEG 12"])
@pytest.mark.parametrize("xmp", XMPS)
def test_orientation_in_xmp_alone_is_the_same_at_any_depth(kind: str, xmp: bytes) -> None:
    packet = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
    plain = by_pillow(Image.fromarray(EIGHT), "PNG")
    jpeg = bytes(imagecodecs.jpeg8_encode(DEEP >> 4, bitspersample=12, level=100))
    app1 = b"http://ns.adobe.com/xap/1.0/\0" + xmp
    segment = b"\xff\xe1" + struct.pack(">H", len(app1) + 2) + app1
    tags = {"extratags": [(700, 1, len(xmp), xmp, True)]}
    data = {
        "TIFF 8": lambda: by_tifffile(EIGHT, photometric="minisblack", **tags),
        "TIFF 16": lambda: by_tifffile(DEEP, photometric="minisblack", **tags),
        "TIFF RGB": lambda: by_tifffile(np.stack([DEEP] * 3, -1), photometric="rgb", **tags),
        "PNG 8": lambda: plain[:33] + packet + plain[33:],
        "PNG 16": lambda: png(np.stack([DEEP] * 3, -1), 2, packet),
        "JPEG 12": lambda: jpeg[:2] + segment + jpeg[2:],
    }[kind]()
    found, expected = gray(data), np.rot90(EIGHT, -1)
    assert found.shape == expected.shape and np.abs(found - expected).max() <= 3
