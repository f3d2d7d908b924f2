"""Import of PixelCNN++ weights in the format of pixel-cnn-pp, a PyTorch port of the published code.

Layouts of the port: convolutions (out, in, rows, columns), transposed ones (in, out, rows,
columns), dense layers (out, in). A weight under weight norm (Salimans and Kingma 2016) is stored as
`weight_g`, its length, and `weight_v`, its direction, for each index of the first axis. All sizes
are read from the tensors, except the resolution, which no weight depends on. The import is strict:
each name must be used, each tensor of ours is filled, and all shapes are checked first.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from statistics import mode
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from model.pic.convolutions import Convolution, Doubling
from model.pic.mixture import HALF_STEP, Mixture
from model.pic.pixelcnn import INPUTS, PixelCnn, PixelCnnConfig
from model.pic.steps import steps_of

PORT_RESOLUTION = 32  # of the pictures that the published weights were trained on
Layout = Literal["window", "transposed", "dense", "head"]

# The order of the port's head, in groups of K rows. Ours: logits, then means, log scales and
# coefficients, each of all channels. The port has these three together for each channel.
_HEAD_ROWS = {1: (0, 1, 2), 3: (0, 1, 4, 7, 2, 5, 8, 3, 6, 9)}
_LEAST_MASS = 1e-5  # below it the published loss uses a density
_WRAPPED = "module."  # prefix of all names within PyTorch's DataParallel


class Source(NamedTuple):
    """The port's module that corresponds to one of ours; both have a weight and a bias."""

    name: str
    layout: Layout


def published_parameters(parameters: Tensor, channels: int) -> Tensor:
    """Bring our parameters of mixtures, (..., P), into the published order."""
    rows = _HEAD_ROWS[channels]
    order = torch.tensor(rows, device=parameters.device).argsort()
    return parameters.unflatten(-1, (len(rows), -1))[..., order, :].flatten(-2)


def published_loss(parameters: Tensor, values_BHWC: Tensor) -> Tensor:
    """The published loss, to compare with published figures: nats of each picture, float64 (B,).

    It takes the difference of two sigmoids in float32, or a density where that is below 1e-5. Ours,
    `model.pic.mixture.log_prob`, is precise everywhere, and its probabilities sum to one.
    """
    mixture = Mixture.read(parameters, values_BHWC.shape[-1])
    scaled_values = values_BHWC.float() / 127.5 - 1
    total = torch.log_softmax(mixture.logits, dim=-1)
    parts = []
    for channel in range(values_BHWC.shape[-1]):
        mean, log_scale = mixture.component(channel, scaled_values[..., :channel])
        value, sharpness = scaled_values[..., channel, None], torch.exp(-log_scale)
        above = sharpness * (value - mean + HALF_STEP)
        below = sharpness * (value - mean - HALF_STEP)
        mass = torch.sigmoid(above) - torch.sigmoid(below)
        middle = sharpness * (value - mean)
        density = middle - log_scale - 2 * functional.softplus(middle) - math.log(127.5)
        inside = torch.where(mass > _LEAST_MASS, mass.clamp(min=1e-12).log(), density)
        first, last = above - functional.softplus(above), -functional.softplus(below)
        parts.append(torch.where(value < -0.999, first, torch.where(value > 0.999, last, inside)))
    total = torch.stack(parts).sum(dim=0) + total
    return -torch.logsumexp(total, dim=-1).double().sum(dim=(1, 2))


