"""Axial layers against the formulas written out with loops."""

from dataclasses import replace

import pytest
import torch

from model.conditioning import (
    NO_POSITIONS,
    AttentionCondition,
    ConditioningConfig,
    MlpCondition,
    NormCondition,
)
from model.layers import AxialAttention, AxialLayer, axial_encoder
from model.settings import LayerSize
from support.tiny_models import perturb

SIZE = LayerSize(hidden=8, ff=12, heads=2, resolution=5)


def attend_with_loops(attention: AxialAttention, x: torch.Tensor) -> torch.Tensor:
    """One line at a time, one head at a time, one query at a time: x (B, L, D) -> (B, L, D)."""
    batch, length, hidden = x.shape
    size = hidden // attention.heads
    mixed = torch.zeros_like(x)
    for photo in range(batch):
        for head in range(attention.heads):
            part = slice(head * size, (head + 1) * size)
            q, k, v = (
                (x[photo] @ layer.weight.T)[:, part]
                for layer in (attention.q, attention.k, attention.v)
            )
            for query in range(length):
                keys = range(query + 1) if attention.masked else range(length)
                scores = torch.stack(
                    [
                        q[query] @ k[key] / size**0.5
                        + attention.relative_bias[head, key - query + length - 1]
                        for key in keys
                    ]
                )
                weights = torch.softmax(scores, dim=0)
                mixed[photo, query, part] = sum(
                    weight * v[key] for weight, key in zip(weights, keys, strict=True)
                )
    return mixed @ attention.output.weight.T


@pytest.mark.parametrize("axis", ["row", "column"])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_equals_loops(axis: str, masked: bool) -> None:
    attention = perturb(AxialAttention(8, 2, 5, axis, masked))  # type: ignore[arg-type]
    x = torch.randn(2, 5, 5, 8, generator=torch.Generator().manual_seed(0))
    lines = x if axis == "row" else x.transpose(1, 2)
    expected = attend_with_loops(attention, lines.reshape(10, 5, 8)).reshape(2, 5, 5, 8)
    expected = expected if axis == "row" else expected.transpose(1, 2)
    torch.testing.assert_close(attention(x, NO_POSITIONS), expected)


def test_last_column_of_the_relative_bias_is_never_read() -> None:
    attention = AxialAttention(8, 2, 5, "row", masked=False)
    before = attention.bias()
    with torch.no_grad():
        attention.relative_bias[:, -1] = 99.0
    assert torch.equal(attention.bias(), before)


def test_conditions_split_in_the_published_order() -> None:
    context = torch.randn(1, 5, 5, 8, generator=torch.Generator().manual_seed(0))
    attention = perturb(AttentionCondition(8, 8, 2, scaled=True, act="tanh"))
    projected = (context @ attention.projection.weight.T).reshape(1, 5, 5, 2, 8)
    scale, shift = attention(context)
    torch.testing.assert_close(scale, torch.tanh(projected[..., :4]))
    torch.testing.assert_close(shift, torch.tanh(projected[..., 4:]))

    mlp = perturb(MlpCondition(8, 8, "affine", "sigmoid"))
    projected = mlp.projection(context)
    scale, shift = mlp(context)
    torch.testing.assert_close(shift, torch.sigmoid(projected[..., :8]))
    torch.testing.assert_close(scale, torch.sigmoid(projected[..., 8:]))


def test_shifts_alone_have_no_activation() -> None:
    context = torch.randn(1, 5, 5, 8, generator=torch.Generator().manual_seed(0))
    attention = perturb(AttentionCondition(8, 8, 2, scaled=False, act="relu"))
    scale, shift = attention(context)
    assert scale is None and shift is not None and bool((shift < 0).any())
    mlp = perturb(MlpCondition(8, 8, "shift", "relu"))
    scale, shift = mlp(context)
    assert scale is None and shift is not None and bool((shift < 0).any())


@pytest.mark.parametrize("average", ["learnable", "mean"])
@pytest.mark.parametrize("sequence", ["sc", "cs"])
def test_norm_condition_averages_over_all_positions(average: str, sequence: str) -> None:
    config = ConditioningConfig(cond_ln_sp_ave=average, cond_ln_seq=sequence)  # type: ignore[arg-type]
    condition = perturb(NormCondition(SIZE, config))
    context = torch.randn(2, 5, 5, 8, generator=torch.Generator().manual_seed(0))
    weights = torch.ones(5, 5, 1)
    if condition.spatial_average is not None:
        weights = condition.spatial_average[0]
    dense = condition.projection
    if sequence == "sc":
        projected = dense((weights * context).sum((1, 2)) / 25)
    else:
        projected = (weights * dense(context)).sum((1, 2)) / 25
    scale, shift = condition(context)
    torch.testing.assert_close(scale[:, 0, 0], projected[:, :8])
    torch.testing.assert_close(shift[:, 0, 0], projected[:, 8:])


def test_inner_gain_of_a_conditional_norm_does_not_train() -> None:
    conditioned = AxialLayer(SIZE, "row", True, ConditioningConfig(), 8)
    plain = AxialLayer(SIZE, "row", True, ConditioningConfig(cond_ln=False), 8)
    assert not conditioned.mlp_norm.weight.requires_grad
    assert plain.mlp_norm.weight.requires_grad


def test_dropout_acts_in_training_only() -> None:
    layer = AxialLayer(replace(SIZE, dropout=0.5), "row")
    x = torch.ones(1, 5, 5, 8)
    layer.eval()
    assert torch.equal(layer(x), layer(x))
    layer.train()
    assert not torch.equal(layer(x), layer(x))


def test_encoder_alternates_rows_and_columns() -> None:
    assert [layer.attention.axis for layer in axial_encoder(SIZE, 2)] == ["row", "column"] * 2


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"hidden": 9}, "hidden 9 is not divisible by 2 heads"),
        ({"heads": 0}, "heads must be a positive whole number, not 0"),
        ({"ff": 1.5}, "ff must be a positive whole number"),
        ({"resolution": 1}, "at least 2, not 1"),
        ({"dropout": 1.0}, "below 1, not 1.0"),
        ({"dropout": "0.1"}, "dropout must be a number"),
    ],
)
def test_impossible_sizes_are_refused(settings: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        LayerSize(**{"hidden": 8, "ff": 12, "heads": 2, "resolution": 5} | settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"cond_mlp": "scale"},
        {"cond_mlp_act": "gelu"},
        {"cond_ln": 1},
        {"cond_ln_seq": "ss"},
        {"cond_ln_sp_ave": "sum"},
        {"cond_att_q": "yes"},
        {"cond_att_act": True},
    ],
)
def test_impossible_options_are_refused(settings: dict[str, object]) -> None:
    name, value = next(iter(settings.items()))
    with pytest.raises(ValueError, match=f"{name} must be one of .*, not {value!r}"):
        ConditioningConfig(**settings)  # type: ignore[arg-type]
