"""Results as files: all bits, the master's metadata field by field, and how they were made."""

import io
import struct
import zlib
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageFile, IptcImagePlugin

from pipeline.images.chroma import color_bands, put_color_on
from pipeline.images.codecs import open_deep
from pipeline.images.encoding import encode, encode_bands, result_labels
from pipeline.images.formats import DEEP, MasterInfo
from pipeline.images.gray import eight_bits
from pipeline.images.masters import Master, read_full
from pipeline.metadata.exif import metadata_of, photoshop_block, read_fields
from pipeline.metadata.xmp import Provenance, xmp_packet

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "JPEG2000", "AVIF")
LABELED = ("JPEG", "PNG", "TIFF", "WEBP", "AVIF")
MADE = Provenance(
    "compositeWithTrainedAlgorithmicMedia",
    "1.2",
    {"core": "c" * 64, "color": "d" * 64},
    7,
    "e" * 64,
)
IPTC = b"\x1c\x02\x05\x00\x05Title\x1c\x02\x50\x00\x06Author"
XMP = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"'
    ' xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"'
    ' xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
    ' tiff:Orientation="6" Iptc4xmpExt:DigitalSourceType="digitisedFromNegative">'
    "<dc:source>Box 12 &amp; 13</dc:source>"
    "<xmp:Thumbnails><rdf:Alt/></xmp:Thumbnails></rdf:Description></rdf:RDF></x:xmpmeta>"
    '<?xpacket end="w"?>'
).encode()


def photograph(bits: int = 16, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    kind = np.uint8 if bits == 8 else np.uint16
    return np.random.default_rng(0).integers(0, 2**bits, size, dtype=kind)


def written_exif() -> Image.Exif:
    exif = Image.Exif()
    exif[274] = 6
    exif[270] = "Harbor, 1931"
    exif[315] = "A. Photographer"
    exif[33432] = "nobody"
    exif.get_ifd(34665).update(
        {36867: "1931:05:01 10:00:00", 33434: 0.02, 37510: b"ASCII\0\0\0seen", 40962: 64}
    )
    exif.get_ifd(34853).update({1: "N", 2: (53.0, 33.0, 1.5)})
    return exif


def master_of(format: str) -> Master:
    """A gray master that says all that it can, turned by 90 degrees."""
    image = Image.fromarray(photograph(8))
    options: dict[str, Any] = {"dpi": (300, 200), "exif": written_exif(), "xmp": XMP}
    if format == "JPEG":
        body = b"Photoshop 3.0\0" + photoshop_block(IPTC)
        options["extra"] = b"\xff\xed" + struct.pack(">H", len(body) + 2) + body
    if format == "TIFF":
        options["exif"][33723], options["exif"][700] = IPTC, XMP
        del options["xmp"]
    file = io.BytesIO()
    image.save(file, format, **options)
    return read_full(file.getvalue())


def opened(data: bytes) -> ImageFile.ImageFile:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def pixels_of(data: bytes) -> np.ndarray:
    """All bits of a file, by the readers that are not ours where these have them."""
    if (deep := open_deep(data)) is not None and deep.format != "TIFF":
        return np.asarray(deep.decode().values)
    return tifffile.imread(io.BytesIO(data)) if data[:2] == b"II" else np.asarray(opened(data))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    bits=st.sampled_from([8, 16]),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    side=st.integers(1, 20),
)
def test_luminance_is_kept_within_one_code_of_any_depth(
    seed: int, bits: int, height: int, width: int, side: int
) -> None:
    random = np.random.default_rng(seed)
    gray = random.integers(0, 2**bits, (height, width), dtype=f"uint{bits}")
    color = random.integers(0, 256, (side, side, 3), dtype=np.uint8)
    result = put_color_on(gray, color)
    assert result.dtype == gray.dtype
    assert np.abs(result @ [0.299, 0.587, 0.114] - gray).max() <= 0.31
    for format in ("PNG", "TIFF"):
        assert np.array_equal(pixels_of(encode(result, format)).reshape(result.shape), result)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("format", sorted(DEEP))
