"""autochrome train: a stage of the model from an archive's own color photographs."""

import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jobs.options import complete_folder
from jobs.training_options import (
    DATA,
    SIZES,
    TRAINING,
    add_options,
    checkpoint_option,
    resource_options,
    resources_of,
)
from jobs.training_progress import ProgressLine, describe_end
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.training.request import StageRequest, TrainingJob


@click.command()
@click.argument("stage", type=click.Choice(["core", "color", "spatial", "pic", "pixelcnn"]))
@click.argument("source", metavar="SRC", shell_complete=complete_folder)
@click.argument("out", metavar="OUT", shell_complete=complete_folder)
@click.option(
    "--init",
    type=click.Path(exists=True, path_type=Path),
    metavar="WEIGHTS",
    help="Start from these weights, a file or a folder, with their sizes.",
)
@click.option(
    "--preset",
    type=click.Choice(["published"]),
    help="Published sizes and dropout of PIC or a PixelCNN++; other options take precedence.",
)
@add_options(SIZES)
@click.option(
    "--encoder-only",
    is_flag=True,
    help="Train only the encoder and parallel head of core or PIC; decoders stay as they are.",
)
@add_options(TRAINING, DATA)
@click.option(
    "--low-resolution",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    help="Side of the picture that the spatial upsampler enlarges.",
)
@click.option(
    "--validate-every",
    type=click.IntRange(1),
    help="Steps between validations.  [default: a 50th of --steps]",
)
@checkpoint_option
@click.option("--half", is_flag=True, help="Write weights as bfloat16, half the size.")
@resource_options
def train(stage: str, source: str, out: str, **options: Any) -> None:
    """Train a STAGE of the model on color photographs.

    SRC is a folder or s3://bucket/prefix of image files, or Parquet with a column `image`. OUT is a
    folder or s3://bucket/prefix; all workers must reach both. After an interruption, run the same
    command again: it continues from the last checkpoint. Training needs what python -m pip install
    'autochrome[train]' brings.

    \b
    Exit codes: 0 trained to the last step, 1 stopped, the same command goes on, 2 wrong usage or
    setting, 5 OUT was trained with other settings, 130 interrupted.

    \b
    Examples:
      autochrome train core photographs weights --steps 20000 --hidden 128 --resolution 32
      autochrome train core archive.parquet tuned --init weights --steps 2000 --learning-rate 1e-4
    """
    from pipeline.training.ray_train import train as run

    job = build_job(stage, source, out, options)
    row = run(job, resources_of(options), click.echo, ProgressLine(stage, sys.stderr))
    click.echo(describe_end(stage, row, job.destination.uri))


def build_job(stage: str, source: str, out: str, options: dict[str, Any]) -> "TrainingJob":
    """All options as one checked job. Raises UsageError, DestinationMismatch."""
    from pipeline.training.request import prepare_start, prepare_training

    request = build_request(stage, options)
    seed = request.settings.training.seed
    start = prepare_start(stage, request.sizes, options["init"], seed)
    return prepare_training(request, start, source, out)


def build_request(stage: str, options: dict[str, Any]) -> "StageRequest":
    """How a stage is to be trained, by all options but --init. Raises UsageError."""
    from model.training.phases import training_config
    from model.weights import PUBLISHED
    from pipeline.training.request import Data, StageRequest
    from pipeline.training.worker import StageSettings

    try:
        config = training_config(options, stage)
    except ValueError as error:
        raise UsageError(str(error)) from error
    settings = StageSettings(
        config,
        options["low_resolution"],
        options["validate_every"] or max(1, config.steps // 50),
        options["half"],
        60 * options["checkpoint_minutes"],
    )
    names = [name.replace("-", "_") for name, *_ in SIZES]
    chosen = {name: options[name] for name in names}
    sizes = {name: each for name, each in chosen.items() if each is not None and each is not False}
    if options["preset"]:
        sizes = PUBLISHED.get(stage, {}) | sizes
    data = {field.name: options[field.name] for field in fields(Data)}
    return StageRequest(stage, sizes, settings, data)
