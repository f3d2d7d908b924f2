"""Exact forecasts: single photographs get the very bits that eight lanes give them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from test_core import OPTIONS

from model.conditioning import Modulation
from model.core import ColTranCore
from model.encoder import Extras
from model.layers import AxialLayer
from model.sampling import CoreSample, sample_core, sampler
from model.sampling.cached import LANES, draw_rows, encode
from model.sampling.draw import draw_uniforms
from model.sampling.forecast import BatchForecaster
from model.sampling.row import InnerStep, RowRunner, StepInputs
from model.sampling.runners import RowRunners
from model.weights import load_stage
from support.tiny_models import tiny_core

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="no oneDNN in this PyTorch"
)

SLOW, SIDE = pytest.mark.slow, 16
PHOTOGRAPHS = ("people/photographer.jpg", "animals/cat.jpg", "things/coffee.png")


def check_same(one: CoreSample, other: CoreSample) -> None:
    for part, counterpart in zip(one, other, strict=True):
        assert part.dtype == counterpart.dtype and torch.equal(part, counterpart)


def gray_photographs(count: int, seed: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, SIDE, SIDE), generator=generator)


@pytest.mark.parametrize("temperature", [pytest.param(0, marks=SLOW), 0.7])
@pytest.mark.parametrize("options", [*OPTIONS, {"hidden": 20, "ff": 12, "heads": 4}])
def test_forecasts_are_lanes_to_the_bit(options: dict[str, object], temperature: float) -> None:
    """Lanes take the same time for all six as for one."""
    core, gray, seeds = tiny_core(SIDE, **options), gray_photographs(3), list(range(6))
    runners = RowRunners(core)
    twice = gray.repeat(2, 1, 1)
    lanes = sample_core(core, twice, seeds, temperature, runners=runners, forecast=False)
    for part in (slice(0, 3), slice(3, 6)):
        alone = sample_core(core, gray, seeds[part], temperature, runners=runners, forecast=True)
        check_same(alone, CoreSample(*(each[part] for each in lanes)))


def test_leaving_out_masked_keys_changes_no_bit() -> None:
    """A window attends to all keys of its row, a single pixel only to those that are near."""
    side, plain = 40, StepInputs(*[Modulation(None, None)] * 4)
    core, generator = tiny_core(side), torch.Generator().manual_seed(1)
    layer = core.inner.layers[0]
    assert isinstance(layer, AxialLayer)
    x = torch.randn(side, LANES, core.config.hidden, generator=generator)
    with torch.no_grad():
        by_pixel, by_window = InnerStep.of(layer, LANES, LANES), InnerStep.of(layer, 1, side)
        pixels = [by_pixel(x[column], column, plain) for column in range(side)]
        window = by_window.run_window(x[:, :1], 0, plain)
    assert torch.equal(torch.stack(pixels)[:, :1], window)


def draw_all_at_once(
    core: ColTranCore, gray: torch.Tensor, seeds: list[int], temperature: float
) -> CoreSample:
    """As forecasts do on a GPU."""
    forecaster = BatchForecaster(core, len(gray), temperature)
    with torch.no_grad():
        context, uniforms = encode(core, gray), draw_uniforms(gray, seeds, temperature)
        return draw_rows(core, forecaster, gray, context, uniforms)


@pytest.mark.parametrize("temperature", [0, 0.7])
@pytest.mark.parametrize("options", OPTIONS)
def test_forecasts_of_a_whole_batch_are_lanes_to_the_bit(
    options: dict[str, object], temperature: float
) -> None:
    core, gray, seeds = tiny_core(SIDE, **options), gray_photographs(8), list(range(8))
    lanes = sample_core(core, gray, seeds, temperature, forecast=False)
    check_same(draw_all_at_once(core, gray, seeds, temperature), lanes)


def test_the_passes_of_a_batch_are_fewer_than_its_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder that looks at no pixel of its row: one pass draws it, and one proves it."""
    core = tiny_core(SIDE)
    core.pixel_embedding.weight.data.zero_()
    passes = []
    run = InnerStep.run_window

    def counted(self: InnerStep, x: torch.Tensor, start: int, inputs: Any) -> torch.Tensor:
        passes.append(start)
        return run(self, x, start, inputs)

    monkeypatch.setattr(InnerStep, "run_window", counted)
    draw_all_at_once(core, gray_photographs(8), list(range(8)), 1.0)
    assert len(passes) <= 2 * SIDE * core.config.inner


def test_a_device_that_never_computes_the_same_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    core, noise = tiny_core(SIDE), torch.Generator().manual_seed(0)
    run = InnerStep.run_window

    def other_each_time(self: InnerStep, x: torch.Tensor, start: int, inputs: Any) -> torch.Tensor:
        return run(self, x, start, inputs) + torch.randn(x.shape, generator=noise)

    monkeypatch.setattr(InnerStep, "run_window", other_each_time)
    with pytest.raises(RuntimeError, match="did not settle"):
        draw_all_at_once(core, gray_photographs(8), list(range(8)), 1.0)


