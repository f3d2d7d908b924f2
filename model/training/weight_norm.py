"""Weight normalization and a start that depends on data, as PixelCNN++ and PIC were trained.

Salimans and Kingma, "Weight Normalization: A Simple Reparameterization to Accelerate Training of
Deep Neural Networks", 2016, sections 2 and 3; Salimans et al. 2017 use both (published code). Each
row of a weight learns as a length and a direction, and they are folded into one weight where it is
kept. Before the first step, each layer is scaled and shifted so that what it makes of some
photographs has mean 0 and deviation 1, or 0.1 before a gate.
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
BEFORE_A_GATE = 0.1  # deviation at the start, so that a block begins as little more than its input
_NORMAL = ".parametrizations."  # in the names of lengths and directions
_LEAST_VARIANCE = 1e-8  # published


def layers_of(model: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    """The layers that are normalized, all but those of a pretrained trunk, by their names.

    Raises:
        ValueError: a stage that was not published with weight normalization.
    """
    if not isinstance(model, PixelCnn | Pic):
        raise ValueError(f"weight norm is of pic and pixelcnn, not of {type(model).__name__}")
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and ".trunk." not in name:
            yield name, module


def add_weight_norm(model: nn.Module) -> None:
    """Let weights learn as lengths and directions; what the model computes does not change."""
    for _, layer in list(layers_of(model)):
        weight_norm(layer, dim=0)


def fold_weight_norm(model: M) -> M:
    """A copy of a model, with single weights where it has lengths and directions."""
    if not any(parametrize.is_parametrized(module) for module in model.modules()):
        return copy.deepcopy(model)
    state = {name: each for name, each in model.state_dict().items() if _NORMAL not in name}
    for name, layer in layers_of(model):
        state[f"{name}.weight"] = layer.weight.detach()
    # Not by removing the parametrizations of a copy, whose classes are those of the original.
    with torch.random.fork_rng(devices=()):
        folded = type(model)(model.config)
    folded.load_state_dict(state)
    return folded.train(model.training)


@torch.no_grad()
def start_from_data(model: nn.Module, run: Callable[[], object]) -> None:
    """Scale and shift every layer by what it makes of data; `run` calls the model on some once."""
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
