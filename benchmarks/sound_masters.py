"""Sound masters of one small photograph, in every container that is read."""

import io
import struct
import zlib
from functools import cache
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from PIL import Image, ImageCms

_XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/'
    b'22-rdf-syntax-ns#"><rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/'
    b'1.1/"><dc:source>Box 12</dc:source></rdf:Description></rdf:RDF></x:xmpmeta>'
)
PROFILE_DATE = slice(24, 36)  # of a color profile: when it was made
_IPTC = b"8BIM\x04\x04\0\0\0\0\0\x0a\x1c\x02\x05\0\x05Title"


@cache
def sound_masters() -> dict[str, bytes]:
    """Files by name."""
    gray = _photograph()
    few = gray.clip(0, 255).astype(np.uint8)
    deep = (gray.clip(0, 255) * 257).astype(np.uint16)
    color = np.repeat(few[..., None], 3, axis=-1)
    metadata = _metadata()
    jp2 = bytes(imagecodecs.jpeg2k_encode(deep, level=0, codecformat="jp2"))
    return {
        "jpeg": _by_pillow(few, "JPEG", extra=_segments(), dpi=(300, 300), **metadata),
        "jpeg color": _by_pillow(color, "JPEG", progressive=True, **metadata),
        "jpeg 12": bytes(imagecodecs.jpeg_encode(deep >> 4, bitspersample=12)),
        "jpeg lossless": bytes(imagecodecs.ljpeg_encode(deep)),
        "jpeg-ls": bytes(imagecodecs.jpegls_encode(few)),
        "png": _by_pillow(few, "PNG", **metadata),
        "png gamma": _with_gamma(_by_pillow(few, "PNG", **metadata)),
        "png 16": bytes(imagecodecs.png_encode(np.repeat(deep[..., None], 3, axis=-1))),
        "png palette": _palette_png(few),
        "tiff": _by_tifffile(few, extratags=[(700, 1, len(_XMP), _XMP, True)]),
        "tiff tiles": _by_tifffile(deep, tile=(32, 32), compression="zlib", predictor=True),
        "tiff color": _by_tifffile(color, kind="rgb", compression="lzw", rowsperstrip=16),
        "tiff planes": _by_tifffile(
            np.moveaxis(color, -1, 0), kind="rgb", planarconfig="separate", order=">"
        ),
        "tiff big": _by_tifffile(deep, big=True, order=">", compression="packbits"),
        "tiff float": _by_tifffile((gray / 255).astype(np.float32), big=True),
        "tiff subifd": _by_tifffile(few[::2, ::2], subifds=1),
        "tiff pages": _by_tifffile(few, pages=4),
        "tiff jpeg": _by_tifffile(few, compression="jpeg"),
        "tiff jp2": _by_tifffile(deep, compression="jpeg2000"),
        "tiff g4": _by_pillow(few > 128, "TIFF", compression="group4"),
        "jp2": _by_pillow(few, "JPEG2000") + struct.pack(">I4s", 8 + 16 + len(_XMP), b"uuid")
        + bytes.fromhex("be7acfcb97a942e89c71999491e3afac") + _XMP,
        "jp2 16": jp2,
        "j2k": jp2[jp2.index(b"\xff\x4f\xff\x51") :],
        "avif": _by_pillow(color, "AVIF", **metadata),
        "avif 10": bytes(imagecodecs.avif_encode(deep >> 6, level=90, bitspersample=10)),
        "webp": _by_pillow(color, "WEBP", lossless=True, **metadata),
        "webp lossy": _by_pillow(few, "WEBP"),
        "gif": _by_pillow(few, "GIF"),
        "bmp": _by_pillow(few, "BMP"),
        "ppm": _by_pillow(color, "PPM"),
    }  # fmt: skip


def _photograph() -> np.ndarray:
    """Waves with noise, about 0 to 255: float64 (96, 128)."""
    rows, columns = np.mgrid[:96, :128]
    gray = 128 + 80 * np.sin(rows / 17) * np.cos(columns / 23)
    return gray + np.random.default_rng(0).normal(0, 6, gray.shape)


def _metadata() -> dict[str, Any]:
    """Exif, XMP and a color profile, as options of Pillow."""
    exif = Image.Exif()
    exif[270], exif[274], exif[315] = "A harbor", 6, "A. Photographer"
    exif.get_ifd(34665).update({37510: b"UNICODE\0H\0a\0", 36867: "1931:05:01 12:00:00"})
    icc = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    icc[PROFILE_DATE] = struct.pack(
        ">6H", 2026, 1, 1, 0, 0, 0
    )  # else every second gives other bytes
    return {"exif": exif, "xmp": _XMP, "icc_profile": bytes(icc)}


def _segments() -> bytes:
    """Two further segments of a JPEG: IPTC and a comment."""
    return b"".join(
        struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body
        for marker, body in ((0xED, b"Photoshop 3.0\0" + _IPTC), (0xFE, b"seen"))
    )


def _by_pillow(pixels: np.ndarray, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format, **options)
    return file.getvalue()


def _by_tifffile(pixels: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    with tifffile.TiffWriter(
        file, bigtiff=options.pop("big", False), byteorder=options.pop("order", "<")
    ) as tiff:
        for _ in range(options.pop("pages", 1)):
            tiff.write(pixels, photometric=options.pop("kind", "minisblack"), **options)
        if options.get("subifds"):
            tiff.write(pixels[::2, ::2], photometric="minisblack")
    return file.getvalue()


def _with_gamma(png: bytes) -> bytes:
    """A PNG with a chunk gAMA of 1."""
    body = struct.pack(">4sI", b"gAMA", 100_000)
    at = png.index(b"IDAT") - 4
    return png[:at] + struct.pack(">I", 4) + body + struct.pack(">I", zlib.crc32(body)) + png[at:]


def _palette_png(few: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(few).convert("P").save(file, "PNG")
    return file.getvalue()
