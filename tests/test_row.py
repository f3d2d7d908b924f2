"""A row's runner: its buffers keep nothing of earlier batches; the host never looks at values."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from test_core import OPTIONS
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from model.colorizer import Colorizer
from model.core import ColTranCore
from model.sampling import sample_core
from model.sampling.cached import draw_rows, encode, start_row
from model.sampling.draw import draw_uniforms
from model.sampling.row import RowInputs, RowRunner
from model.sampling.runners import RowRunners
from support.tiny_models import tiny_color, tiny_core, tiny_spatial

BATCH, SIDE = 8, 4
CORES = [*OPTIONS, {"histogram": True}]


def gray_photographs(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (BATCH, SIDE, SIDE), generator=generator)


def seeds_of(batch: int) -> list[int]:
    return list(range(batch * BATCH, (batch + 1) * BATCH))


def same(one: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    return all(torch.equal(*pair) for pair in zip(one, other, strict=True))


def core_of(options: dict[str, object]) -> ColTranCore:
    core = tiny_core(SIDE, **options)
    if core.config.histogram:  # different at each gray
        table = torch.randn(256, 512, generator=torch.Generator().manual_seed(1))
        core.log_histogram.copy_(torch.log_softmax(table, dim=-1))
    return core


@pytest.mark.parametrize("options", CORES)
def test_batches_through_one_runner_equal_those_through_new_ones(
    options: dict[str, object],
) -> None:
    core = core_of(options)
    runners = RowRunners(core)
    for batch, temperature in ((1, 1.0), (2, 1.0), (1, 0), (1, 1.0)):
        gray, seeds = gray_photographs(batch), seeds_of(batch)
        kept = sample_core(core, gray, seeds, temperature, runners=runners)
        assert same(kept, sample_core(core, gray, seeds, temperature)), (batch, temperature)


def first_rows(core: ColTranCore, gray: Tensor) -> RowInputs:
    """What the first row of gray photographs is drawn from."""
    context = encode(core, gray)
    norms = [layer.modulate_norms(context) for layer in core.inner.layers]
    upper, gray_row = torch.zeros_like(context[:, :1]), context[:, :1]
    uniforms = draw_uniforms(gray, seeds_of(1), 1.0)[:, 0]
    return RowInputs(uniforms, core.prior(gray[:, 0]), *start_row(core, 0, upper, gray_row, norms))


@torch.no_grad()
def test_a_runner_shares_no_memory_with_those_who_use_it() -> None:
    core = core_of({"histogram": True, "skip": False})
    runner = RowRunner(core, BATCH, 1.0)
    given = first_rows(core, gray_photographs(1))
    first = runner(given)
    before = [part.clone() for part in first]
    runner(first_rows(core, gray_photographs(2)))
    assert same(first, before), "what was drawn before is still there"
    assert same(runner(given), before), "and what was given"
    for part in first:
        part.zero_()
    assert same(runner(given), before)
    wrong = given._replace(uniforms_BW=given.uniforms_BW[:1])
    with pytest.raises(ValueError, match=r"a row takes \(8, 4\) here, not \(1, 4\)"):
        runner(wrong)


@torch.no_grad()
def test_a_runner_works_with_and_without_inference_mode() -> None:
    core = tiny_core(SIDE)
    given = first_rows(core, gray_photographs(1))
    with torch.inference_mode():
        runner = RowRunner(core, BATCH, 1.0)
        first = [part.clone() for part in runner(given)]
    assert same(runner(given), first)


class NoLookFromTheHost(TorchDispatchMode):
    """Refuses operations whose result the host must wait for."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        waits = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select", "unique")
        name = func.name().removeprefix("aten::").split(".")[0]
        by_mask = name == "index" and any(
            part is not None and part.dtype in (torch.bool, torch.uint8) for part in args[1]
        )
        if name.rstrip("_2") in waits or by_mask:
            raise AssertionError(f"the host waits for {func.name()}")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("temperature", [0, 0.7])
@pytest.mark.parametrize("options", CORES)
@torch.no_grad()
def test_the_host_never_waits_while_rows_are_drawn(
    options: dict[str, object], temperature: float
) -> None:
    core, gray = core_of(options), gray_photographs(1)
    uniforms, context = draw_uniforms(gray, seeds_of(1), temperature), encode(core, gray)
    runner = RowRunner(core, BATCH, temperature)
    with NoLookFromTheHost():
        drawn = draw_rows(core, runner, gray, context, uniforms)
    assert same(drawn, sample_core(core, gray, seeds_of(1), temperature))


@pytest.mark.parametrize("options", CORES)
@torch.no_grad()
def test_rows_are_drawn_without_any_value(options: dict[str, object]) -> None:
    """On the meta device there are shapes and no values: who looks at one fails. The code takes
    the ways of a GPU there, not those of a CPU."""
    side = 2  # a row after the first, and a pixel after the first: operations take long there
    core = tiny_core(side, **options).to("meta")
    gray = torch.empty(BATCH, side, side, dtype=torch.long, device="meta")
    context = torch.empty(BATCH, side, side, core.config.hidden, device="meta")
    uniforms = torch.empty(BATCH, side, side, dtype=torch.float64, device="meta")
    drawn = draw_rows(core, RowRunner(core, BATCH, 1.0), gray, context, uniforms)
    assert all(part.shape == gray.shape for part in drawn)


LOOKS: list[Callable[[Tensor], object]] = [
    lambda x: x.item(),
    lambda x: bool((x > 0).all()),
    lambda x: x[x > 0],
    lambda x: x.nonzero(),
    lambda x: torch.equal(x, x + 1),
]


@pytest.mark.parametrize("look", LOOKS)
def test_a_look_from_the_host_would_be_found(look: Callable[[Tensor], object]) -> None:
    with NoLookFromTheHost(), pytest.raises(AssertionError, match="the host waits for"):
        look(torch.ones(1))
    with pytest.raises((RuntimeError, NotImplementedError), match="(?i)meta"):
        look(torch.ones(1, device="meta"))


def test_another_batch_size_drops_what_was_kept_for_the_last() -> None:
    runners = RowRunners(tiny_core(SIDE))
    large = [runners.of(16, temperature) for temperature in (0, 1.0)]
    assert [runners.of(16, temperature) for temperature in (0, 1.0)] == large
    small = runners.of(8, 1.0)
    assert small is runners.of(8, 1.0) and runners.of(16, 1.0) not in large


def test_runners_of_another_core_are_refused() -> None:
    with pytest.raises(ValueError, match="another core"):
        others = RowRunners(tiny_core(SIDE))
        sample_core(tiny_core(SIDE), gray_photographs(1), seeds_of(1), runners=others)


def test_a_colorizer_keeps_one_runner_for_all_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    stages = tiny_core(SIDE), tiny_color(SIDE), tiny_spatial(2 * SIDE)
    colorizer = Colorizer(*stages, batch_size=8)
    high = torch.randint(256, (20, 8, 8), dtype=torch.uint8).numpy()
    low = high[:, ::2, ::2].copy()
    made: list[RowRunner] = []
    start = RowRunner.__init__

    def counted(self: RowRunner, *arguments: Any) -> None:
        made.append(self)
        start(self, *arguments)

    monkeypatch.setattr(RowRunner, "__init__", counted)
    together = colorizer.colorize(low, high, list(range(20)))
    colorizer.colorize(low[:5], high[:5], list(range(5)))
    assert len(made) == 1, "three batches and another call"
    alone = colorizer.colorize(low[17:18], high[17:18], [17])
    assert (alone.rgb[0] == together.rgb[17]).all()