@pytest.mark.slow
@pytest.mark.usefixtures("two_threads")
def test_forecasts_are_lanes_with_two_threads() -> None:
    core, gray = tiny_core(SIDE), gray_photographs(9)
    lanes = sample_core(core, gray, list(range(9)), forecast=False)
    check_same(sample_core(core, gray, list(range(9)), forecast=True), lanes)


@pytest.fixture(scope="module")
def shipped(repository: Path) -> ColTranCore:
    core = load_stage(repository / "model/weights/core.safetensors")
    assert isinstance(core, ColTranCore)
    return core


def with_known_color(extras: Extras, count: int, side: int) -> Extras:
    hints = torch.full((count, side, side), 512)
    hints[:, side // 3 : side // 2, side // 2] = 301
    palette = torch.rand(1, 512, generator=torch.Generator().manual_seed(2)) ** 8
    return extras._replace(hints_BHW=hints, palette_BV=(palette / palette.sum()).repeat(count, 1))


@pytest.mark.slow
def test_the_shipped_core_draws_photographs_the_same_both_ways(
    shipped: ColTranCore, repository: Path
) -> None:
    """Lanes take the same time for one photograph as for all of them, and so draw them together."""
    core, side, count = shipped, shipped.config.resolution, len(PHOTOGRAPHS)

    def read(size: int) -> torch.Tensor:
        photographs = []
        for name in PHOTOGRAPHS:
            with Image.open(repository / "examples/photos" / name) as picture:
                gray = np.asarray(picture.convert("L").resize((size, size)))
            photographs.append(torch.from_numpy(gray.astype(int)))
        return torch.stack(photographs)

    gray, plain = read(side), Extras(read(256))
    runners, told = RowRunners(core), with_known_color(plain, count, side)
    for temperature, extras in ((0, plain), (0.7, told), (1.0, plain)):
        lanes, alone = (
            sample_core(
                core, gray, [7] * count, temperature, *extras, runners=runners, forecast=way
            )
            for way in (False, True)
        )
        check_same(alone, lanes)
        for bins in alone.bins_BHW:
            assert len(bins.unique()) > 5, "a picture, not a color"


def test_a_row_takes_fewer_passes_than_it_has_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder that looks at no pixel of its row: one pass settles it, and one for each block
    that was guessed wrong proves it."""
    core = tiny_core(SIDE)
    core.pixel_embedding.weight.data.zero_()
    passes: list[int] = []
    run = InnerStep.run_window

    def counted(self: InnerStep, x: torch.Tensor, start: int, inputs: Any) -> torch.Tensor:
        passes.append(start)
        return run(self, x, start, inputs)

    monkeypatch.setattr(InnerStep, "run_window", counted)
    sample_core(core, gray_photographs(1), [1], forecast=True)
    assert len(passes) <= 2 * SIDE * core.config.inner
    assert set(passes) == {0}


def test_few_photographs_are_forecast_and_many_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    core = tiny_core(SIDE)
    runners = RowRunners(core)
    assert sampler.forecasts_agree(runners), "else no photograph would be forecast"

    def refuse(*_: object) -> None:
        raise AssertionError("the other way was taken")

    with monkeypatch.context() as patch:
        patch.setattr(RowRunner, "__call__", refuse)
        for count in range(1, sampler.MOST_FORECAST + 1):
            sample_core(core, gray_photographs(count), list(range(count)), runners=runners)
    monkeypatch.setattr(InnerStep, "run_window", refuse)
    count = sampler.MOST_FORECAST + 1
    sample_core(core, gray_photographs(count), list(range(count)), runners=runners)


def test_where_the_ways_differ_nothing_is_forecast(monkeypatch: pytest.MonkeyPatch) -> None:
    core, gray = tiny_core(SIDE), gray_photographs(1)
    expected = sample_core(core, gray, [1], forecast=False)
    run = InnerStep.run_window

    def inexact(self: InnerStep, x: torch.Tensor, start: int, inputs: Any) -> torch.Tensor:
        return run(self, x, start, inputs) * (1 + 2**-23)

    monkeypatch.setattr(InnerStep, "run_window", inexact)
    runners = RowRunners(core)
    check_same(sample_core(core, gray, [1], runners=runners), expected)
    assert runners.forecasts_agree is False


@pytest.mark.parametrize(
    ("side", "dtype"), [(4, torch.float32), (12, torch.float32), (8, torch.bfloat16)]
)
def test_what_cannot_be_forecast_is_drawn_in_lanes(side: int, dtype: torch.dtype) -> None:
    core, gray = tiny_core(side).to(dtype), torch.zeros(1, side, side, dtype=torch.long)
    assert sample_core(core, gray, [1]).bins_BHW.shape == gray.shape
    with pytest.raises(ValueError, match="forecasts need"):
        sample_core(core, gray, [1], forecast=True)
