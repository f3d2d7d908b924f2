"""Masters that Pillow would read with fewer bits, or not at all, and what only imagecodecs writes.

Only this module and its neighbors for JPEG, JPEG 2000, AVIF, TIFF and profiles know imagecodecs.
Legend: H W rows and columns, C channels.
"""

from __future__ import annotations

import numpy as np

from pipeline.images.avif import open_avif
from pipeline.images.deep_masters import DeepMaster
from pipeline.images.formats import PNG_SIGNATURE
from pipeline.images.gray import Kind, Samples
from pipeline.images.jpeg2000 import open_jpeg2000
from pipeline.images.jpegs import open_jpeg
from pipeline.images.tiffs import TIFF_STARTS, open_tiff


def open_deep(data: bytes) -> DeepMaster | None:
    """Open a master that Pillow cannot read, or would read with fewer bits; None for all others.

    Only the header is read. It and decode raise PhotoError (unsupported), and decode whatever a
    damaged file makes decoders raise.
    """
    if data[:8] == PNG_SIGNATURE:
        return _open_png(data)
    if data[:4] in TIFF_STARTS:
        return open_tiff(data)
    if data[:2] == b"\xff\xd8":
        return open_jpeg(data)
    return open_jpeg2000(data) or open_avif(data)


def deflate(data: bytes) -> bytes:
    """Compress by Deflate with libdeflate, in a third of zlib's time."""
    import imagecodecs

    return bytes(imagecodecs.deflate_encode(data, level=6))


def encode_jpeg2000(rgb_HW3: np.ndarray) -> bytes:
    """A lossless JPEG 2000 in sRGB of uint8 or uint16 (H, W, 3), or (H, W, 1)."""
    import imagecodecs

    pixels = rgb_HW3 if rgb_HW3.shape[2] == 3 else rgb_HW3[..., 0]
    return bytes(imagecodecs.jpeg2k_encode(pixels, level=0, reversible=True, codecformat="jp2"))


def _open_png(data: bytes) -> DeepMaster | None:
    import imagecodecs

    depth, color = data[24:25], data[25:26]
    if depth != b"\x10" or color not in (b"\x02", b"\x04", b"\x06"):
        return None  # palettes have 8 bits, and Pillow reads gray with all its bits
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    kind: Kind = "gray" if color == b"\x04" else "rgb"

    def decode() -> Samples:
        values = _as_HWC(imagecodecs.png_decode(data))
        return Samples(values[..., : len(mode)], kind, 65535)  # one color may be transparent

    mode = {b"\x02": "RGB", b"\x04": "LA", b"\x06": "RGBA"}[color]
    return DeepMaster(width, height, f"{mode};16", len(mode), "PNG", decode, 16, header=data)


def _as_HWC(values: np.ndarray) -> np.ndarray:
    return values[..., None] if values.ndim == 2 else values
