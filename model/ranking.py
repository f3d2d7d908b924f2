"""Scores, other than likelihood, by which the candidates of a photograph can be ranked.

Likelihood by itself favors gray pictures, as gray is likely everywhere.

Legend: B batch, H W rows and columns, V = 512 bins.
"""

import torch
from torch import Tensor

from model.color import bin_centers
from model.core import ColTranCore
from model.lab import lab_from_rgb
from model.likelihood import BITS_PER_NAT


def excess_bits(log_prob_BHW: Tensor, expected_BHW: Tensor) -> Tensor:
    """Bits of the drawn colors minus the bits expected of a draw, mean over pixels: float64 (B,).

    log_prob_BHW, expected_BHW: nats, of a CoreSample or PixelSample. Pictures near 0 are typical
    draws. Below 0, likely colors were drawn more often than chance would draw them; above 0,
    unlikely ones.
    """
    return (expected_BHW - log_prob_BHW).mean(dim=(1, 2)) * BITS_PER_NAT


def compare_with_parallel_head(
    core: ColTranCore, context_BHWD: Tensor, gray_BHW: Tensor, bins_BHW: Tensor
) -> tuple[Tensor, Tensor]:
    """Compare pictures with what the parallel head expects of each pixel, in a* and b*.

    context_BHWD: of `encode`; gray_BHW: integers [0, 255]; bins_BHW: int64 [0, 511], the pictures,
    whose colors are the centers of bins. Returns two means over pixels, float64 (B,) each: the
    distance from the expected color, and the chroma minus the expected chroma. The two differ: if a
    pixel may be red or blue, its expected color is grayish, but its expected chroma is high.
    """
    chroma_V2 = bin_chroma(gray_BHW.device)
    table_V3 = torch.cat((chroma_V2, chroma_V2.norm(dim=-1, keepdim=True)), dim=-1)
    distances, excesses = [], []
    for context, gray, bins in zip(
        context_BHWD.split(1), gray_BHW.split(1), bins_BHW.split(1), strict=True
    ):  # one at a time: results do not depend on the rest of the batch
        shares = core.parallel_from(context, gray).double().softmax(dim=-1)
        difference = table_V3[bins] - shares @ table_V3
        distances.append(difference[..., :2].norm(dim=-1).mean(dim=(1, 2)))
        excesses.append(difference[..., 2].mean(dim=(1, 2)))
    return torch.cat(distances), torch.cat(excesses)


def bin_chroma(device: torch.device | str = "cpu") -> Tensor:
    """a* and b* of the center of each bin, float64 (V, 2)."""
    return torch.from_numpy(lab_from_rgb(bin_centers())[:, 1:].copy()).to(device)
