"""Which decoder reads a master: Pillow where it keeps all bits, else one of our own.

Legend: H W rows and columns. What comes out is upright gray with the facts of the picture. Damaged
files may raise anything here; pipeline.images.masters turns it into PhotoError.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image, ImageFile

from pipeline.deadline import allow
from pipeline.errors import PhotoError
from pipeline.images.codecs import open_deep
from pipeline.images.curves import Curve, curve_profile
from pipeline.images.deep_masters import DeepMaster, checked_samples
from pipeline.images.formats import MasterInfo
from pipeline.images.frames import (
    MULTIPLIED,
    ImageRows,
    format_of,
    look_of,
    open_by_pillow,
    orientation_of,
    repair_palette,
    resolution_of,
    samples_of,
    small_channels,
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
from pipeline.images.jpeg2000 import check_codestream
from pipeline.images.jpegs import check_scans, ends_early, may_lack_detail, note_on_inks
from pipeline.images.pngs import check_whole
from pipeline.images.profiles import color_profile, own_profile
from pipeline.images.regions import Kept, Look, look_at
from pipeline.images.stated_curves import stated_curve, tiff_curve
from pipeline.images.tails import check_tail
from pipeline.images.tiffs import check_pieces, open_refused
from pipeline.images.tones import LOOK

# A row that is longer takes more memory than one of `max_pixels`. At 1,200 dots per inch, this is a
# scroll of 44 meters.
MAX_SIDE = 2**21


@dataclass(frozen=True)
class Facts:
    """What is known of a picture beside its pixels; info and dpi are of the upright picture.

    found: Pillow's `info`.
    """

    info: MasterInfo
    orientation: int
    dpi: tuple[float, float] | None
    found: Mapping[Any, Any]

    def seen(self, look: Look) -> Facts:
        return replace(self, info=replace(self.info, tone=look.tone))


@dataclass(frozen=True)
class Decoded:
    """A picture as gray uint8 or uint16 (H, W), and the parts that keep their own color."""

    gray: np.ndarray
    facts: Facts
    kept: Kept | None
    note: str = ""  # for people: which statement of the file about its tones was not followed


def decode(data: bytes, max_pixels: int, reduce_to: int | None = None) -> Decoded:
    """A master, decoded and upright. reduce_to: the shorter side may shrink to this."""
    found = _decode_as_stored(data, max_pixels, reduce_to)
    turn = found.facts.orientation
    kept = found.kept and Kept(upright(found.kept.cells, turn), upright(found.kept.color, turn))
    return replace(found, gray=upright(found.gray, turn), kept=kept)


def _decode_as_stored(data: bytes, max_pixels: int, reduce_to: int | None) -> Decoded:
    """By the first decoder that can: one of our own where Pillow would lose bits, then Pillow, then
    the decoder for what Pillow refuses."""
    check_tail(data)
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
            raise error from second  # the first explains as much to people


def _decode_by_pillow(data: bytes, max_pixels: int, reduce_to: int | None) -> Decoded:
    image, facts = load(data, max_pixels, reduce_to)
    samples, icc = samples_of(image), own_profile(data, image.info)
    curve = tiff_curve(getattr(image, "tag_v2", {})) or stated_curve(data)
    profile, note = _profile_of(icc, curve, samples.kind)
    look = look_of(image, samples.kind, profile)
    kept = None
    if reduce_to is None and look.cells is not None:
        kept = Kept(look.cells, color_of(samples, profile))
    if profile is None and samples.white == 255 and image.mode not in MULTIPLIED:
        samples = Samples(ImageRows(image, "L"), "gray", 255)  # Pillow's own luma is faster
    note = note or (note_on_inks(data) if image.mode == "CMYK" else "")
    return Decoded(gray_of(samples, profile), facts.seen(look), kept, note)


def _profile_of(icc: bytes | None, curve: Curve | None, kind: Kind) -> tuple[Profile | None, str]:
    """What converts pixels to sRGB, the file's profile or else its curve, and a note on it."""
    if curve is None or (icc and not curve.above_profile):
        return color_profile(icc, kind) if icc else None, ""
    return curve_profile(curve, kind), curve.note


