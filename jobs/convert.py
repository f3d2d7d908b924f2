"""autochrome convert: published TensorFlow checkpoints -> weights files of ours."""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.errors import UsageError

if TYPE_CHECKING:
    from model.weights import Stage, StageConfig


@click.command()
@click.argument("tf_checkpoint", type=click.Path(path_type=Path))
@click.argument("out", metavar="OUT.safetensors", type=click.Path(path_type=Path))
@click.option(
    "--stage", required=True, type=click.Choice(["core", "color", "spatial"]), help="Which model."
)
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help='JSON: {"stage": ..., "model": {"hidden": 512, ...}}; absent settings are as published.',
)
@click.option(
    "--preset", type=click.Choice(["published"]), help="The published sizes; also the default."
)
@click.option("--raw", is_flag=True, help="Take the raw variables, not their moving averages.")
def convert(
    tf_checkpoint: Path,
    out: Path,
    stage: str,
    config_file: Path | None,
    preset: str | None,
    raw: bool,
) -> None:
    """Import a published TensorFlow checkpoint as a weights file.

    TF_CHECKPOINT is its directory, or the path of one checkpoint in it without the ending. Reading
    it needs TensorFlow: python -m pip install 'autochrome[import]'.

    \b
    Example:
      autochrome convert --stage core colorizer_v2 weights/core.safetensors
    """
    from model.published import import_stage
    from pipeline.weights.tensorflow_checkpoint import read_checkpoint

    if config_file and preset:
        raise UsageError("--config and --preset exclude each other")
    config = read_config_file(stage, config_file)
    checkpoint = read_checkpoint(tf_checkpoint)
    try:
        imported = import_stage(config, checkpoint.variables, raw)
    except ValueError as error:
        raise UsageError(f"{tf_checkpoint}: {error}") from error
    write_weights(imported.stage, out)
    taken = len(checkpoint.variables) - len(imported.dropped)
    left = "moving averages" if raw else "raw variables"
    click.echo(f"{out}: {stage}, {taken} variables of {tf_checkpoint}")
    click.echo(
        f"left behind: {len(imported.dropped)} {left}, {len(checkpoint.dropped)} entries of the "
        "optimizer and of TensorFlow"
    )


def read_config_file(stage: str, path: Path | None) -> "StageConfig":
    """The configuration in a file; all of it as published where there is no file.

    Raises:
        UsageError: no such file, no JSON object, of another stage, or an unknown or bad setting.
    """
    from model.weights import build_config

    if path is None:
        return build_config(stage, {})
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{path} cannot be read as JSON: {reason}") from error
    if not isinstance(content, dict) or not isinstance(content.get("model", {}), dict):
        raise UsageError(f'{path} must hold an object like {{"stage": "core", "model": {{...}}}}')
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
    """Write a weights file whole or not at all.

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
