"""What is carried from a master to its results, and what hostile metadata costs: little."""

import hashlib
import io
import struct
import time
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.images.encoding import encode
from pipeline.images.masters import read_full
from pipeline.metadata.directories import Fields, Value
from pipeline.metadata.exif import (
    Metadata,
    exif_block,
    metadata_of,
    photoshop_block,
    read_fields,
)
from pipeline.metadata.iptc import description_of
from pipeline.metadata.segments import extended_xmp, jpeg_parts
from pipeline.metadata.xmp import xmp_packet, xmp_packets

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
SPACES = {
    "dc": "http://purl.org/dc/elements/1.1/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "tiff": "http://ns.adobe.com/tiff/1.0/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "hdrgm": "http://ns.adobe.com/hdr-gain-map/1.0/",
    "crs": "http://ns.adobe.com/camera-raw-settings/1.0/",
    "xmpNote": "http://ns.adobe.com/xmp/note/",
}
NAMES = " ".join(f'xmlns:{prefix}="{space}"' for prefix, space in SPACES.items())


def packet_of(inner: str, attributes: str = "") -> bytes:
    about = f'rdf:about="" {attributes}'
    return (
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/" {NAMES}><rdf:RDF xmlns:rdf="{RDF}">'
        f"<rdf:Description {about}>{inner}</rdf:Description></rdf:RDF></x:xmpmeta>"
    ).encode()


def photo(format: str = "JPEG", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((12, 16), 90, np.uint8)).save(file, format, **options)
    return file.getvalue()


def result_of(data: bytes, format: str) -> Image.Image:
    master = read_full(data)
    rgb = np.zeros((*master.gray.shape, 3), np.uint8)
    image = Image.open(io.BytesIO(encode(rgb, format, master)))
    image.load()
    return image


def directory(entries: list[tuple[int, int, int, int]], order: str = "<") -> bytes:
    packed = b"".join(struct.pack(f"{order}HHII", *entry) for entry in entries)
    return struct.pack(f"{order}H", len(entries)) + packed + b"\0" * 4


@pytest.mark.parametrize(
    "evil",
    [
        b"<xmp:Thumbnails " * 10_000,
        b"<dcterms:provenance" * 8_000,
        b"<rdf:RDF>" * 100_000,
        packet_of("<dc:source" + " " * 500_000 + "/>"),
        packet_of("<dc:title>" * 300 + "</dc:title>" * 300),
        packet_of("<dc:title/>" * 60_000),
        packet_of("<crs:a/>" * 15_000 + "<dc:source>kept</dc:source>"),
        packet_of("", "".join(f'crs:a{number}="1" ' for number in range(20_000))),
        b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">]>' + packet_of("&a;" * 9),
        packet_of("x" * 2**21),
    ],
    ids=lambda evil: evil[:20].decode(),
)
def test_xmp_of_any_kind_is_read_in_linear_time(evil: bytes) -> None:
    start = time.process_time()
    packet = xmp_packet(evil, None)
    assert time.process_time() - start < 2
    assert packet is None or ElementTree.fromstring(packet) is not None
    assert packet is None or b"crs:a" not in packet


def test_a_photo_with_evil_text_in_a_png_is_read_all_the_same() -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        check = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", check)

    text = zlib.compress(b"<xmp:Thumbnails " * 60_000)
    plain = photo("PNG")
    at = plain.index(b"IDAT") - 4
    evil = chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + text)
    start = time.process_time()
    master = read_full(plain[:at] + evil + plain[at:])
    assert time.process_time() - start < 3
    assert master.metadata.notes == ("XMP left out: damaged, or nested too deeply",)


@pytest.mark.parametrize("order", ["<", ">"])
def test_fields_that_share_their_bytes_are_not_carried_many_times(order: str) -> None:
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    tags = sorted({*range(269, 273), 305, 306, 315, 316, 33432, *range(40091, 40096)})
    block = head + directory([(tag, 1, 20_000, 200) for tag in tags], order)
    block = block.ljust(20_200, b"x")
    found = metadata_of("JPEG", b"", {"exif": block})
    assert len(exif_block(found.fields)) < 2 * len(block)
    assert found.notes == ("EXIF left out in part: too many or too long fields",)


