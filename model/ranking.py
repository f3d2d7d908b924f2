"""Scores by which candidates of one photograph can be ranked, beside their likelihood.

Likelihood alone prefers gray, which is likely everywhere.

Legend: B batch, H W rows and columns, V = 512 bins.
"""

import torch
from torch import Tensor

from model.color import COARSE_STEP, NUM_BINS, rgb_from_bins
from model.core import ColTranCore
from model.lab import lab_from_rgb
from model.likelihood import BITS_PER_NAT


def excess_bits(log_prob_BHW: Tensor, expected_BHW: Tensor) -> Tensor:
    """Bits per pixel that pictures have beyond those expected along their own paths, float64 (B,).

    Of a CoreSample or PixelSample. A picture near 0 is typical of what the model draws: below lie
    those that took the likely color more often than chance does, above those that took odd ones.
    """
    return (expected_BHW - log_prob_BHW).mean(dim=(1, 2)) * BITS_PER_NAT


def distances_from_mean(
    core: ColTranCore, context_BHWD: Tensor, gray_BHW: Tensor, bins_BHW: Tensor
) -> Tensor:
    """How far pictures are from the mean of the parallel head, float64 (B,): the distance of their
    bins' centers in a* and b*, averaged over pixels. context_BHWD: of `encode`."""
    chroma_V2 = bin_chroma(gray_BHW.device)
    distances = []
    for context, gray, bins in zip(
        context_BHWD.split(1), gray_BHW.split(1), bins_BHW.split(1), strict=True
    ):  # one at a time: company does not matter then
        mean = core.parallel_from(context, gray).double().softmax(dim=-1) @ chroma_V2
        distances.append((chroma_V2[bins] - mean).norm(dim=-1).mean(dim=(1, 2)))
    return torch.cat(distances)


def bin_chroma(device: torch.device | str = "cpu") -> Tensor:
    """a* and b* in the middle of each bin, float64 (V, 2)."""
    centers = rgb_from_bins(torch.arange(NUM_BINS)).double() + (COARSE_STEP - 1) / 2
    return torch.from_numpy(lab_from_rgb(centers.numpy())[:, 1:].copy()).to(device)
