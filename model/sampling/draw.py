"""Drawing a symbol, and what drawing a picture gives.

Legend: B batch, H W rows and columns, V = 512 bins.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class CoreSample(NamedTuple):
    """bins_BHW: int64 [0, 511]. log_prob_BHW: float64, nats, of each drawn bin at temperature 1.

    entropy_BHW: float32, bits [0, 9], of the distribution that each was drawn from, at temperature
    1: how undecided the core was there. expected_BHW: float64, nats, the mean of log_prob over what
    could have been drawn there, each bin as often as the temperature draws it.
    """

    bins_BHW: Tensor
    log_prob_BHW: Tensor
    entropy_BHW: Tensor
    expected_BHW: Tensor


class Drawn(NamedTuple):
    """What was drawn: bins, int64 [0, 511], and, at temperature 1, their log-probabilities in nats,
    the entropy of what they were drawn from, in bits, and the mean of the former over all that the
    temperature of the draw could have given, in nats."""

    bins: Tensor
    log_prob: Tensor
    entropy: Tensor
    expected: Tensor


def draw_uniforms(gray_BHW: Tensor, seeds_B: Sequence[int], temperature: float) -> Tensor:
    """One number in [0, 1) for each pixel, float64 (B, H, W), from each photograph's own seed.

    They are made on the CPU, so that every device draws from the same numbers.
    """
    if not temperature >= 0:
        raise ValueError(f"temperature must be 0 or more, not {temperature!r}")
    if gray_BHW.dim() != 3 or not 0 < len(gray_BHW) == len(seeds_B):
        found = f"{len(seeds_B)} seeds for gray of shape {tuple(gray_BHW.shape)}"
        raise ValueError(f"one seed for each photograph of gray (B, H, W) is needed, not {found}")
    uniforms = torch.empty(gray_BHW.shape, dtype=torch.float64)
    for photo, seed in enumerate(seeds_B):
        generator = torch.Generator().manual_seed(int(seed))
        torch.rand(uniforms.shape[1:], generator=generator, out=uniforms[photo])
    return uniforms.to(gray_BHW.device)


def draw(logits_BV: Tensor, uniform_B: Tensor, temperature: float) -> Drawn:
    """Draw a bin from each row of logits, and score it."""
    log_prob_BV = torch.log_softmax(logits_BV.double(), dim=-1)
    entropy_B = (log_prob_BV.exp() * log_prob_BV).sum(dim=-1) / -math.log(2)
    if temperature == 0:
        bins_B = logits_BV.argmax(dim=-1)
        log_prob_B = log_prob_BV.gather(-1, bins_B[:, None])[:, 0]
        return Drawn(bins_B, log_prob_B, entropy_B, log_prob_B)
    shares_BV = _shares(logits_BV, temperature)
    bins_B = _invert(shares_BV, uniform_B)
    log_prob_B = log_prob_BV.gather(-1, bins_B[:, None])[:, 0]
    return Drawn(bins_B, log_prob_B, entropy_B, (shares_BV * log_prob_BV).sum(dim=-1))


def draw_bins(logits_BV: Tensor, uniform_B: Tensor, temperature: float) -> Tensor:
    """The bins that `draw` draws, int64 (B,), without their scores."""
    if temperature == 0:
        return logits_BV.argmax(dim=-1)
    return _invert(_shares(logits_BV, temperature), uniform_B)


def _shares(logits_BV: Tensor, temperature: float) -> Tensor:
    """How often each bin is drawn; float64 keeps the sums of 512 terms from deciding which side of
    a bin's edge a number falls."""
    return torch.softmax(logits_BV.double() / temperature, dim=-1)


def _invert(shares_BV: Tensor, uniform_B: Tensor) -> Tensor:
    """Invert the cumulative distribution: int64 (B,). A row's bin depends on that row alone."""
    cumulative = shares_BV.cumsum(dim=-1)
    target = uniform_B[:, None] * cumulative[:, -1:]
    bins_B = torch.searchsorted(cumulative, target, right=True)[:, 0]
    return bins_B.clamp(max=shares_BV.shape[-1] - 1)