def test_directories_nest_as_deep_as_ours_and_no_deeper() -> None:
    nested = b"II*\0\x08\0\0\0" + b"".join(
        directory([(34665, 4, 1, 8 + 18 * (number + 1))]) for number in range(3_000)
    )
    assert read_fields(nested) == {34665: {}}
    data = photo(exif=b"Exif\0\0" + nested)
    assert read_full(data).gray.shape == (12, 16)


def test_only_what_describes_the_photograph_is_carried() -> None:
    entries = [(tag, 3, 1, 1) for tag in (256, 315, 32995, 33421, 50706, 50838, 65000)]
    block = b"II*\0\x08\0\0\0" + directory(entries)
    assert set(read_fields(block)) == {315}


@pytest.mark.parametrize("text", [b'{"shape": [240, 320]}', b"ImageJ=1.53t\nimages=1"])
def test_a_description_of_arrays_is_not_carried(text: bytes) -> None:
    fields = metadata_of("JPEG", b"", {"exif": exif_block({270: _text(text), 315: _text(b"A")})})
    assert set(fields.fields) == {315}


def _text(text: bytes) -> Any:
    from pipeline.metadata.directories import Value

    return Value(2, text + b"\0")


@pytest.mark.parametrize("order", ["II", "MM"])
@pytest.mark.parametrize("tag", [37510])
def test_unicode_comments_are_the_same_text_in_any_byte_order(order: str, tag: int) -> None:
    sign = "<" if order == "II" else ">"
    encoded = b"UNICODE\0" + "Hafen, 1931".encode("utf-16-le" if order == "II" else "utf-16-be")
    head = (b"II*\0" if order == "II" else b"MM\0*") + struct.pack(f"{sign}I", 8)
    block = head + directory([(34665, 4, 1, 26)], sign)
    block += directory([(tag, 7, len(encoded), 44)], sign) + encoded
    inner = read_fields(block)[34665]
    assert isinstance(inner, dict)
    comment = inner[tag]
    assert not isinstance(comment, dict)
    assert comment.data[8:].decode("utf-16-le") == "Hafen, 1931"


def test_xmp_of_the_masters_pixels_is_left_behind_however_it_is_written() -> None:
    inner = (
        "<photoshop:ColorMode>1</photoshop:ColorMode><photoshop:City>Kiel</photoshop:City>"
        '<hdrgm:Version>1.0</hdrgm:Version><crs:ConvertToGrayscale rdf:resource="a"/>'
        "<tiff:Orientation>6</tiff:Orientation><dc:source>Box 12</dc:source>"
    )
    attributes = (
        'photoshop:ICCProfile="Dot Gain 20%" exif:PixelXDimension="640" photoshop:Country="DE" '
        'xmpNote:HasExtendedXMP="0123" tiff:SamplesPerPixel="1"'
    )
    packet = xmp_packet(packet_of(inner, attributes), None)
    assert packet is not None
    for gone in (b"ColorMode", b"ICCProfile=", b"PixelX", b"hdrgm:V", b"crs:Con", b"HasExt"):
        assert gone not in packet
    assert b"SamplesPer" not in packet and b"<tiff:Orientation>1<" in packet
    for kept in (b"<photoshop:City>Kiel<", b'photoshop:Country="DE"', b"Box 12"):
        assert kept in packet
    ElementTree.fromstring(packet)


def test_other_prefixes_and_encodings_are_understood() -> None:
    text = packet_of("<dc:source>Box 12</dc:source><crs:a/>").decode()
    text = text.replace("rdf:", "r:").replace("xmlns:rdf", "xmlns:r").replace("crs", "c")
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-be"):
        packet = xmp_packet(text.encode(encoding), None, iptc=b"\x1c\x02\x05\x00\x01T")
        assert packet is not None and b"Box 12" in packet and b"<c:a/>" not in packet
        assert b">T<" in packet and ElementTree.fromstring(packet) is not None
    former = xmp_packet(text.replace("xmpmeta", "xapmeta").encode(), None)
    assert former is not None and b"Box 12" in former and b"<c:a/>" not in former


@given(st.text(alphabet='<>/"= abr:dfxmlnsDC&;\n', max_size=60))
def test_whatever_is_in_a_packet_what_is_carried_is_well_formed(text: str) -> None:
    for inner, attributes in ((text, ""), ("", text)):
        packet = xmp_packet(packet_of(inner, attributes), None)
        assert packet is None or ElementTree.fromstring(packet) is not None


