"""autochrome train: a stage of the model from an archive's own color photographs."""

import os
import re
import sys
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from jobs.options import complete_folder
from jobs.progress import describe_duration
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from model.training.trainer import TrainingConfig
    from pipeline.training.learning_curve import Row
    from pipeline.training.request import TrainingJob
    from pipeline.training.worker import Progress

Command = Callable[..., Any]
Option = tuple[str, Any, Any, str]

SIZES: list[Option] = [
    ("hidden", int, None, "Features of a pixel."),
    ("ff", int, None, "Features inside of the feed-forward layers."),
    ("heads", int, None, "Heads of attention."),
    ("enc", int, None, "Layers of the encoder."),
    ("outer", int, None, "Layers of the outer decoder (core only)."),
    ("inner", int, None, "Layers of the inner decoder, or half the blocks of a PixelCNN++."),
    ("levels", int, None, "Levels of a PixelCNN++, each of half the side of the one before."),
    ("resolution", int, None, "Side of the model's square; may differ from that of --init."),
    ("factor", int, None, "Resolution of PIC by that of the chroma that it draws."),
    ("dropout", float, None, "Share of features that are dropped in training."),
    ("encoder-attention", ["axial", "criss_cross", "full"], None, "Of the core's encoder."),
    ("unconditional", bool, None, "A core that sees no gray photograph: an Axial Transformer."),
    (
        "trunk",
        ["none", "efficientnet_lite0", "efficientnet_lite2"],
        None,
        "Pretrained network that core or PIC uses.",
    ),
    ("trunk-dropout", float, None, "Share of the trunk's channels that are dropped in training."),
    ("hints", bool, None, "A core that can be told the colors of single pixels."),
    ("palette", bool, None, "A core that can be told the colors of the whole picture."),
    ("histogram", bool, None, "A core that starts at the histogram of colors given gray."),
]
TRAINING: list[Option] = [
    ("steps", int, 100_000, "Length of training, over which the schedule runs."),
    ("batch-size", int, 32, "Pictures a step, of all workers together."),
    ("learning-rate", float, 3e-4, "Its largest value."),
    ("optimizer", ["rmsprop", "adamw", "muon"], "rmsprop", "muon: AdamW for all but matrices."),
    ("schedule", ["constant", "cosine", "linear"], "constant", "How the learning rate falls."),
    ("warmup", int, 0, "Steps over which the learning rate rises."),
    ("encoder-rate", float, 1.0, "Learning rate of the encoder of core or PIC, times this."),
    ("trunk-rate", float, 0.0, "Learning rate of the trunk, times this; 0: it stays."),
    ("high-resolution", int, 256, "Side of the photographs that the trunk sees in training."),
    ("autoregressive-weight", float, 0.99, "Of autoregressive bits in the loss of core or PIC."),
    ("parallel-weight", float, 0.01, "Of the parallel head in the loss of core or PIC."),
    ("average-decay", float, 0.999, "Of the moving average, which is what is kept."),
    ("weight-decay", float, 0.0, "Of adamw and muon."),
    ("clip-norm", float, 1.0, "Longest gradient."),
    ("crop", float, 0.7, "Least share of height and width that a random crop keeps."),
    ("degrade", float, 0.0, "Share of pictures that are made faded, as old prints are."),
    ("bfloat16", bool, False, "Compute in mixed precision."),
    ("seed", int, 0, "Of all that is random."),
    ("weight-norm", bool, False, "Weights of PIC or a PixelCNN++ learn as length and direction."),
    ("data-init", bool, False, "Scale its first weights by what they make of some photographs."),
]
DATA: list[Option] = [
    ("side", click.IntRange(1), None, "Side that photographs are kept at.  [resolution / crop]"),
    ("held-out", click.FloatRange(0, 0.9), 0.05, "Share held out for validation, by content."),
    ("split-column", str, None, "Parquet column with train and val, instead of --held-out."),
    ("balance", str, None, "Parquet column whose groups are drawn equally often."),
    ("balance-power", click.FloatRange(0, 1), 1.0, "Below 1 larger groups are drawn more often."),
    ("emphasis", str, None, "GROUP=FACTOR,...: groups of --balance that are drawn more often."),
    ("limit", click.IntRange(1), None, "Train on so many photographs only."),
    ("validation-photos", click.IntRange(0), 512, "Held-out photographs used; 0: no validation."),
]


def add_options(*tables: list[Option]) -> Callable[[Command], Command]:
    """One click option for each (name, type, default, help); a list is a choice, bool a flag."""

    def decorate(command: Command) -> Command:
        for name, kind, default, help in reversed([row for table in tables for row in table]):
            settings: dict[str, Any] = {"type": click.Choice(kind) if type(kind) is list else kind}
            if kind is bool:
                settings = {"is_flag": True}
            command = click.option(
                f"--{name}",
                default=default,
                show_default=default is not None,
                help=help,
                **settings,
            )(command)
        return command

    return decorate


