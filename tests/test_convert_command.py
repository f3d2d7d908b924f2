"""autochrome convert on a small checkpoint that TensorFlow writes here. Real ones: test_golden."""

import json
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from model.published import AVERAGE
from model.weights import load_stage, read_config
from pipeline.errors import UsageError
from pipeline.weights.tensorflow_checkpoint import read_checkpoint
from support.commands import refusal, run_command
from support.published_names import SMALL, published

VARIABLES = published("color", SMALL)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a checkpoint of a small color upsampler, as the published code saves it."""
    if find_spec("tensorflow") is None:
        pytest.skip("reading checkpoints needs the extra [import]")
    folder = tmp_path_factory.mktemp("checkpoint")
    with pytest.raises(UsageError):
        read_checkpoint(folder)  # imports TensorFlow as quietly as the command does
    import tensorflow as tf

    saved = {f"{name}:0": tf.Variable(value) for name, value in VARIABLES.items()}
    optimizer = tf.train.Checkpoint(iter=tf.Variable(3))
    tf.train.CheckpointManager(
        tf.train.Checkpoint(optimizer=optimizer, step=tf.Variable(3), **saved),
        str(folder),
        max_to_keep=1,
        checkpoint_name="model",
    ).save()
    return folder


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint to be damaged."""
    return Path(shutil.copytree(checkpoint, tmp_path / "copy"))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"stage": "color", "model": SMALL, "variables": {}}))
    return path


@pytest.mark.slow
def test_imports_averages_by_default(checkpoint: Path, config: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "color.safetensors"
    result = run_command("convert", "--stage", "color", "--config", config, checkpoint, out)
    assert result.exit_code == 0
    count = len(VARIABLES) // 2
    assert f"{out}: color, {count} variables of {checkpoint}" in result.output
    assert f"left behind: {count} raw variables, 4 entries" in result.output
    stage, settings = read_config(out)
    assert stage == "color" and settings.hidden == SMALL["hidden"]
    head = torch.from_numpy(VARIABLES[f"color_upsampler/dense_3/kernel{AVERAGE}"])
    assert torch.equal(load_stage(out).state_dict()["head.weight"], head.T)
    assert [each.name for each in out.parent.iterdir()] == [out.name]


@pytest.mark.parametrize("name", ["", "model-1", "model-1.index"])
def test_raw_variables_by_any_name(
    checkpoint: Path, config: Path, tmp_path: Path, name: str
) -> None:
    out = tmp_path / "color.safetensors"
    arguments = ("--stage", "color", "--raw", "--config", config, checkpoint / name, out)
    assert run_command("convert", *arguments).exit_code == 0
    head = torch.from_numpy(VARIABLES["color_upsampler/dense_3/kernel"])
    assert torch.equal(load_stage(out).state_dict()["head.weight"], head.T)


def test_directory_without_a_useful_checkpoint_file(
    copy: Path, config: Path, tmp_path: Path
) -> None:
    (copy / "checkpoint").write_text('model_checkpoint_path: "/elsewhere/model-1"\n')
    assert (
        run_command(
            "convert", "--stage", "color", "--config", config, copy, tmp_path / "out"
        ).exit_code
        == 0
    )
    (copy / "model-2.index").touch()
    message = refusal("convert", "--stage", "color", copy, tmp_path / "other")
    assert message == f"several checkpoints in {copy}, name one of them: model-1, model-2"


def test_missing_checkpoints(copy: Path, tmp_path: Path) -> None:
    empty, out = tmp_path / "empty", tmp_path / "out"
    empty.mkdir()
    assert (
        refusal("convert", "--stage", "color", empty, out) == f"no TensorFlow checkpoint in {empty}"
    )
    nothing = tmp_path / "nothing"
    assert "there is no nothing.index" in refusal("convert", "--stage", "color", nothing, out)
    next(copy.glob("*.data*")).unlink()
    assert "is not a readable TensorFlow checkpoint: " in refusal(
        "convert", "--stage", "color", copy, out
    )
    assert not out.exists()


@pytest.mark.parametrize("kept", [0, 10, 0.5, 0.999])
@pytest.mark.parametrize("ending", ["index", "data-00000-of-00001"])
def test_truncated_files(copy: Path, tmp_path: Path, ending: str, kept: float) -> None:
    path = copy / f"model-1.{ending}"
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content) if kept < 1 else kept)])
    message = refusal("convert", "--stage", "color", copy, tmp_path / "out")
    assert message.startswith(f"{copy / 'model-1'} is not a readable TensorFlow checkpoint: ")


def test_damaged_data(copy: Path, tmp_path: Path) -> None:
    path = next(copy.glob("*.data*"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert "Checksum does not match" in refusal(
        "convert", "--stage", "color", copy, tmp_path / "out"
    )


def test_other_stage_or_size(checkpoint: Path, config: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    message = refusal("convert", "--stage", "core", checkpoint, out)
    assert message == (
        f"{checkpoint}: wanted a checkpoint of stage core, this one holds variables of stage color"
    )
    assert "is of stage 'color', not 'core'" in refusal(
        "convert", "--stage", "core", "--config", config, checkpoint, out
    )
    assert "variables missing: " in refusal(
        "convert", "--stage", "color", "--preset", "published", checkpoint, out
    )
    assert not out.exists()


@pytest.mark.parametrize(
    "content, message",
    [
        ("", "cannot be read as JSON"),
        ("[]", "must hold an object"),
        ('{"model": []}', "must hold an object"),
        ('{"stage": "color", "size": {}}', "unknown key 'size'; known are stage, model, variables"),
        ('{"model": {"hiden": 8}}', "unknown setting of color: 'hiden'; known are hidden, ff,"),
        ('{"model": {"cond_ln": true}}', "unknown setting of color: 'cond_ln'"),
        ('{"model": {"hidden": 7}}', "hidden 7 is not divisible by 4 heads"),
        ('{"model": {"hidden": "8"}}', "hidden must be a positive whole number, not '8'"),
    ],
)
def test_bad_config(tmp_path: Path, content: str, message: str) -> None:
    config = tmp_path / "config.json"
    config.write_text(content)
    arguments = ("--stage", "color", "--config", config, tmp_path, tmp_path / "out")
    assert message in refusal("convert", *arguments)


def test_bad_usage(checkpoint: Path, config: Path, tmp_path: Path) -> None:
    settings = ("--stage", "color", "--config", config)
    message = refusal("convert", *settings, "--preset", "published", checkpoint, tmp_path / "out")
    assert message == "--config and --preset exclude each other"
    folder = tmp_path / "folder"
    folder.mkdir()
    assert (
        refusal("convert", *settings, checkpoint, folder)
        == f"{folder} cannot be written: Is a directory"
    )
    inside = config / "out"
    assert "cannot be written" in refusal("convert", *settings, checkpoint, inside)
    missing = tmp_path / "missing.json"
    message = refusal(
        "convert", "--stage", "color", "--config", missing, checkpoint, tmp_path / "out"
    )
    assert message == f"{missing} cannot be read as JSON: No such file or directory"
    assert sorted(tmp_path.rglob("*.part")) == []


def test_without_tensorflow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    message = refusal("convert", "--stage", "color", tmp_path, tmp_path / "out")
    assert message.endswith(
        f"needs TensorFlow: {sys.executable} -m pip install 'autochrome[import]'"
    )