def test_iptc_without_a_character_set_is_windows_1252() -> None:
    said = description_of(b"\x1c\x02\x78\x00\x07\x93Hafen\x94", None)
    assert "\u201cHafen\u201d" in said
    long = b"\x1c\x02\x78\x80\x04\x00\x00\x00\x05Hafen"
    assert "Hafen" in description_of(long, None)


@pytest.mark.parametrize("signature", [b"8BIM", b"MeSa", b"AgHg", b"PHUT", b"DCSR"])
def test_iptc_and_resolution_behind_a_resource_of_any_signature(signature: bytes) -> None:
    iptc = b"\x1c\x02\x05\x00\x05Title"
    block = signature + b"\x04\x22\0\0" + struct.pack(">I", 3) + b"abc\0"
    block += b"8BIM\x04\x04\0\0" + struct.pack(">I", len(iptc)) + iptc
    size = struct.pack(">IHHIHH", 300 << 16, 1, 1, 200 << 16, 1, 1)
    block += b"8BIM\x03\xed\0\0" + struct.pack(">I", len(size)) + size
    body = b"Photoshop 3.0\0" + block
    segment = b"\xff\xed" + struct.pack(">H", len(body) + 2) + body
    master = read_full(photo(extra=segment))
    assert master.metadata.iptc == iptc and master.dpi == (300, 200)


def test_texts_of_png_and_comments_of_jpeg_are_carried() -> None:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    for keyword in ("Title", "Author", "Copyright", "Description", "Comment"):
        info.add_text(keyword, f"{keyword} of it & more")
    info.add_text("Thumb::URI", "file:///secret")
    data = photo("PNG", pnginfo=info)
    png = result_of(data, "PNG")
    assert png.info["Title"] == "Title of it & more" and "Thumb::URI" not in png.info
    for format in ("JPEG", "TIFF", "WEBP"):
        packet = result_of(data, format).info["xmp"]
        root = ElementTree.fromstring(packet)
        found = "".join(root.itertext())
        assert all(f"{each} of it & more" in found for each in ("Title", "Author", "Copyright"))
    comment = photo(comment=b"seen by B.")
    assert result_of(comment, "JPEG").info["comment"] == b"seen by B."
    assert result_of(comment, "PNG").info["Comment"] == "seen by B."


def test_what_a_jpeg_2000_says_is_carried() -> None:
    master = read_full(photo(xmp=packet_of("<dc:source>Box 12</dc:source>"), dpi=(300, 300)))
    fields: Fields = {315: _text(b"A. Photographer")}
    master = replace(master, metadata=Metadata(fields, master.metadata.xmp, b"\x1c\x02\x05\0\1T"))
    again = read_full(encode(np.zeros((12, 16, 3), np.uint8), "JPEG2000", master)).metadata
    assert again.xmp and b"Box 12" in again.xmp and again.iptc == b"\x1c\x02\x05\0\1T"
    assert 315 in again.fields


@given(st.binary(max_size=300))
def test_whatever_a_file_holds_its_metadata_is_read(noise: bytes) -> None:
    for start, format in ((b"\xff\xd8\xff\xed", "JPEG"), (b"\0\0\0\x0cjP  ", "JPEG2000")):
        assert isinstance(metadata_of(format, start + noise, {}), Metadata)
    assert isinstance(metadata_of("TIFF", b"II*\0" + noise, {}), Metadata)


EXTENDED = b"http://ns.adobe.com/xmp/extension/\0"
LONG = "Verso: " + "a long transcript. " * 8_000
EXTENSION = packet_of(
    f"<dc:description><rdf:Alt><rdf:li xml:lang='x-default'>{LONG}</rdf:li></rdf:Alt>"
    "</dc:description><dc:source>Box 13</dc:source><crs:Dehaze>1</crs:Dehaze>"
)


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def extension(whole: bytes, digest: str | None = None, length: int | None = None) -> list[bytes]:
    """Segments of APP1 that hold this."""
    name = (digest or hashlib.md5(whole).hexdigest().upper()).encode()
    return [
        segment(
            0xE1,
            EXTENDED
            + name
            + struct.pack(">II", len(whole) if length is None else length, at)
            + whole[at : at + 40_000],
        )
        for at in range(0, len(whole), 40_000)
    ]


