"""What training lets the core know of a photograph's color: hints and palettes, at random.

Half of the photographs come without hints, three of four without a palette, so that the model
learns to color without either, and to follow them where they are given.

Legend: B batch, R the core's resolution, V = 512 bins.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from model.color import NUM_BINS, bins_from_coarse, coarse_from_rgb
from model.encoder import UNKNOWN
from model.training.photographs import draw_rectangle

NO_HINTS = 0.5  # share of the photographs
NO_PALETTE = 0.75
MOST_HINTS = 48  # their number is drawn evenly along its logarithm
LEAST_CROP = 0.5  # share of each side of the crop that a palette is taken from
CAST = 0.1  # each channel of it is made brighter or darker by at most this share


class KnownColor(NamedTuple):
    """hints_BRR: int64 [0, 512], 512 for unknown. palette_BV: float32, zeros for none."""

    hints_BRR: Tensor
    palette_BV: Tensor


def draw_known_color(rgb_BRR3: Tensor, seeds_B: Tensor) -> KnownColor:
    """Hints and palettes of true photographs, uint8 (B, R, R, 3), each from its own seed."""
    bins = bins_from_coarse(coarse_from_rgb(rgb_BRR3))
    hints = torch.full_like(bins, UNKNOWN)
    palettes = torch.zeros(len(bins), NUM_BINS)
    for place, seed in enumerate(seeds_B.tolist()):
        generator = torch.Generator().manual_seed(seed)
        hinted, given, exponent = torch.rand(3, generator=generator).tolist()
        if hinted >= NO_HINTS:
            count = round(MOST_HINTS**exponent)
            places = torch.randint(bins[place].numel(), (count,), generator=generator)
            hints[place].view(-1)[places] = bins[place].view(-1)[places]
        if given >= NO_PALETTE:
            palettes[place] = draw_palette(rgb_BRR3[place], generator)
    return KnownColor(hints, palettes)


def draw_palette(rgb_RR3: Tensor, generator: torch.Generator) -> Tensor:
    """The colors of a random crop with a random cast: float32 (V,), sums to 1."""
    side = rgb_RR3.shape[0]
    least = max(1, round(LEAST_CROP * side))
    rows, columns = draw_rectangle(side, least, generator)
    cast = 1 + CAST * (2 * torch.rand(3, generator=generator) - 1)
    crop = rgb_RR3[rows, columns].float() * cast
    return palette_of(crop.round().clamp(0, 255))


def palette_of(rgb: Tensor) -> Tensor:
    """Share of each bin among colors, (..., 3) [0, 255] -> float32 (V,)."""
    counts = torch.bincount(bins_from_coarse(coarse_from_rgb(rgb)).flatten(), minlength=NUM_BINS)
    return counts.float() / counts.sum()
