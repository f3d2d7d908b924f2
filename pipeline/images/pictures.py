"""Arrays as pictures in files, at other sizes, and letters as an array; by Pillow."""

from __future__ import annotations

import io
from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
from PIL import Image, ImageCms, ImageDraw, ImageFont

from pipeline.errors import UsageError


def save(
    parts: Iterable[np.ndarray], height: int, width: int, format: str, **options: Any
) -> bytes:
    """A file of bands uint8 (h, W, 3), or (h, W, 1), by Pillow and with its options."""
    image, top = Image.new("RGB", (0, 0)), 0
    for part in parts:
        band = Image.fromarray(part if part.shape[2] == 3 else part[..., 0])
        if not top:
            image = Image.new(band.mode, (width, height))
        image.paste(band, (0, top))
        top += band.height
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def png_of(picture: Any) -> bytes:
    """A PNG file of a Pillow image, or of an array: uint8 or uint16 (H, W), or uint8 (H, W, 3).

    Raises UsageError where it is neither.
    """
    if not isinstance(picture, Image.Image):
        array = np.asarray(picture)
        gray = array.ndim == 2 and array.dtype in (np.uint8, np.uint16)
        rgb = array.ndim == 3 and array.shape[2] == 3 and array.dtype == np.uint8
        if not gray and not rgb:
            raise UsageError(
                "a picture must be uint8 or uint16 (H, W), or uint8 (H, W, 3), not"
                f" {array.dtype} {array.shape}"
            )
        picture = Image.fromarray(array)
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


@cache
def srgb_profile() -> bytes:
    """The profile of sRGB, without a creation time, so that files are reproducible."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile[:24] + b"\x07\xea\0\1\0\1\0\0\0\0\0\0" + profile[36:]


def resize_rgb(rgb_HW3: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Picture uint8 (H, W, 3) or (H, W) at another (width, height)."""
    return np.asarray(Image.fromarray(rgb_HW3).resize(size, Image.Resampling.LANCZOS))


def resize_plane(plane_HW: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """One channel at another (width, height), float32: means if it shrinks, else smooth
    interpolation."""
    image = Image.fromarray(plane_HW.astype(np.float32))
    smaller = size[0] < image.width
    method = Image.Resampling.BOX if smaller else Image.Resampling.BICUBIC
    return np.asarray(image.resize(size, method))


def draw_text(text: str, size: int) -> np.ndarray:
    """White letters of Pillow's own font on black, uint8 (h, w), with black around them."""
    image = Image.new("L", ((len(text) + 2) * size, 2 * size))
    ImageDraw.Draw(image).text((size // 2, size // 4), text, 255, ImageFont.load_default(size))
    return np.asarray(image)
