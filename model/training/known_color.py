"""Known colors for training: random hints and palettes from the true photograph.

Half of the photographs get no hints, and three of four no palette, so that the model learns to
colorize without them, and to follow them if they are given.

Legend: B batch, R the core's resolution, V = 512 bins.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from model.color import NUM_BINS, bins_from_coarse, coarse_from_rgb
from model.encoder import UNKNOWN
from model.training.photographs import draw_rectangle

NO_HINTS = 0.5  # share of photographs without hints
NO_PALETTE = 0.75
MOST_HINTS = 48  # the logarithm of their number is uniform
LEAST_CROP = 0.5  # smallest share of each side in the crop that a palette is taken from
CAST = 0.1  # largest relative change of each channel of that crop


class KnownColor(NamedTuple):
    """hints_BRR: int64 [0, 512], 512 for unknown. palette_BV: float32, zeros if unknown."""

    hints_BRR: Tensor
    palette_BV: Tensor


def draw_known_color(rgb_BRR3: Tensor, seeds_B: Tensor) -> KnownColor:
    """Random hints and palettes of true photographs, uint8, each from its own seed, int64."""
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
    """The palette of a random crop with a random color cast: float32 (V,), with sum 1."""
    side = rgb_RR3.shape[0]
    least = max(1, round(LEAST_CROP * side))
    rows, columns = draw_rectangle(side, least, generator)
    cast = 1 + CAST * (2 * torch.rand(3, generator=generator) - 1)
    crop = rgb_RR3[rows, columns].float() * cast
    return palette_of(crop.round().clamp(0, 255))


def palette_of(rgb: Tensor) -> Tensor:
    """Share of each bin among colors 0..255 (..., 3): float32 (V,), with sum 1."""
    counts = torch.bincount(bins_from_coarse(coarse_from_rgb(rgb)).flatten(), minlength=NUM_BINS)
    return counts.float() / counts.sum()
