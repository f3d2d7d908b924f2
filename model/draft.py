"""The draft: coarse color from the core's parallel head in one pass, without drawing.

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
    """The parallel head's mean color, uint8 (B, H, W, 3), and entropy at temperature 1, in bits.

    context_BHWD: of `encode`. temperature 0 takes its most likely bin.
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
    """Pictures, uint8, whose hinted pixels have the middle of the hint's bin."""
    if hints_BHW is None:
        return rgb_BHW3
    hinted = (hints_BHW < NUM_BINS)[..., None]
    colors = rgb_from_bins(hints_BHW.clamp(max=NUM_BINS - 1)) + COARSE_STEP // 2
    return torch.where(hinted, colors.to(torch.uint8), rgb_BHW3)


def log_likelihood_of(
    core: ColTranCore, context_BHWD: Tensor, gray_BHW: Tensor, rgb_BHW3: Tensor
) -> Tensor:
    """Nats, float64 (B,), that the core gives to pictures, uint8 (B, H, W, 3): teacher-forced."""
    bins_BHW = bins_from_coarse(coarse_from_rgb(rgb_BHW3))
    totals = []
    for bins, context, gray in zip(
        bins_BHW.split(1), context_BHWD.split(1), gray_BHW.split(1), strict=True
    ):
        log_prob = torch.log_softmax(core.decode(bins, context, gray).double(), dim=-1)
        totals.append(log_prob.gather(-1, bins[..., None]).sum())
    return torch.stack(totals)
