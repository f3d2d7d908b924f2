"""Layers without training give what the layers themselves give."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from model.layers import axial_encoder
from model.sampling import inference
from model.sampling.inference import Dense, attend, most_likely, packs, run_layers, split_lines
from model.settings import LayerSize
from model.upsamplers import (
    ChannelUpsampler,
    ColorUpsampler,
    ColorUpsamplerConfig,
    SpatialUpsampler,
    SpatialUpsamplerConfig,
)

COLOR = ColorUpsamplerConfig(hidden=16, ff=32, heads=2, enc=1, resolution=8)
SPATIAL = SpatialUpsamplerConfig(hidden=16, ff=32, heads=2, enc=1, resolution=8)


@pytest.fixture(params=[1, 1500, 10**9], ids=["a line", "some lines", "pictures"])
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(inference.CHUNK_BYTES, "cpu", request.param)


def agitate(module: torch.nn.Module) -> None:
    """Weights of some size everywhere, biases and relative biases too."""
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.5)


@pytest.mark.usefixtures("chunk")
def test_layers_in_place_equal_layers_on_whole_pictures() -> None:
    torch.manual_seed(0)
    layers = axial_encoder(LayerSize(hidden=16, ff=32, heads=4, resolution=8), 2)
    agitate(layers)
    x = torch.randn(3, 8, 8, 16)
    with torch.no_grad():
        wanted = x
        for layer in layers:
            wanted = layer(wanted)
        run_layers(layers, x)
    torch.testing.assert_close(x, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("chunk")
def test_each_line_is_taken_once() -> None:
    x = torch.zeros(3, 5, 8, 16)
    for lines in split_lines(x):
        lines += 1
    assert x.unique().tolist() == [1]


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize("upsampler", [ColorUpsampler(COLOR), SpatialUpsampler(SPATIAL)])
def test_most_likely_values_and_their_bits_are_those_of_forward(
    upsampler: ChannelUpsampler,
) -> None:
    torch.manual_seed(0)
    agitate(upsampler)
    values = torch.randint(upsampler.levels, (8, 8, 3))
    gray = torch.randint(256, (8, 8))
    with torch.no_grad():
        log_prob = torch.log_softmax(upsampler(values[None], gray[None])[0], dim=-1)
        found, bits = most_likely(upsampler, values, gray)
    best = log_prob.max(dim=-1)
    assert torch.equal(found, best.indices)
    assert bits.dtype == torch.float64
    assert float(bits) == pytest.approx(-float(best.values.mean()) / math.log(2), abs=1e-5)


def test_symbols_out_of_range_are_refused() -> None:
    upsampler = ColorUpsampler(replace(COLOR, enc=1))
    with pytest.raises(ValueError, match="values"):
        most_likely(upsampler, torch.full((8, 8, 3), 8), torch.zeros(8, 8, dtype=torch.long))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [False, True])
def test_dense_layers_for_few_rows(dtype: torch.dtype, bias: bool) -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(48, 96, bias).to(dtype)
    x = torch.randn(8, 48).to(dtype)
    with torch.no_grad():
        dense = Dense(layer.weight, layer.bias, 8)
        error = 1e-5 if dtype == torch.float32 else 2e-2
        torch.testing.assert_close(dense(x), layer(x), rtol=error, atol=error)
        torch.testing.assert_close(dense(x, "relu"), layer(x).relu(), rtol=error, atol=error)


@pytest.mark.skipif(not packs(torch.zeros(1)), reason="no oneDNN in this PyTorch")
@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize(("outputs", "inputs"), [(480, 160), (512, 512), (96, 384), (256, 1024)])
def test_dense_layers_give_the_same_bits_with_any_number_of_rows_and_threads(
    outputs: int, inputs: int
) -> None:
    torch.manual_seed(0)
    weight, bias, x = (torch.randn(size) for size in ((outputs, inputs), outputs, (64, inputs)))
    found = []
    for threads in (2, 1):
        torch.set_num_threads(threads)
        dense = Dense(weight, bias, 8)
        found += [torch.cat([dense(part) for part in x.split(rows)]) for rows in (8, 24, 32, 64)]
    for other in found[1:]:
        assert torch.equal(found[0], other)


@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("queries", [1, 6])
def test_attention_is_its_formula(
    queries: int, dtype: torch.dtype, error: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.sampling.inference.SCORES_AT_ONCE", 2 * 2 * queries * 6)  # two lines
    torch.manual_seed(0)
    q, k, v = (torch.randn(5, 2, length, 4, dtype=dtype) for length in (queries, 6, 6))
    bias = torch.randn(2, queries, 6, dtype=dtype)
    scores = torch.einsum("mnqc,mnlc->mnql", q.float(), k.float()) / 2 + bias.float()
    wanted = torch.einsum("mnql,mnlc->mnqc", functional.softmax(scores, dim=-1), v.float())
    torch.testing.assert_close(attend(q, k, v, bias).float(), wanted, rtol=error, atol=error)
