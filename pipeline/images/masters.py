"""Photographs in: bytes -> pixels, sizes and metadata, or a PhotoError.

Legend: H W rows and columns, S side of a model's square. Gray is what pipeline.images.gray makes of
the pixels: uint8 [0, 255], or uint16 [0, 65535] where the master has more than 8 bits a sample.

- 1 bit: black 0, white 255. Palettes: luma of their RGB. Alpha is dropped.
- Min-is-white is inverted, and the EXIF orientation is applied.
- Of a TIFF with several pages, the requested one is read (pipeline.images.pages tells what counts
  as a page); of other files with several frames, the first.
- An embedded color profile that is not sRGB is applied, or else a curve that the file states;
  without either, values are taken as sRGB.

Whatever cannot be decoded raises PhotoError(reason, one line).
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageFile, PngImagePlugin, UnidentifiedImageError

from pipeline.errors import PhotoError
from pipeline.images.decoding import Decoded, decode, load
from pipeline.images.formats import MasterInfo, describe_unknown, format_by_start
from pipeline.images.frames import UPRIGHT, format_of, open_by_pillow, rgb_of, squeezed
from pipeline.images.gray import eight_bits
from pipeline.images.jpeg_frames import with_height
from pipeline.images.pages import page_alone
from pipeline.images.pngs import MOST_TEXT, without_long_texts
from pipeline.images.regions import Kept
from pipeline.images.tails import note_on_tail
from pipeline.metadata.exif import Metadata, metadata_of

# Colorizing at full resolution holds up to 11 bytes per pixel at its peak (measured: a master of 16
# bits, written as TIFF or PNG), so that one photo of the largest size needs 5.5 GB. The limit is
# half of this for what takes twice as much to decode: WebP, JPEG 2000 in color, and any color of
# more than 8 bits a sample.
MAX_PIXELS = 500_000_000

_DARK = 4095  # of 65535
_UNCOMPRESSED = ("BMP", "PPM", "TIFF")  # formats whose pixels may be stored as they are
_FEWER_BITS = [str(bits) for bits in range(9, 16)]  # as modes name them
# What decoders say of sound files beyond them.
_BEYOND = re.compile("unsupported|not supported|not implemented|cannot handle", re.IGNORECASE)

# How a frame becomes a square: all of it, or the largest square in its middle.
Fit = Literal["squeeze", "crop"]


@dataclass(frozen=True)
class Master:
    """A master at full resolution: gray uint8 or uint16 (H, W), dots per inch (x, y) or None.

    kept: what is on the master beside the photograph and keeps its color, of the gray's type.
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
        data = _readable(data, page)
        found = decode(data, max_pixels, reduce_to=4 * max(sizes))
        image = Image.fromarray(eight_bits(found.gray))
    return found.facts.info, [squeezed(image, size) for size in sizes]


def read_rgb(
    data: bytes, size: int, max_pixels: int = MAX_PIXELS, fit: Fit = "squeeze"
) -> np.ndarray:
    """A photograph in its colors, uint8 (S, S, 3): the whole frame or its center, scaled by areas.

    Raises PhotoError as read_small does; of CIE Lab only the lightness is read.
    """
    with as_photo_error(data):
        image, facts = load(data, max_pixels, reduce_to=4 * size)
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
        given, data = data, _readable(data, page)
        found = decode(data, max_pixels)
        facts = found.facts
        metadata = metadata_of(facts.info.format, data, facts.found)
        texts = (
            "texts or a profile left out: too long"
            if format_by_start(data) == "PNG" and len(data) < len(given)
            else ""
        )
        notes = [
            note
            for note in (found.note, _note_on_dark(found), texts, _note_on_tail(found, data))
            if note
        ]
        metadata = replace(metadata, notes=(*metadata.notes, *notes))
    dpi = facts.dpi or metadata.dpi
    if facts.dpi is None and dpi is not None and facts.orientation >= 5:
        dpi = (dpi[1], dpi[0])
    return Master(found.gray, facts.info, dpi, metadata, found.kept)


def _readable(data: bytes, page: int) -> bytes:
    """The file that decoders are given."""
    return without_long_texts(with_height(page_alone(data, page)))


def _note_on_dark(found: Decoded) -> str:
    """For people: a picture of 16 bits or more that looks as if it had fewer."""
    highest, bits = int(found.gray.max(initial=0)), found.facts.info.mode.partition(";")[2]
    if found.gray.dtype == np.uint8 or bits in _FEWER_BITS or not 0 < highest <= _DARK:
        return ""
    return f"no tone is brighter than {highest:,} of 65,535, as if it had 12 bits stored in 16"


def _note_on_tail(found: Decoded, data: bytes) -> str:
    info = found.facts.info
    return note_on_tail(data, info.width, info.height) if info.format in _UNCOMPRESSED else ""


def read_header(data: bytes) -> Metadata:
    """A file's metadata, without decoding pixels; of a PNG only what comes before the pixels.

    Raises PhotoError (unsupported, corrupt).
    """
    with as_photo_error(data):
        format, info = format_by_start(data), dict[Any, Any]()
        try:
            with open_by_pillow(data) as image:
                format, info = format_of(image), image.info
        except (OSError, ValueError, SyntaxError):  # other decoders may know the format
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
        reason = "unsupported" if _BEYOND.search(cause) else "corrupt"
        raise PhotoError(reason, f"the picture cannot be decoded: {cause}") from error


def _unidentified(data: bytes) -> PhotoError:
    name = format_by_start(data)
    if name is None:
        return PhotoError("unsupported", describe_unknown(data))
    return PhotoError("corrupt", f"the {name} header is damaged or of an unknown kind")


def _prepare_pillow() -> None:
    """Set Pillow's global settings: on use, never at import, and always to the same values, so that
    threads may race. Pillow's own pixel limit is off because max_pixels replaces it."""
    Image.MAX_IMAGE_PIXELS = None
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    PngImagePlugin.MAX_TEXT_CHUNK = MOST_TEXT  # profiles of scanners and printers have megabytes
    module = re.compile(r"PIL\.")
    if not any(entry[0] == "ignore" and entry[3] == module for entry in warnings.filters):
        warnings.filterwarnings("ignore", module=module.pattern)
    logger = logging.getLogger("PIL")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
