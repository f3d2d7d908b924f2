"""autochrome evaluate: score weights on color photographs, which it converts to gray."""

import json
import sys
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jobs.decisions import decisions_option, tell_decisions
from jobs.options import check_number, device_option
from jobs.progress import Progress
from pipeline.errors import UsageError, shown_in_line
from pipeline.ledger.recipe import MODEL_NAMES

if TYPE_CHECKING:
    from pipeline.evaluation.figures import Evaluation, Figures
    from pipeline.evaluation.settings import EvaluationSettings

# The lines of the table: words, and the name of the figure.
TABLE = (
    ("Core, bits per pixel (a blind guess: 9)", None),
    ("  pixel by pixel", "core_bits_per_pixel"),
    ("  histogram given gray and two neighbors", "neighbor_bits_per_pixel"),
    ("  parallel head", "parallel_bits_per_pixel"),
    ("  histogram given gray", "gray_bits_per_pixel"),
    ("  histogram of colors", "marginal_bits_per_pixel"),
    ("PIC, bits per pixel of chroma (a blind guess: 16)", None),
    ("  pixel by pixel", "pic_bits_per_pixel"),
    ("  parallel head", "pic_parallel_bits_per_pixel"),
    ("Share of the variance of color that is explained", None),
    ("  parallel head", "chroma_r2"),
    ("  histogram given gray", "gray_chroma_r2"),
    ("Upsamplers, bits per channel value (a blind guess: 8)", None),
    ("  color", "color_bits_per_dim"),
    ("  spatial", "spatial_bits_per_dim"),
    ("Finished pictures", None),
    ("  colorfulness of the truth", "colorfulness_true"),
    ("  colorfulness of the results", "colorfulness_result"),
    ("  CIEDE2000, mean (punishes diversity)", "ciede2000_mean"),
    ("  chroma RMSE (punishes diversity)", "chroma_rmse"),
    ("  mean shift in a* (above 0: too red)", "a_shift"),
    ("  mean shift in b* (above 0: too yellow)", "b_shift"),
    ("  FID, same photographs, stretched", "fid_same"),
    ("  FID, other photographs, center crops", "fid_other"),
    ("  FID of the truth, other photographs, center crops", "fid_other_of_truth"),
)


@click.command()
@click.argument("paths", nargs=-1, metavar="[WEIGHTS] SRC")
@click.option(
    "--model",
    type=click.Choice([*MODEL_NAMES]),
    default="coltran",
    show_default=True,
    help="The model to score: ColTran's three stages, or PIC.",
)
@click.option(
    "--split",
    type=click.Choice(["all", "train", "validation"]),
    default="all",
    show_default=True,
    help="validation: the photographs that autochrome train holds out, by content.",
)
@click.option(
    "--split-column",
    metavar="COLUMN",
    help="Split by this Parquet column, with the values train and val.",
)
@click.option(
    "--by",
    metavar="COLUMN",
    help="Also print figures by group: a Parquet column, such as set.",
)
@click.option("--limit", type=click.IntRange(1), help="Score at most this many photographs.")
@click.option(
    "--pictures",
    type=click.IntRange(1),
    default=200,
    show_default=True,
    help="Colorize at most this many of them, and score the upsamplers on these.",
)
@click.option("--seed", default=0, show_default=True, help="Another seed gives other pictures.")
@click.option(
    "--temperature",
    type=click.FloatRange(0, 10),
    callback=check_number,
    help="Temperature of the pictures.  [default: as in autochrome colorize]",
)
@click.option(
    "--saturation",
    type=click.FloatRange(0, 4),
    callback=check_number,
    help="Saturation of the pictures.  [default: as in autochrome colorize]",
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16"]),
    default="float32",
    show_default=True,
    help="Number format of the model.",
)
@click.option(
    "--upsampler",
    type=click.Choice(["spatial", "guided"]),
    default="spatial",
    show_default=True,
    help="As in autochrome colorize: guided skips the last stage.",
)
@click.option(
    "--method",
    type=click.Choice(["mean", "sample"]),
    help="As in autochrome colorize.  [mean for coltran, sample for pic]",
)
@click.option(
    "--batch-size",
    type=click.IntRange(1, 4096),
    default=8,
    show_default=True,
    help="Photographs that the model processes at once.",
)
@device_option
@click.option(
    "--baseline",
    metavar="SRC",
    help="Fit the histograms on the training split of these photographs.",
)
@click.option(
    "--save-baseline",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Save these histograms; named baselines.safetensors next to weights, they are used.",
)
@click.option(
    "--inception",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="An Inception network as a TorchScript file, for FID.",
)
@click.option(
    "--html",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write a page with pictures and curves.",
)
@decisions_option
def evaluate(
    paths: tuple[str, ...], html: Path | None, decisions: str | None, **options: Any
) -> None:
    """Score WEIGHTS on the color photographs of SRC.

    Photographs are turned gray first, so that the truth is known. WEIGHTS is a folder with the
    three stages, or pic.safetensors; without it, the weights that come with Autochrome are scored.
    SRC is a folder, s3://bucket/prefix, or a Parquet file with a column `image`. The last line of
    the output is one JSON object.

    With --decisions, nothing is drawn: what people approved, rejected and redid in a destination is
    compared with the scores of its pictures.

    \b
    Examples:
      autochrome evaluate photographs
      autochrome evaluate weights photographs.parquet --split validation --html scores.html
      autochrome evaluate photographs.parquet --split-column split --by set
      autochrome evaluate --decisions colorized
    """
    if decisions is not None:
        if paths:
            raise click.UsageError("--decisions DST stands alone, without WEIGHTS and SRC")
        tell_decisions(decisions)
        return
    from model.weights import WEIGHTS
    from pipeline.evaluation.page import write_page
    from pipeline.evaluation.settings import EvaluationSettings

    if len(paths) not in (1, 2):
        raise click.UsageError("one SRC, or WEIGHTS and SRC, are expected")
    if options["save_baseline"] and not options["baseline"]:
        raise UsageError("--save-baseline keeps what --baseline fits: give both")
    weights = Path(paths[0]) if len(paths) == 2 else WEIGHTS
    result = score(paths[-1], EvaluationSettings(weights, **options))
    if html:
        write_page(html, paths[-1], str(weights), result)
    click.echo(describe(paths[-1], str(weights), result.figures, result.notes))
    if result.groups:
        click.echo(describe_groups(result.groups))
    by = {"groups": result.groups} if result.groups else {}
    click.echo(json.dumps(result.figures | by, allow_nan=False))


