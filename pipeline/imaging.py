"""Photographs in and out: the only file that knows Pillow.

Legend: H W rows and columns, S side of a model's square. Gray is uint8 [0, 255] everywhere and is
the Rec. 601 luma 0.299 R + 0.587 G + 0.114 B of the master, rounded. How the others become gray:

- 1 bit: black 0, white 255. Palette and CMYK: luma of their RGB, CMYK by Pillow's plain formula.
- CIE Lab: the gray of the same lightness, in sRGB.
- Whole numbers of more than 8 bits: value * 255 / white, the white being that of the declared
  depth (4095, 32767 where signed, 65535); below zero is black. A dark scan stays dark.
- Float and 32 bits, which declare no white: white is 1, 255 or 65535, the first that is at least
  half of the largest value (scans overshoot), or else the largest value itself.
- Min-is-white is inverted, alpha is dropped, of several pages or frames the first is used, and
  the EXIF orientation is applied.

Color profiles are not applied: values are taken as sRGB, and pictures are written as sRGB without
a profile. Anything that cannot be decoded raises PhotoError(reason, one line).
"""

from __future__ import annotations

import io
import logging
import math
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from PIL import ExifTags, Image, ImageDraw, ImageFile, ImageFont, UnidentifiedImageError

from pipeline.chroma import bands, resample
from pipeline.errors import PhotoError

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
    ".bmp": "BMP",
    ".gif": "GIF",
    ".pbm": "PPM",
    ".pgm": "PPM",
    ".ppm": "PPM",
    ".pnm": "PPM",
}
MASTER_SUFFIXES = frozenset(FORMAT_OF_SUFFIX)
SUFFIX_OF_FORMAT = {"JPEG": "jpg", "PNG": "png", "TIFF": "tif", "WEBP": "webp"}
LONGEST_SIDE = {"JPEG": 65_500, "PNG": 2**31 - 1, "TIFF": 2**31 - 1, "WEBP": 16_383}

# Colorizing at full resolution holds about 10 bytes per pixel at its peak (measured), so that one
# photo of the largest size needs 2.5 GB.
MAX_PIXELS = 250_000_000

# How a frame becomes a square: all of it, or the largest square in its middle.
Fit = Literal["squeeze", "crop"]

_READABLE = ("JPEG", "PNG", "TIFF", "WEBP", "JPEG2000", "BMP", "GIF", "PPM")
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class MasterInfo:
    """What a master is: upright width and height, mode as stored ("L", "I;16", ...), format."""

    width: int
    height: int
    mode: str
    format: str


@dataclass(frozen=True)
class Master:
    """A master at full resolution: gray uint8 (H, W), and dots per inch (x, y) where it says so."""

    gray: np.ndarray
    info: MasterInfo
    dpi: tuple[float, float] | None


def read_small(
    data: bytes, sizes: Sequence[int], max_pixels: int = MAX_PIXELS
) -> tuple[MasterInfo, list[np.ndarray]]:
    """The whole frame of a master squeezed into squares: gray uint8 (S, S) for each S of sizes.

    JPEG and JPEG 2000 are decoded at a reduced scale, at least four times the largest square.
    Raises PhotoError (corrupt, unsupported, too_large, out_of_memory).
    """
    with _explained(data):
        image, info, _ = _decode(data, max_pixels, reduce_to=4 * max(sizes))
    return info, [_squeezed(image, size) for size in sizes]


def read_rgb(
    data: bytes, size: int, max_pixels: int = MAX_PIXELS, fit: Fit = "squeeze"
) -> np.ndarray:
    """A photograph in its colors, uint8 (S, S, 3): the whole frame or its center, scaled by areas.

    Raises PhotoError as read_small does; of CIE Lab only the lightness is read.
    """
    with _explained(data):
        image, _, _ = _decode(data, max_pixels, reduce_to=4 * size, convert=_color)
        if fit == "crop":
            side = min(image.size)
            left, top = (image.width - side) // 2, (image.height - side) // 2
            image = image.crop((left, top, left + side, top + side))
    return np.stack([_squeezed(channel, size) for channel in image.split()], axis=-1)


def read_full(data: bytes, max_pixels: int = MAX_PIXELS) -> Master:
    """A master at full resolution. Raises PhotoError as read_small does."""
    with _explained(data):
        image, info, dpi = _decode(data, max_pixels)
    return Master(np.asarray(image), info, dpi)