def import_port(tensors: Mapping[str, Tensor], resolution: int = PORT_RESOLUTION) -> PixelCnn:
    """Build a PixelCNN++ in eval mode from a state dict of the port; sizes are read from it.

    Raises:
        ValueError: names or shapes that do not fit, or a resolution that cannot be built.
    """
    found = fold_weight_norm(_unwrapped(tensors))
    config = read_sizes(found, resolution)
    table = name_table(config)
    with torch.device("meta"):  # nothing is allocated before shapes fit
        outline = PixelCnn(config)
    expected = {
        f"{source.name}.{kind}": _port_shape(outline, ours, source, kind)
        for ours, source in table.items()
        for kind in ("weight", "bias")
    }
    _check_shapes(found, expected)
    model = PixelCnn(config)
    state = {
        f"{ours}.{kind}": _convert(found[f"{source.name}.{kind}"].float(), source.layout, config)
        for ours, source in table.items()
        for kind in ("weight", "bias")
    }
    model.load_state_dict(state)
    return model.eval()


def _check_shapes(found: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]]) -> None:
    """Raise ValueError unless exactly the expected variables were found, in these shapes."""
    missing, unexpected = sorted(expected.keys() - found), sorted(found.keys() - expected)
    if missing or unexpected:
        kinds = (("missing", missing), ("unexpected", unexpected))
        problems = [f"{kind}: {_listed(names)}" for kind, names in kinds if names]
        raise ValueError(f"variables {'; '.join(problems)}")
    wrong = [
        f"{name} is {tuple(found[name].shape)} instead of {shape}"
        for name, shape in expected.items()
        if tuple(found[name].shape) != shape
    ]
    if wrong:
        raise ValueError(f"variables of a wrong shape: {_listed(wrong)}")


