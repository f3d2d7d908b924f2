"""Photographs in, and out by Pillow: the only file that knows Pillow.

Legend: H W rows and columns, S side of a model's square. Gray is what `gray` makes of the
pixels: uint8 [0, 255], or uint16 [0, 65535] where the master has more than 8 bits a sample.

- 1 bit: black 0, white 255. Palettes: luma of their RGB. Alpha is dropped.
- Min-is-white is inverted, and the EXIF orientation is applied. Of several pages of a TIFF that
  which is asked for is used (pipeline.images.pages tells what is one), of other frames the first.
- An embedded color profile that is not sRGB is applied; without one, values are taken as sRGB.

Anything that cannot be decoded raises PhotoError(reason, one line).
"""

from __future__ import annotations

import io
import logging
import math
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageDraw, ImageFile, ImageFont, UnidentifiedImageError

from pipeline.deadline import allow
from pipeline.errors import PhotoError, UsageError
from pipeline.images.chroma import resample
from pipeline.images.codecs import color_profile, open_deep, own_profile
from pipeline.images.formats import MasterInfo
from pipeline.images.gray import (
    Kind,
    Profile,
    Samples,
    color_of,
    eight_bits,
    gray_of,
    thinned,
    upright,
)
from pipeline.images.masters import DeepMaster, checked_samples
from pipeline.images.pages import page_alone
from pipeline.images.regions import Kept, Look, look_at
from pipeline.images.tiffs import open_refused, xmp_orientation
from pipeline.images.tones import LOOK
from pipeline.metadata.exif import Metadata, metadata_of

# Colorizing at full resolution holds up to 11 bytes per pixel at its peak (measured: a master of 16
# bits, written as TIFF or PNG), so that one photo of the largest size needs 5.5 GB. What takes
# twice as much to decode may be half as large: WebP, JPEG 2000 in color, and any color of more than
# 8 bits a sample.
MAX_PIXELS = 500_000_000

# How a frame becomes a square: all of it, or the largest square in its middle.
Fit = Literal["squeeze", "crop"]

_READABLE = ("JPEG", "PNG", "TIFF", "WEBP", "JPEG2000", "AVIF", "BMP", "GIF", "PPM")
_COLOR_MAP = 320  # a tag of TIFF
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
class Master:
    """A master at full resolution: gray uint8 or uint16 (H, W), dots per inch (x, y) or None.

    kept: what is not of the photograph and keeps its color, of the gray's type.
    """

    gray: np.ndarray
    info: MasterInfo
    dpi: tuple[float, float] | None
    metadata: Metadata
    kept: Kept | None = None

    def in_eight_bits(self) -> Master:
        """The same with gray and kept color as uint8."""
        kept = self.kept and replace(self.kept, color=eight_bits(self.kept.color))
        return replace(self, gray=eight_bits(self.gray), kept=kept)


def read_small(
    data: bytes, sizes: Sequence[int], max_pixels: int = MAX_PIXELS, page: int = 1
) -> tuple[MasterInfo, list[np.ndarray]]:
    """The whole frame of a master squeezed into squares: gray uint8 (S, S) for each S of sizes.

    JPEG and JPEG 2000 are decoded at a reduced scale, at least four times the largest square.
    page: of a TIFF, from 1. Raises PhotoError (corrupt, unsupported, too_large, out_of_memory).
    """
    with _explained(data):
        data = page_alone(data, page)
        found = _decode(data, max_pixels, reduce_to=4 * max(sizes))
        image = Image.fromarray(eight_bits(found.gray))
    return found.facts.info, [_squeezed(image, size) for size in sizes]


