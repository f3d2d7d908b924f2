"""Photographs to train on: random crops of a set in memory, and the colors that grays have in it.

Legend: N photographs, S their side, R the resolution of crops.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, distributed

from model.color import NUM_BINS, bins_from_coarse, coarse_from_rgb, gray_from_rgb
from model.core import ColTranCore
from model.scaling import scale_by_area
from model.upsamplers import CHANNELS

HISTOGRAM_PHOTOS, HISTOGRAM_BATCH = 8192, 64
HISTOGRAM_SPREAD = 3.0  # of 255


@dataclass(frozen=True)
class Share:
    """The part of every batch that one of several workers computes.

    Each worker draws the randomness of the whole batch, computes the losses of its own pictures,
    and gets the gradients of the whole: so training is the same with any number of workers, but
    for the order of sums and for dropout. Several workers need a torch.distributed process group.
    """

    rank: int = 0
    workers: int = 1

    def of(self, count: int) -> slice:
        """The places of a batch, or of any list of that length, that are this worker's."""
        return slice(self.rank * count // self.workers, (self.rank + 1) * count // self.workers)

    def add_up(self, tensors: list[Tensor]) -> None:
        """Replace each tensor by its sum over all workers, in one message."""
        if self.workers == 1:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        distributed.all_reduce(flat)
        parts = flat.split([tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))


ALONE = Share()


class Squares(Protocol):
    """N pictures, uint8 (S, S, 3) each: a tensor (N, S, S, 3), or what finds them one by one."""

    def __len__(self) -> int: ...

    def __getitem__(self, place: int, /) -> Tensor: ...


@dataclass(frozen=True)
class Photographs:
    """A data set in memory, and how often each photograph is drawn (N,), in any scale."""

    rgb: Squares
    weights: Tensor

    def __post_init__(self) -> None:
        if not len(self.rgb):
            raise ValueError("the set of photographs is empty")
        first = self.rgb[0]
        if first.dtype != torch.uint8 or first.dim() != 3 or first.shape[-1] != CHANNELS:
            found = f"{first.dtype} {tuple(first.shape)}"
            raise ValueError(f"photographs must be uint8 (S, S, 3) each, not {found}")

    def crops(
        self,
        resolution: int,
        least: float,
        count: int,
        generator: torch.Generator,
        share: Share = ALONE,
    ) -> Tensor:
        """Random, flipped crops scaled by averaging areas: uint8 (count, R, R, 3), or a share."""
        picked = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        side = self.rgb[0].shape[0]
        low = max(round(least * side), min(resolution, side))
        own = range(count)[share.of(count)]
        batch = torch.empty(len(own), resolution, resolution, CHANNELS, dtype=torch.uint8)
        for place, index in enumerate(picked.tolist()):
            rows, columns = draw_rectangle(side, low, generator)
            flip = torch.rand((), generator=generator) < 0.5
            if place in own:
                crop = self.rgb[index][rows, columns]
                crop = crop.flip(1) if flip else crop
                batch[place - own.start] = scale_by_area(crop[None], resolution)[0]
        return batch


def draw_rectangle(side: int, least: int, generator: torch.Generator) -> tuple[slice, slice]:
    """Rows and columns of a random part of a square, of at least so many pixels each way."""
    height, width = torch.randint(least, side + 1, (2,), generator=generator).tolist()
    top = int(torch.randint(side - height + 1, (1,), generator=generator))
    left = int(torch.randint(side - width + 1, (1,), generator=generator))
    return slice(top, top + height), slice(left, left + width)


def fit_histogram(core: ColTranCore, photographs: Photographs) -> None:
    """Fill the table log p(bin | gray) from photographs, drawn as training draws them.

    Smoothed along gray, where neighbors look alike, and by the colors of all photographs.
    """
    generator = torch.Generator().manual_seed(0)
    counts = torch.zeros(256, NUM_BINS, dtype=torch.float64)
    for _ in range(HISTOGRAM_PHOTOS // HISTOGRAM_BATCH):
        rgb = photographs.crops(core.config.resolution, 1.0, HISTOGRAM_BATCH, generator)
        bins = bins_from_coarse(coarse_from_rgb(rgb))
        symbols = (gray_from_rgb(rgb) * NUM_BINS + bins).flatten()
        counts += torch.bincount(symbols, minlength=256 * NUM_BINS).view(256, NUM_BINS)
    gray = torch.arange(256, dtype=torch.float64)
    near = torch.exp(-0.5 * ((gray[:, None] - gray) / HISTOGRAM_SPREAD) ** 2)
    smooth = near @ counts
    # A bin whose brightness is far from a gray value never comes with it; a thousandth of a count
    # keeps it possible, as saved weights are rounded and photographs are degraded.
    smooth += 1e-3
    core.log_histogram.copy_((smooth / smooth.sum(dim=1, keepdim=True)).log())
