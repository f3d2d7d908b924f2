"""A finished picture: a master's file and a small picture in, the file of a result out.

Needs neither storage nor Ray, so that it can run in a process of its own.
"""

import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.errors import PhotoError
from pipeline.images.chroma import ColorMeter, color_bands
from pipeline.images.encoding import encode_bands, result_labels
from pipeline.images.formats import DEEP, output_format
from pipeline.images.gray import eight_bits
from pipeline.images.hints import HintBlend, HintColor
from pipeline.images.mark import marked
from pipeline.images.masters import Master, read_full
from pipeline.images.pictures import resize_rgb
from pipeline.images.regions import Kept, keep_color
from pipeline.images.watermark import watermarked
from pipeline.images.watermark_strength import TRIED_AT, least_strength
from pipeline.ledger.recipe import Recipe
from pipeline.metadata.xmp import Provenance
from pipeline.provenance.signing import Sign, Signed
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
    master = _at_size(read_full(data, page=page or 1), recipe.output_size)
    format, suffix = output_format(recipe.format, master.info, sign is not None, master.gray.size)
    if format not in DEEP:
        master = master.in_eight_bits()
    blend = HintBlend(master.gray, hints) if hints else None
    notes = (*master.metadata.notes, *(blend.notes() if blend else ()))
    made = Provenance(
        recipe.digital_source_type,
        recipe.version,
        recipe.weights,
        0,
        hashlib.sha256(data).hexdigest(),
        page,
    )
    renderer = _Renderer(master, data, recipe, sign, made, blend, notes, format, suffix)
    return [renderer.picture(*each) for each in zip(candidates, seeds, strict=True)]


def _at_size(master: Master, output_size: str) -> Master:
    """A master as large as its results: full, or with a longest side of so many pixels."""
    if output_size == "full":
        return master
    rows, columns = master.gray.shape
    height, width = fitted(rows, columns, int(output_size))
    gray = resize_rgb(eight_bits(master.gray), (width, height))
    kept = resized_kept(master.kept, (width, height))
    return replace(master, gray=gray, dpi=None, kept=kept)


@dataclass(frozen=True)
class _Renderer:
    """What all results of a page have in common. data: the master's file. sign: as in `render`.
    made: of all results, but for the seed."""

    master: Master
    data: bytes
    recipe: Recipe
    sign: Sign | None
    made: Provenance
    blend: HintBlend | None
    notes: Sequence[str]
    format: str
    suffix: str

    def picture(self, small_SS3: np.ndarray, seed: int) -> Picture | PhotoError:
        """The result of a small picture, uint8; or why it could not be written as a file."""
        (height, width), made = self.master.gray.shape, replace(self.made, seed=seed)
        meter, preview = ColorMeter(), Preview(height, width)
        parts = self._colors(small_SS3, meter)
        if self.recipe.watermark:
            parts = self._watermarked(parts, small_SS3)
        labels = result_labels(self.master, self.format, made)
        try:
            file = encode_bands(preview.watch(parts), height, width, self.format, labels)
            signed = Signed(file)
            if self.sign is not None:
                given = self.master.info.format
                signed = self.sign(file, self.format, self.data, given, made)
        except PhotoError as error:
            return error
        facts = self.suffix, meter.colorfulness(), preview.picture(), "; ".join(self.notes)
        return Picture(signed.file, *facts, signed.unstamped)

    def _watermarked(
        self, parts: Iterator[np.ndarray], small_SS3: np.ndarray
    ) -> Iterator[np.ndarray]:
        """The picture's bands with the run's mark, as weak as it may be: it is drawn once before,
        at the size at which that is tried."""
        height, width = self.master.gray.shape
        payload = payload_of(self.recipe, self.made.source_sha256)
        tried = Preview(height, width, TRIED_AT)
        deque(tried.watch(self._colors(small_SS3, ColorMeter())), maxlen=0)
        return watermarked(parts, height, width, payload, least_strength(tried.picture(), payload))

    def _colors(self, small_SS3: np.ndarray, meter: ColorMeter) -> Iterator[np.ndarray]:
        """Bands of the picture, with its visible mark, if any; the meter does not see that."""
        colored = color_bands(self.master.gray, small_SS3, self.blend)
        parts = meter.watch(keep_color(colored, self.master.kept))
        return marked(parts, *self.master.gray.shape) if self.recipe.mark else parts


def resized_kept(kept: Kept | None, size: tuple[int, int]) -> Kept | None:
    """What keeps its color, uint8, in a picture of another (width, height)."""
    return kept and replace(kept, color=resize_rgb(eight_bits(kept.color), size))
