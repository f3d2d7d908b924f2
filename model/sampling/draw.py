"""Drawing a symbol from its logits, and the result of drawing a picture.

Legend: B batch, H W rows and columns, V = 512 bins.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class CoreSample(NamedTuple):
    """Drawn pictures with the scores of each pixel.

    bins_BHW: int64 [0, 511]. log_prob_BHW: float64, nats, of the drawn bin at temperature 1.
    entropy_BHW: float32, bits [0, 9], of the core's distribution at temperature 1: how uncertain it
    was. expected_BHW: float64, nats, the expected value of log_prob, if bins are drawn at the
    temperature that was used.
    """

    bins_BHW: Tensor
    log_prob_BHW: Tensor
    entropy_BHW: Tensor
    expected_BHW: Tensor


class Drawn(NamedTuple):
    """Drawn bins, int64 [0, 511], with their scores as in `CoreSample`; all of the same shape."""

    bins: Tensor
    log_prob: Tensor
    entropy: Tensor
    expected: Tensor


def draw_uniforms(gray_BHW: Tensor, seeds_B: Sequence[int], temperature: float) -> Tensor:
    """One random number in [0, 1) per pixel, float64 (B, H, W), from the seed of each photograph.

    They are generated on the CPU, so that all devices use the same numbers.

    Raises:
        ValueError: a temperature below 0, gray that is not (B, H, W), or a wrong number of seeds.
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
    """Draw a bin from each row of logits, and score it.

    uniform_B: float64 [0, 1), the random number that decides. temperature: 0 takes the most likely.
    """
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
    """Probability of each bin at a temperature, in float64.

    In float32, rounding in sums of 512 terms could decide which bin a number falls into.
    """
    return torch.softmax(logits_BV.double() / temperature, dim=-1)


def _invert(shares_BV: Tensor, uniform_B: Tensor) -> Tensor:
    """Invert the cumulative distribution: int64 (B,). A row's bin depends on that row alone."""
    cumulative = shares_BV.cumsum(dim=-1)
    target = uniform_B[:, None] * cumulative[:, -1:]
    bins_B = torch.searchsorted(cumulative, target, right=True)[:, 0]
    return bins_B.clamp(max=shares_BV.shape[-1] - 1)