def extended_photo(parts: list[bytes], whole: bytes = EXTENSION, inner: str = "") -> bytes:
    digest = hashlib.md5(whole).hexdigest().upper()
    packet = packet_of(
        f"<dc:source>Box 12</dc:source>{inner}", f'xmpNote:HasExtendedXMP="{digest}"'
    )
    return photo(xmp=packet, extra=b"".join(parts))


def said_by(data: bytes, format: str) -> dict[str, str]:
    """Properties of the XMP of a result, those of further segments of a JPEG too."""
    master = read_full(data)
    file = encode(np.zeros((*master.gray.shape, 3), np.uint8), format, master)
    packets = [Image.open(io.BytesIO(file)).info["xmp"]]
    if format == "JPEG":
        extended, unfit = extended_xmp(packets[0], jpeg_parts(file))
        assert not unfit and (extended is None) == (b"HasExtendedXMP" not in packets[0])
        packets += [extended] if extended else []
    else:
        assert b"HasExtendedXMP" not in packets[0]
    found: dict[str, str] = {}
    for packet in packets:
        for element in ElementTree.fromstring(packet).iter(f"{{{RDF}}}Description"):
            for each in element:
                assert each.tag not in found, "said twice"
                found[each.tag] = "".join(each.itertext()).strip()
    return {name.rpartition("}")[2]: value for name, value in found.items()}


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("order", [1, -1])
def test_extended_xmp_is_carried_whole_in_any_order_of_its_segments(
    format: str, order: int
) -> None:
    parts = extension(EXTENSION)[::order]
    assert len(parts) > 2
    data = extended_photo([*parts, parts[0], *extension(b"<of/> another picture")])
    found = said_by(data, format)
    assert found["description"] == LONG.strip() and found["source"] == "Box 12"
    assert "Dehaze" not in found
    assert read_full(data).metadata.notes == ()


def test_short_extended_xmp_becomes_part_of_the_packet() -> None:
    short = packet_of("<xmp:Label>Red</xmp:Label>")
    short = short.replace(b"xmlns:xmp=", b"xmlns:q=").replace(b"xmp:L", b"q:L")
    short = short.replace(b"rdf:", b"r:").replace(b"xmlns:rdf", b"xmlns:r")
    found = said_by(extended_photo(extension(short), short), "JPEG")
    assert found == {"source": "Box 12", "Label": "Red"}


@pytest.mark.parametrize(
    "parts",
    [
        [],
        extension(EXTENSION)[1:],
        extension(EXTENSION, length=len(EXTENSION) + 1),
        extension(EXTENSION[:-1] + b" ", hashlib.md5(EXTENSION).hexdigest().upper()),
        extension(EXTENSION, "0" * 32),
        [segment(0xE1, EXTENDED), segment(0xE1, EXTENDED + b"0" * 34)],
        extension(EXTENSION)[:-1] + extension(b"x" * 50_000)[-1:],
    ],
    ids=["none", "one missing", "length", "changed", "another's", "cut", "mixed"],
)
def test_extended_xmp_that_does_not_fit_is_left_out_and_told(parts: list[bytes]) -> None:
    data = extended_photo(parts)
    for format in ("JPEG", "PNG"):
        assert said_by(data, format) == {"source": "Box 12"}
    [note] = read_full(data).metadata.notes
    assert note == "extended XMP left out: incomplete, or not what its digest says"


@pytest.mark.parametrize(
    ("whole", "why"),
    [
        (packet_of("<dc:title>")[:-20], "damaged"),
        (packet_of("<dc:title>" * 100 + "</dc:title>" * 100), "nested too deeply"),
        (packet_of("x" * 2**20), "more than 1 MiB"),
        (packet_of("x" * 2**22), "incomplete"),
    ],
)
def test_extended_xmp_that_cannot_be_used_costs_little_and_is_told(whole: bytes, why: str) -> None:
    data = extended_photo(extension(whole), whole)
    start = time.process_time()
    assert said_by(data, "JPEG") == {"source": "Box 12"}
    assert time.process_time() - start < 3
    [note] = read_full(data).metadata.notes
    assert note.startswith("extended XMP left out") and why in note


def test_a_packet_that_is_too_long_for_jpeg_goes_on_in_further_segments() -> None:
    packet = packet_of(f"<dc:source>{LONG}</dc:source>")
    found = said_by(photo("PNG", pnginfo=texts_of(packet)), "JPEG")
    assert found["source"] == LONG.strip()
    assert "Title" in found["title"]


