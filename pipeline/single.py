"""One photograph at a time, in this process and without Ray: for previews and notebooks.

The pictures are those that a run would give for the same photograph, weights, seed and method.

Legend: H W rows and columns, R S low and high resolution of the model.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from model.colorized import Colorized
from model.colorizer import Colorizer
from model.method import Method
from model.systems import load_colorizer
from model.weights import WeightsError
from pipeline.errors import UsageError
from pipeline.images.chroma import color_bands, colorfulness
from pipeline.images.hints import Hint, HintBlend, hint_colors
from pipeline.images.masters import read_full, read_small
from pipeline.images.pictures import resize_rgb
from pipeline.images.regions import Kept, keep_color
from pipeline.ledger.ranking import DEFAULTS, RANKINGS, ranks, refuse_ranking
from pipeline.ledger.seeds import photo_seed
from pipeline.review.previews import fitted
from pipeline.run.known_colors import Hinted, known_colors, require_support
from pipeline.run.options import SATURATIONS, TEMPERATURES, default_method
from pipeline.run.rendering import resized_kept

GAP = 8  # pixels between the pictures of a preview


@dataclass(frozen=True)
class Candidate:
    """One colorized picture, uint8 (H, W, 3), and its scores.

    seed: the photograph's own, of the run's seed and its content; of no effect on a mean picture.
    log_likelihood (nats), bits_per_pixel (a blind guess: 9): of the core's small picture.
    excess_bits, mean_distance, chroma_excess: of drawn ones, as in model.ranking; NaN for the mean.
    colorfulness: Hasler and Suesstrunk's measure.
    """

    rgb: np.ndarray
    seed: int
    log_likelihood: float
    bits_per_pixel: float
    excess_bits: float
    mean_distance: float
    chroma_excess: float
    colorfulness: float


@dataclass(frozen=True)
class Colorization:
    """What became of a photograph.

    gray: uint8 (H, W). candidates: best first, at least one. uncertainty: float32 (R, R), bits
    [0, 9], how undecided the model was at each place of the squeezed frame. notes: of hints that
    the luminance does not allow.
    """

    gray: np.ndarray
    candidates: tuple[Candidate, ...]
    uncertainty: np.ndarray
    notes: tuple[str, ...] = ()

    @property
    def rgb(self) -> np.ndarray:
        """The first candidate's picture, uint8 (H, W, 3)."""
        return self.candidates[0].rgb


@dataclass(frozen=True)
class Preview:
    """Pictures side by side, uint8 (h, w, 3), and the notes of a Colorization."""

    rgb: np.ndarray
    notes: tuple[str, ...]