def encode(
    rgb_HW3: np.ndarray, format: str, master: Master | None = None, quality: int = 95
) -> bytes:
    """A picture as a file: the same bytes for the same pixels, with the master's resolution tag.

    rgb_HW3 uint8 (H, W, 3), or (H, W). PNG, TIFF (Deflate) and WebP are lossless; WebP holds no
    resolution. JPEG, which alone has a quality, keeps full color resolution; its luminance can
    differ by a few codes.
    Raises PhotoError (write_error) where the format cannot hold the picture.
    """
    longest = max(rgb_HW3.shape[:2])
    if longest > LONGEST_SIDE[format]:
        raise PhotoError(
            "write_error", f"{format} holds {LONGEST_SIDE[format]:,} pixels a side, not {longest:,}"
        )
    every: dict[str, dict[str, Any]] = {
        "JPEG": {"quality": quality, "subsampling": 0},
        "PNG": {},
        "TIFF": {"compression": "tiff_adobe_deflate", "tiffinfo": {317: 2}},  # 317: Predictor
        "WEBP": {"lossless": True, "quality": 20, "method": 2},  # here, quality means effort
    }
    options = every[format]
    if master is not None and master.dpi is not None and format != "WEBP":
        options = options | {"dpi": master.dpi}
    file = io.BytesIO()
    Image.fromarray(rgb_HW3).save(file, format, **options)
    return file.getvalue()


def output_format(requested: str, info: MasterInfo) -> tuple[str, str]:
    """Format and suffix of a result, ("TIFF", "tif"); requested is auto, jpeg, png, tiff or webp.

    auto is the master's format, or PNG where we do not write it.
    """
    if requested == "auto":
        format = info.format if info.format in SUFFIX_OF_FORMAT else "PNG"
    else:
        format = requested.upper()
    return format, SUFFIX_OF_FORMAT[format]


