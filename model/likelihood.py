"""Likelihood in bits."""

import math

from torch import Tensor
from torch.nn import functional

BITS_PER_NAT = 1 / math.log(2)


def bits(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy in bits, a scalar: logits (..., V), targets int64 [0, V - 1] (...)."""
    nats = functional.cross_entropy(logits.flatten(0, -2), targets.flatten())
    return nats * BITS_PER_NAT