def read_rgb(
    data: bytes, size: int, max_pixels: int = MAX_PIXELS, fit: Fit = "squeeze"
) -> np.ndarray:
    """A photograph in its colors, uint8 (S, S, 3): the whole frame or its center, scaled by areas.

    Raises PhotoError as read_small does; of CIE Lab only the lightness is read.
    """
    with _explained(data):
        image, facts = _load(data, max_pixels, reduce_to=4 * size)
        image = _color(image)
        if facts.orientation in _UPRIGHT:
            image = image.transpose(_UPRIGHT[facts.orientation])
        if fit == "crop":
            side = min(image.size)
            left, top = (image.width - side) // 2, (image.height - side) // 2
            image = image.crop((left, top, left + side, top + side))
    return np.stack([_squeezed(channel, size) for channel in image.split()], axis=-1)


def read_full(data: bytes, max_pixels: int = MAX_PIXELS, page: int = 1) -> Master:
    """A master at full resolution; page and what is raised are as in read_small."""
    with _explained(data):
        data = page_alone(data, page)
        found = _decode(data, max_pixels)
        facts = found.facts
        metadata = metadata_of(facts.info.format, data, facts.found)
    dpi = facts.dpi or metadata.dpi
    if facts.dpi is None and dpi is not None and facts.orientation >= 5:
        dpi = (dpi[1], dpi[0])
    return Master(found.gray, facts.info, dpi, metadata, found.kept)


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


def srgb_profile() -> bytes:
    """The profile of sRGB, without the time at which it is made."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile[:24] + b"\x07\xea\0\1\0\1\0\0\0\0\0\0" + profile[36:]


def resize_rgb(rgb_HW3: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Picture uint8 (H, W, 3) or (H, W) at another (width, height)."""
    return np.asarray(Image.fromarray(rgb_HW3).resize(size, Image.Resampling.LANCZOS))


