"""Options of `autochrome train`, as tables: sizes of the model, its training, and its data; and
those options that `train-all` has as well."""

import os
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from jobs.options import check_number, device_option

if TYPE_CHECKING:
    from pipeline.training.ray_train import Resources

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
    """A click option for each (name, type, default, help); a list of choices, or bool for a
    flag."""

    def decorate(command: Command) -> Command:
        for name, kind, default, help in reversed([row for table in tables for row in table]):
            settings: dict[str, Any] = {"type": click.Choice(kind) if type(kind) is list else kind}
            if isinstance(kind, click.FloatRange):
                settings["callback"] = check_number
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


def checkpoint_option(command: Command) -> Command:
    return click.option(
        "--checkpoint-minutes",
        type=click.FloatRange(0),
        callback=check_number,
        default=5.0,
        show_default=True,
        help="Minutes between checkpoints: the most that a kill can cost.",
    )(command)


def resource_options(command: Command) -> Command:
    """What it runs on: --workers, --threads, --device and --max-failures."""
    for option in (
        click.option(
            "--max-failures",
            type=click.IntRange(-1),
            default=3,
            show_default=True,
            help="How often workers that died are restarted; -1: always.",
        ),
        device_option,
        click.option(
            "--threads",
            type=click.IntRange(1),
            help="CPU threads of each worker.  [default: cores of this machine / workers]",
        ),
        click.option(
            "--workers",
            callback=check_workers,
            default="1",
            show_default=True,
            metavar="N|N-M",
            help="Processes that share each batch, one GPU each; N-M: as many as there are.",
        ),
    ):
        command = option(command)
    return command


def resources_of(options: Mapping[str, Any]) -> "Resources":
    from pipeline.training.ray_train import Resources

    workers = options["workers"]
    threads = options["threads"] or max(1, (os.cpu_count() or 1) // workers[1])
    return Resources(workers, threads, options["device"], options["max_failures"])


def check_workers(ctx: click.Context, option: click.Parameter, value: str) -> tuple[int, int]:
    """Parse `2`, or `2-8` for as many as there are."""
    found = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", value)
    least, most = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 1 <= least <= most:
        raise click.BadParameter(f"{value!r} is neither a number of workers nor a range like 2-8")
    return least, most
