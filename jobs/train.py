"""autochrome train: a stage of the model from an archive's own color photographs."""

import os
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jobs.options import complete_folder, device_option
from jobs.training_options import DATA, SIZES, TRAINING, add_options, check_workers
from jobs.training_progress import ProgressLine, describe_end
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from model.training.trainer import TrainingConfig
    from pipeline.training.request import TrainingJob


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
@click.option(
    "--checkpoint-minutes",
    type=click.FloatRange(0),
    default=5.0,
    show_default=True,
    help="Minutes between checkpoints: the most that a kill can cost.",
)
@click.option("--half", is_flag=True, help="Write weights as bfloat16, half the size.")
@click.option(
    "--workers",
    callback=check_workers,
    default="1",
    show_default=True,
    metavar="N|N-M",
    help="Processes that share each batch, one GPU each; N-M: as many as there are.",
)
@click.option(
    "--threads",
    type=click.IntRange(1),
    help="CPU threads of each worker.  [default: cores of this machine / workers]",
)
@device_option
@click.option(
    "--max-failures",
    type=click.IntRange(-1),
    default=3,
    show_default=True,
    help="How often workers that died are restarted; -1: always.",
)
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
    from pipeline.training.ray_train import Resources
    from pipeline.training.ray_train import train as run

    job = build_job(stage, source, out, options)
    workers, cores = options["workers"], os.cpu_count() or 1
    resources = Resources(
        workers,
        options["threads"] or max(1, cores // workers[1]),
        options["device"],
        options["max_failures"],
    )
    row = run(job, resources, click.echo, ProgressLine(stage, sys.stderr))
    click.echo(describe_end(stage, row, job.destination.uri))


def build_job(stage: str, source: str, out: str, options: dict[str, Any]) -> "TrainingJob":
    """All options as one checked job. Raises UsageError, DestinationMismatch."""
    from model.weights import PUBLISHED
    from pipeline.training.request import Data, prepare_start, prepare_training
    from pipeline.training.worker import StageSettings

    config = build_config(stage, options)
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
    start = prepare_start(stage, sizes, options["init"], config.seed)
    data = {field.name: options[field.name] for field in fields(Data)}
    return prepare_training(start, settings, data, source, out)


def build_config(stage: str, options: dict[str, Any]) -> "TrainingConfig":
    from model.training.trainer import TrainingConfig

    chosen = {field.name: options[field.name] for field in fields(TrainingConfig)}
    if options["encoder_only"]:
        if stage not in ("core", "pic"):
            raise UsageError(f"--encoder-only is for core and pic; {stage} has no decoder")
        chosen |= {"autoregressive_weight": 0.0, "parallel_weight": 1.0}
    for name in ("weight_norm", "data_init"):
        if options[name] and stage not in ("pic", "pixelcnn"):
            raise UsageError(f"--{name.replace('_', '-')} is for pic and pixelcnn, not for {stage}")
    try:
        return TrainingConfig(**chosen)
    except ValueError as error:
        raise UsageError(str(error)) from error