def _unwrapped(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    if all(name.startswith(_WRAPPED) for name in tensors):
        return {name.removeprefix(_WRAPPED): value for name, value in tensors.items()}
    return dict(tensors)


def fold_weight_norm(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Multiply each pair `weight_g` and `weight_v` into one weight; others stay as they are.

    Raises:
        ValueError: one of a pair is missing, or their shapes do not fit each other.
    """
    folded = {}
    for name, value in tensors.items():
        layer, _, kind = name.rpartition(".")
        if kind not in ("weight_g", "weight_v"):
            folded[name] = value
            continue
        pair = f"{layer}.weight_g", f"{layer}.weight_v"
        if any(each not in tensors for each in pair):
            raise ValueError(f"{name} without its other half: {pair[0]} and {pair[1]} are a pair")
        length, direction = (tensors[each].float() for each in pair)
        if direction.dim() < 2 or length.numel() != len(direction):
            shapes = f"{tuple(length.shape)} for directions {tuple(direction.shape)}"
            raise ValueError(f"{pair[0]} must have one length for each row of {pair[1]}: {shapes}")
        lengths = direction.flatten(1).norm(dim=1) / length.flatten()
        folded[f"{layer}.weight"] = direction / lengths.view(-1, *[1] * (direction.dim() - 1))
    return folded


def read_sizes(tensors: Mapping[str, Tensor], resolution: int) -> PixelCnnConfig:
    """Read a configuration from the shapes of tensors.

    Each size is the one that most tensors have, so that an error names the tensor that differs.

    Raises:
        ValueError: variables of the port are missing, or sizes that cannot be built.
    """
    blocks = [name.split(".") for name in tensors if name.startswith("up_layers.")]
    levels = {parts[1] for parts in blocks}
    inner = {parts[3] for parts in blocks if len(parts) > 3 and parts[1] == min(levels)}
    starts = ("u_init.conv.weight", "ul_init.0.conv.weight", "ul_init.1.conv.weight")
    inputs = [tensors[name].shape[1] for name in starts if _dims(tensors, name) == 4]
    hidden = [
        len(value) for name, value in tensors.items() if name.endswith("conv_input.conv.bias")
    ]
    if not (levels and inner and inputs and hidden) or _dims(tensors, "nin_out.lin_a.weight") != 2:
        wanted = f"{starts[0]}, up_layers.0.u_stream.0.conv_input.conv.bias, nin_out.lin_a.weight"
        raise ValueError(f"no weights of pixel-cnn-pp, which has {wanted} and others")
    channels = mode(inputs) - 1
    if channels not in _HEAD_ROWS:
        raise ValueError(
            f"{starts[0]} is of pictures with {channels} channels; those of 1 or 3 can be imported"
        )
    return PixelCnnConfig(
        hidden=mode(hidden),
        inner=len(inner),
        levels=len(levels),
        mixtures=max(1, len(tensors["nin_out.lin_a.weight"]) // len(_HEAD_ROWS[channels])),
        channels=channels,
        resolution=resolution,
    )


def _dims(tensors: Mapping[str, Tensor], name: str) -> int:
    return tensors[name].dim() if name in tensors else 0


def name_table(config: PixelCnnConfig) -> dict[str, Source]:
    """The port's module for each module of ours that has weights.

    The port counts the levels of its way back, `down_layers`, from the coarsest.
    """
    table = {
        "rows_above": Source("u_init.conv", "window"),
        "row_above": Source("ul_init.0.conv", "window"),
        "left": Source("ul_init.1.conv", "window"),
        "head": Source("nin_out.lin_a", "head"),
    }
    counts = Counter[str]()
    for place, step in enumerate(steps_of(config.levels, config.inner)):
        for ours, port in (("down", "u_stream"), ("right", "ul_stream")):
            prefix = f"layers.{place}.{ours}"
            back = config.levels - 1 - step.level
            if step.level > step.source:
                table[prefix] = Source(f"downsize_{port}.{step.source}.conv", "window")
            elif step.level < step.source:
                table[prefix] = Source(f"upsize_{port}.{back - 1}.deconv", "transposed")
            else:
                way_back = step.short_cut is not None
                blocks = f"down_layers.{back}" if way_back else f"up_layers.{step.level}"
                blocks = f"{blocks}.{port}"
                block = f"{blocks}.{counts[blocks]}"
                counts[blocks] += 1
                table |= _block_sources(prefix, block, way_back or ours == "right")
    return table


def _block_sources(ours: str, port: str, short_cut: bool) -> dict[str, Source]:
    sources = {
        f"{ours}.first": Source(f"{port}.conv_input.conv", "window"),
        f"{ours}.second": Source(f"{port}.conv_out.conv", "window"),
    }
    if short_cut:
        sources[f"{ours}.short_cut"] = Source(f"{port}.nin_skip.lin_a", "dense")
    return sources


def _port_shape(outline: PixelCnn, ours: str, source: Source, kind: str) -> tuple[int, ...]:
    """The shape that the port's tensor must have."""
    module = outline.get_submodule(ours)
    shape = tuple(module.get_parameter(kind).shape)
    if kind == "bias" or not isinstance(module, Convolution | Doubling):
        return shape
    outputs, (rows, columns) = shape[0], module.window
    inputs = shape[1] // (rows * columns)
    if ours in ("rows_above", "row_above", "left"):  # ours have more inputs, which are zeros
        inputs = outline.config.channels + 1
    pair = (inputs, outputs) if source.layout == "transposed" else (outputs, inputs)
    return (*pair, rows, columns)


def _convert(value: Tensor, layout: Layout, config: PixelCnnConfig) -> Tensor:
    """Bring a tensor of the port into our layout."""
    if layout == "head":
        rows = list(_HEAD_ROWS[config.channels])
        return value.unflatten(0, (len(rows), -1))[rows].flatten(0, 1)
    if value.dim() == 1 or layout == "dense":
        return value
    if layout == "transposed":
        value = value.transpose(0, 1)
    windows = value.permute(0, 2, 3, 1)  # (out, rows, columns, in)
    if windows.shape[-1] == config.channels + 1:
        windows = functional.pad(windows, (0, INPUTS - windows.shape[-1]))
    return windows.flatten(1)


def _listed(names: Iterable[str]) -> str:
    first, *rest = names
    more = rest[:2]
    over = f" and {len(rest) - 2} more" if len(rest) > 2 else ""
    return ", ".join([first, *more]) + over
