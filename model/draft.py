"""The draft: coarse color by one pass of the core's parallel head, without drawing.

Legend: B batch, H W rows and columns (both R, the low resolution), D features.
"""

import math

import torch
from torch import Tensor

from model.color import (
    COARSE_STEP,
    NUM_BINS,
    bins_from_coarse,
    coarse_from_rgb,
    rgb_from_bins,
)
from model.core import ColTranCore


def expected_color(
    core: ColTranCore, context_BHWD: Tensor, gray_BHW: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """The parallel head's mean color at a temperature, and its entropy at temperature 1.

    context_BHWD: of `encode`; gray_BHW: integers [0, 255]. Colors are the centers of bins;
    temperature 0 takes the most likely bin. Returns uint8 (B, H, W, 3), and bits, float32 (B, H,
    W).
    """
    pairs = zip(context_BHWD.split(1), gray_BHW.split(1), strict=True)
    logits = torch.cat([core.parallel_from(context, gray) for context, gray in pairs])
    entropy = torch.special.entr(torch.softmax(logits, dim=-1)).sum(dim=-1) / math.log(2)
    centers = rgb_from_bins(torch.arange(NUM_BINS, device=logits.device)) + COARSE_STEP // 2
    if temperature == 0:
        return centers[logits.argmax(dim=-1)].to(torch.uint8), entropy
    weights = torch.softmax(logits / temperature, dim=-1)
    return (weights @ centers.float()).round().to(torch.uint8), entropy


def with_hints(rgb_BHW3: Tensor, hints_BHW: Tensor | None) -> Tensor:
    """Set each hinted pixel to the center of its hint's bin.

    rgb_BHW3: uint8. hints_BHW: integers [0, 512], 512 where there is no hint. Returns uint8.
    """
    if hints_BHW is None:
        return rgb_BHW3
    hinted = (hints_BHW < NUM_BINS)[..., None]
    colors = rgb_from_bins(hints_BHW.clamp(max=NUM_BINS - 1)) + COARSE_STEP // 2
    return torch.where(hinted, colors.to(torch.uint8), rgb_BHW3)


def log_likelihood_of(
    core: ColTranCore, context_BHWD: Tensor, gray_BHW: Tensor, rgb_BHW3: Tensor
) -> Tensor:
    """Log-likelihood of pictures under the core, teacher-forced: nats, float64 (B,).

    context_BHWD: of `encode`; rgb_BHW3: integers [0, 255].
    """
    bins_BHW = bins_from_coarse(coarse_from_rgb(rgb_BHW3))
    totals = []
    for bins, context, gray in zip(
        bins_BHW.split(1), context_BHWD.split(1), gray_BHW.split(1), strict=True
    ):
        log_prob = torch.log_softmax(core.decode(bins, context, gray).double(), dim=-1)
        totals.append(log_prob.gather(-1, bins[..., None]).sum())
    return torch.stack(totals)