def draw_text(text: str, size: int) -> np.ndarray:
    """White letters of Pillow's own font on black, uint8 (h, w), with black around them."""
    image = Image.new("L", ((len(text) + 2) * size, 2 * size))
    ImageDraw.Draw(image).text((size // 2, size // 4), text, 255, ImageFont.load_default(size))
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
    except MemoryError as error:
        raise PhotoError("out_of_memory", "not enough memory to decode the picture") from error
    except UnidentifiedImageError as error:
        raise _unidentified(data) from error
    except Exception as error:  # damaged files make decoders raise nearly everything
        cause = str(error)[:200] or type(error).__name__
        raise PhotoError("corrupt", f"the picture cannot be decoded: {cause}") from error


@dataclass(frozen=True)
class _Facts:
    """What is known of a picture beside its pixels; info and dpi are those of it upright.

    found: what Pillow says of it.
    """

    info: MasterInfo
    orientation: int
    dpi: tuple[float, float] | None
    found: Mapping[Any, Any]

    def seen(self, look: Look) -> _Facts:
        return replace(self, info=replace(self.info, tone=look.tone))


@dataclass(frozen=True)
class _Decoded:
    """Gray uint8 or uint16 (H, W), and the color of what keeps its own."""

    gray: np.ndarray
    facts: _Facts
    kept: Kept | None


def _decode(data: bytes, max_pixels: int, reduce_to: int | None = None) -> _Decoded:
    """A master upright."""
    found = _decode_as_stored(data, max_pixels, reduce_to)
    turn = found.facts.orientation
    kept = found.kept and Kept(upright(found.kept.cells, turn), upright(found.kept.color, turn))
    return replace(found, gray=upright(found.gray, turn), kept=kept)


def _decode_as_stored(data: bytes, max_pixels: int, reduce_to: int | None) -> _Decoded:
    """By the first that reads a master: its own decoder where Pillow would read less than its
    bits, else Pillow, and else the decoder of what Pillow refuses."""
    deep, keeps = open_deep(data), reduce_to is None
    if deep is not None:
        return _decode_deep(deep, max_pixels, keeps)
    try:
        return _decode_by_pillow(data, max_pixels, reduce_to)
    except (PhotoError, MemoryError):
        raise
    except Exception as error:
        if (refused := open_refused(data, error)) is None:
            raise
        try:
            return _decode_deep(refused, max_pixels, keeps)
        except (PhotoError, MemoryError):
            raise
        except Exception as second:
            raise error from second  # the first says as much to people


def _decode_by_pillow(data: bytes, max_pixels: int, reduce_to: int | None) -> _Decoded:
    image, facts = _load(data, max_pixels, reduce_to)
    samples, icc = _samples(image), own_profile(data, image.info)
    profile = color_profile(icc, samples.kind) if icc else None
    look = _look_at(image, samples.kind, profile)
    kept = None
    if reduce_to is None and look.cells is not None:
        kept = Kept(look.cells, color_of(samples, profile))
    if profile is None and samples.white == 255:
        samples = Samples(_ImageRows(image, "L"), "gray", 255)  # Pillow's luma is the faster one
    return _Decoded(gray_of(samples, profile), facts.seen(look), kept)


def _decode_deep(deep: DeepMaster, max_pixels: int, keeps: bool) -> _Decoded:
    _check_pixels(deep.width, deep.height, max_pixels // (2 if deep.channels >= 3 else 1))
    orientation, dpi, icc = deep.orientation, deep.dpi, deep.icc
    found: Mapping[Any, Any] = {}
    if deep.header is not None:
        with Image.open(io.BytesIO(deep.header), formats=_READABLE) as header:
            orientation, dpi = _orientation(header), _resolution(header)
            icc, found = icc or header.info.get("icc_profile"), header.info
    samples, look = checked_samples(deep), Look("gray")
    profile = color_profile(icc, samples.kind) if icc else None
    if samples.kind != "gray":
        small = eight_bits(color_of(thinned(samples, 2 * LOOK), profile))
        look = look_at(_small_channels(Image.fromarray(small)))
    kept = None
    if keeps and look.cells is not None:
        kept = Kept(look.cells, color_of(samples, profile))
    facts = _facts(deep.width, deep.height, deep.mode, deep.format, orientation, dpi, found)
    return _Decoded(gray_of(samples, profile), facts.seen(look), kept)


def _load(data: bytes, max_pixels: int, reduce_to: int | None = None) -> tuple[Image.Image, _Facts]:
    """A decoded image, not yet upright."""
    image = Image.open(io.BytesIO(data), formats=_READABLE)
    width, height = image.size
    costly = image.format == "WEBP" or (image.format == "JPEG2000" and len(image.getbands()) > 2)
    _check_pixels(width, height, max_pixels // (2 if costly else 1))
    format = {"MPO": "JPEG"}.get(image.format or "", image.format or "")
    mode = image.mode
    if reduce_to is not None:
        image = _reduced(image, data, reduce_to)
    image.load()
    _repair_palette(image)
    orientation = _orientation(image)  # after load: Pillow has turned TIFF upright by now
    dpi = _resolution(image)
    return image, _facts(width, height, mode, format, orientation, dpi, image.info)


def _repair_palette(image: Image.Image) -> None:
    """Some programs write the colors of a TIFF as 0..255, not 0..65535: Pillow sees black."""
    colors = getattr(image, "tag_v2", {}).get(_COLOR_MAP, ())
    if image.mode in ("P", "PA") and colors and max(colors) <= 255:
        image.putpalette(bytes(colors), "RGB;L")


def _check_pixels(width: int, height: int, most: int) -> None:
    allow(min(width * height, most))
    if width * height > most:
        raise PhotoError(
            "too_large",
            f"{width:,} x {height:,} pixels are {width * height / 1e6:,.0f} megapixels;"
            f" the limit is {most / 1e6:,.0f}",
        )


def _facts(
    width: int,
    height: int,
    mode: str,
    format: str,
    orientation: int,
    dpi: tuple[float, float] | None,
    found: Mapping[Any, Any],
) -> _Facts:
    if orientation >= 5:
        width, height = height, width
        dpi = dpi and (dpi[1], dpi[0])
    return _Facts(MasterInfo(width, height, mode, format), orientation, dpi, dict(found))


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


def _samples(image: Image.Image) -> Samples:
    """The pixels of any loaded image, by the rules at the top of this file."""
    image.info.pop("transparency", None)  # else Pillow blends or warns
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _deep_samples(image)
    if image.mode in ("La", "RGBa"):  # alpha is multiplied in
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    if image.mode == "LAB":
        return Samples(_ImageRows(image), "lab", 255)
    kinds: dict[str, Kind] = {"1": "gray", "L": "gray", "LA": "gray", "CMYK": "cmyk"}
    kind = kinds.get(image.mode, "rgb")
    mode = {"gray": "L", "cmyk": "CMYK"}.get(kind, "RGB")
    return Samples(_ImageRows(image, mode), kind, 255)


class _ImageRows:
    """The pixels (H, W, C) of a loaded image in some mode, band by band: all at once, they would be
    there twice or three times."""

    def __init__(self, image: Image.Image, mode: str | None = None) -> None:
        self._image, self._mode = image, mode or image.mode
        first = self[0:1]
        self.shape = (image.height, *first.shape[1:])
        self.dtype = first.dtype

    def __getitem__(self, rows: slice) -> np.ndarray:
        band = self._image.crop((0, rows.start, self._image.width, rows.stop))
        pixels = np.asarray(band if band.mode == self._mode else band.convert(self._mode))
        return pixels if pixels.ndim == 3 else pixels[..., None]


def _look_at(image: Image.Image, kind: Kind, profile: Profile | None) -> Look:
    if kind not in ("rgb", "cmyk"):
        return Look("gray")
    small = _small_channels(image if image.mode == "CMYK" else _color(image))
    return look_at(color_of(Samples(small, kind, 255), profile))


def _small_channels(image: Image.Image) -> np.ndarray:
    """A picture of several channels as uint8 (S, S, C), S = LOOK."""
    return np.stack([_squeezed(channel, LOOK, 1) for channel in image.split()], axis=-1)


def _color(image: Image.Image) -> Image.Image:
    """Any loaded image as mode RGB."""
    if image.mode in ("P", "RGBA", "CMYK", "YCbCr", "HSV"):
        image.info.pop("transparency", None)
        return image.convert("RGB")
    if image.mode == "RGBa":
        return image.convert("RGBA").convert("RGB")
    if image.mode == "RGB":
        return image
    return Image.fromarray(eight_bits(gray_of(_samples(image)))).convert("RGB")


def _deep_samples(image: Image.Image) -> Samples:
    """The pixels of a one-channel image of more than 8 bits a pixel."""
    tags = getattr(image, "tag_v2", {})
    depth = tags.get(ExifTags.Base.BitsPerSample, (16,))[0]
    white: float | None = None
    if image.mode != "F" and depth != 32:
        signed = tags.get(ExifTags.Base.SampleFormat, (1,))[0] == 2
        white = float(2 ** (depth - signed) - 1)
    inverted = tags.get(ExifTags.Base.PhotometricInterpretation) == 0  # which Pillow leaves here
    return Samples(_ImageRows(image), "gray", white, inverted)


def _orientation(image: Image.Image) -> int:
    """Orientation, 1..8, of EXIF or else of XMP; 1 where both are absent or damaged (the picture
    itself is not)."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:
        return 1
    packet = image.info.get("xmp")
    if value is None and isinstance(packet, bytes):
        value = xmp_orientation(packet)
    return value if value in _UPRIGHT else 1


def _resolution(image: Image.Image) -> tuple[float, float] | None:
    """Dots per inch (x, y), or None where absent or not a usable number."""
    try:
        x, y = (float(value) for value in image.info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    return (x, y) if 1 < x <= 65535 and 1 < y <= 65535 else None  # Pillow's default is 1


def _squeezed(image: Image.Image, side: int, detail: int = 4) -> np.ndarray:
    """A gray image as a square uint8 (S, S): means of areas, linear where it grows."""
    cells = detail * side  # more would cost much and change little
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