def resize_rgb(rgb_HW3: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Picture uint8 (H, W, 3) or (H, W) at another (width, height)."""
    return np.asarray(Image.fromarray(rgb_HW3).resize(size, Image.Resampling.LANCZOS))


def read_thumbnail(data: bytes, longest: int) -> np.ndarray:
    """A color picture of ours, uint8 (h, w, 3), its longest side `longest` or less."""
    with _explained(data):
        image = Image.open(io.BytesIO(data), formats=_READABLE)
        image.draft(None, (2 * longest, 2 * longest))
        scale = min(1.0, longest / max(image.size))
        size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        return np.asarray(image.convert("RGB").resize(size, Image.Resampling.LANCZOS))
    raise AssertionError  # _explained raises again all that it catches


def draw_texts(
    rgb_HW3: np.ndarray, texts: Iterable[tuple[int, int, str]], size: int, color: str
) -> np.ndarray:
    """The picture with lines of text at (x, y), their upper left corners."""
    image = Image.fromarray(rgb_HW3)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size)
    for x, y, text in texts:
        draw.text((x, y), text, color, font)
    return np.asarray(image)


@contextmanager
def _explained(data: bytes) -> Iterator[None]:
    """Whatever goes wrong with a file becomes a PhotoError of one line."""
    if not data:
        raise PhotoError("corrupt", "the file is empty")
    _prepare_pillow()
    try:
        yield
    except PhotoError:
        raise
    except MemoryError:
        raise PhotoError("out_of_memory", "not enough memory to decode the picture") from None
    except UnidentifiedImageError:
        raise _unidentified(data) from None
    except Exception as error:  # damaged files make decoders raise nearly everything
        cause = str(error)[:200] or type(error).__name__
        raise PhotoError("corrupt", f"the picture cannot be decoded: {cause}") from error


def _decode(
    data: bytes,
    max_pixels: int,
    reduce_to: int | None = None,
    convert: Callable[[Image.Image], Image.Image] | None = None,
) -> tuple[Image.Image, MasterInfo, tuple[float, float] | None]:
    image = Image.open(io.BytesIO(data), formats=_READABLE)
    width, height = image.size
    if width * height > max_pixels:
        raise PhotoError(
            "too_large",
            f"{width:,} x {height:,} pixels are {width * height / 1e6:,.0f} megapixels;"
            f" the limit is {max_pixels / 1e6:,.0f}",
        )
    format = {"MPO": "JPEG"}.get(image.format or "", image.format or "")
    mode = image.mode
    if reduce_to is not None:
        image = _reduced(image, data, reduce_to)
    image.load()
    orientation = _orientation(image)  # after load: Pillow has turned TIFF upright by now
    dpi = _resolution(image)
    picture = (convert or _gray)(image)
    if orientation in _UPRIGHT:
        picture = picture.transpose(_UPRIGHT[orientation])
    if orientation >= 5:
        width, height = height, width
        dpi = dpi and (dpi[1], dpi[0])
    return picture, MasterInfo(width, height, mode, format), dpi


def _unidentified(data: bytes) -> PhotoError:
    formats = [name for name in _READABLE if (accept := Image.OPEN[name][1]) and accept(data[:16])]
    if not formats:
        return PhotoError("unsupported", "not a picture in a format that is known here")
    return PhotoError("corrupt", f"the {formats[0]} header is damaged or of an unknown kind")


def _reduced(image: ImageFile.ImageFile, data: bytes, side: int) -> ImageFile.ImageFile:
    """The image set to decode at a reduced scale, both sides still at least `side`, if it can."""
    if image.format != "JPEG2000":
        image.draft(None, (side, side))  # does nothing but for JPEG
        return image
    levels = min(5, int(math.log2(max(1, min(image.size) // side))))
    if levels:
        image.reduce = levels  # type: ignore[method-assign, assignment]
        try:
            image.load()
        except OSError:  # fewer levels are stored: decode all of it
            return Image.open(io.BytesIO(data), formats=_READABLE)
    return image


def _gray(image: Image.Image) -> Image.Image:
    """Any loaded image as mode L, by the rules at the top of this file."""
    image.info.pop("transparency", None)  # else Pillow blends or warns
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return Image.fromarray(_deep_gray(image))
    if image.mode == "LAB":
        return image.getchannel(0).point([_srgb_of_lightness(code) for code in range(256)])
    if image.mode in ("La", "RGBa"):  # alpha is multiplied in
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    return image.convert("L")


def _color(image: Image.Image) -> Image.Image:
    """Any loaded image as mode RGB."""
    if image.mode in ("P", "RGBA", "CMYK", "YCbCr", "HSV"):
        image.info.pop("transparency", None)
        return image.convert("RGB")
    if image.mode == "RGBa":
        return image.convert("RGBA").convert("RGB")
    return image if image.mode == "RGB" else _gray(image).convert("RGB")


def _deep_gray(image: Image.Image) -> np.ndarray:
    """Gray uint8 (H, W) of a one-channel image of more than 8 bits a pixel."""
    values = np.asarray(image)
    tags = getattr(image, "tag_v2", {})
    depth = tags.get(ExifTags.Base.BitsPerSample, (16,))[0]
    if image.mode == "F" or depth == 32:
        largest = float(np.nanmax(values, initial=0, where=np.isfinite(values)))
        white = next((float(level) for level in (1, 255, 65535) if largest <= 2 * level), largest)
    else:
        signed = tags.get(ExifTags.Base.SampleFormat, (1,))[0] == 2
        white = float(2 ** (depth - signed) - 1)
    gray = np.empty(values.shape, np.uint8)
    for rows in bands(*values.shape):
        scaled = values[rows].astype(np.float32) * np.float32(255 / white)
        gray[rows] = np.rint(np.clip(np.nan_to_num(scaled), 0, 255))
    if tags.get(ExifTags.Base.PhotometricInterpretation) == 0:  # which Pillow inverts up to 8 bits
        np.subtract(255, gray, out=gray)
    return gray


def _srgb_of_lightness(code: int) -> int:
    """The sRGB gray 0..255 whose CIE lightness is code / 255 * 100."""
    lightness = code / 255 * 100
    light = ((lightness + 16) / 116) ** 3 if lightness > 8 else lightness * 27 / 24389
    encoded = 12.92 * light if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055
    return round(255 * encoded)


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1..8; 1 where EXIF is absent or damaged (the picture itself is not)."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:
        return 1
    return value if value in _UPRIGHT else 1


def _resolution(image: Image.Image) -> tuple[float, float] | None:
    """Dots per inch (x, y), or None where absent or not a usable number."""
    try:
        x, y = (float(value) for value in image.info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    return (x, y) if 1 < x <= 65535 and 1 < y <= 65535 else None  # Pillow's default is 1


def _squeezed(image: Image.Image, side: int) -> np.ndarray:
    """A gray image as a square uint8 (S, S): means of areas, linear where it grows."""
    cells = 4 * side  # more would cost much and change little
    image = image.reduce((max(1, image.width // cells), max(1, image.height // cells)))
    return np.rint(resample(np.asarray(image), side, side)).astype(np.uint8)


def _prepare_pillow() -> None:
    """Set what Pillow keeps globally: on use, never at import, always to the same values.

    So threads may race for it. Pillow's own pixel limit is off because max_pixels replaces it.
    """
    Image.MAX_IMAGE_PIXELS = None
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    module = re.compile(r"PIL\.")
    if not any(entry[0] == "ignore" and entry[3] == module for entry in warnings.filters):
        warnings.filterwarnings("ignore", module=module.pattern)
    logger = logging.getLogger("PIL")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