def texts_of(packet: bytes) -> Any:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", packet.decode())
    info.add_text("Title", "Title " * 9_000)
    return info


def test_thousands_of_names_are_not_repeated_with_thousands_of_descriptions() -> None:
    names = " ".join(f'xmlns:a{number}="b"' for number in range(5_000))
    inner = '<rdf:Description rdf:about=""/>' * 5_000
    whole = f'<rdf:RDF xmlns:rdf="{RDF}" {names}>{inner}</rdf:RDF>'.encode()
    start = time.process_time()
    assert said_by(extended_photo(extension(whole), whole), "JPEG") == {"source": "Box 12"}
    assert time.process_time() - start < 3


@given(st.text(alphabet='<>/"= abr:dfxmlnsDC&;\n', max_size=60))
def test_whatever_is_in_an_extension_what_is_carried_is_well_formed(text: str) -> None:
    for inner, attributes in ((text, ""), ("", text)):
        for most in (None, 400):
            found = xmp_packets(packet_of(""), None, most, extended=packet_of(inner, attributes))
            for packet in filter(None, (found.packet, found.extension)):
                assert ElementTree.fromstring(packet) is not None


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("11-extended-xmp.jpg", "JPEG"),
        ("12-xmp-of-pixels.jpg", "JPEG"),
        ("13-usercomment-bigendian.jpg", "JPEG"),
        ("15-iptc-cp1252.jpg", "WEBP"),
        ("09b-png-text.png", "PNG"),
        ("25d-sgi-matteing.tif", "TIFF"),
        ("26b-tifffile-shaped.tif", "TIFF"),
    ],
)
def test_hard_files_say_what_their_index_says(shared: Path, name: str, format: str) -> None:
    image = result_of((shared / "photos" / "hard" / name).read_bytes(), format)
    xmp = image.info.get("xmp", b"")
    assert not any(each in xmp for each in (b"ColorMode", b"ICCProfile"))
    assert (b"HasExtendedXMP" in xmp) == name.startswith("11"), "too long for one segment"
    assert not any(each in xmp for each in (b"SamplesPerPixel", b"ConvertToGrayscale"))
    if name.startswith("13"):
        comment = image.getexif().get_ifd(34665)[37510]
        assert comment.startswith(b"UNICODE\0") and comment[9:10] == b"\0"
    elif name.startswith("15"):
        assert "\u201c" in xmp.decode() and "\u201d" in xmp.decode()
    elif name.startswith("09"):
        assert {"Title", "Author", "Copyright", "Description"} <= image.info.keys()
    elif format == "TIFF":
        tags: Any = getattr(image, "tag_v2", {})
        assert 32995 not in tags and "shape" not in str(tags.get(270, ""))


def data_set(record: int, number: int, value: bytes) -> bytes:
    return struct.pack(">BBBH", 0x1C, record, number, len(value)) + value


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "JPEG2000"])
def test_iptc_of_the_masters_pixels_is_left_behind(format: str) -> None:
    carried = data_set(1, 90, b"\x1b%G") + data_set(2, 120, "Häfen".encode())
    pixels = data_set(2, 131, b"L") + data_set(2, 202, b"a preview") + data_set(3, 20, b"\0\x10")
    master = read_full(photo())
    segment = b"Photoshop 3.0\0" + photoshop_block(data_set(1, 20, b"\0\1") + carried + pixels)
    extra = b"\xff\xed" + struct.pack(">H", len(segment) + 2) + segment
    master = read_full(photo(extra=extra))
    again = read_full(encode(np.zeros((12, 16, 3), np.uint8), format, master))
    assert again.metadata.iptc == carried


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("swapped", [False, True])
def test_iptc_that_a_tiff_calls_numbers_is_what_it_was(order: str, swapped: bool) -> None:
    iptc = data_set(2, 5, b"Hafen von Kiel.")  # of 20 bytes
    stored = b"".join(iptc[at : at + 4][::-1] for at in range(0, 20, 4)) if swapped else iptc
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    block = head + directory([(33723, 4, 5, 26)], order) + stored
    assert metadata_of("TIFF", block, {}).iptc == iptc


