"""The discretized mixture of logistics of PixelCNN++ (Salimans et al. 2017, sections 2.1 and 2.2).

All channels of a pixel have the same component. Within it, the mean of a channel depends linearly
on the values of the channels before. The probability of a value is the mass of a logistic
distribution between half a step below and half a step above; 0 and 255 also get the mass beyond.

Legend: C channels, K components, V = 256 values, P parameters. Means and scales are in units of
values scaled to -1..1.
"""

from typing import NamedTuple, Self

import torch
from torch import Tensor
from torch.nn import functional

NUM_VALUES = 256
HALF_STEP = 1 / (NUM_VALUES - 1)  # on the scale -1..1
LEAST_LOG_SCALE = -7.0  # published


class Mixture(NamedTuple):
    """logits (..., K); means, log_scales (..., C, K); coefficients (..., C (C - 1) / 2, K).

    Coefficients, before tanh, are those of channel 1 on 0, of 2 on 0, of 2 on 1, and so on.
    """

    logits: Tensor
    means: Tensor
    log_scales: Tensor
    coefficients: Tensor

    @classmethod
    def read(cls, parameters: Tensor, channels: int) -> Self:
        """Split the parameters of pixels, (..., P), into their parts."""
        pairs = channels * (channels - 1) // 2
        rows = parameters.unflatten(-1, (1 + 2 * channels + pairs, -1))
        logits, means, log_scales, coefficients = rows.split((1, channels, channels, pairs), dim=-2)
        return cls(logits.squeeze(-2), means, log_scales, coefficients)

    def component(self, channel: int, earlier: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log scale of a channel, each (..., K); earlier: scaled values (..., channel)."""
        first = channel * (channel - 1) // 2
        weights = torch.tanh(self.coefficients[..., first : first + channel, :])
        mean = self.means[..., channel, :] + (weights * earlier[..., None]).sum(dim=-2)
        return mean, self.log_scales[..., channel, :].clamp(min=LEAST_LOG_SCALE)


def parameters_of_mixture(channels: int, mixtures: int) -> int:
    """P, which is 100 for three channels and ten components."""
    return mixtures * (1 + 2 * channels + channels * (channels - 1) // 2)


def scaled(values: Tensor) -> Tensor:
    """Integers 0..255 -> float32 -1..1."""
    return values.float() * (2 * HALF_STEP) - 1


def log_mass(values: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """Log-probability, nats, of integers 0..255 under discretized logistics; shapes broadcast.

    It uses sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)), which is precise even
    where both are near 0 or 1. The published code approximates by a density there; here the
    probabilities of the 256 values always sum to one.
    """
    sharpness = torch.exp(-log_scale)
    centered = scaled(values) - mean
    below = functional.logsigmoid((centered + HALF_STEP) * sharpness)
    above = functional.logsigmoid((HALF_STEP - centered) * sharpness)
    between = below + above + torch.log(-torch.expm1(-2 * HALF_STEP * sharpness))
    return torch.where(values == 0, below, torch.where(values == NUM_VALUES - 1, above, between))


def log_prob(mixture: Mixture, values: Tensor) -> Tensor:
    """Log-probability, nats, of whole pixels: integers 0..255 (..., C) -> (...)."""
    total = torch.log_softmax(mixture.logits, dim=-1)
    earlier = scaled(values)
    for channel in range(values.shape[-1]):
        mean, log_scale = mixture.component(channel, earlier[..., :channel])
        total = total + log_mass(values[..., channel, None], mean, log_scale)
    return torch.logsumexp(total, dim=-1)


def channel_logits(
    mixture: Mixture, channel: int, earlier: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor]:
    """The distribution of one channel given those before it.

    earlier: scaled values (..., channel). weights: joint log-probability of each component and
    these values, (..., K). Returns logits (..., V), and their parts by component (..., K, V).
    """
    mean, log_scale = mixture.component(channel, earlier)
    every = torch.arange(NUM_VALUES, device=mean.device)
    each = weights[..., None] + log_mass(every, mean[..., None], log_scale[..., None])
    return torch.logsumexp(each, dim=-2), each