def test_lossless_results_have_the_bits_of_their_master(format: str, bits: int) -> None:
    gray = photograph(bits, (300, 517))  # several bands
    result = put_color_on(gray, np.full((4, 4, 3), (200, 120, 90), np.uint8))
    data = encode(result, format)
    assert data == encode(result, format)
    assert np.array_equal(pixels_of(data), result)
    again = read_full(data)
    assert again.gray.dtype == gray.dtype
    assert np.abs(again.gray.astype(int) - gray).max() <= 1


def test_gray_pictures_are_written_too() -> None:
    for format in ("PNG", "TIFF", "JPEG2000"):
        for bits in (8, 16):
            assert np.array_equal(
                pixels_of(encode(photograph(bits), format)).squeeze(), photograph(bits)
            )


@pytest.mark.parametrize("format", LABELED)
def test_results_are_srgb(format: str) -> None:
    image = opened(encode(np.zeros((4, 4, 3), np.uint8), format))
    profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
    assert "sRGB" in ImageCms.getProfileDescription(profile)


@pytest.mark.parametrize("source", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("format", LABELED)
def test_exif_is_carried_over_field_by_field(source: str, format: str) -> None:
    master = master_of(source)
    assert master.gray.shape == (64, 48), "turned upright"
    result = opened(encode(np.zeros((64, 48, 3), np.uint8), format, master))
    exif = result.getexif()
    assert exif.get(274, 1) == 1
    assert (exif[270], exif[315], exif[33432]) == ("Harbor, 1931", "A. Photographer", "nobody")
    if source == "TIFF":
        return  # into which Pillow writes no further directories
    inner = exif.get_ifd(34665)
    assert inner[36867] == "1931:05:01 10:00:00"
    assert float(inner[33434]) == 0.02
    assert (inner[37510], inner[40962]) == (b"ASCII\0\0\0seen", 48)
    assert [float(part) for part in exif.get_ifd(34853)[2]] == [53.0, 33.0, 1.5]
    if source != "WEBP":
        assert (float(exif[282]), float(exif[283])) == pytest.approx((200, 300), rel=1e-3)
    if source != "WEBP" and format in ("JPEG", "PNG", "TIFF"):
        assert result.info["dpi"] == pytest.approx((200, 300), rel=1e-3)


@pytest.mark.parametrize("order", ["II", "MM"])
def test_directories_of_a_tiff_are_carried_over(order: str) -> None:
    exif = written_exif()
    exif.endian = "<" if order == "II" else ">"
    master = Master(
        np.zeros((48, 64), np.uint8),
        MasterInfo(64, 48, "L", "JPEG"),
        None,
        metadata_of("JPEG", b"", {"exif": exif.tobytes()}),
    )
    tiff = encode(np.zeros((48, 64, 3), np.uint8), "TIFF", master)
    again = opened(encode(np.zeros((48, 64, 3), np.uint8), "JPEG", read_full(tiff))).getexif()
    assert again.get_ifd(34665)[36867] == "1931:05:01 10:00:00"
    assert [float(part) for part in again.get_ifd(34853)[2]] == [53.0, 33.0, 1.5]


def test_big_endian_exif_and_thumbnails() -> None:
    thumbnail = b"\xff\xd8 a small picture \xff\xd9"
    second = struct.pack(">HHHII", 1, 513, 4, 1, 100)
    text = b"Harbor\0\0"
    entries = struct.pack(">HHI", 270, 2, 7) + struct.pack(">I", 50)
    entries += struct.pack(">HHIHH", 296, 3, 1, 2, 0) + struct.pack(">HHIHH", 274, 3, 1, 6, 0)
    block = b"MM\0*" + struct.pack(">IH", 8, 3) + entries + struct.pack(">I", 60)
    block = block.ljust(50, b"\0") + text + b"\0\0" + second + b"\0" * 4
    block = block.ljust(100, b"\0") + thumbnail
    file = io.BytesIO()
    Image.fromarray(photograph(8)).save(file, "JPEG", exif=b"Exif\0\0" + block)
    data = encode(np.zeros((64, 48, 3), np.uint8), "JPEG", read_full(file.getvalue()))
    assert opened(data).getexif()[270] == "Harbor"
    assert thumbnail in file.getvalue() and thumbnail not in data


@given(st.binary(max_size=200), st.sampled_from([b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08", b"II+\0"]))
def test_damaged_exif_is_left_out(noise: bytes, start: bytes) -> None:
    assert isinstance(read_fields(start + noise), dict)
    assert isinstance(metadata_of("JPEG", b"", {"exif": start + noise}).fields, dict)


@pytest.mark.parametrize("source", ["JPEG", "TIFF"])
def test_iptc_is_carried_over(source: str) -> None:
    master = master_of(source)
    rgb = np.zeros((64, 48, 3), np.uint8)
    for format in ("JPEG", "TIFF"):
        fields = IptcImagePlugin.getiptcinfo(opened(encode(rgb, format, master)))
        assert fields is not None
        assert (fields[(2, 5)], fields[(2, 80)]) == (b"Title", b"Author")
    png = encode(rgb, "PNG", master)
    assert metadata_of("PNG", png, opened(png).info).iptc == IPTC


@pytest.mark.parametrize("source", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("format", LABELED)
def test_results_say_how_they_were_made_beside_what_the_master_said(
    source: str, format: str
) -> None:
    master = master_of(source)
    labels = result_labels(master, format, MADE)
    data = encode_bands([np.zeros((64, 48, 3), np.uint8)], 64, 48, format, labels)
    packet = opened(data).info["xmp"].decode()
    if source in ("JPEG", "TIFF", "WEBP"):
        assert "<dc:source>Box 12 &amp; 13</dc:source>" in packet
        assert 'tiff:Orientation="1"' in packet
    assert "Thumbnails" not in packet and "digitisedFromNegative" not in packet
    assert packet.count("DigitalSourceType") == 2  # one element
    root = "http://cv.iptc.org/newscodes/digitalsourcetype/"
    for said in (
        f">{root}compositeWithTrainedAlgorithmicMedia<",
        "<autochrome:Seed>7<",
        "AISystemUsed>Autochrome<",
        "AISystemVersionUsed>1.2<",
        f"WeightsCoreSHA256>{'c' * 64}<",
        f"SourceSHA256>{'e' * 64}<",
    ):
        assert said in packet
    assert opened(data).getxmp(), "well-formed"


def said_in(packet: bytes, name: str) -> list[str]:
    """Values of a property, by its prefix as usual; a packet holds it once at most."""
    spaces = {
        "dc": "http://purl.org/dc/elements/1.1/",
        "photoshop": "http://ns.adobe.com/photoshop/1.0/",
        "Iptc4xmpCore": "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/",
    }
    found = ElementTree.fromstring(packet).findall(f".//{name}", spaces)
    assert len(found) <= 1, name
    return [part.strip() for each in found for part in each.itertext() if part.strip()]


def dataset(number: int, value: bytes) -> bytes:
    return struct.pack(">BBBH", 0x1C, 2, number, len(value)) + value


@pytest.mark.parametrize("format", ["WEBP", "AVIF"])
def test_iptc_becomes_xmp_where_a_format_has_no_place_for_it(format: str) -> None:
    block = b"".join(
        dataset(number, value)
        for number, value in [
            *((5, "Häfen <1>".encode()), (25, b"port"), (25, b"ships & sea"), (80, b"Author")),
            *((90, b"Kiel"), (92, b"Pier"), (55, b"19310501"), (60, b"101500+0100")),
            *((120, "Möwe".encode("latin-1")), (116, b"nobody"), (200, b"unknown"), (105, b"")),
        ]
    )
    master = master_of("TIFF")
    for xmp in (None, XMP):
        about = replace(master, metadata=replace(master.metadata, xmp=xmp, iptc=block))
        packet = opened(encode(np.zeros((64, 48, 3), np.uint8), format, about)).info["xmp"]
        assert said_in(packet, "dc:title") == ["Häfen <1>"]
        assert said_in(packet, "dc:subject") == ["port", "ships & sea"]
        assert said_in(packet, "dc:creator") == ["Author"]
        assert said_in(packet, "photoshop:City") == ["Kiel"]
        assert said_in(packet, "Iptc4xmpCore:Location") == ["Pier"]
        assert said_in(packet, "photoshop:DateCreated") == ["1931-05-01T10:15:00+01:00"]
        assert said_in(packet, "dc:description") == ["Möwe"]
        assert said_in(packet, "dc:rights") == ["nobody"]
        assert said_in(packet, "photoshop:Headline") == []
        assert (b"Box 12" in packet) == (xmp is not None)


def test_xmp_that_says_it_already_is_not_said_again_and_damage_ends_a_block() -> None:
    own = XMP.replace(b"<dc:source>", b'<dc:title>mine</dc:title><dc:source a:City="Lund"'
                      b' xmlns:a="http://ns.adobe.com/photoshop/1.0/">')  # fmt: skip
    block = dataset(5, b"Title") + dataset(90, b"Kiel") + dataset(101, b"Sweden")
    packet = xmp_packet(own, None, iptc=block + dataset(80, b"Author")[:-1])
    assert packet is not None and said_in(packet, "dc:title") == ["mine"]
    assert said_in(packet, "photoshop:Country") == ["Sweden"]
    assert b"Kiel" not in packet and b"Autho" not in packet
    assert xmp_packet(None, None, iptc=b"no block") is None
    assert xmp_packet(own, None, iptc=dataset(5, b"Title")) == xmp_packet(own, None)


@given(st.binary() | st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=20))).map(
    lambda sets: b"".join(dataset(*each) for each in sets)
))  # fmt: skip
def test_whatever_is_in_a_block_the_packet_is_well_formed(block: bytes) -> None:
    packet = xmp_packet(XMP, MADE, iptc=block)
    assert packet is not None and ElementTree.fromstring(packet).tag.endswith("xmpmeta")


def test_xmp_that_is_damaged_or_too_long_for_jpeg_makes_way() -> None:
    for bad in (b"<x>", XMP.replace(b"</dc:source>", b""), b"\xff\xfe"):
        file = io.BytesIO()
        Image.fromarray(photograph(8)).save(file, "WEBP", xmp=bad)
        packet = result_labels(read_full(file.getvalue()), "PNG", MADE).xmp
        assert packet is not None and b"Box 12" not in packet and b"Seed>7<" in packet
    file = io.BytesIO()
    long = XMP.replace(b"Box 12", b"x" * 70_000)
    Image.fromarray(photograph(8)).save(file, "WEBP", xmp=long)
    master = read_full(file.getvalue())
    rgb = np.zeros((48, 64, 3), np.uint8)
    for format, kept in (("JPEG", False), ("TIFF", True)):
        labels = result_labels(master, format, MADE)
        packet = opened(encode_bands([rgb], 48, 64, format, labels)).info["xmp"]
        assert (b"x" * 70_000 in packet) == kept and b"Seed>7<" in packet


def test_jpeg_2000_holds_xmp_in_a_box() -> None:
    master = master_of("JPEG")
    rgb = put_color_on(master.gray, np.zeros((2, 2, 3), np.uint8))
    labels = result_labels(master, "JPEG2000", MADE)
    data = encode_bands([rgb], 64, 48, "JPEG2000", labels)
    assert np.array_equal(np.asarray(opened(data)), rgb)
    start = data.index(b"uuid" + bytes.fromhex("be7acfcb97a942e89c71999491e3afac"))
    [size] = struct.unpack_from(">I", data, start - 4)
    packet = data[start + 20 : start - 4 + size].decode()
    assert "Box 12" in packet and packet.endswith("?>")


def test_png_is_what_other_readers_expect() -> None:
    """Chunks have right checksums, and filters are undone by Pillow for every width."""
    for width in range(1, 9):
        gray = photograph(8, (9, width))
        data = encode(put_color_on(gray, np.zeros((1, 1, 3), np.uint8)), "PNG")
        assert np.array_equal(np.asarray(opened(data))[..., 0], gray)
        at = 8
        while at < len(data):
            [size] = struct.unpack_from(">I", data, at)
            [stated] = struct.unpack_from(">I", data, at + 8 + size)
            assert zlib.crc32(data[at + 4 : at + 8 + size]) == stated
            at += 12 + size


def test_bands_make_the_same_file_as_the_whole() -> None:
    gray = photograph(16, (400, 300))
    color = np.random.default_rng(1).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    for format in (*sorted(DEEP), "JPEG"):
        if format == "JPEG":
            gray = eight_bits(gray)
        labels = result_labels(None, format)
        banded = encode_bands(color_bands(gray, color), 400, 300, format, labels)
        assert banded == encode(put_color_on(gray, color), format)
