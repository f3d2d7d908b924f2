"""Dense layers and embeddings, initialized as in the published code.

Legend: D features.
"""

import torch
from torch import Tensor, nn


def linear(inputs: int, outputs: int, bias: bool = True) -> nn.Linear:
    """A dense layer initialized as published: Glorot-uniform weights, zero biases."""
    layer = nn.Linear(inputs, outputs, bias=bias)
    nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def fourier_features(values: int, hidden: int) -> Tensor:
    """Initial embeddings, sines and cosines, in which near values are alike: (values, D)."""
    if torch.get_default_device().type == "meta":  # computing there would load PyTorch's compiler
        return torch.empty(values, hidden)
    waves = torch.logspace(-1, 4, -(-hidden // 2), base=2.0)
    angles = 2 * torch.pi * torch.arange(values)[:, None] / values * waves
    return torch.cat((angles.sin(), angles.cos()), dim=1)[:, :hidden] * 0.3


def embedding(symbols: int, hidden: int) -> nn.Embedding:
    """A dense layer without bias on one-hot symbols, as a lookup: (...) -> (..., D)."""
    layer = nn.Embedding(symbols, hidden)
    nn.init.xavier_uniform_(layer.weight)
    return layer
