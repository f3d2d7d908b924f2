"""The sampler on a GPU: the graph is the plain loop, cached is slow, company changes nothing."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from test_core import OPTIONS

from model.colorizer import Colorizer
from model.core import ColTranCore
from model.method import Method
from model.sampling import CoreSample, cached, sample_core, sample_core_slow
from model.sampling import row as rows
from model.sampling.draw import Drawn
from model.sampling.runners import RowRunners
from support.tiny_models import tiny_core, write_tiny_weights

pytestmark = pytest.mark.cuda

PRECISIONS = [torch.float32, torch.bfloat16]


def on_gpu(options: dict[str, object], dtype: torch.dtype = torch.float32) -> ColTranCore:
    return tiny_core(8, **options).to("cuda", dtype)


def gray_photographs(count: int, seed: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, 8, 8), generator=generator).cuda()


def check_same(one: CoreSample, other: CoreSample) -> None:
    for part, counterpart in zip(one, other, strict=True):
        assert part.is_cuda and torch.equal(part, counterpart)


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("temperature", [0, 0.7])
@pytest.mark.parametrize("options", OPTIONS)
def test_the_graph_is_the_plain_loop(
    options: dict[str, object],
    temperature: float,
    dtype: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    core, recorded, plain = on_gpu(options, dtype), [], []
    runners = RowRunners(core)
    for batch in range(3):  # one recording for all
        gray, seeds = gray_photographs(8, batch), list(range(batch, batch + 8))
        recorded.append(sample_core(core, gray, seeds, temperature, runners=runners))
    with monkeypatch.context() as patch:
        patch.setattr(rows, "record", lambda draw_row, device: draw_row)
        for batch in range(3):
            gray, seeds = gray_photographs(8, batch), list(range(batch, batch + 8))
            plain.append(sample_core(core, gray, seeds, temperature))
    for one, other in zip(recorded, plain, strict=True):
        check_same(one, other)


@pytest.mark.parametrize("temperature", [0, 0.7, 1.0])
@pytest.mark.parametrize("options", OPTIONS)
def test_cached_equals_slow_bin_by_bin(options: dict[str, object], temperature: float) -> None:
    core, gray, seeds = on_gpu(options), gray_photographs(3), [3, 2**63 - 1, 11]
    fast = sample_core(core, gray, seeds, temperature)
    slow = sample_core_slow(core, gray, seeds, temperature)
    assert torch.equal(fast.bins_BHW, slow.bins_BHW)
    torch.testing.assert_close(fast.log_prob_BHW, slow.log_prob_BHW, rtol=0, atol=5e-5)
    torch.testing.assert_close(fast.entropy_BHW, slow.entropy_BHW, rtol=0, atol=5e-5)


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("temperature", [0, 0.7, 1.0])
@pytest.mark.parametrize("options", OPTIONS)
def test_forecasts_draw_what_lanes_draw(
    options: dict[str, object], temperature: float, dtype: torch.dtype
) -> None:
    """Last bits of sums may differ, and so may a draw in thousands, with what comes after it."""
    core, gray, seeds = on_gpu(options, dtype), gray_photographs(8), list(range(8))
    ways = [
        sample_core(core, gray, seeds, temperature, forecast=forecast)
        for forecast in (False, True, True)
    ]
    check_same(*ways[1:])
    same = (ways[0].bins_BHW == ways[1].bins_BHW).flatten(1).all(dim=1)
    assert same.sum() >= 6
    torch.testing.assert_close(
        ways[0].log_prob_BHW[same], ways[1].log_prob_BHW[same], rtol=0, atol=0.1
    )


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_company_changes_nothing(tmp_path: Path, precision: str) -> None:
    """Whatever the company in a batch of one size, in any order of batches."""
    folder = write_tiny_weights(tmp_path)
    colorizer = Colorizer.load(folder, "cuda", batch_size=16, method=Method(precision))
    high = np.random.default_rng(3).integers(0, 256, (20, 16, 16), dtype=np.uint8)
    low, seeds = high[:, ::2, ::2].copy(), list(range(20))
    together = colorizer.colorize(low, high, seeds)
    for places in ([4], [19, 4], [4, 4, 9, 2, 3], list(range(19, -1, -1))):
        apart = colorizer.colorize(low[places], high[places], [seeds[place] for place in places])
        for name in vars(together):
            assert np.array_equal(getattr(apart, name), getattr(together, name)[places]), name


def test_a_row_is_recorded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    core, record = on_gpu({}), rows.record
    recordings: list[torch.device] = []

    def counted(draw_row: Callable[[], Drawn], device: torch.device) -> Callable[[], Drawn]:
        recordings.append(device)
        return record(draw_row, device)

    monkeypatch.setattr(rows, "record", counted)
    runners = RowRunners(core)
    for batch in range(3):
        sample_core(core, gray_photographs(8, batch), list(range(8)), runners=runners)
    assert len(recordings) == 1


def test_nothing_waits_for_the_host_while_rows_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch itself refuses what would wait."""
    core, gray = on_gpu({}), gray_photographs(8)
    runners = RowRunners(core)
    first = sample_core(core, gray, list(range(8)), runners=runners)  # the recording may wait
    draw_rows = cached.draw_rows

    def without_waiting(*given: object) -> CoreSample:
        torch.cuda.set_sync_debug_mode("error")
        try:
            return draw_rows(*given)  # type: ignore[arg-type]
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(cached, "draw_rows", without_waiting)
    check_same(first, sample_core(core, gray, list(range(8)), runners=runners))