class PhotoColorizer:
    """Weights that are loaded once, for any number of photographs."""

    def __init__(self, weights: Path | str) -> None:
        """weights: a folder with ColTran's three stages. Raises UsageError."""
        try:
            colorizer = load_colorizer("coltran", weights)
        except WeightsError as error:
            raise UsageError(str(error)) from error
        assert isinstance(colorizer, Colorizer)
        self._stages = colorizer.core, colorizer.color, colorizer.spatial
        self._sizes = colorizer.low_resolution, colorizer.high_resolution
        self._place, self._knows = str(weights), colorizer.knows

    def colorize(
        self,
        data: bytes,
        seed: int = 0,
        candidates: int = 1,
        method: str = "auto",
        temperature: float | None = None,
        saturation: float | None = None,
        longest: int | None = None,
        hints: Sequence[Hint] = (),
        palette: str | None = None,
        rank_by: str | None = None,
    ) -> Colorization:
        """Colorize a photograph's file.

        method: mean, sample, or auto, which is mean for one candidate and sample for several.
        temperature, saturation None: the method's own. longest: side that the pictures are shrunk
        to; None: as large as the photograph. hints: of its first page. palette: as ledger.palettes
        writes it. rank_by: a way of ledger.ranking; None: the default. Raises PhotoError,
        UsageError.
        """
        rank_by = rank_by or DEFAULTS["coltran"]
        refuse_ranking("coltran", rank_by)
        method = _resolved_method(method, candidates)
        if hints:
            require_support("hints", "hints", self._place, self._knows)
        if palette:
            require_support("a palette", "palette", self._place, self._knows)
        low, high, gray, kept = self._read(data, longest)
        hinted = Hinted(low, gray.shape[1], gray.shape[0], hint_colors(hints), palette)
        digest = hashlib.sha256(data).hexdigest()
        seeds = [photo_seed(seed, digest, number) for number in range(candidates)]
        if temperature is None:
            temperature = TEMPERATURES[method]
        if saturation is None:
            saturation = SATURATIONS[method]
        how = Method(draft=method == "mean", saturation=saturation)
        colorizer = Colorizer(*self._stages, method=how)
        lows, highs = (np.repeat(each[None], candidates, axis=0) for each in (low, high))
        known = known_colors([hinted] * candidates)
        colors = colorizer.colorize(lows, highs, seeds, temperature, **known)
        blend = HintBlend(gray, hinted.hints) if hints else None
        pictures = [_finished(gray, hinted.pinned(rgb, high), kept, blend) for rgb in colors.rgb]
        found = _ranked(_candidates(colors, pictures, seeds), rank_by)
        notes = tuple(blend.notes()) if blend else ()
        return Colorization(gray, found, colors.entropy[0], notes)

    @property
    def low_resolution(self) -> int:
        """Side of the square in which the model sees colors."""
        return self._sizes[0]

    def preview(
        self,
        data: bytes,
        seed: int,
        candidates: int,
        longest: int,
        saturation: float | None = None,
        hints: Sequence[Hint] = (),
        palette: str | None = None,
    ) -> Preview:
        """Gray, expected colors and candidates side by side.

        saturation, hints, palette: as in `colorize`. Raises PhotoError, UsageError.
        """
        how: dict[str, Any] = {"saturation": saturation, "longest": longest}
        how |= {"hints": hints, "palette": palette}
        mean = self.colorize(data, seed, 1, "mean", **how)
        pictures = [np.stack([mean.gray] * 3, axis=-1), mean.rgb]
        if candidates:
            drawn = self.colorize(data, seed, candidates, "sample", **how)
            pictures += [candidate.rgb for candidate in drawn.candidates]
        gap = np.full((len(mean.gray), GAP, 3), 255, np.uint8)
        parts = [part for picture in pictures for part in (gap, picture)]
        return Preview(np.concatenate(parts[1:], axis=1), mean.notes)

    def _read(
        self, data: bytes, longest: int | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, Kept | None]:
        """The model's two grays, the one that color is put on, uint8, and what keeps its own."""
        if longest is None:
            _, (low, high) = read_small(data, self._sizes)
            master = read_full(data).in_eight_bits()
            return low, high, master.gray, master.kept
        # A squeezed square, brought back to its proportions: nothing is decoded at full size, but
        # for targets, stamps and mounts, which keep the color that they have there.
        info, (low, high, square) = read_small(data, (*self._sizes, longest))
        height, width = fitted(info.height, info.width, longest)
        kept = None
        if info.tone in ("gray_with_color", "toned_with_color"):
            kept = resized_kept(read_full(data).kept, (width, height))
        return low, high, resize_rgb(square, (width, height)), kept


def _resolved_method(method: str, candidates: int) -> str:
    """mean or sample. Raises UsageError for what is neither, or does not fit the candidates."""
    if candidates < 1:
        raise UsageError(f"at least one candidate is needed, not {candidates}")
    if method not in ("auto", "mean", "sample"):
        raise UsageError(f"method must be auto, mean or sample, not {method!r}")
    if method == "auto":
        method = default_method("coltran", "spatial", candidates)
    if method == "mean" and candidates > 1:
        raise UsageError(f"method mean has one picture of a photo, not {candidates}")
    return method


def _candidates(
    colors: Colorized, pictures: Sequence[np.ndarray], seeds: Sequence[int]
) -> list[Candidate]:
    return [
        Candidate(
            picture,
            seeds[place],
            float(colors.log_likelihood[place]),
            float(colors.bits_per_pixel[place]),
            float(colors.excess_bits[place]),
            float(colors.mean_distance[place]),
            float(colors.chroma_excess[place]),
            colorfulness(picture),
        )
        for place, picture in enumerate(pictures)
    ]


def _ranked(found: Sequence[Candidate], rank_by: str) -> tuple[Candidate, ...]:
    order = dict(zip(ranks(RANKINGS[rank_by], list(map(vars, found))), found, strict=True))
    return tuple(order[rank] for rank in sorted(order))


def _finished(
    gray_HW: np.ndarray, rgb_SS3: np.ndarray, kept: Kept | None, hints: HintBlend | None
) -> np.ndarray:
    """Predicted color on a photograph, whole, uint8 (H, W, 3)."""
    return np.concatenate(list(keep_color(color_bands(gray_HW, rgb_SS3, hints), kept)))