def check_workers(ctx: click.Context, option: click.Parameter, value: str) -> tuple[int, int]:
    """`2`, or `2-8` for as many as there are."""
    found = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", value)
    least, most = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 1 <= least <= most:
        raise click.BadParameter(f"{value!r} is neither a number of workers nor a range like 2-8")
    return least, most


@click.command()
@click.argument("stage", type=click.Choice(["core", "color", "spatial", "pic", "pixelcnn"]))
@click.argument("source", metavar="SRC", shell_complete=complete_folder)
@click.argument("out", metavar="OUT", shell_complete=complete_folder)
@click.option(
    "--init",
    type=click.Path(exists=True, path_type=Path),
    metavar="WEIGHTS",
    help="Start from these weights, a file or a folder; sizes are theirs.",
)
@click.option(
    "--preset",
    type=click.Choice(["published"]),
    help="Published sizes and dropout of PIC or a PixelCNN++; those given beside it count first.",
)
@add_options(SIZES)
@click.option(
    "--encoder-only",
    is_flag=True,
    help="Train the encoder and parallel head of core or PIC alone; decoders stay as they are.",
)
@add_options(TRAINING, DATA)
@click.option(
    "--low-resolution",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    help="Side of what the spatial upsampler sharpens.",
)
@click.option(
    "--validate-every",
    type=click.IntRange(1),
    help="Steps from one validation to the next.  [default: a 50th of --steps]",
)
@click.option(
    "--checkpoint-minutes",
    type=click.FloatRange(0),
    default=5.0,
    show_default=True,
    help="What a kill costs at most.",
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
    help="Of each worker on the CPU.  [default: cores of this machine / workers]",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="auto takes the GPUs where there are any.",
)
@click.option(
    "--max-failures",
    type=click.IntRange(-1),
    default=3,
    show_default=True,
    help="How often workers that died are started again; -1: always.",
)
def train(stage: str, source: str, out: str, **options: Any) -> None:
    """Train a STAGE of the model on color photographs.

    SRC is a folder or s3://bucket/prefix of image files, or Parquet with a column `image`. OUT is a
    folder or s3://bucket/prefix; all workers must reach both. Run the same command again after an
    interruption: it goes on from the last checkpoint. Training needs what
    python -m pip install 'autochrome[train]' brings.

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
    row = run(job, resources, click.echo, Teller(stage, sys.stderr))
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


class Teller:
    """How far training is: one line that changes on a terminal, one every ten seconds elsewhere."""

    def __init__(self, stage: str, stream: TextIO) -> None:
        self._stage, self._stream, self._bar = stage, stream, stream.isatty()
        self._told, self._step = -10.0, 0

    def __call__(self, progress: "Progress") -> None:
        if progress.step < self._step:
            self._write("workers were lost; going on from an earlier checkpoint", True)
        self._step = progress.step
        over = progress.step == progress.steps
        if self._bar or over or time.monotonic() - self._told >= 10:
            self._told = time.monotonic()
            self._write(describe_progress(self._stage, progress), over)

    def _write(self, line: str, for_good: bool) -> None:
        if self._bar:
            self._stream.write(f"\r{line}\x1b[K" + "\n" * for_good)
        else:
            self._stream.write(line + "\n")
        self._stream.flush()


def describe_progress(stage: str, progress: "Progress") -> str:
    """`step 120 of 1,000, core 2.104 parallel 3.210 bits per pixel (held out 2.2 ...), ...`."""
    from pipeline.training.learning_curve import unit_of

    held_out = f" (held out {_named(progress.validation)})" if progress.validation else ""
    parts = [
        f"step {progress.step:,} of {progress.steps:,}",
        f"{_named(progress.bits)} {unit_of(stage)}{held_out}",
        f"{progress.images_per_second:.1f} images/s",
    ]
    if progress.step < progress.steps:
        parts.append(f"{describe_duration(progress.seconds_left)} left")
    return ", ".join(parts)


def describe_end(stage: str, row: "Row", place: str) -> str:
    from pipeline.training.learning_curve import unit_of

    kind = "validation" if row["validation"] else "train"
    return "\n".join(
        [
            f"weights  {place}/{stage}.safetensors  (step {row['step']:,}, {kind}:"
            f" {_named(row[kind])} {unit_of(stage)})",
            f"curve    {place}/{stage}.png, and: tensorboard --logdir {place}/tensorboard",
        ]
    )


def _named(bits: dict[str, float]) -> str:
    return " ".join(f"{name} {value:.3f}" for name, value in sorted(bits.items()))
