"""Faster axial layers for inference: fused products, computed in place by lines, packed weights.

Legend: P pictures, H W rows and columns, D features, N heads, C features of a head,
M lines (rows or columns) of length L.

The lines of a layer are independent, so a layer is computed on a few lines at a time, and its
output overwrites its input. Intermediate results then fit into the processor's cache, and attention
weights or feed-forward activations of a whole picture are never in memory.
"""

import math
from collections.abc import Iterable, Iterator
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from model.conditioning import NO_NORMS, NO_POSITIONS
from model.layers import AxialAttention, AxialLayer
from model.upsamplers import CHANNELS, ChannelUpsampler

# Activations of the lines that go through a layer together. On a CPU, they and the intermediate
# results stay in its cache; larger chunks also cost page faults at each allocation.
CHUNK_BYTES = {"cpu": 2**22, "cuda": 2**28}

SCORES_AT_ONCE = 2**17  # of attention in bfloat16 on a CPU; in float32 they take half a mebibyte


def _chunk_bytes(x: Tensor) -> int:
    return CHUNK_BYTES.get(x.device.type, CHUNK_BYTES["cpu"])


class Dense:
    """A dense layer for a small number of rows: (rows, inputs) -> (rows, outputs).

    On a CPU its weight is packed once into the layout of oneDNN, whose sums depend neither on the
    number of rows nor on that of threads. In float32, the plain product with the transposed weight
    takes its place where it gives the same bits, as it is faster.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, rows: int) -> None:
        self._weight, self._bias = weight, bias
        self._transposed: Tensor | None = None
        self._packed: Tensor | None = None
        if not packs(weight):
            return
        if weight.dtype == torch.float32 and _plain_is_packed(
            *weight.shape, torch.get_num_threads()
        ):
            self._transposed = weight.detach().T.contiguous()
        else:
            self._packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), rows)

    def __call__(self, x: Tensor, activation: str = "none") -> Tensor:
        """activation: "none" or "relu", applied to the result."""
        if self._packed is not None:
            result: Tensor = torch.ops.mkldnn._linear_pointwise(
                x, self._packed, self._bias, activation, [], ""
            )
            return result
        if self._transposed is None:
            x = functional.linear(x, self._weight, self._bias)
        else:
            x = _product(x, self._transposed, self._bias)
        return x.relu_() if activation == "relu" else x


def _product(x: Tensor, transposed: Tensor, bias: Tensor | None) -> Tensor:
    return x @ transposed if bias is None else torch.addmm(bias, x, transposed)


@cache
def _plain_is_packed(outputs: int, inputs: int, threads: int) -> bool:
    """Whether 8 to 64 rows of plain float32 products of this shape have the bits of oneDNN's.

    Plain ones that agree with each other would not do: those of 1024 inputs do with one thread, and
    with two, but one thread gives other bits than two. threads: those of PyTorch now.
    """
    generator = torch.Generator().manual_seed(0)
    sizes = ((outputs, inputs), (outputs,), (64, inputs))
    weight, bias, x = (
        torch.randn(size, generator=generator, dtype=torch.float32, device="cpu") for size in sizes
    )
    transposed = weight.T.contiguous()
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, len(x))
    for added in (None, bias):
        wanted = torch.ops.mkldnn._linear_pointwise(x, packed, added, "none", [], "")
        for rows in range(8, 65, 8):
            parts = [_product(part, transposed, added) for part in x.split(rows)]
            if not torch.equal(torch.cat(parts), wanted):
                return False
    return True


def packs(weight: Tensor) -> bool:
    """Whether oneDNN has products of its own for weights of this type on this machine."""
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    if weight.dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return weight.dtype == torch.float32


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """softmax(q k / sqrt(C) + bias) v of q (M, N, Q, C), k and v (M, N, L, C), bias (N, Q, L)."""
    if q.device.type == "cpu" and q.shape[-2] == 1:
        # For these, the sums of the fused kernel depend on the number of lines, and in bfloat16 the
        # kernel takes 2.5 to 5 times as long.
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2) + bias
        return torch.softmax(scores, dim=-1) @ v
    if q.dtype == torch.bfloat16 and packs(q):
        return _attend_by_products(q, k, v, bias)
    return functional.scaled_dot_product_attention(q, k, v, bias[None])


def _attend_by_products(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """`attend` in bfloat16 by two plain products, with a softmax in float32 between them.

    On a CPU this takes about half as long as the fused kernel, whose products in bfloat16 are slow.
    A few lines at a time, so that their scores stay in the processor's cache.
    """
    at_once = max(1, SCORES_AT_ONCE // bias.numel())
    parts = []
    for queries, keys, values in zip(*(x.split(at_once) for x in (q, k, v)), strict=True):
        scores = torch.add(bias.float(), queries @ keys.mT, alpha=q.shape[-1] ** -0.5)
        parts.append(torch.softmax(scores, dim=-1).to(values.dtype) @ values)
    return torch.cat(parts)


def attend_masked(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """`attend` on a CPU in float32 to all L keys, some of which are masked by -inf in bias.

    q (M, N, Q, C), k and v (M, N, L, C), bias (N, Q, L). Products are multiplications and sums,
    whose last bits do not depend on the number of queries, unlike those of MKL; for single queries
    this is faster, too.
    """
    scores = ((q * q.shape[-1] ** -0.5)[..., None, :] * k[..., None, :, :]).sum(dim=-1)
    weights = torch.softmax(scores + bias, dim=-1)  # (M, N, Q, L)
    return (weights[..., None] * v[..., None, :, :]).sum(dim=-2)


def fuse_projections(layer: AxialLayer) -> Tensor:
    """The weights of q, k and v as one matrix, (3 D, D)."""
    attention = layer.attention
    return torch.cat((attention.q.weight, attention.k.weight, attention.v.weight))


def run_layers(layers: Iterable[AxialLayer], pictures: Tensor) -> None:
    """Run layers without conditioning on pictures (P, H, W, D), in place.

    P decides how many lines are computed together, which changes the last bits of sums. To keep
    results independent of the batch, pass only the pictures of one photograph.
    """
    for layer in layers:
        if type(layer.attention) is not AxialAttention:  # its lines interact
            pictures.copy_(layer(pictures))
            continue
        weight, bias = fuse_projections(layer), layer.attention.bias().to(pictures.dtype)
        row_wise = layer.attention.axis == "row"
        for lines in split_lines(pictures if row_wise else pictures.transpose(1, 2)):
            lines.copy_(_run_lines(layer, weight, bias, lines))


def split_lines(pictures: Tensor) -> Iterator[Tensor]:
    """Views of pictures (P, M, L, D) of CHUNK_BYTES at most: whole pictures, or lines of one."""
    count, lines, length, features = pictures.shape
    at_once = max(1, _chunk_bytes(pictures) // (length * features * pictures.element_size()))
    if at_once >= lines:
        yield from pictures.split(at_once // lines)
        return
    for picture in range(count):
        yield from pictures[picture, None].split(at_once, dim=1)


def _run_lines(layer: AxialLayer, weight: Tensor, bias: Tensor, lines: Tensor) -> Tensor:
    """Run a layer on some lines (P, M, L, D), along L."""
    shape, heads = lines.shape, layer.attention.heads
    length, features = shape[-2:]
    x = lines.reshape(-1, features)  # with more axes, PyTorch would choose slower products
    qkv = functional.linear(x, weight).view(-1, length, 3, heads, features // heads)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (P M, N, L, C)
    mixed = attend(q, k, v, bias).transpose(1, 2).reshape(-1, features)
    return layer.finish(x, layer.attention.output(mixed), NO_POSITIONS, NO_NORMS).view(shape)


def most_likely(
    upsampler: ChannelUpsampler, values_HW3: Tensor, gray_HW: Tensor
) -> tuple[Tensor, Tensor]:
    """The most likely value of each channel of one photograph (as published), and its bits.

    values_HW3, gray_HW: as in `ChannelUpsampler.forward`. Returns int64 (H, W, 3) [0, 255], and
    float64 (), the mean bits per channel value that the upsampler assigns to this choice.

    Raises:
        ValueError: symbols of a wrong type, shape or range.
    """
    upsampler.check(values_HW3[None], gray_HW[None])
    x = _embed(upsampler, values_HW3, gray_HW)
    run_layers(upsampler.layers, x)
    best, cost = [], x.new_zeros((), dtype=torch.float64)
    rows = max(1, _chunk_bytes(x) // (4 * upsampler.head.out_features))
    for part in x.view(-1, x.shape[-1]).split(rows):
        logits = upsampler.head(part).float()
        highest = logits.max(dim=-1)
        best.append(highest.indices)
        cost += (torch.logsumexp(logits, dim=-1) - highest.values).double().sum()
    values = torch.cat(best).view(x.shape[:-1])
    return values.permute(1, 2, 0), cost / values.numel() / math.log(2)


def upsample(
    upsampler: ChannelUpsampler, values_BHW3: Tensor, gray_BHW: Tensor
) -> tuple[Tensor, Tensor]:
    """Apply `most_likely` to each photograph: int64 (B, H, W, 3) [0, 255], and bits, float64 (B,).

    values_BHW3, gray_BHW: as in `ChannelUpsampler.forward`. Photographs are done one at a time,
    which saves memory and keeps each result independent of the rest of the batch.
    """
    pairs = zip(values_BHW3, gray_BHW, strict=True)
    values, bits = zip(*(most_likely(upsampler, *pair) for pair in pairs), strict=True)
    return torch.stack(values), torch.stack(bits)


def _embed(upsampler: ChannelUpsampler, values_HW3: Tensor, gray_HW: Tensor) -> Tensor:
    """The first layer's input, (3, H, W, D); the input's dense layer is folded into embeddings."""
    weight, hidden = upsampler.input.weight, upsampler.config.hidden
    of_channel = upsampler.channel_embedding.weight @ weight[:, :hidden].T
    of_gray = upsampler.gray_embedding.weight @ weight[:, hidden:].T + upsampler.input.bias
    first = upsampler.levels * torch.arange(CHANNELS, device=gray_HW.device)
    x = of_channel[values_HW3.permute(2, 0, 1).contiguous().long() + first[:, None, None]]
    x += of_gray[gray_HW.long()]
    x += upsampler.position.row
    x += upsampler.position.column
    return x
