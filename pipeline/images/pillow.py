"""Photographs in: by Pillow where it knows them, else by the decoder that does.

Legend: H W rows and columns, S side of a model's square. Gray is what `gray` makes of the
pixels: uint8 [0, 255], or uint16 [0, 65535] where the master has more than 8 bits a sample.

- 1 bit: black 0, white 255. Palettes: luma of their RGB. Alpha is dropped.
- Min-is-white is inverted, and the EXIF orientation is applied. Of several pages of a TIFF that
  which is asked for is used (pipeline.images.pages tells what is one), of other frames the first.
- An embedded color profile that is not sRGB is applied, or else a curve that the file states;
  without one, values are taken as sRGB.

Anything that cannot be decoded raises PhotoError(reason, one line).
"""

from __future__ import annotations

import io
import logging
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from pipeline.deadline import allow
from pipeline.errors import PhotoError
from pipeline.images.codecs import color_profile, open_deep, own_profile
from pipeline.images.curves import Curve, curve_profile
from pipeline.images.formats import MasterInfo, describe_unknown, format_by_start
from pipeline.images.frames import (
    UPRIGHT,
    ImageRows,
    look_of,
    orientation_of,
    repair_palette,
    resolution_of,
    rgb_of,
    samples_of,
    small_channels,
    squeezed,
)
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
from pipeline.images.stated import stated_curve, tiff_curve
from pipeline.images.tiffs import open_refused
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
    with as_photo_error(data):
        data = page_alone(data, page)
        found = _decode(data, max_pixels, reduce_to=4 * max(sizes))
        image = Image.fromarray(eight_bits(found.gray))
    return found.facts.info, [squeezed(image, size) for size in sizes]


def read_rgb(
    data: bytes, size: int, max_pixels: int = MAX_PIXELS, fit: Fit = "squeeze"
) -> np.ndarray:
    """A photograph in its colors, uint8 (S, S, 3): the whole frame or its center, scaled by areas.

    Raises PhotoError as read_small does; of CIE Lab only the lightness is read.
    """
    with as_photo_error(data):
        image, facts = _load(data, max_pixels, reduce_to=4 * size)
        image = rgb_of(image)
        if facts.orientation in UPRIGHT:
            image = image.transpose(UPRIGHT[facts.orientation])
        if fit == "crop":
            side = min(image.size)
            left, top = (image.width - side) // 2, (image.height - side) // 2
            image = image.crop((left, top, left + side, top + side))
    return np.stack([squeezed(channel, size) for channel in image.split()], axis=-1)


def read_full(data: bytes, max_pixels: int = MAX_PIXELS, page: int = 1) -> Master:
    """A master at full resolution; page and what is raised are as in read_small."""
    with as_photo_error(data):
        data = page_alone(data, page)
        found = _decode(data, max_pixels)
        facts = found.facts
        metadata = metadata_of(facts.info.format, data, facts.found)
        if found.note:
            metadata = replace(metadata, notes=(*metadata.notes, found.note))
    dpi = facts.dpi or metadata.dpi
    if facts.dpi is None and dpi is not None and facts.orientation >= 5:
        dpi = (dpi[1], dpi[0])
    return Master(found.gray, facts.info, dpi, metadata, found.kept)


def read_header(data: bytes) -> Metadata:
    """What a file says of itself, without its pixels; of a PNG only what comes before these.

    Raises PhotoError (unsupported, corrupt).
    """
    with as_photo_error(data):
        format, info = format_by_start(data), dict[Any, Any]()
        try:
            with Image.open(io.BytesIO(data), formats=_READABLE) as image:
                format, info = {"MPO": "JPEG"}.get(image.format or "", image.format), image.info
        except (OSError, ValueError, SyntaxError):  # decoders other than Pillow may know it
            if format is None:
                raise
        return metadata_of(str(format), data, info)


@contextmanager
def as_photo_error(data: bytes) -> Iterator[None]:
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
    note: str = ""  # what of it is not shown as the file states, in words


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
        return _decode_deep(deep, data, max_pixels, keeps)
    try:
        return _decode_by_pillow(data, max_pixels, reduce_to)
    except (PhotoError, MemoryError):
        raise
    except Exception as error:
        if (refused := open_refused(data, error)) is None:
            raise
        try:
            return _decode_deep(refused, data, max_pixels, keeps)
        except (PhotoError, MemoryError):
            raise
        except Exception as second:
            raise error from second  # the first says as much to people


def _decode_by_pillow(data: bytes, max_pixels: int, reduce_to: int | None) -> _Decoded:
    image, facts = _load(data, max_pixels, reduce_to)
    samples, icc = samples_of(image), own_profile(data, image.info)
    curve = tiff_curve(getattr(image, "tag_v2", {})) or stated_curve(data)
    profile, note = _profile_of(icc, curve, samples.kind)
    look = look_of(image, samples.kind, profile)
    kept = None
    if reduce_to is None and look.cells is not None:
        kept = Kept(look.cells, color_of(samples, profile))
    if profile is None and samples.white == 255:
        samples = Samples(ImageRows(image, "L"), "gray", 255)  # Pillow's luma is the faster one
    return _Decoded(gray_of(samples, profile), facts.seen(look), kept, note)


def _profile_of(icc: bytes | None, curve: Curve | None, kind: Kind) -> tuple[Profile | None, str]:
    """What takes pixels to sRGB: a file's profile, or else its curve; and what is to be said."""
    if curve is None or (icc and not curve.above_profile):
        return color_profile(icc, kind) if icc else None, ""
    return curve_profile(curve, kind), curve.note


def _decode_deep(deep: DeepMaster, data: bytes, max_pixels: int, keeps: bool) -> _Decoded:
    _check_pixels(deep.width, deep.height, max_pixels // (2 if deep.channels >= 3 else 1))
    orientation, dpi, icc = deep.orientation, deep.dpi, deep.icc
    found: Mapping[Any, Any] = {}
    if deep.header is not None:
        with Image.open(io.BytesIO(deep.header), formats=_READABLE) as header:
            orientation, dpi = orientation_of(header), resolution_of(header)
            icc, found = icc or header.info.get("icc_profile"), header.info
    samples, look = checked_samples(deep), Look("gray")
    profile, note = _profile_of(icc, deep.curve or stated_curve(data), samples.kind)
    if samples.kind != "gray":
        small = eight_bits(color_of(thinned(samples, 2 * LOOK), profile))
        look = look_at(small_channels(Image.fromarray(small)))
    kept = None
    if keeps and look.cells is not None:
        kept = Kept(look.cells, color_of(samples, profile))
    facts = _facts(deep.width, deep.height, deep.mode, deep.format, orientation, dpi, found)
    return _Decoded(gray_of(samples, profile), facts.seen(look), kept, note)


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
    repair_palette(image)
    orientation = orientation_of(image)  # after load: Pillow has turned TIFF upright by now
    dpi = resolution_of(image)
    return image, _facts(width, height, mode, format, orientation, dpi, image.info)


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
    name = format_by_start(data)
    if name is None:
        return PhotoError("unsupported", describe_unknown(data))
    return PhotoError("corrupt", f"the {name} header is damaged or of an unknown kind")


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
