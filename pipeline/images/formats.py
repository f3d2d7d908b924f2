"""File formats: suffixes, limits, and the format that a result gets."""

import re
from dataclasses import dataclass, field

from pipeline.images.tones import Tone

FORMAT_OF_SUFFIX = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".png": "PNG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
    ".jp2": "JPEG2000",
    ".j2k": "JPEG2000",
    ".j2c": "JPEG2000",
    ".jpf": "JPEG2000",
    ".jpx": "JPEG2000",
    ".avif": "AVIF",
    ".bmp": "BMP",
    ".gif": "GIF",
    ".pbm": "PPM",
    ".pgm": "PPM",
    ".ppm": "PPM",
    ".pnm": "PPM",
}
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
MASTER_SUFFIXES = frozenset(FORMAT_OF_SUFFIX)
SUFFIX_OF_FORMAT = {
    "JPEG": "jpg",
    "PNG": "png",
    "TIFF": "tif",
    "WEBP": "webp",
    "JPEG2000": "jp2",
    "AVIF": "avif",
}
MIME_OF_FORMAT = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "TIFF": "image/tiff",
    "WEBP": "image/webp",
    "JPEG2000": "image/jp2",
    "AVIF": "image/avif",
    "BMP": "image/bmp",
    "GIF": "image/gif",
    "PPM": "image/x-portable-anymap",
}
# In the order in which Pillow tries them; pipeline.images.codecs reads others, and some of these.
READ_BY_PILLOW = ("JPEG", "PNG", "TIFF", "WEBP", "JPEG2000", "AVIF", "BMP", "GIF", "PPM")
_START_OF_FORMAT = {
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "TIFF": rb"II[*+]\0|MM\0[*+]|II\0\*|MM\*\0",  # some writers swap the bytes of the 42
    "WEBP": rb"RIFF....WEBPVP8[ LX]",
    "JPEG2000": rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  \r\n\x87\n",
    # Of the brands that HEIC has too, those that name AVIF beside them.
    "AVIF": rb"....ftyp(avi[fs]|(mif1|msf1)....(....){0,7}avi[fs])",
    "BMP": rb"BM",
    "GIF": rb"GIF8[79]a",
    "PPM": rb"P[0-6fy]",
}
_DOCUMENTS = {
    b"%PDF-": "a PDF document",
    b"%!PS": "a PostScript document",
    b"PK\3\4": "a ZIP archive",
}
LONGEST_SIDE = {
    "JPEG": 65_500,
    "PNG": 2**31 - 1,
    "TIFF": 2**31 - 1,
    "WEBP": 16_383,
    "JPEG2000": 2**31 - 1,
    "AVIF": 65_536,
}
# Encoders of these hold 40 to 50 bytes a pixel (measured), where others hold 11 at most.
MOST_PIXELS = {"WEBP": 125_000_000, "JPEG2000": 125_000_000, "AVIF": 100_000_000}
SIGNABLE = frozenset({"JPEG", "PNG", "TIFF", "WEBP", "AVIF"})  # hold content credentials
DEEP = frozenset({"PNG", "TIFF", "JPEG2000"})  # keep the 16 bits of a master's samples


@dataclass(frozen=True)
class MasterInfo:
    """Facts of a master: upright width and height, format, mode as stored ("L", "RGB;16", ...).

    tone: as in images.tones; None if it was not determined.
    """

    width: int
    height: int
    mode: str
    format: str
    tone: Tone | None = field(default=None, compare=False)


def output_format(
    requested: str, info: MasterInfo, signed: bool = False, pixels: int = 0
) -> tuple[str, str]:
    """Format and suffix of a result, ("TIFF", "tif"); requested is auto, jpeg, png, tiff, webp, jp2
    or avif. auto means the master's format, or PNG if we do not write that format, cannot sign it,
    or the result is too large for it. pixels: of the result.
    """
    if requested == "auto":
        known = SIGNABLE if signed else SUFFIX_OF_FORMAT.keys()
        fits = info.format in known and pixels <= MOST_PIXELS.get(info.format, pixels)
        format = info.format if fits else "PNG"
    else:
        format = format_by_option(requested)
    return format, SUFFIX_OF_FORMAT[format]


def format_by_option(value: str) -> str:
    """The format that a value of --format other than auto means: JPEG2000 for jp2."""
    return {"jp2": "JPEG2000"}.get(value, value.upper())


def format_by_start(data: bytes) -> str | None:
    """The format by a file's first bytes, however damaged the rest may be."""
    for name, start in _START_OF_FORMAT.items():
        if re.match(start, data, re.DOTALL):
            return name
    return None


def describe_unknown(data: bytes) -> str:
    """Of a file that is in no format of ours, what it is instead, where its first bytes tell."""
    for start, kind in _DOCUMENTS.items():
        if data.startswith(start):
            return f"{kind}, not a picture: export the pictures in it as TIFF or PNG"
    return "not a picture in a format that Autochrome reads"
