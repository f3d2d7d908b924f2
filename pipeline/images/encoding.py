"""Results as files: any format, with the master's metadata and how it was made."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from pipeline.errors import PhotoError
from pipeline.images.band_writers import (
    IPTC_IN_JPEG,
    Labels,
    encode_png,
    encode_tiff,
    jp2_boxes,
    jpeg_extra,
)
from pipeline.images.chroma import bands
from pipeline.images.codecs import encode_jpeg2000
from pipeline.images.formats import LONGEST_SIDE, MOST_PIXELS
from pipeline.images.masters import Master
from pipeline.images.pictures import save, srgb_profile
from pipeline.metadata.exif import exif_block, fitting, result_fields
from pipeline.metadata.xmp import Provenance, xmp_packet, xmp_packets


def encode(
    rgb_HW3: np.ndarray, format: str, master: Master | None = None, quality: int = 95
) -> bytes:
    """A picture as a file: the same bytes for the same pixels, labelled as result_labels tells.

    rgb_HW3 uint8 or uint16 (H, W, 3), or (H, W). Raises PhotoError as encode_bands does.
    """
    pixels = rgb_HW3 if rgb_HW3.ndim == 3 else rgb_HW3[..., None]
    height, width = pixels.shape[:2]
    parts = (pixels[rows] for rows in bands(height, width))
    return encode_bands(parts, height, width, format, result_labels(master, format), quality)


def encode_bands(
    parts: Iterable[np.ndarray],
    height: int,
    width: int,
    format: str,
    labels: Labels,
    quality: int = 95,
) -> bytes:
    """A picture of bands (h, W, 3) as a file; all bands have the same height but the last.

    Bands are uint8, or uint16 for the formats of formats.DEEP. PNG, TIFF, WebP and JPEG 2000 are
    lossless. JPEG, which alone has a quality, and AVIF keep full color resolution; luminance can
    differ by a few codes there. Raises PhotoError (write_error) where the format cannot hold it.
    """
    _refuse_size(height, width, format)
    if format == "PNG":
        return encode_png(parts, height, width, labels)
    if format == "TIFF":
        return encode_tiff(parts, height, width, labels)
    if format == "JPEG2000":
        return encode_jpeg2000(_joined(parts, height, width)) + jp2_boxes(labels)
    return save(parts, height, width, format, **_options_of(format, labels, quality))


def _refuse_size(height: int, width: int, format: str) -> None:
    """Raise PhotoError if a format cannot hold a picture of this size."""
    longest = max(height, width)
    if longest > LONGEST_SIDE[format]:
        raise PhotoError(
            "write_error", f"{format} holds {LONGEST_SIDE[format]:,} pixels a side, not {longest:,}"
        )
    if height * width > MOST_PIXELS.get(format, height * width):
        most, there = MOST_PIXELS[format] / 1e6, height * width / 1e6
        raise PhotoError(
            "write_error", f"{format} is written up to {most:,.0f} megapixels, not {there:,.1f}"
        )


def _options_of(format: str, labels: Labels, quality: int) -> dict[str, Any]:
    """What Pillow is told for a format that it writes."""
    every: dict[str, dict[str, Any]] = {
        "JPEG": {"quality": quality, "subsampling": 0, "extra": jpeg_extra(labels)},
        "WEBP": {"lossless": True, "quality": 20, "method": 2},  # here, quality means effort
        "AVIF": {"quality": 90, "subsampling": "4:4:4", "max_threads": 1},
    }
    options = every[format]
    if labels.dpi and format == "JPEG":
        options["dpi"] = labels.dpi
    if labels.fields:
        options["exif"] = b"Exif\0\0" + exif_block(labels.fields)
    if labels.xmp:
        options["xmp"] = labels.xmp
    if labels.icc:
        options["icc_profile"] = labels.icc
    return options


def _joined(parts: Iterable[np.ndarray], height: int, width: int) -> np.ndarray:
    """Bands as one picture; they are never all there beside it."""
    pixels, top = np.empty(0), 0
    for part in parts:
        if not top:
            pixels = np.empty((height, width, part.shape[2]), part.dtype)
        pixels[top : top + len(part)] = part
        top += len(part)
    return pixels


def result_labels(
    master: Master | None, format: str, provenance: Provenance | None = None
) -> Labels:
    """What a result says of itself: that it is sRGB, the master's metadata and resolution, and how
    it was made."""
    most = 65_502 if format == "JPEG" else None  # its segments hold no more
    if master is None:
        return Labels({}, xmp_packet(None, provenance), icc=srgb_profile())
    height, width = master.gray.shape
    found = master.metadata
    too_long = format == "JPEG" and len(found.iptc or b"") > IPTC_IN_JPEG
    iptc = found.iptc if too_long or format in ("WEBP", "AVIF") else None  # which cannot hold it
    fields = result_fields(found, width, height, master.dpi)
    xmp = xmp_packets(found.xmp, provenance, most, iptc, found.texts, found.extended)
    return Labels(
        fitting(fields, most),
        xmp.packet,
        found.iptc,
        srgb_profile(),
        master.dpi,
        found.texts,
        xmp.extension,
    )
