"""autochrome convert: published weights -> our weights files."""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.errors import UsageError

if TYPE_CHECKING:
    from model.weights import Stage, StageConfig

# Names of sizes in a port of PixelCNN++, and ours.
PORT_SIZES = {
    "resnet_blocks": "inner",
    "filters": "hidden",
    "mixture": "mixtures",
    "side": "resolution",
}


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.argument("out", metavar="OUT.safetensors", type=click.Path(path_type=Path))
@click.option(
    "--stage",
    required=True,
    type=click.Choice(["core", "color", "spatial", "pixelcnn"]),
    help="The model that the weights are for.",
)
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help='JSON: {"stage": ..., "model": {"hidden": 512, ...}}; absent settings keep their published'
    " values.",
)
@click.option(
    "--preset", type=click.Choice(["published"]), help="The published sizes, which are the default."
)
@click.option("--raw", is_flag=True, help="Convert the raw variables, not their moving averages.")
def convert(
    checkpoint: Path,
    out: Path,
    stage: str,
    config_file: Path | None,
    preset: str | None,
    raw: bool,
) -> None:
    """Import published weights as a weights file.

    For core, color and spatial, CHECKPOINT is the directory of a TensorFlow checkpoint, or the path
    of one checkpoint in it without its suffix; reading it needs TensorFlow: python -m pip install
    'autochrome[import]'. For pixelcnn, it is a file of the PyTorch port pixel-cnn-pp, safetensors
    or a saved state dict; sizes are read from its tensors.

    \b
    Examples:
      autochrome convert --stage core colorizer_v2 weights/core.safetensors
      autochrome convert --stage pixelcnn cifar.pth weights/pixelcnn.safetensors
    """
    if config_file and preset:
        raise UsageError("--config and --preset exclude each other")
    if stage == "pixelcnn":
        if raw or preset:
            option = "--raw" if raw else "--preset"
            raise UsageError(f"{option} is not for pixelcnn: its tensors tell everything")
        convert_pixelcnn(checkpoint, out, config_file)
    else:
        convert_coltran(checkpoint, out, read_config_file(stage, config_file), raw)


def convert_coltran(path: Path, out: Path, config: "StageConfig", raw: bool) -> None:
    """A stage of the published ColTran, from TensorFlow's checkpoint. raw: without averages."""
    from model.published import import_stage
    from pipeline.weights.tensorflow_checkpoint import read_checkpoint

    checkpoint = read_checkpoint(path)
    try:
        imported = import_stage(config, checkpoint.variables, raw)
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from error
    write_weights(imported.stage, out)
    taken = len(checkpoint.variables) - len(imported.dropped)
    left = "moving averages" if raw else "raw variables"
    stage = imported.stage.describe()["stage"]
    click.echo(f"{out}: {stage}, {taken} variables of {path}")
    click.echo(
        f"left behind: {len(imported.dropped)} {left}, {len(checkpoint.dropped)} entries of the "
        "optimizer and of TensorFlow"
    )


def convert_pixelcnn(path: Path, out: Path, config_file: Path | None) -> None:
    """The public port of PixelCNN++, whose sizes its tensors tell; a file may confirm them."""
    from model.pic.published import PORT_RESOLUTION, import_port
    from pipeline.weights.tensor_file import read_tensors

    asked = read_port_sizes(config_file) if config_file else {}
    tensors = read_tensors(path)
    try:
        model = import_port(tensors, asked.get("resolution", PORT_RESOLUTION))
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from error
    for name, value in asked.items():
        found = getattr(model.config, name)
        if value != found and name != "dropout":
            raise UsageError(f"{path} has {name} {found}, {config_file} has {name} {value}")
    write_weights(model, out)
    sizes = ("levels", "inner", "hidden", "mixtures", "channels", "resolution")
    settings = ", ".join(f"{name} {getattr(model.config, name)}" for name in sizes)
    click.echo(f"{out}: pixelcnn, {len(tensors)} variables of {path}: {settings}")


def read_port_sizes(path: Path) -> dict[str, int]:
    """The settings of a PixelCNN++ in a file, with our names or the port's.

    Raises UsageError.
    """
    content = read_json_object(path)
    if "model" not in content and content.keys() & PORT_SIZES.keys():
        content = {
            "stage": "pixelcnn",
            "model": {PORT_SIZES.get(name, name): value for name, value in content.items()},
        }
        content["model"].pop("variables", None)
    check_config(path, "pixelcnn", content)
    sizes: dict[str, int] = content.get("model", {})
    return sizes


def read_config_file(stage: str, path: Path | None) -> "StageConfig":
    """The configuration in a file; without one, the published configuration.

    Raises:
        UsageError: the file is missing, is not a JSON object, is for another stage, or has an
        unknown or invalid setting.
    """
    from model.weights import build_config

    if path is None:
        return build_config(stage, {})
    return check_config(path, stage, read_json_object(path))


def read_json_object(path: Path) -> dict[str, Any]:
    """Raises UsageError where the file is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{path} cannot be read as JSON: {reason}") from error
    if not isinstance(content, dict) or not isinstance(content.get("model", {}), dict):
        raise UsageError(f'{path} must hold an object like {{"stage": "core", "model": {{...}}}}')
    return content


def check_config(path: Path, stage: str, content: dict[str, Any]) -> "StageConfig":
    """The sizes of a stage by what a file says. Raises UsageError."""
    from model.weights import build_config

    # `variables` lists the checkpoint's own names and shapes: the import checks them all anyway.
    unknown = sorted(content.keys() - {"stage", "model", "variables"})
    if unknown:
        raise UsageError(f"{path}: unknown key {unknown[0]!r}; known are stage, model, variables")
    if content.get("stage", stage) != stage:
        raise UsageError(f"{path} is of stage {content['stage']!r}, not {stage!r}")
    try:
        return build_config(stage, content.get("model", {}))
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from error


def write_weights(stage: "Stage", out: Path) -> None:
    """Write a weights file atomically.

    Raises:
        UsageError: it cannot be written there.
    """
    from model.weights import save_stage

    part = out.with_name(f"{out.name}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        save_stage(stage, part)
        os.replace(part, out)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise UsageError(f"{out} cannot be written: {error.strerror}") from error
