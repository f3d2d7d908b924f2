"""Weights files: what was saved comes back, and what does not fit is refused in one line."""

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

from model.core import ColTranCore
from model.weights import (
    HEADER,
    WeightsError,
    build_config,
    file_digests,
    load_stage,
    read_config,
    save_stage,
)
from support.tiny_models import tiny_color, tiny_core, tiny_spatial, write_tiny_weights


@pytest.mark.parametrize("stage", [tiny_core(cond_mlp="shift"), tiny_color(), tiny_spatial()])
def test_round_trip(stage: torch.nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "stage.safetensors"
    save_stage(stage, path)  # type: ignore[arg-type]
    loaded = load_stage(path)
    assert type(loaded) is type(stage) and loaded.config == stage.config and not loaded.training
    for name, value in stage.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)


def test_bfloat16_halves_the_file_and_loads_as_float32(tmp_path: Path) -> None:
    core = tiny_core()
    save_stage(core, tmp_path / "full")
    save_stage(core, tmp_path / "half", torch.bfloat16)
    assert (tmp_path / "half").stat().st_size < 0.6 * (tmp_path / "full").stat().st_size
    loaded = load_stage(tmp_path / "half")
    assert isinstance(loaded, ColTranCore)
    assert torch.equal(loaded.head.weight, core.head.weight.bfloat16().float())


def test_same_weights_same_bytes(tmp_path: Path) -> None:
    first = file_digests(write_tiny_weights(tmp_path / "a"))
    assert first == file_digests(write_tiny_weights(tmp_path / "b"))
    assert list(first) == ["core", "color", "spatial"] and len(set(first.values())) == 3


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    good = tmp_path / "core.safetensors"
    save_stage(tiny_core(), good)
    tensors = safetensors.torch.load_file(good)
    with safetensors.safe_open(good, framework="pt") as file:
        header = json.loads(file.metadata()[HEADER])

    def refused(words: str, changed: dict[str, torch.Tensor], **settings: object) -> None:
        path = tmp_path / "changed.safetensors"
        metadata = {HEADER: json.dumps(header | settings)}
        safetensors.torch.save_file(changed, path, metadata=metadata)
        with pytest.raises(WeightsError, match=words):
            load_stage(path)

    refused("head.bias .* is missing", {k: v for k, v in tensors.items() if k != "head.bias"})
    refused("extra .*no such tensor", tensors | {"extra": torch.zeros(1)})
    refused(r"head.bias should be \(512,\), found \(3,\)", tensors | {"head.bias": torch.zeros(3)})
    refused("not a weights file of Autochrome", tensors, format=2)
    refused("unusable configuration.*'colour'", tensors, colour=1)
    refused("unusable configuration.*heads", tensors, heads=3)
    refused("unknown stage 'shape'", tensors, stage="shape")
    for name, data in (("empty", b""), ("text", b"weights"), ("cut", good.read_bytes()[:-9])):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(WeightsError, match="not a readable safetensors file"):
            load_stage(tmp_path / name)
    with pytest.raises(WeightsError, match="no weights file at"):
        load_stage(tmp_path / "absent")
    with pytest.raises(WeightsError):
        load_stage(tmp_path)


def test_a_folder_with_a_stage_in_the_wrong_place_is_refused(tmp_path: Path) -> None:
    folder = write_tiny_weights(tmp_path / "weights")
    (folder / "color.safetensors").write_bytes((folder / "core.safetensors").read_bytes())
    with pytest.raises(WeightsError, match="holds the stage 'core', not 'color'"):
        file_digests(folder)


def test_configurations_are_strict(tmp_path: Path) -> None:
    assert build_config("color", {}).hidden == 512
    with pytest.raises(ValueError, match="unknown setting of color: 'cond_mlp'"):
        build_config("color", {"cond_mlp": "affine"})
    save_stage(tiny_core(), tmp_path / "core")
    stage, config = read_config(tmp_path / "core")
    assert stage == "core" and config == tiny_core().config
