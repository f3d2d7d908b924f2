"""Drawing coarse color from the core with caches, as the Axial Transformer does (Ho et al.).

Legend: B batch, H W rows and columns, D features, N heads, C features of a head, V = 512 bins,
M lines attended side by side (the columns of a row, or the one row being drawn), L their length.

The encoder runs once, each row of the outer decoder once, and each pixel of the inner decoder once
(`row`); each modulation is computed as soon as its context is known.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.conditioning import Modulation, NormModulations, PositionModulations
from model.core import ColTranCore
from model.encoder import Extras
from model.layers import AxialAttention, AxialLayer
from model.sampling.draw import CoreSample, Drawn
from model.sampling.inference import attend, run_layers
from model.sampling.row import RowInputs, StepInputs

# Pictures whose matrix products are computed together. Products with few rows use other kernels,
# whose sums differ in the last bit (measured on x86-64: fewer than four rows per thread), and in
# bfloat16 those with many rows do, too. Groups are therefore filled up by repeating the last
# photograph, and larger ones computed in parts, so that a picture never depends on its company.
LANES = 8


@dataclass
class KeyValueCache:
    """Keys and values of finished positions along the attended axis: each (B, M, N, L, C)."""

    keys: Tensor
    values: Tensor

    @classmethod
    def empty(cls, batch: int, lines: int, attention: AxialAttention) -> "KeyValueCache":
        """Zeros, in the dtype and on the device of the layer's weights."""
        weight, heads = attention.k.weight, attention.heads
        shape = (batch, lines, heads, attention.length, weight.shape[0] // heads)
        return cls(weight.new_zeros(shape), weight.new_zeros(shape))


def draw_rows(
    core: ColTranCore,
    runner: Callable[[RowInputs], Drawn],
    gray_BHW: Tensor,
    context: Tensor,
    uniforms_BHW: Tensor,
) -> CoreSample:
    """Draw pictures row by row. The host reads no value, as a GPU would have to wait for that.

    runner: draws one row of all pictures. context: of `encode`, (B, H, W, D). gray_BHW and
    uniforms_BHW may have fewer rows than the context: then only these are drawn.
    """
    batch, height, width = gray_BHW.shape
    at_once = _at_once(context)
    parts = [slice(first, first + at_once) for first in range(0, batch, at_once)]
    outer = [_outer_state(core, context[part], width) for part in parts]
    inner_norms = [modulate_norms(layer, context) for layer in core.inner.layers]
    bins = torch.empty_like(gray_BHW, dtype=torch.long)
    log_prob = torch.empty_like(uniforms_BHW)
    entropy = torch.empty_like(uniforms_BHW, dtype=torch.float32)
    expected = torch.empty_like(uniforms_BHW)
    upper = torch.zeros_like(context[:, :1])
    for row in range(height):
        # Contiguous, like a single picture: otherwise a bias is added in a separate step.
        gray_row, prior = context[:, row, None].contiguous(), core.prior(gray_BHW[:, row])
        start, steps = start_row(core, row, upper, gray_row, inner_norms)
        drawn = runner(RowInputs(uniforms_BHW[:, row], prior, start, steps))
        bins[:, row], log_prob[:, row], entropy[:, row], expected[:, row] = drawn
        if row + 1 < height:
            finished = (
                finish_row(core, row, bins[part], gray_row[part], *state)
                for part, state in zip(parts, outer, strict=True)
            )
            upper = torch.cat(list(finished))
    return CoreSample(bins, log_prob, entropy, expected)


def _at_once(context: Tensor) -> int:
    """How many pictures' matrix products are computed together: on a GPU those of all."""
    return LANES if context.device.type == "cpu" else len(context)


def _outer_state(
    core: ColTranCore, context: Tensor, width: int
) -> tuple[list[NormModulations], list[KeyValueCache]]:
    """For each layer of the outer decoder: the modulations of its norms, and its empty cache."""
    layers = core.outer.layers
    norms = [modulate_norms(layer, context) for layer in layers]
    return norms, [KeyValueCache.empty(len(context), width, layer.attention) for layer in layers]


def encode(
    core: ColTranCore,
    gray_BHW: Tensor,
    high_BSS: Tensor | None = None,
    hints_BHW: Tensor | None = None,
    palette_BV: Tensor | None = None,
) -> Tensor:
    """`core.encode`, one photograph at a time, in less memory and apart from its batch.

    A photograph that comes again right away, as for several candidates, is encoded once.
    """
    extras = Extras(high_BSS, hints_BHW, palette_BV)
    core.encoder.check(gray_BHW, extras)
    contexts: list[Tensor] = []
    for photo in range(len(gray_BHW)):
        if _is_repeated(photo, gray_BHW, *extras):
            contexts.append(contexts[-1])
            continue
        context = core.encoder.embed(gray_BHW[photo, None], extras.of_photo(photo))
        run_layers(core.encoder.layers, context)
        contexts.append(context)
    return torch.cat(contexts)


def _is_repeated(photo: int, *inputs: Tensor | None) -> bool:
    """Whether all inputs of a photograph are those of the one before it."""
    return photo > 0 and all(
        part is None or torch.equal(part[photo], part[photo - 1]) for part in inputs
    )


def modulate_norms(layer: AxialLayer, context: Tensor) -> NormModulations:
    """`AxialLayer.modulate_norms`, one photograph at a time.

    A photograph is one row of its matrix product, whose last bits would depend on the batch.
    """
    photos = [layer.modulate_norms(photo) for photo in context.split(1)]
    return NormModulations(*(_join(parts) for parts in zip(*photos, strict=True)))


def _join(parts: Sequence[Modulation]) -> Modulation:
    scales, shifts = zip(*parts, strict=True)
    return Modulation(*(None if part[0] is None else torch.cat(part) for part in (scales, shifts)))


def start_row(
    core: ColTranCore, row: int, upper: Tensor, gray_row: Tensor, norms: list[NormModulations]
) -> tuple[Tensor, list[StepInputs]]:
    """What a row of the inner decoder computes from finished rows and gray, both (B, 1, W, D).

    upper: context of the rows above, of `finish_row`. norms: modulations of each layer's norms.
    Returns the part of the first layer's input that does not depend on the row's own pixels,
    (W, B, D), and the other inputs of each layer.
    """
    start = (core.inner.position.row[row] + core.inner.position.column).expand_as(upper)
    if core.inner.skip:
        start = start + gray_row + upper
    context = torch.cat((gray_row, upper), dim=-1)
    positions = (_modulate_positions(layer, context) for layer in core.inner.layers)
    steps = [StepInputs.of(*pair) for pair in zip(positions, norms, strict=True)]
    return start[:, 0].transpose(0, 1), steps


def _modulate_positions(layer: AxialLayer, context: Tensor) -> PositionModulations:
    """`AxialLayer.modulate_positions`, of some pictures at a time."""
    parts = [layer.modulate_positions(some) for some in context.split(_at_once(context))]
    return PositionModulations(*(_join(each) for each in zip(*parts, strict=True)))


def finish_row(
    core: ColTranCore,
    row: int,
    bins_BHW: Tensor,
    gray_row: Tensor,
    norms: list[NormModulations],
    columns: list[KeyValueCache],
) -> Tensor:
    """Run the outer decoder on a finished row: context of the row below, (B, 1, W, D).

    columns: caches of all layers, of which only the masked ones, along columns, are used.
    """
    x = core.pixel_embedding(bins_BHW[:, row, None]) + core.outer.position.row[row]
    x = x + core.outer.position.column
    if core.outer.skip:
        x = x + gray_row
    for layer, norm, cache in zip(core.outer.layers, norms, columns, strict=True):
        positions = layer.modulate_positions(gray_row)
        if layer.attention.masked:
            x = step_layer(layer, x, positions, norm, cache, row)
        else:
            x = layer(x, positions, norm)
    return x


def step_layer(
    layer: AxialLayer,
    x: Tensor,
    positions: PositionModulations,
    norms: NormModulations,
    cache: KeyValueCache,
    place: int,
) -> Tensor:
    """Run a masked layer at one position of its axis; the earlier ones are cached.

    (B, 1, M, D) -> (B, 1, M, D).
    """
    attended = attend_cached(layer.attention, x, positions, cache, place)
    return layer.finish(x, attended, positions, norms)


def attend_cached(
    attention: AxialAttention,
    x: Tensor,
    positions: PositionModulations,
    cache: KeyValueCache,
    place: int,
) -> Tensor:
    """Attend from one position to itself and all before it: (B, 1, M, D) -> (B, 1, M, D)."""
    q, k, v = (part[:, 0].flatten(0, 1) for part in attention.project(x, positions))
    keys, values = cache.keys.flatten(0, 1), cache.values.flatten(0, 1)  # (B M, N, L, C)
    keys[:, :, place], values[:, :, place] = k, v
    last = attention.length - 1  # relative_bias[:, key - query + last], for keys 0..place
    bias = attention.relative_bias[:, None, last - place : last + 1]
    mixed = attend(q[:, :, None], keys[:, :, : place + 1], values[:, :, : place + 1], bias)
    return attention.output(mixed.reshape(*x.shape[:1], 1, -1, x.shape[-1]))
