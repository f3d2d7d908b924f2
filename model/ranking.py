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


def beside_parallel_head(
    core: ColTranCore, context_BHWD: Tensor, gray_BHW: Tensor, bins_BHW: Tensor
) -> tuple[Tensor, Tensor]:
    """Pictures beside what the parallel head expects of each pixel, in a* and b* of bins' centers:
    how far they are from its mean color, and how much more chroma they have than it expects.

    The mean color of red or blue is a gray one, but the chroma that is expected then is high.
    context_BHWD: of `encode`. Returns means over pixels, float64 (B,) each.
    """
    chroma_V2 = bin_chroma(gray_BHW.device)
    table_V3 = torch.cat((chroma_V2, chroma_V2.norm(dim=-1, keepdim=True)), dim=-1)
    distances, excesses = [], []
    for context, gray, bins in zip(
        context_BHWD.split(1), gray_BHW.split(1), bins_BHW.split(1), strict=True
    ):  # one at a time: company does not matter then
        shares = core.parallel_from(context, gray).double().softmax(dim=-1)
        difference = table_V3[bins] - shares @ table_V3
        distances.append(difference[..., :2].norm(dim=-1).mean(dim=(1, 2)))
        excesses.append(difference[..., 2].mean(dim=(1, 2)))
    return torch.cat(distances), torch.cat(excesses)


def bin_chroma(device: torch.device | str = "cpu") -> Tensor:
    """a* and b* in the middle of each bin, float64 (V, 2)."""
    centers = rgb_from_bins(torch.arange(NUM_BINS)).double() + (COARSE_STEP - 1) / 2
    return torch.from_numpy(lab_from_rgb(centers.numpy())[:, 1:].copy()).to(device)
