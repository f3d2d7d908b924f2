import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from model.published import AVERAGE, import_stage
from model.weights import Stage, StageConfig, WeightsError, build_config
from support.published_names import CORE, SMALL, Variables, published, published_shapes


def same(one: Stage, other: Stage) -> bool:
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


@pytest.mark.parametrize("stage", ["core", "color", "spatial"])
def test_generated_names_are_those_of_the_published_code(golden: Path, stage: str) -> None:
    config = json.loads((golden / stage / "config.json").read_text())
    resolution = 256 if stage == "spatial" else 64
    shapes = published_shapes(stage, config["model"] | {"resolution": resolution})
    trained = {name: shape for name, shape in shapes.items() if "/normalize/" not in name}
    expected = config["variables"].items()
    assert trained == {name.removesuffix(":0"): tuple(shape) for name, shape in expected}


CONDITIONS: list[dict[str, object]] = [
    {},
    {"cond_mlp": "shift"},
    {"cond_ln": False},
    {"cond_ln_sp_ave": "mean"},
    {"cond_att_q": False},
    {"cond_att_k": False, "cond_att_v": False},
    {"cond_att_q": False, "cond_att_k": False, "cond_att_v": False},
    {"cond_att_scale": False},
    {"cond_ln": False, "cond_mlp": "shift", "cond_att_scale": False, "skip": False},
    {"enc": 1, "outer": 6, "inner": 1},
]


@pytest.mark.parametrize("options", CONDITIONS, ids=str)
def test_every_option_and_both_spellings(options: dict[str, object]) -> None:
    settings = CORE | options
    config = build_config("core", settings)
    bare = import_stage(config, published("core", settings)).stage
    for tensor in bare.state_dict().values():
        assert float(tensor.min()) >= 2  # as made here; no fresh tensor is
    scoped = import_stage(config, published("core", settings, scoped=True)).stage
    late = import_stage(config, published("core", settings, first=7)).stage
    both = import_stage(config, published("core", settings, scoped=True, first=93)).stage
    assert same(bare, scoped) and same(bare, late) and same(bare, both)


@pytest.mark.parametrize("stage", ["color", "spatial"])
def test_upsamplers_in_both_spellings(stage: str) -> None:
    config = build_config(stage, SMALL)
    bare = import_stage(config, published(stage, SMALL)).stage
    assert same(bare, import_stage(config, published(stage, SMALL, scoped=True, first=8)).stage)


def test_places_and_layouts() -> None:
    variables = published("core", CORE)
    state = import_stage(build_config("core", CORE), variables).stage.state_dict()

    def average(name: str) -> Tensor:
        return torch.from_numpy(variables[name + AVERAGE])

    # (in, heads, size) -> (heads * size, in), and (heads, size, out) -> (out, heads * size).
    q = average("col_tran_core/outer_decoder/mask_col_att_1/q/kernel")
    assert torch.equal(state["outer.layers.3.attention.q.weight"][4 * 1 + 2], q[:, 1, 2])
    output = average("col_tran_core/inner_decoder/mask_row_att_2/output/kernel")
    assert torch.equal(state["inner.layers.2.attention.output.weight"][:, 4 * 1 + 3], output[1, 3])
    # Dense 0 and 1 are embeddings; 12 feed-forward layers follow in the encoder, 8 in the outer
    # decoder, then its 8 norms, then the inner decoder.
    assert torch.equal(state["encoder.layers.5.mlp.output.weight"], average("dense_13/kernel").T)
    assert torch.equal(state["outer.layers.0.mlp.input.bias"], average("dense_14/bias"))
    assert torch.equal(state["inner.layers.0.mlp.input.weight"], average("dense_30/kernel").T)
    norm = "col_tran_core/outer_decoder/conditional_layer_norm_3"
    projection = average(f"{norm}/dense_25/kernel").T
    assert torch.equal(state["outer.layers.1.mlp_norm_condition.projection.weight"], projection)
    gain = torch.from_numpy(variables[f"{norm}/normalize/gamma"])
    assert torch.equal(state["outer.layers.1.mlp_norm.weight"], gain)
    assert torch.equal(state["encoder.position.row"], average(encoder_position()))