def _decode_deep(deep: DeepMaster, data: bytes, max_pixels: int, keeps: bool) -> Decoded:
    """A picture of a decoder of our own. keeps: parts that keep their own color are wanted, too."""
    _check_pixels(deep.width, deep.height, max_pixels // (2 if deep.channels >= 3 else 1))
    orientation, dpi, icc = deep.orientation, deep.dpi, deep.icc
    found: Mapping[Any, Any] = {}
    if deep.header is not None:
        with open_by_pillow(deep.header) as header:
            orientation, dpi = orientation_of(header, data), resolution_of(header)
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
    return Decoded(gray_of(samples, profile), facts.seen(look), kept, note or samples.note)


def load(data: bytes, max_pixels: int, reduce_to: int | None = None) -> tuple[Image.Image, Facts]:
    """An image decoded by Pillow, not yet upright."""
    image = open_by_pillow(data)
    width, height = image.size
    _check_pixels(width, height, max_pixels // (2 if _is_costly(image) else 1))
    format, mode = format_of(image), image.mode
    if format == "JPEG":
        check_scans(data)
        image.decodermaxblock = len(data)  # as libjpeg cannot wait for more of arithmetic codes
    if reduce_to is not None:
        image = _reduced(image, data, reduce_to)
    image.load()
    _check_loaded(image, format, data)
    repair_palette(image)
    orientation = orientation_of(image, data)  # after load: Pillow has turned TIFF upright by now
    dpi = resolution_of(image)
    return image, _facts(width, height, mode, format, orientation, dpi, image.info)


def _check_loaded(image: Image.Image, format: str, data: bytes) -> None:
    """Raises PhotoError (corrupt) where Pillow has filled in pixels that are missing."""
    if format == "PNG":
        check_whole(data, image)
    elif format == "JPEG2000":
        check_codestream(data)
    elif format == "TIFF":
        check_pieces(data)
    elif format == "JPEG" and (may_lack_detail(data) or _ends_in_filling(image)):
        if ends_early(data):
            raise PhotoError("corrupt", "the JPEG ends before its pixels do")


def _is_costly(image: Image.Image) -> bool:
    """Whether decoding takes twice the memory: a bitmap's runs are unpacked beside the picture."""
    runs = image.format == "BMP" and image.info.get("compression") in (1, 2)
    colors = image.format == "JPEG2000" and len(image.getbands()) > 2
    return runs or colors or image.format == "WEBP"


def _ends_in_filling(image: Image.Image) -> bool:
    """Whether the last pixel is what libjpeg puts where a JPEG has no data: middle gray, which
    Pillow may have inverted."""
    last = np.asarray(image.crop((image.width - 1, image.height - 1, image.width, image.height)))
    return bool(((last == 127) | (last == 128)).all())


def _check_pixels(width: int, height: int, most: int) -> None:
    allow(min(width * height, most))
    if width * height > most:
        raise PhotoError(
            "too_large",
            f"{width:,} x {height:,} pixels are {width * height / 1e6:,.0f} megapixels;"
            f" the limit is {most / 1e6:,.0f}",
        )
    if max(width, height) > MAX_SIDE:
        raise PhotoError(
            "too_large", f"{width:,} x {height:,} pixels; the limit of a side is {MAX_SIDE:,}"
        )


def _facts(
    width: int,
    height: int,
    mode: str,
    format: str,
    orientation: int,
    dpi: tuple[float, float] | None,
    found: Mapping[Any, Any],
) -> Facts:
    if orientation >= 5:
        width, height = height, width
        dpi = dpi and (dpi[1], dpi[0])
    return Facts(MasterInfo(width, height, mode, format), orientation, dpi, dict(found))


def _reduced(image: ImageFile.ImageFile, data: bytes, side: int) -> ImageFile.ImageFile:
    """The image set to decode at a reduced scale, both sides still at least `side`, if it can."""
    if image.format != "JPEG2000":
        image.draft(None, (side, side))  # only JPEG does anything here
        return image
    levels = min(5, int(math.log2(max(1, min(image.size) // side))))
    if levels:
        image.reduce = levels  # type: ignore[method-assign, assignment]
        try:
            image.load()
        except OSError:  # fewer levels are stored: decode at full scale
            return open_by_pillow(data)
    return image
