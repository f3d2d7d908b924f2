"""Photographs to train on: random crops, and a histogram of the colors at each gray value.

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

    Each worker draws the random numbers of the whole batch, computes the losses of its own
    pictures, and gets the gradients of the whole batch. Training is therefore the same with any
    number of workers, except for the order of sums and for dropout. Several workers need a
    torch.distributed process group.
    """

    rank: int = 0
    workers: int = 1

    def of(self, count: int) -> slice:
        """This worker's part of a batch, or of any list of that length."""
        return slice(self.rank * count // self.workers, (self.rank + 1) * count // self.workers)

    def add_up(self, tensors: list[Tensor]) -> None:
        """Replace each tensor by its sum over all workers, by a single all-reduce."""
        if self.workers == 1:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        distributed.all_reduce(flat)
        parts = flat.split([tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))


ALONE = Share()


class Squares(Protocol):
    """N pictures, uint8 (S, S, 3) each: a tensor (N, S, S, 3), or an object that looks them up."""

    def __len__(self) -> int: ...

    def __getitem__(self, place: int, /) -> Tensor: ...


@dataclass(frozen=True)
class Photographs:
    """A data set, with a weight (N,) for each photograph that is proportional to its probability.

    Raises:
        ValueError: no photographs, or a first one that is not uint8 (S, S, 3).
    """

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
        """Random crops, half of them mirrored, resized by averaging areas: uint8 (count, R, R, 3).

        least: smallest share, 0 to 1, of each side in a crop. share: return only this worker's
        part.
        """
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
    """Rows and columns of a random rectangle within a square, at least `least` pixels each way."""
    height, width = torch.randint(least, side + 1, (2,), generator=generator).tolist()
    top = int(torch.randint(side - height + 1, (1,), generator=generator))
    left = int(torch.randint(side - width + 1, (1,), generator=generator))
    return slice(top, top + height), slice(left, left + width)


def fit_histogram(core: ColTranCore, photographs: Photographs) -> None:
    """Set the core's table log p(bin | gray) from photographs, drawn as in training.

    Counts are smoothed over neighboring gray values by a Gaussian of HISTOGRAM_SPREAD.
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
    # A bin never occurs with a gray value far from its own luminance. A thousandth of a count keeps
    # it possible all the same, as saved weights are rounded and photographs are degraded.
    smooth += 1e-3
    core.log_histogram.copy_((smooth / smooth.sum(dim=1, keepdim=True)).log())