def encoder_position() -> str:
    scope = "col_tran_core/gray_scale_encoder/factorized_attention"
    return f"{scope}/position_embed/position_embedding_0"


def encoder_query() -> str:
    scope = "col_tran_core/gray_scale_encoder/factorized_attention"
    return f"{scope}/self_attention_nd_3/q/kernel"


def test_averages_or_raw_and_what_is_dropped() -> None:
    variables, config = published("color", SMALL), build_config("color", SMALL)
    averages, raw = import_stage(config, variables), import_stage(config, variables, raw=True)
    assert averages.dropped == sorted(name for name in variables if not name.endswith(AVERAGE))
    assert raw.dropped == sorted(name for name in variables if name.endswith(AVERAGE))
    kernel = variables["color_upsampler/dense_2/kernel"]
    assert torch.equal(raw.stage.state_dict()["input.weight"], torch.from_numpy(kernel.T))
    assert not averages.stage.training


def test_inner_norms_may_be_absent() -> None:
    variables = published("core", CORE)
    variables = {name: value for name, value in variables.items() if "/normalize/" not in name}
    state = import_stage(build_config("core", CORE), variables).stage.state_dict()
    assert torch.equal(state["inner.layers.0.mlp_norm.weight"], torch.ones(8))
    assert torch.equal(state["inner.layers.0.mlp_norm.bias"], torch.zeros(8))


def refusals() -> Iterator[tuple[str, Variables, StageConfig, bool]]:
    def core(**options: object) -> StageConfig:
        return build_config("core", CORE | options)

    good = published("core", CORE)
    head = "col_tran_core/auto_logits/bias"

    def without(*names: str) -> Variables:
        return {name: value for name, value in good.items() if name not in names}

    yield f"missing: {head}$", without(head, head + AVERAGE), core(), False
    for lost in ("dense_13/kernel", encoder_position(), encoder_query()):
        yield f"missing: {lost}$", without(lost, lost + AVERAGE), core(), False
    yield "without a moving average: .*auto_logits/bias$", without(head + AVERAGE), core(), False
    raw = {name: value for name, value in good.items() if not name.endswith(AVERAGE)}
    yield "no moving averages here; --raw", raw, core(), False
    yield "unexpected: metric/total$", good | {"metric/total": np.zeros(1)}, core(), False
    yield (
        "unexpected: dense_99/kernel$",
        good | {"dense_99/kernel": np.zeros((8, 12))},
        core(),
        True,
    )
    bent = good | {head + AVERAGE: np.zeros(511, np.float32)}
    yield rf"wrong shape: {head}{AVERAGE} is \(511,\) instead of \(512,\)$", bent, core(), False
    yield "wrong shape: .* and [0-9]+ more$", good, core(heads=4), False
    yield "wrong shape: .*position", good, core(resolution=8), False
    yield "unexpected: .*row_att_1", good, core(outer=1), False
    yield "missing: .*mask_row_att_3", good, core(inner=4), False
    yield "unexpected: .*cond_q", good, core(cond_att_q=False), False
    yield "unexpected: .*conditional_layer_norm", good, core(cond_ln=False), False
    yield "unexpected: .*affine_r_0", good, core(cond_mlp="shift"), False
    twice = good | {head.replace("core", "core_1"): np.zeros(512)}
    yield "cannot be told apart: .*core/auto.*core_1/auto", twice, core(), True
    color, small = published("color", SMALL), build_config("color", SMALL)
    yield "wanted a checkpoint of stage core, this one holds .* stage color$", color, core(), False
    yield "wanted a checkpoint of stage color, this one holds .* stage core$", good, small, False
    yield "holds no ColTran variables", {"kernel": np.zeros(1)}, core(), False
    yield "holds no ColTran variables", {}, core(), False


@pytest.mark.parametrize("message, variables, config, raw", list(refusals()))
def test_refused(message: str, variables: Variables, config: StageConfig, raw: bool) -> None:
    with pytest.raises(WeightsError, match=message) as caught:
        import_stage(config, variables, raw)
    assert "\n" not in str(caught.value)
