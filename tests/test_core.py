"""The core's structure: causality, options, refusals. Published tensors: test_golden."""

import pytest
import torch

from model.core import CoreConfig
from model.weights import outline_stage
from support.tiny_models import tiny_core

OPTIONS: list[dict[str, object]] = [
    {},
    {"cond_mlp": "shift", "cond_ln_seq": "cs", "cond_ln_sp_ave": "mean", "cond_att_scale": False},
    {"cond_ln": False, "cond_att_q": False, "cond_att_act": "tanh", "skip": False},
    {"cond_att_q": False, "cond_att_k": False, "cond_att_v": False, "cond_mlp_act": "relu"},
    {"cond_ln_act": "sigmoid", "cond_att_k": False, "outer": 1, "inner": 3},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_a_pixel_sees_what_is_above_and_left_of_it_alone(options: dict[str, object]) -> None:
    core = tiny_core(6, **options)
    generator = torch.Generator().manual_seed(0)
    gray = torch.randint(256, (1, 6, 6), generator=generator)
    bins = torch.randint(512, (1, 6, 6), generator=generator)
    before = core(bins, gray)
    row, column = 2, 3
    changed = bins.clone()
    changed[0, row, column] = (changed[0, row, column] + 100) % 512
    difference = (core(changed, gray) - before).abs().amax(dim=-1)[0]
    flat = difference.flatten()
    place = row * 6 + column
    assert bool((flat[: place + 1] == 0).all()), "an earlier pixel, or the pixel itself, saw it"
    assert bool((difference[row, column + 1 :] > 0).all()), "the rest of the row must see it"
    assert bool((difference[row + 1 :] > 0).all()), "all rows below must see it"


def test_every_pixel_sees_all_of_gray() -> None:
    core = tiny_core(6)
    gray = torch.full((1, 6, 6), 100)
    bins = torch.zeros(1, 6, 6, dtype=torch.long)
    changed = gray.clone()
    changed[0, 5, 5] = 200
    difference = (core(bins, changed) - core(bins, gray)).abs().amax(dim=-1)
    assert bool((difference > 0).all())
    difference = (core.parallel_logits(changed) - core.parallel_logits(gray)).abs().amax(dim=-1)
    assert bool((difference > 0).all())


def test_shapes_and_types_at_the_doors() -> None:
    core = tiny_core(6)
    gray = torch.zeros(2, 6, 6, dtype=torch.uint8)
    bins = torch.zeros(2, 6, 6, dtype=torch.int16)
    for logits in (core(bins, gray), core.parallel_logits(gray)):
        assert logits.shape == (2, 6, 6, 512) and logits.dtype == torch.float32
    with pytest.raises(ValueError, match=r"bins must lie in 0..511, not in 512..512"):
        core(torch.full((2, 6, 6), 512), gray)
    with pytest.raises(ValueError, match=r"gray must have shape \(B, 6, 6\), not \(2, 5, 6\)"):
        core(bins, gray[:, :5])


def test_defaults_are_the_published_model() -> None:
    core = outline_stage(CoreConfig())
    parameters = sum(parameter.numel() for parameter in core.parameters())
    assert core.describe()["hidden"] == 512 and core.describe()["resolution"] == 64
    assert 45_000_000 < parameters < 50_000_000  # the paper's core has about 46 million


@pytest.mark.parametrize("settings", [{"enc": 0}, {"inner": -1}, {"outer": True}, {"skip": 1}])
def test_impossible_settings_are_refused(settings: dict[str, object]) -> None:
    name, value = next(iter(settings.items()))
    with pytest.raises(ValueError, match=f"{name} must be .*, not {value}"):
        CoreConfig(**settings)  # type: ignore[arg-type]
