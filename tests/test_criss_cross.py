"""Criss-cross and full attention against naive references, and as encoders of the core."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from test_training import config, photographs

from model.core import ColTranCore, CoreConfig
from model.criss_cross import CrissCrossAttention, FullAttention, GridAttention
from model.sampling import sample_core, sample_core_slow
from model.training.growth import grow
from model.training.trainer import Trainer
from model.weights import load_stage, read_config, save_stage
from support.tiny_models import perturb, tiny_core

L = 4


def attention(kind: type[GridAttention]) -> GridAttention:
    torch.manual_seed(0)
    return perturb(kind(hidden=6, heads=2, length=L), 0.5)


def naive(module: GridAttention, x: torch.Tensor, everywhere: bool) -> torch.Tensor:
    """Pixel by pixel and head by head, from the definition."""
    result, (heads, last) = torch.zeros_like(x), (module.heads, L - 1)
    places = [(row, column) for row in range(L) for column in range(L)]
    for row, column in places:
        seen = [(r, c) for r, c in places if everywhere or r == row or c == column]
        assert everywhere or len(seen) == 2 * L - 1
        for head in range(heads):
            part = slice(3 * head, 3 * head + 3)
            q = module.q(x[row, column])[part]
            scores = []
            for r, c in seen:
                score = q @ module.k(x[r, c])[part] / 3**0.5
                if everywhere or r == row:
                    score = score + module.relative_bias[head, c - column + last]
                if everywhere or r != row:
                    score = score + module.column_relative_bias[head, r - row + last]
                scores.append(score)
            weights = torch.softmax(torch.stack(scores), 0)
            values = torch.stack([module.v(x[r, c])[part] for r, c in seen])
            result[row, column, part] = weights @ values
    return module.output(result)


@torch.no_grad()
def test_both_equal_their_definitions() -> None:
    x = torch.randn(2, L, L, 6, generator=torch.manual_seed(1))
    full = attention(FullAttention)
    expected = torch.stack([naive(full, each, everywhere=True) for each in x])
    torch.testing.assert_close(full(x), expected, rtol=1e-5, atol=1e-5)
    crossed = attention(CrissCrossAttention)
    assert isinstance(crossed, CrissCrossAttention)
    once = torch.stack([naive(crossed, each, everywhere=False) for each in x])
    torch.testing.assert_close(crossed.attend(x), once, rtol=1e-5, atol=1e-5)
    again = torch.stack([naive(crossed, each, everywhere=False) for each in x + once])
    torch.testing.assert_close(crossed(x), once + again, rtol=1e-5, atol=1e-5)


def test_one_pass_reaches_a_cross_and_two_reach_everything() -> None:
    module = attention(CrissCrossAttention)
    assert isinstance(module, CrissCrossAttention)
    x = torch.randn(1, L, L, 6, generator=torch.manual_seed(1)).requires_grad_()
    [once] = torch.autograd.grad(module.attend(x)[0, 1, 2].sum(), x)
    seen = (once[0] != 0).any(-1)
    expected = torch.zeros(L, L, dtype=torch.bool)
    expected[1], expected[:, 2] = True, True
    assert torch.equal(seen, expected)
    [twice] = torch.autograd.grad(module(x)[0, 1, 2].sum(), x)
    assert bool((twice != 0).any(-1).all())


@torch.no_grad()
@pytest.mark.parametrize("kind", ["criss_cross", "full"])
def test_a_core_with_another_encoder_draws_is_saved_and_grows(kind: str, tmp_path: Path) -> None:
    core = tiny_core(4, encoder_attention=kind)
    gray = torch.randint(256, (2, 4, 4), generator=torch.manual_seed(5))
    fast, slow = sample_core(core, gray, [1, 2]), sample_core_slow(core, gray, [1, 2])
    assert torch.equal(fast.bins_BHW, slow.bins_BHW)
    save_stage(core, tmp_path / "core")
    loaded = load_stage(tmp_path / "core")
    assert isinstance(loaded, ColTranCore) and loaded.config == core.config
    assert torch.equal(loaded(fast.bins_BHW, gray), core(fast.bins_BHW, gray))
    larger = grow(core, 8)
    assert larger.parallel_logits(gray.repeat(1, 2, 2)).shape == (2, 8, 8, 512)


@pytest.mark.parametrize("kind", ["criss_cross", "full"])
def test_every_weight_of_another_encoder_learns(kind: str) -> None:
    core = tiny_core(8, encoder_attention=kind)
    before = {name: value.clone() for name, value in core.encoder.named_parameters()}
    losses = list(Trainer(core, config(steps=2, optimizer="muon")).run(photographs()))
    assert set(losses[0]) == {"core", "parallel"}
    for name, value in core.encoder.named_parameters():
        assert not torch.equal(value, before[name]), name


def test_files_from_before_the_choice_are_axial(tmp_path: Path) -> None:
    path = tmp_path / "core.safetensors"
    save_stage(tiny_core(4), path)
    with safe_open(path, "pt") as file:
        header = json.loads(file.metadata()["autochrome"])
    for name in ("encoder_attention", "unconditional", "trunk", "hints", "palette", "histogram"):
        del header[name]
    save_file(load_file(path), path, {"autochrome": json.dumps(header)})
    _, found = read_config(path)
    assert isinstance(load_stage(path), ColTranCore)
    assert isinstance(found, CoreConfig) and found.encoder_attention == "axial"
    assert not found.unconditional
    with pytest.raises(ValueError, match="encoder_attention must be one of axial, criss_cross"):
        CoreConfig(encoder_attention="cross")  # type: ignore[arg-type]


def test_the_unconditional_core_is_an_axial_transformer() -> None:
    core = tiny_core(4, unconditional=True)
    dark, light = torch.zeros(3, 4, 4, dtype=torch.long), torch.full((3, 4, 4), 200)
    sample = sample_core(core, dark, [1, 2, 3])
    slow = sample_core_slow(core, light, [1, 2, 3])
    assert torch.equal(sample.bins_BHW, slow.bins_BHW), "no gray photograph is looked at"
    log_prob = torch.log_softmax(core(sample.bins_BHW, light).double(), -1)
    log_prob = log_prob.gather(-1, sample.bins_BHW[..., None])[..., 0]
    torch.testing.assert_close(sample.log_prob_BHW, log_prob, rtol=0, atol=5e-5)
    losses = list(Trainer(core, config(steps=40, learning_rate=1e-2)).run(photographs(2, side=4)))
    assert losses[-1]["core"] < losses[0]["core"] - 2