def score(source: str, settings: "EvaluationSettings") -> "Evaluation":
    """Evaluate, with progress and warnings on standard error."""
    from pipeline.evaluation.evaluate import evaluate as run

    with Progress(sys.stderr) as progress:
        return run(
            source,
            settings,
            lambda step, done, photos: progress.update(done, 0, photos, step=step),
            lambda words: click.echo(shown_in_line(f"autochrome: warning: {words}"), err=True),
        )


# The table of groups: heads of columns, and the figures' names.
OF_GROUPS = (
    ("photos", "photos"),
    ("bits", "core_bits_per_pixel"),
    ("bits", "pic_bits_per_pixel"),
    ("parallel", "parallel_bits_per_pixel"),
    ("R2", "chroma_r2"),
    ("pictures", "pictures"),
    ("CIEDE2000", "ciede2000_mean"),
    ("colorful", "colorfulness_true"),
    ("result", "colorfulness_result"),
    ("a* shift", "a_shift"),
    ("b* shift", "b_shift"),
)


def describe_groups(groups: "dict[str, Figures]") -> str:
    """A line for each group."""
    there = next(iter(groups.values()))
    columns = [(head, name) for head, name in OF_GROUPS if name in there]
    wide = max(8, *(len(shown_in_line(group)) for group in groups))
    lines = [" " * wide + "".join(f"{head:>11}" for head, _ in columns)]
    for group, figures in groups.items():
        cells = (_cell(figures[name]) for _, name in columns)
        lines.append(f"{shown_in_line(group):<{wide}}" + "".join(f"{cell:>11}" for cell in cells))
    return "\n".join([*lines, ""])


def _cell(value: str | int | float | None) -> str:
    return "-" if value is None else f"{value:.3f}" if isinstance(value, float) else f"{value}"


def _is_figure(row: tuple[str, str | None]) -> bool:
    return row[1] is not None


def describe(source: str, weights: str, figures: "Figures", notes: list[str]) -> str:
    """The table for people."""
    photos, pictures = figures["photos"], figures["pictures"]
    side, what = figures.get("core_resolution"), "core and histograms"
    if side is None:
        side, what = figures["pic_resolution"], "PIC's chroma"
    lines = [
        f"{photos} color photographs of {source}; weights {weights}",
        f"{what} at {side} x {side} pixels; {pictures} photographs colorized",
    ]
    for place, (words, name) in enumerate(TABLE):
        if name is None:
            if any(each in figures for _, each in takewhile(_is_figure, TABLE[place + 1 :])):
                lines += ["", words]
        elif name in figures:
            value = figures[name]
            shown = "-" if value is None else f"{value:.3f}"
            lines.append(f"{words:<52}{shown:>9}")
    return "\n".join([*lines, "", *(f"note: {note}" for note in notes)])
