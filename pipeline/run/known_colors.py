"""Colors that the model is told in advance: hints and palettes.

Legend: B photographs, R side of the model's low resolution, V = 512 bins.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.errors import UsageError
from pipeline.images.hints import HintColor, hinted_cells, pin, rgb_on_gray
from pipeline.ledger.palettes import NUM_BINS, parse_palette

UNKNOWN = NUM_BINS  # the hint of a pixel whose color nobody knows, as in model.encoder


@dataclass(frozen=True)
class Hinted:
    """A photograph: small gray, uint8 (R, R), original size, hints, and its palette as text."""

    low: np.ndarray
    width: int
    height: int
    hints: tuple[HintColor, ...] = ()
    palette: str | None = None

    def pinned(self, rgb_SS3: np.ndarray, high_SS: np.ndarray) -> np.ndarray:
        """Its small picture, uint8, at the low or high resolution, with the hints' colors put
        in."""
        gray = self.low if len(rgb_SS3) == len(self.low) else high_SS
        return pin(rgb_SS3, gray, self.hints, self.width, self.height)


def known_colors(photos: Sequence[Hinted]) -> dict[str, np.ndarray]:
    """Arguments of Colorizer.colorize: hints int64 (B, R, R), and palette float32 (B, V).

    If no photograph has hints, or a palette, the argument is left out, as for models without it.
    """
    known: dict[str, np.ndarray] = {}
    if any(photo.hints for photo in photos):
        known["hints"] = np.stack([hint_bins(photo) for photo in photos])
    if any(photo.palette for photo in photos):
        none = np.zeros(NUM_BINS, np.float32)
        palettes = [parse_palette(photo.palette) if photo.palette else none for photo in photos]
        known["palette"] = np.stack(palettes)
    return known


def hint_bins(photo: Hinted) -> np.ndarray:
    """The bin of each hinted pixel, and UNKNOWN elsewhere: int64 (R, R)."""
    side = len(photo.low)
    bins = np.full((side, side), UNKNOWN, np.int64)
    if photo.hints:
        places = [color.hint for color in photo.hints]
        cells = hinted_cells(places, photo.width, photo.height, side)
        red, green, blue = rgb_on_gray(photo.hints, cells, photo.low).T.astype(np.int64) // 32
        bins[cells >= 0] = (red * 8 + green) * 8 + blue
    return bins


def require_support(what: str, name: str, weights: str, knows: frozenset[str]) -> None:
    """Raise UsageError if the weights know no hints, or no palette. what: the option or file that
    has some."""
    if name not in knows:
        raise UsageError(f"{what}: the weights in {weights} were not trained with {name}")
