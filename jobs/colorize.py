"""autochrome colorize: every photograph of a folder or bucket, in color."""

import math
import re
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from jobs.progress import Progress, in_json, log_format_option, say

if TYPE_CHECKING:
    from pipeline.run.request import Summary


def check_max_failed(ctx: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """A number of photos, or a percentage."""
    if value is not None and not re.fullmatch(r"\d{1,15}|\d{1,3}(\.\d{1,6})?%", value):
        raise click.BadParameter(f"{value!r} is neither a number of photos nor a percentage")
    return value


def check_actors(
    ctx: click.Context, option: click.Parameter, value: str | None
) -> tuple[int, int] | None:
    """`2:8`, or `4` for always four."""
    if value is None:
        return None
    least, _, most = value.partition(":")
    most = most if ":" in value else least
    if not (least.isdecimal() and most.isdecimal() and 0 < int(least) <= int(most)):
        raise click.BadParameter(f"{value!r} is no range, as 2:8")
    return int(least), int(most)


def check_temperature(
    ctx: click.Context, option: click.Parameter, value: float | None
) -> float | None:
    """A number, or none; a range lets NaN pass."""
    if value is not None and math.isnan(value):
        raise click.BadParameter("nan is no temperature")
    return value


def running_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options of how a run is worked on; pictures do not depend on them, but for the weights,
    which have to be those that it was started with."""
    options = [
        click.option(
            "--weights",
            metavar="FOLDER",
            help="core, color and spatial .safetensors, or pic.safetensors, in a folder or"
            " s3://bucket/prefix; by default those of Autochrome.",
        ),
        click.option(
            "--batch-size",
            type=click.IntRange(1, 4096),
            default=8,
            show_default=True,
            help="Photos that the model takes at once; pictures do not depend on it.",
        ),
        click.option(
            "--max-failed",
            callback=check_max_failed,
            metavar="N|P%",
            help="Stop when more photos than this have failed since this start.",
        ),
        click.option(
            "--device",
            type=click.Choice(["auto", "cpu", "cuda"]),
            default="auto",
            show_default=True,
            help="auto takes the GPUs where there are any.",
        ),
        click.option(
            "--actors",
            callback=check_actors,
            metavar="MIN:MAX",
            help="How many processes hold the model, between which a cluster may grow and shrink."
            "  [default: one for each GPU, or core]",
        ),
        click.option(
            "--gpus-per-actor",
            type=click.FloatRange(0, 1, min_open=True),
            default=1.0,
            show_default=True,
            help="Below 1, several processes share a GPU.",
        ),
        click.option(
            "--single-writer",
            is_flag=True,
            help="For stores without conditional writes: only this command works on DST.",
        ),
        click.option(
            "--c2pa-certificate",
            metavar="FILE",
            help="Sign pictures (C2PA): the certificate and those above it, in PEM.",
        ),
        click.option("--c2pa-key", metavar="FILE", help="The certificate's private key, in PEM."),
    ]
    command = log_format_option(command)
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@click.argument("source", metavar="SRC")
@click.argument("destination", metavar="DST")
@click.option(
    "--model",
    type=click.Choice(["coltran", "pic"]),
    default="coltran",
    show_default=True,
    help="What colorizes: ColTran, or the smaller and faster PIC.",
)
@click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "bfloat16"]),
    default="auto",
    show_default=True,
    help="Of the model's numbers; bfloat16 is faster where the processor has it. auto is bfloat16"
    " on a GPU, float32 without.",
)
@click.option(
    "--upsampler",
    type=click.Choice(["spatial", "guided"]),
    default="spatial",
    show_default=True,
    help="guided leaves out the model's last and longest stage: its small color is brought to full"
    " size along the photo's contours.",
)
@click.option(
    "--method",
    type=click.Choice(["auto", "mean", "sample"]),
    default="auto",
    show_default=True,
    help="mean: the colors that the model expects, in one pass. sample: drawn pixel by pixel, so"
    " that candidates differ. auto: mean for one candidate, sample for several.",
)
@click.option("--draft", is_flag=True, hidden=True, help="An older name of --method mean.")
@click.option("--seed", default=0, show_default=True, help="Another seed gives other pictures.")
@click.option(
    "--temperature",
    type=click.FloatRange(0, 10),
    callback=check_temperature,
    help="Below 1, colors that the model finds likely count for more; 0 takes the most likely one"
    " everywhere.  [mean: 0.5, sample: 0.7]",
)
@click.option(
    "--candidates",
    type=click.IntRange(1, 1000),
    default=1,
    show_default=True,
    help="Pictures of each photo, ranked by likelihood.",
)
@click.option(
    "--output-size",
    type=click.Choice(["full", "256"]),
    default="full",
    show_default=True,
    help="256 is the length of the longer side.",
)
@click.option(
    "--format",
    type=click.Choice(["auto", "jpeg", "png", "tiff", "webp", "jp2", "avif"]),
    default="auto",
    show_default=True,
    help="auto is the photo's own format, or PNG.",
)
@click.option(
    "--shard-size",
    type=click.IntRange(1, 100_000),
    help="Photos that are committed together; pictures do not depend on it. Only counts at the"
    " first start.  [default: 64 on a GPU, 4 without]",
)
@click.option(
    "--manifest",
    metavar="FILE",
    help="Parquet or CSV with a column uri, or an S3 Inventory: the photos of SRC to take.",
)
@click.option(
    "--include",
    multiple=True,
    metavar="PATTERN",
    help="Only photos whose path matches, as '1890/*.tif'; may be given again.",
)
@click.option("--exclude", multiple=True, metavar="PATTERN", help="No photos whose path matches.")
@click.option("--follow-links", is_flag=True, help="Links that lead out of SRC, too.")
@click.option("--recolor", is_flag=True, help="Do photos that are in color already, too.")
@click.option(
    "--pages",
    type=click.Choice(["first", "all"]),
    default="first",
    show_default=True,
    help="Of a TIFF that has several; each becomes a picture of its own.",
)
@click.option(
    "--digital-source-type",
    type=click.Choice(
        [
            "compositeWithTrainedAlgorithmicMedia",
            "trainedAlgorithmicMedia",
            "algorithmicallyEnhanced",
            "compositeSynthetic",
        ]
    ),
    default="compositeWithTrainedAlgorithmicMedia",
    show_default=True,
    help="What each picture says of its making, in IPTC's words.",
)
@click.option("--mark", is_flag=True, help="Write AI-colorized into a corner of each picture.")
@click.option("--sidecar", is_flag=True, help="A JSON file beside each picture says it, too.")
@running_options
@click.pass_context
def colorize(
    ctx: click.Context, /, source: str, destination: str, weights: str | None, **options: Any
) -> None:
    """Colorize the photographs of SRC into DST.

    Both are folders, or s3://bucket/prefix. SRC is only ever read. Run the same command again after
    an interruption: it does only what is missing.

    \b
    Exit codes: 0 all photos are done, 2 wrong usage or setting, 3 finished but some photos
    failed, 4 stopped by --max-failed, 5 DST belongs to a run with other settings, 130 interrupted.

    \b
    Examples:
      autochrome colorize scans colored
      autochrome colorize s3://archive/scans s3://archive/colored --candidates 4 --seed 7
      autochrome colorize s3://archive s3://colored --manifest inventory.parquet --exclude 'tmp/*'
    """
    from model.weights import WEIGHTS
    from pipeline.colorize import colorize as run
    from pipeline.run.request import Settings

    if options.pop("draft"):
        options["method"] = "mean"
    settings = Settings(weights or str(WEIGHTS), **options)
    with Progress(sys.stderr, as_json=in_json(ctx)) as progress:
        summary = run(source, destination, settings, progress)
    finish(ctx, summary)


def finish(ctx: click.Context, summary: "Summary") -> None:
    """Say what there is now, and end with the code for it."""
    say(ctx, describe(summary), "finished", **asdict(summary))
    ctx.exit(3 if summary.failed or summary.pending else 0)


def describe_more_pages(photos: int) -> str:
    has = "has" if photos == 1 else "have"
    return f"{photos:,} {has} more pages than the first: a run with --pages all does them all"


def describe(summary: "Summary") -> str:
    """The closing words of a run."""
    from pipeline.ledger.planning import describe_ignored

    ok = summary.photos - summary.failed - summary.skipped - summary.pending
    lines = [f"{ok:,} of {summary.photos:,} photos colorized"]
    if summary.failed:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in summary.reasons.items())
        lines.append(f"{summary.failed:,} failed: {reasons}")
    if summary.skipped:
        lines.append(f"{summary.skipped:,} skipped: already in color, --recolor does them too")
    if summary.pending:
        lines.append(f"{summary.pending:,} not done: the same command tries them again")
    if summary.more_pages:
        lines.append(describe_more_pages(summary.more_pages))
    if summary.ignored:
        lines.append(describe_ignored(summary.ignored))
    lines += [
        f"images   {summary.destination}/images",
        f"results  {summary.destination}/results",
        f"report   {summary.report}",
    ]
    return "\n".join(lines)
