"""A finished picture: a master's file and a small picture in, the file of a result out.

Needs neither storage nor Ray, so that it can run in a process of its own.
"""

import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from pipeline.errors import PhotoError
from pipeline.images.chroma import ColorMeter, color_bands
from pipeline.images.encoding import encode_bands, result_labels
from pipeline.images.formats import DEEP, output_format
from pipeline.images.gray import eight_bits
from pipeline.images.hints import HintBlend, HintColor
from pipeline.images.mark import marked
from pipeline.images.pictures import resize_rgb
from pipeline.images.pillow import read_full
from pipeline.images.regions import Kept, keep_color
from pipeline.images.watermark import watermarked
from pipeline.images.watermark_strength import TRIED_AT, least_strength
from pipeline.ledger.recipe import Recipe
from pipeline.metadata.xmp import Provenance
from pipeline.provenance.c2pa import Sign, Signed
from pipeline.provenance.watermark import payload_of
from pipeline.review.previews import Preview, fitted


@dataclass(frozen=True)
class Picture:
    """A finished result: its file, and its suffix without a dot. preview: uint8 (h, w, 3). note:
    what of the master's metadata was left out, and which hints could not be met, in words; mostly
    empty. unstamped: as in Signed."""

    file: bytes
    suffix: str
    colorfulness: float
    preview: np.ndarray
    note: str = ""
    unstamped: str = ""


def render(
    data: bytes,
    candidates: Sequence[np.ndarray],
    recipe: Recipe,
    seeds: Sequence[int],
    sign: Sign | None = None,
    page: int | None = None,
    hints: Sequence[HintColor] = (),
) -> list[Picture | PhotoError]:
    """A master's file and its small pictures, uint8 (S, S, 3) -> the files of its results.

    sign: what signs them. page: of several that are all done, from 1; None: the first, of which
    results say nothing. hints: what all of them have to show. Raises PhotoError where the
    master cannot be decoded.
    """
    master = read_full(data, page=page or 1)
    if recipe.output_size != "full":
        rows, columns = master.gray.shape
        height, width = fitted(rows, columns, int(recipe.output_size))
        gray = resize_rgb(eight_bits(master.gray), (width, height))
        master = replace(
            master, gray=gray, dpi=None, kept=resized_kept(master.kept, (width, height))
        )
    pixels = master.gray.size
    format, suffix = output_format(recipe.format, master.info, sign is not None, pixels)
    if format not in DEEP:
        master = master.in_eight_bits()
    gray = master.gray
    pictures: list[Picture | PhotoError] = []
    blend = HintBlend(gray, hints) if hints else None
    notes = (*master.metadata.notes, *(blend.notes() if blend else ()))
    digest, (height, width) = hashlib.sha256(data).hexdigest(), gray.shape
    for small, seed in zip(candidates, seeds, strict=True):
        made = Provenance(
            recipe.digital_source_type,
            recipe.version,
            recipe.weights,
            seed,
            digest,
            page,
        )
        meter, preview = ColorMeter(), Preview(height, width)
        colors = partial(_colors, gray, small, blend, master.kept, recipe.mark)
        parts = colors(meter)
        if recipe.watermark:
            payload, tried = payload_of(recipe, digest), Preview(height, width, TRIED_AT)
            deque(tried.watch(colors(ColorMeter())), maxlen=0)
            strength = least_strength(tried.picture(), payload)
            parts = watermarked(parts, height, width, payload, strength)
        parts = preview.watch(parts)
        labels = result_labels(master, format, made)
        try:
            signed = Signed(encode_bands(parts, height, width, format, labels))
            if sign is not None:
                signed = sign(signed.file, format, data, master.info.format, made)
        except PhotoError as error:
            pictures.append(error)
        else:
            note, small_picture = "; ".join(notes), preview.picture()
            facts = suffix, meter.colorfulness(), small_picture, note, signed.unstamped
            pictures.append(Picture(signed.file, *facts))
    return pictures


def _colors(
    gray_HW: np.ndarray,
    rgb_SS3: np.ndarray,
    blend: HintBlend | None,
    kept: Kept | None,
    mark: bool,
    meter: ColorMeter,
) -> Iterator[np.ndarray]:
    """Bands of a picture, with its visible mark, if any; the meter does not see that."""
    parts = meter.watch(keep_color(color_bands(gray_HW, rgb_SS3, blend), kept))
    return marked(parts, *gray_HW.shape) if mark else parts


def resized_kept(kept: Kept | None, size: tuple[int, int]) -> Kept | None:
    """What keeps its color, uint8, in a picture of another (width, height)."""
    return kept and replace(kept, color=resize_rgb(eight_bits(kept.color), size))
