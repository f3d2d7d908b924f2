"""Axial layers without training: fused products, line by line in place, dense layers for few rows.

Legend: P pictures, H W rows and columns, D features, N heads, C features of a head,
M lines (rows or columns) of length L.

A layer's lines do not see each other, so a layer is computed a few lines at a time and written over
its input: what it needs beside that fits the processor's cache, and no attention matrix and no
feed-forward of a whole picture is ever in memory.
"""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor
from torch.nn import functional

from model.layers import AxialLayer

# Of the activations of the lines that go through a layer together. On a CPU, they and what comes of
# them stay in its cache; larger ones also cost page faults at each allocation.
CHUNK_BYTES = {"cpu": 2**22, "cuda": 2**28}


class Dense:
    """A dense layer for a fixed, small number of rows: (rows, inputs) -> (rows, outputs).

    On a CPU its weight is laid out once as oneDNN wants it, which halves the time for 8 rows.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, rows: int) -> None:
        self._weight, self._bias = weight, bias
        self._packed: Tensor | None = None
        if _packs(weight):
            self._packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), rows)

    def __call__(self, x: Tensor, activation: str = "none") -> Tensor:
        """activation: none or relu, of the result."""
        if self._packed is not None:
            result: Tensor = torch.ops.mkldnn._linear_pointwise(
                x, self._packed, self._bias, activation, [], ""
            )
            return result
        x = functional.linear(x, self._weight, self._bias)
        return x.relu_() if activation == "relu" else x


def _packs(weight: Tensor) -> bool:
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    if weight.dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return weight.dtype == torch.float32


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """softmax(q k / sqrt(C) + bias) v of q (M, N, Q, C), k and v (M, N, L, C), bias (N, Q, L)."""
    if q.device.type == "cpu" and q.shape[-2] == 1:
        # There, the fused kernel's sums depend on how many lines there are, and in bfloat16 it
        # takes 2.5 to 5 times as long.
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2) + bias
        return torch.softmax(scores, dim=-1) @ v
    return functional.scaled_dot_product_attention(q, k, v, bias[None])


def fuse_projections(layer: AxialLayer) -> Tensor:
    """The weights of q, k and v as one, (3 D, D)."""
    attention = layer.attention
    return torch.cat((attention.q.weight, attention.k.weight, attention.v.weight))


@torch.no_grad()
def run_layers(layers: Iterable[AxialLayer], pictures: Tensor) -> None:
    """Send pictures (P, H, W, D) through layers without conditions, in place."""
    for layer in layers:
        weight, bias = fuse_projections(layer), layer.attention.bias().to(pictures.dtype)
        row_wise = layer.attention.axis == "row"
        for lines in split_lines(pictures if row_wise else pictures.transpose(1, 2)):
            lines.copy_(_run_lines(layer, weight, bias, lines))


def split_lines(pictures: Tensor) -> Iterator[Tensor]:
    """Views of pictures (P, M, L, D): whole ones where several fit, else a few lines of one.

    On a CPU never two pictures together, so that company cannot change the sums.
    """
    count, lines, length, features = pictures.shape
    room = CHUNK_BYTES.get(pictures.device.type, CHUNK_BYTES["cpu"])
    at_once = max(1, room // (length * features * pictures.element_size()))
    if pictures.device.type == "cpu":
        at_once = min(at_once, lines)
    if at_once >= lines:
        yield from pictures.split(at_once // lines)
        return
    for picture in range(count):
        yield from pictures[picture, None].split(at_once, dim=1)


def _run_lines(layer: AxialLayer, weight: Tensor, bias: Tensor, lines: Tensor) -> Tensor:
    """A layer on some lines (P, M, L, D), along L."""
    shape, heads = lines.shape, layer.attention.heads
    length, features = shape[-2:]
    x = lines.reshape(-1, features)  # a plain product: of more axes, slower ones would be taken
    qkv = functional.linear(x, weight).view(-1, length, 3, heads, features // heads)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (P M, N, L, C)
    mixed = attend(q, k, v, bias).transpose(1, 2).reshape(-1, features)
    x = layer.attention_norm(layer.attention.output(mixed).add_(x))
    return layer.mlp_norm(layer.mlp(x).add_(x)).view(shape)
