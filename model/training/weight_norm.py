"""Weight normalization and data-dependent initialization, used to train PixelCNN++ and PIC.

Salimans and Kingma, "Weight Normalization: A Simple Reparameterization to Accelerate Training of
Deep Neural Networks", 2016, sections 2 and 3; the published code of PixelCNN++ (2017) uses both.
Each row of a weight is trained as a length and a direction, which weights files hold as one weight
again. Before the first step, each layer is scaled and shifted so that its outputs for one batch
have mean 0 and standard deviation 1, or 0.1 before a gate.
"""

import copy
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import weight_norm

from model.pic.network import Pic
from model.pic.pixelcnn import PixelCnn

M = TypeVar("M", bound=nn.Module)
BEFORE_A_GATE = 0.1  # initial standard deviation; a block then changes its input only a little
_NORMAL = ".parametrizations."  # part of the names of lengths and directions
_LEAST_VARIANCE = 1e-8  # published


def layers_of(model: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    """Names and layers that are normalized: all dense layers outside of a pretrained trunk.

    Raises:
        ValueError: a stage that was not published with weight normalization.
    """
    if not isinstance(model, PixelCnn | Pic):
        raise ValueError(f"weight norm is of pic and pixelcnn, not of {type(model).__name__}")
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and ".trunk." not in name:
            yield name, module


def add_weight_norm(model: nn.Module) -> None:
    """Parametrize weights as lengths and directions; the outputs of the model stay the same."""
    for _, layer in list(layers_of(model)):
        weight_norm(layer, dim=0)


def fold_weight_norm(model: M) -> M:
    """Copy a model, with each pair of length and direction multiplied into one weight."""
    if not any(parametrize.is_parametrized(module) for module in model.modules()):
        return copy.deepcopy(model)
    state = {name: each for name, each in model.state_dict().items() if _NORMAL not in name}
    for name, layer in layers_of(model):
        state[f"{name}.weight"] = layer.weight.detach()
    # A deep copy cannot remove its parametrizations: it shares their classes with the original.
    with torch.random.fork_rng(devices=()):
        folded = type(model)(model.config)
    folded.load_state_dict(state)
    return folded.train(model.training)


@torch.no_grad()
def start_from_data(model: nn.Module, run: Callable[[], object]) -> None:
    """Scale and shift every layer by its outputs; `run` calls the model on data once."""
    hooks = []
    for name, layer in layers_of(model):
        deviation = BEFORE_A_GATE if name.endswith(".second") else 1.0
        hooks.append(layer.register_forward_hook(partial(_settle, deviation)))
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()


def _settle(
    deviation: float, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor
) -> Tensor:
    assert isinstance(layer, nn.Linear)
    rows = output.flatten(0, -2)
    scale = deviation / (rows.var(dim=0, correction=0) + _LEAST_VARIANCE).sqrt()
    lengths = layer.weight
    if parametrize.is_parametrized(layer, "weight"):
        lengths = layer.get_parameter("parametrizations.weight.original0")
    lengths.mul_(scale[:, None])
    if "bias" not in dict(layer.named_parameters()):
        return output * scale
    mean = rows.mean(dim=0)
    layer.bias.sub_(mean).mul_(scale)
    return (output - mean) * scale
