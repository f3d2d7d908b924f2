"""autochrome convert --stage pixelcnn: weights of a public port of PixelCNN++, strictly."""

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from test_pixelcnn import tiny_pixelcnn
from test_pixelcnn_levels import GOLDEN, needs_golden
from torch import Tensor, nn

from model.pic.convolutions import Convolution, Doubling
from model.pic.pixelcnn import PixelCnn
from model.pic.published import name_table, published_parameters
from model.weights import load_stage
from support.commands import refusal, run_command

ROWS_OF_HEAD = {1: [0, 1, 2], 3: [0, 1, 4, 7, 2, 5, 8, 3, 6, 9]}


def as_port(model: PixelCnn) -> dict[str, Tensor]:
    """The tensors of a network of ours as the port has them, each layout turned round."""
    tensors: dict[str, Tensor] = {}
    for ours, source in name_table(model.config).items():
        module = model.get_submodule(ours)
        assert isinstance(module, nn.Linear)
        weight, bias = module.weight.detach(), module.bias.detach()
        if isinstance(module, Convolution | Doubling):
            weight = weight.unflatten(1, (*module.window, -1)).permute(0, 3, 1, 2)
            if ours in ("rows_above", "row_above", "left"):
                weight = weight[:, : model.config.channels + 1]
            if isinstance(module, Doubling):
                weight = weight.transpose(0, 1)
        if ours == "head":
            rows = torch.tensor(ROWS_OF_HEAD[model.config.channels]).argsort()
            weight, bias = (
                each.unflatten(0, (len(rows), -1))[rows].flatten(0, 1) for each in (weight, bias)
            )
        tensors |= {f"{source.name}.weight": weight.contiguous(), f"{source.name}.bias": bias}
    return tensors


@pytest.fixture
def port(tmp_path: Path) -> Path:
    path = tmp_path / "port.safetensors"
    safetensors.torch.save_file(as_port(tiny_pixelcnn(4, levels=3, inner=1)), path)
    return path


@needs_golden
def test_the_golden_weights(tmp_path: Path) -> None:
    out = tmp_path / "pixelcnn.safetensors"
    arguments = ("--stage", "pixelcnn", "--config", GOLDEN / "config.json")
    result = run_command("convert", *arguments, GOLDEN / "weights.safetensors", out)
    assert result.exit_code == 0, result.output
    assert "levels 3, inner 2, hidden 12, mixtures 5, channels 3, resolution 16" in result.output
    model = load_stage(out)
    with np.load(GOLDEN / "io.npz") as outputs:
        parameters = model(torch.from_numpy(outputs["rgb"]).long())
        published = published_parameters(parameters, 3).permute(0, 3, 1, 2)
        expected = torch.from_numpy(outputs["parameters"])
    torch.testing.assert_close(published, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize(("levels", "inner", "channels"), [(3, 1, 3), (2, 2, 1), (1, 2, 3)])
def test_all_sizes_are_read_from_the_tensors(
    tmp_path: Path, levels: int, inner: int, channels: int
) -> None:
    model = tiny_pixelcnn(4, levels=levels, inner=inner, channels=channels, mixtures=2)
    if channels < 3:  # the port has no inputs for channels that are not there
        for each in (model.rows_above, model.row_above, model.left):
            each.weight.data.unflatten(1, (*each.window, -1))[..., channels + 1 :] = 0
    path, out, config = tmp_path / "port.pth", tmp_path / "out", tmp_path / "config.json"
    wrapped = {f"module.{name}": value for name, value in as_port(model).items()}
    torch.save(wrapped, path)
    config.write_text('{"model": {"resolution": 4}}')
    result = run_command("convert", "--stage", "pixelcnn", "--config", config, path, out)
    assert result.exit_code == 0, result.output
    loaded = load_stage(out)
    assert loaded.config == model.config
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


def test_weight_norm_is_folded_in(tmp_path: Path) -> None:
    model = tiny_pixelcnn(4, levels=2, inner=1)
    normal, out = {}, tmp_path / "out"
    for name, value in as_port(model).items():
        if name.endswith("bias"):
            normal[name] = value
            continue
        length = value.flatten(1).norm(dim=1).view(-1, *[1] * (value.dim() - 1))
        normal |= {f"{name}_g": length, f"{name}_v": 3 * value}
    path = tmp_path / "port.safetensors"
    safetensors.torch.save_file(normal, path)
    assert run_command("convert", "--stage", "pixelcnn", path, out).exit_code == 0
    loaded = load_stage(out)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value)
    del normal["nin_out.lin_a.weight_g"]
    safetensors.torch.save_file(normal, path)
    message = refusal("convert", "--stage", "pixelcnn", path, out)
    assert "nin_out.lin_a.weight_v without its other half: nin_out.lin_a.weight_g" in message


def test_what_does_not_fit_is_refused_by_name(port: Path, tmp_path: Path) -> None:
    out, tensors = tmp_path / "out", safetensors.torch.load_file(port)

    def told(changed: dict[str, Tensor]) -> str:
        safetensors.torch.save_file(changed, port)
        return refusal("convert", "--stage", "pixelcnn", port, out)

    renamed = dict(tensors)
    renamed["upsize_u_stream.0.conv.bias"] = renamed.pop("upsize_u_stream.0.deconv.bias")
    assert told(renamed) == (
        f"{port}: variables missing: upsize_u_stream.0.deconv.bias;"
        " unexpected: upsize_u_stream.0.conv.bias"
    )
    wrong = tensors | {"u_init.conv.weight": torch.zeros(6, 5, 2, 3)}
    message = "variables of a wrong shape: u_init.conv.weight is (6, 5, 2, 3)"
    assert told(wrong) == f"{port}: {message} instead of (6, 4, 2, 3)"
    wide = tensors | {"nin_out.lin_a.weight": torch.zeros(31, 6)}
    assert "nin_out.lin_a.weight is (31, 6) instead of (30, 6)" in told(wide)
    assert "no weights of pixel-cnn-pp" in told({"weight": torch.zeros(2)})
    two = {"u_init.conv.weight", "ul_init.0.conv.weight", "ul_init.1.conv.weight"}
    pairs = {name: value[:, :3].contiguous() for name, value in tensors.items() if name in two}
    assert "of pictures with 2 channels; those of 1 or 3 can be imported" in told(tensors | pairs)
    assert not out.exists()


def test_bad_usage(port: Path, tmp_path: Path) -> None:
    out, config = tmp_path / "out", tmp_path / "config.json"
    words = ("convert", "--stage", "pixelcnn")
    assert "--raw is not for pixelcnn" in refusal(*words, "--raw", port, out)
    assert refusal(*words, tmp_path / "none", out).endswith(
        "cannot be read: No such file or directory"
    )
    config.write_text(json.dumps({"filters": 8, "side": 8}))
    message = refusal(*words, "--config", config, port, out)
    assert message == f"{port} has hidden 6, {config} has hidden 8"
    config.write_text(json.dumps({"model": {"resolution": 6}}))
    assert "resolution 6 cannot be halved 2 times" in refusal(*words, "--config", config, port, out)
    config.write_text(json.dumps({"side": "8"}))
    assert "resolution must be a positive whole number, not '8'" in refusal(
        *words, "--config", config, port, out
    )
    port.write_bytes(b"nothing")
    assert "holds no tensors that can be read" in refusal(*words, port, out)
