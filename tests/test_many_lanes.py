"""Many pictures side by side on a CPU: the very bits of a few, or only a few at a time."""

from typing import Any

import pytest
import torch
from torch import Tensor

from model.colorizer import default_batch_size
from model.core import ColTranCore, CoreConfig
from model.method import Method
from model.sampling import CoreSample, sample_core
from model.sampling.row import RowRunner
from model.sampling.runners import RowRunners
from model.sampling.sampler import LANES, MANY_LANES, MANY_PAY
from model.weights import WEIGHTS, load_stage, outline_stage, stage_path
from support.tiny_models import tiny_core

SIDE = 8
SLOW = pytest.mark.slow


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Lanes of each row that is drawn."""
    drawn: list[int] = []
    draw = RowRunner.__call__

    def counted(self: RowRunner, given: Any) -> Any:
        drawn.append(given.start_WBD.shape[1])
        return draw(self, given)

    monkeypatch.setattr(RowRunner, "__call__", counted)
    return drawn


def photographs(count: int) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.randint(256, (count, SIDE, SIDE), generator=generator)


def in_lanes(core: ColTranCore, gray: Tensor) -> CoreSample:
    """All pictures, LANES at a time; their seeds are their numbers."""
    groups = zip(gray.split(LANES), torch.arange(len(gray)).split(LANES), strict=True)
    parts = [sample_core(core, some, seeds.tolist()) for some, seeds in groups]
    return CoreSample(*(torch.cat(pieces) for pieces in zip(*parts, strict=True)))


def check_same(one: CoreSample, other: CoreSample) -> None:
    for part, counterpart in zip(one, other, strict=True):
        assert part.dtype == counterpart.dtype and torch.equal(part, counterpart)


@pytest.mark.parametrize("threads", [1, pytest.param(2, marks=SLOW)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_many_are_drawn_as_a_few_are(
    dtype: torch.dtype, threads: int, groups: list[int], request: pytest.FixtureRequest
) -> None:
    if threads == 2:
        request.getfixturevalue("two_threads")
    core, gray = tiny_core(SIDE).to(dtype), photographs(MANY_LANES + MANY_PAY + 1)
    runners = RowRunners(core)
    many = sample_core(core, gray, range(len(gray)), runners=runners)
    assert runners.many_agree and groups[-2 * SIDE :] == [MANY_LANES] * 2 * SIDE
    check_same(many, in_lanes(core, gray))


def test_what_is_left_over_is_drawn_in_small_groups(groups: list[int]) -> None:
    core, count = tiny_core(SIDE), MANY_LANES + 3
    runners = RowRunners(core)
    runners.many_agree = True
    drawn = sample_core(core, photographs(count), range(count), runners=runners)
    assert drawn.bins_BHW.shape == (count, SIDE, SIDE)
    assert groups == [MANY_LANES] * SIDE + [LANES] * SIDE
    groups.clear()
    sample_core(core, photographs(MANY_PAY - 1), range(MANY_PAY - 1), runners=runners)
    assert groups == [LANES] * SIDE * -(-(MANY_PAY - 1) // LANES)


@SLOW
def test_pictures_of_large_cores_in_bfloat16_do_not_depend_on_their_number() -> None:
    """Their matrix products do: those of rows of more than eight pictures sum in another order."""
    config = CoreConfig(hidden=512, ff=512, heads=4, resolution=SIDE, enc=1, outer=1, inner=1)
    torch.manual_seed(0)
    core, gray = ColTranCore(config).eval().to(torch.bfloat16), photographs(MANY_PAY)
    check_same(sample_core(core, gray, range(len(gray))), in_lanes(core, gray))


def test_where_many_differ_only_a_few_are_drawn_at_a_time(
    monkeypatch: pytest.MonkeyPatch, groups: list[int]
) -> None:
    core, gray = tiny_core(SIDE), photographs(MANY_LANES)
    expected, draw = in_lanes(core, gray), RowRunner.__call__

    def inexact(self: RowRunner, given: Any) -> Any:
        if given.start_WBD.shape[1] == MANY_LANES:
            given = given._replace(start_WBD=given.start_WBD * (1 + 2**-20))
        return draw(self, given)

    monkeypatch.setattr(RowRunner, "__call__", inexact)
    runners = RowRunners(core)
    check_same(sample_core(core, gray, range(MANY_LANES), runners=runners), expected)
    assert runners.many_agree is False and groups[-1] == LANES


def test_many_are_drawn_where_there_is_room_and_anything_to_draw() -> None:
    default = load_stage(stage_path(WEIGHTS, "core"))
    assert isinstance(default, ColTranCore)
    assert default_batch_size(default, Method()) == MANY_LANES
    assert default_batch_size(default, Method(draft=True)) == LANES
    published = outline_stage(CoreConfig())  # its size, without its memory
    assert isinstance(published, ColTranCore)
    assert default_batch_size(published, Method()) == LANES
