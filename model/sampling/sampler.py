"""Drawing coarse color from the core in whichever way is fastest: all draw identical pictures.

Legend: B batch, H W rows and columns, S side of the high resolution, V = 512 bins, D features.

`sample_core_slow` is the definition: for each pixel, call `forward` and draw. `sample_core` draws
the same pictures with caches (`cached`), many side by side in lanes, or single ones by forecasts.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from model.core import ColTranCore
from model.sampling.cached import LANES, draw_rows, encode
from model.sampling.draw import CoreSample, draw_uniforms
from model.sampling.forecast import can_forecast
from model.sampling.row import RowRunner
from model.sampling.runners import RowRunners

# On a CPU, so many lanes take 0.6 of the time a picture (docs/benchmarks.md); twice as many would
# take little less. Of fewer photographs than MANY_PAY, groups of LANES are faster.
MANY_LANES = 32
MANY_PAY = 17

# Batches of up to this many photographs are drawn by forecasts, one photograph after the other:
# each takes about a quarter of the time of eight lanes (docs/benchmarks.md).
MOST_FORECAST = 2


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

    lanes: on a GPU, draw at least this many pictures at once, by repeating the last photograph; on
    a CPU it has no effect. runners: those of this core, to be kept by callers that draw many
    batches. forecast: guess whole rows (model.sampling.forecast), of each picture by itself on a
    CPU, of all pictures at once on a GPU; None chooses the faster way on a CPU, and no forecasts
    on a GPU, where their speed was never measured. On a CPU all ways draw identical pictures. On a
    GPU forecasts multiply matrices of other shapes, so that last bits of sums, and with them rare
    draws, may differ.

    Raises:
        ValueError: a wrong shape, range, number of seeds or temperature, runners of another core,
            or forecasts on a CPU where `can_forecast` is false.
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
        forecast = count <= MOST_FORECAST and can_forecast(core) and forecasts_agree(runners)
    parts = []
    if forecast and core.head.weight.device.type == "cpu":
        forecaster = runners.forecaster(temperature)
        pictures = zip(gray_BHW.split(1), context.split(1), uniforms.split(1), strict=True)
        parts += [draw_rows(core, forecaster, *picture) for picture in pictures]
    else:
        for group in _groups(runners, count, lanes):
            lane = group.clamp(max=count - 1).to(gray_BHW.device)
            runner = runners.of(len(lane), temperature, forecast)
            drawn = draw_rows(core, runner, gray_BHW[lane], context[lane], uniforms[lane])
            parts.append(CoreSample(*(part[: count - int(group[0])] for part in drawn)))
    return CoreSample(*(torch.cat(pieces) for pieces in zip(*parts, strict=True)))


def _groups(runners: RowRunners, count: int, lanes: int) -> Iterator[Tensor]:
    """Numbers of the photographs that are drawn side by side, int64; those from `count` on fill up
    a group."""
    if runners.core.head.weight.device.type != "cpu":
        yield torch.arange(-(-max(count, lanes) // LANES) * LANES)
        return
    start = 0
    while start < count:
        many = count - start >= MANY_PAY and many_agree(runners)
        size = MANY_LANES if many else LANES
        yield torch.arange(start, start + size)
        start += size


@torch.no_grad()
def forecasts_agree(runners: RowRunners) -> bool:
    """Whether forecasts and lanes draw two rows of a random photograph identically, to the bit.

    Tested once for each core, since no library guarantees it.
    """
    if runners.forecasts_agree is None:
        inputs = _random_rows(runners.core, 1)
        alone = draw_rows(runners.core, runners.forecaster(1.0), *inputs)
        lanes = _draw_in_lanes(
            runners.core, LANES, *(each.repeat_interleave(LANES, 0) for each in inputs)
        )
        runners.forecasts_agree = _same(alone, CoreSample(*(part[:1] for part in lanes)))
    return runners.forecasts_agree


@torch.no_grad()
def many_agree(runners: RowRunners) -> bool:
    """Whether MANY_LANES draw two rows of random photographs as LANES do, to the bit.

    Tested once for each core, since no library guarantees it: in bfloat16, the sums of 64 rows of
    512 features are others than those of 32.
    """
    if runners.many_agree is None:
        inputs = _random_rows(runners.core, MANY_LANES)
        many = _draw_in_lanes(runners.core, MANY_LANES, *inputs)
        ends = (slice(LANES), slice(-LANES, None))
        runners.many_agree = all(
            _same(
                _draw_in_lanes(runners.core, LANES, *(each[end] for each in inputs)),
                CoreSample(*(part[end] for part in many)),
            )
            for end in ends
        )
    return runners.many_agree


def _random_rows(core: ColTranCore, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Gray, context and random numbers, as `draw_rows` takes them, of two rows."""
    side, generator = core.config.resolution, torch.Generator().manual_seed(0)
    gray = torch.randint(256, (count, 2, side), generator=generator)
    context = torch.randn(count, side, side, core.config.hidden, generator=generator)
    uniforms = torch.rand(count, 2, side, dtype=torch.float64, generator=generator)
    return gray, context.to(core.head.weight.dtype), uniforms


def _draw_in_lanes(
    core: ColTranCore, lanes: int, gray: Tensor, context: Tensor, uniforms: Tensor
) -> CoreSample:
    return draw_rows(core, RowRunner(core, lanes, 1.0), gray, context, uniforms)


def _same(one: CoreSample, other: CoreSample) -> bool:
    return all(torch.equal(*pair) for pair in zip(one, other, strict=True))