def test_what_is_too_long_for_a_jpeg_takes_nothing_with_it() -> None:
    said = data_set(2, 105, b"Storm tide") + data_set(2, 120, b"x" * 32_000) * 3
    fields: Fields = {315: _text(b"A. Photographer"), 270: _text(b"y" * 70_000)}
    fields[34665] = {37500: _text(b"z" * 5_000), 36867: _text(b"1931:01:02 03:04:05")}
    master = replace(read_full(photo()), metadata=Metadata(fields, iptc=said))
    again = read_full(encode(np.zeros((12, 16, 3), np.uint8), "JPEG", master)).metadata
    assert again.fields[315] == _text(b"A. Photographer") and 270 not in again.fields
    assert again.fields[34665] == {36867: _text(b"1931:01:02 03:04:05")}
    assert again.xmp and b">Storm tide<" in again.xmp


def test_xmp_of_files_and_of_their_coding_is_left_behind() -> None:
    spaces = {
        "exifEX": "http://cipa.jp/exif/1.0/",
        "xmpMM": "http://ns.adobe.com/xap/1.0/mm/",
        "plus": "http://ns.useplus.org/ldf/xmp/1.0/",
    }
    gone = "exifEX:Gamma exifEX:InteroperabilityIndex xmpMM:InstanceID"
    gone += " plus:ImageFileSizeAsDelivered"
    kept = "exifEX:LensModel exifEX:CameraOwnerName xmpMM:DocumentID plus:ImageCreatorName"
    inner = "".join(
        f'<{name} xmlns:{name.split(":")[0]}="{spaces[name.split(":")[0]]}">v</{name}>'
        for name in (gone + " " + kept).split()
    )
    packet = (xmp_packet(packet_of(inner), None) or b"").decode()
    assert [name for name in (gone + " " + kept).split() if f"<{name}" in packet] == kept.split()


def test_exif_of_the_sensors_grid_is_left_behind() -> None:
    entries = [(tag, 3, 1, 1) for tag in (34856, 37386, 41484, 41486, 41487, 41488, 41495, 42240)]
    block = b"II*\0\x08\0\0\0" + directory([(34665, 4, 1, 26)]) + directory(entries)
    assert set(cast(Fields, read_fields(block)[34665])) == {37386, 41495}


@pytest.mark.parametrize(
    ("date", "time", "expected"),
    [
        (b"19310501", b"101500+0100", "1931-05-01T10:15:00+01:00"),
        (b"19310501", b"10:15:00", "1931-05-01"),
        (b"19310000", b"101500", "1931"),
        (b"19310012", b"", "1931"),
        (b"1931-05-01", b"", "1931-05-01"),
        (b"about 1931", b"", "about 1931"),
        (b"00000501", b"", None),
    ],
)
def test_dates_of_iptc_in_any_form(date: bytes, time: bytes, expected: str | None) -> None:
    sets = [(55, date), (60, time)]
    block = b"".join(struct.pack(">BBBH", 28, 2, each, len(text)) + text for each, text in sets)
    stated = f"<photoshop:DateCreated>{expected}</photoshop:DateCreated>"
    said = description_of(block, None)
    assert stated in said if expected else not said


@pytest.mark.parametrize("resolution", [0, 1, 65536])
def test_a_resolution_that_photoshop_does_not_know_is_none(resolution: int) -> None:
    value = struct.pack(">IHHIHH", resolution, 1, 1, resolution, 1, 1)
    body = b"Photoshop 3.0\0" + b"8BIM\x03\xed\0\0" + struct.pack(">I", len(value)) + value
    data = photo()
    segment = b"\xff\xed" + struct.pack(">H", len(body) + 2) + body
    assert read_full(data[:2] + segment + data[2:]).dpi is None


@pytest.mark.parametrize("kind", [4, 13, 16, 18])
def test_fields_of_a_directory_that_a_bigtiff_points_to(kind: int) -> None:
    def directory(tag: int, kind: int, count: int, value: bytes) -> bytes:
        return struct.pack("<QHHQ8sQ", 1, tag, kind, count, value, 0)

    head = b"II+\0\x08\0\0\0" + struct.pack("<Q", 16)
    first = directory(34665, kind, 1, struct.pack("<Q", 16 + 36))
    found = read_fields(head + first + directory(36867, 2, 8, b"1931:05\0"))
    assert cast(Fields, found[34665])[36867] == Value(2, b"1931:05\0")
