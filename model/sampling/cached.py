"""Drawing coarse color from the core: semi-parallel sampling of the Axial Transformer (Ho et al.).

Legend: B batch, H W rows and columns, D features, N heads, C features of a head, V = 512 bins,
M lines attended side by side (the columns of a row, or the one row being drawn), L their length.

`sample_core_slow` is the definition: for each pixel, call `forward` and draw. `sample_core` draws
the same picture with caches: it runs the encoder once, each row of the outer decoder once, and each
pixel of the inner decoder once (`row`), and computes each modulation as soon as its context is
known.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.conditioning import Modulation, NormModulations, PositionModulations
from model.core import ColTranCore
from model.encoder import Extras
from model.layers import AxialAttention, AxialLayer
from model.sampling.draw import CoreSample, Drawn, draw_uniforms
from model.sampling.forecast import can_forecast
from model.sampling.inference import attend, run_layers
from model.sampling.row import RowInputs, RowRunner, StepInputs
from model.sampling.runners import RowRunners

# Matrix products with few rows use other kernels, whose sums differ in the last bit (measured on
# x86-64: fewer than four rows per thread). Batches are therefore filled up to a multiple of this by
# repeating the last photograph, so that a picture never depends on the rest of its batch.
LANES = 8

# Batches of up to this many photographs are drawn by forecasts, one photograph after the other:
# each takes about a quarter of the time of eight lanes (docs/benchmarks.md).
MOST_FORECAST = 2


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


@torch.no_grad()
def sample_core(
    core: ColTranCore,
    gray_BHW: Tensor,
    seeds_B: Sequence[int],
    temperature: float = 1.0,
    high_BSS: Tensor | None = None,
    hints_BHW: Tensor | None = None,
    palette_BV: Tensor | None = None,
    *,
    lanes: int = LANES,
    runners: RowRunners | None = None,
    forecast: bool | None = None,
) -> CoreSample:
    """Draw one picture for each gray photograph.

    gray_BHW: integers [0, 255]. seeds_B: one per photograph, 0..2^63 - 1; it determines the random
    numbers of its picture. temperature: at least 0; it divides the logits, and 0 takes the most
    likely bin of each pixel. high_BSS, hints_BHW, palette_BV: as in model.encoder.Extras.

    lanes: draw at least this many pictures at once, by repeating the last photograph. runners:
    this core's, which callers that draw many batches keep. forecast: draw each picture by
    itself with exact forecasts (model.sampling.forecast); None chooses the faster way. Both ways
    draw identical pictures.

    Raises:
        ValueError: a wrong shape, range, number of seeds or temperature, runners of another core,
            or forecasts where `can_forecast` is false.
    """
    runners = RowRunners(core) if runners is None else runners
    if runners.core is not core:
        raise ValueError("the runners are those of another core")
    uniforms = draw_uniforms(gray_BHW, seeds_B, temperature)
    context = encode(core, gray_BHW, high_BSS, hints_BHW, palette_BV)
    return sample_encoded(runners, gray_BHW, context, uniforms, temperature, lanes, forecast)


@torch.no_grad()
def sample_encoded(
    runners: RowRunners,
    gray_BHW: Tensor,
    context: Tensor,
    uniforms: Tensor,
    temperature: float,
    lanes: int = LANES,
    forecast: bool | None = None,
) -> CoreSample:
    """`sample_core` without its encoder, for callers that need the context themselves.

    context: of `encode`, (B, H, W, D). uniforms: of `draw_uniforms`, (B, H, W).
    """
    core, count = runners.core, len(gray_BHW)
    if forecast is None:
        forecast = count <= MOST_FORECAST and can_forecast(core) and ways_agree(runners)
    if forecast:
        forecaster = runners.forecaster(temperature)
        pictures = zip(gray_BHW.split(1), context.split(1), uniforms.split(1), strict=True)
        alone = [draw_rows(core, forecaster, *picture) for picture in pictures]
        return CoreSample(*(torch.cat(parts) for parts in zip(*alone, strict=True)))
    lanes = -(-max(count, lanes) // LANES) * LANES
    lane = torch.arange(lanes, device=gray_BHW.device).clamp(max=count - 1)
    runner = runners.of(lanes, temperature)
    drawn = draw_rows(core, runner, gray_BHW[lane], context[lane], uniforms[lane])
    return CoreSample(*(part[:count] for part in drawn))


@torch.no_grad()
def ways_agree(runners: RowRunners) -> bool:
    """Whether forecasts and lanes draw two rows of a random photograph identically, to the bit.

    Tested once for each core, since no library guarantees it.
    """
    if runners.ways_agree is None:
        core, side = runners.core, runners.core.config.resolution
        generator = torch.Generator().manual_seed(0)
        gray = torch.randint(256, (1, 2, side), generator=generator)
        context = torch.randn(1, side, side, core.config.hidden, generator=generator)
        uniforms = torch.rand(1, 2, side, dtype=torch.float64, generator=generator)
        lane = torch.zeros(LANES, dtype=torch.long)
        lanes = draw_rows(
            core, RowRunner(core, LANES, 1.0), gray[lane], context[lane], uniforms[lane]
        )
        alone = draw_rows(core, runners.forecaster(1.0), gray, context, uniforms)
        pairs = zip(alone, lanes, strict=True)
        runners.ways_agree = all(torch.equal(one[0], other[0]) for one, other in pairs)
    return runners.ways_agree


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
    outer_norms = [modulate_norms(layer, context) for layer in core.outer.layers]
    inner_norms = [modulate_norms(layer, context) for layer in core.inner.layers]
    columns = [KeyValueCache.empty(batch, width, layer.attention) for layer in core.outer.layers]
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
            upper = finish_row(core, row, bins, gray_row, outer_norms, columns)
    return CoreSample(bins, log_prob, entropy, expected)


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
    positions = (layer.modulate_positions(context) for layer in core.inner.layers)
    steps = [StepInputs.of(*pair) for pair in zip(positions, norms, strict=True)]
    return start[:, 0].transpose(0, 1), steps


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
