"""Options that several commands share, each declared once."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from jobs.progress import in_json, log_format_option
from pipeline.ledger.recipe import FORMATS, MODEL_NAMES, PAGES

if TYPE_CHECKING:
    from pipeline.run.options import Resources

Command = Callable[..., None]
Decorator = Callable[[Command], Command]


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
        raise click.BadParameter(f"{value!r} is not a range such as 2:8")
    return int(least), int(most)


def check_number(ctx: click.Context, option: click.Parameter, value: float | None) -> float | None:
    """A number, or none; a range lets NaN pass."""
    if value is not None and math.isnan(value):
        raise click.BadParameter("nan is not a number")
    return value


def complete_folder(
    ctx: click.Context, argument: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """What Tab offers for SRC and DST: folders. Buckets are not listed for it."""
    return [] if "://" in incomplete else [CompletionItem(incomplete, type="dir")]


device_option = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="auto: GPUs if there are any, otherwise the CPU.",
)

RESOURCES: list[Decorator] = [
    click.option(
        "--weights",
        metavar="FOLDER",
        help="Folder or s3://bucket/prefix with core, color and spatial.safetensors, or with"
        " pic.safetensors.  [default: the weights that come with Autochrome]",
    ),
    click.option(
        "--batch-size",
        type=click.IntRange(1, 4096),
        help="Photos that the model processes at once; does not affect the pictures."
        "  [default: 32 to draw on a CPU with the default weights, otherwise 8]",
    ),
    click.option(
        "--max-failed",
        callback=check_max_failed,
        metavar="N|P%",
        help="Stop when more photos than this have failed since this start.",
    ),
    device_option,
    click.option(
        "--actors",
        callback=check_actors,
        metavar="MIN:MAX",
        help="Number of processes that hold the model; a cluster grows and shrinks between the two."
        "  [default: one per GPU, or per core]",
    ),
    click.option(
        "--gpus-per-actor",
        type=click.FloatRange(0, 1, min_open=True),
        default=1.0,
        show_default=True,
        help="GPU share of each process; below 1, several processes share a GPU.",
    ),
    click.option(
        "--single-writer",
        is_flag=True,
        help="For stores without conditional writes: promise that only this command works on DST.",
    ),
    click.option(
        "--c2pa-certificate",
        metavar="FILE",
        help="Sign pictures (C2PA) with this certificate chain, a PEM file.",
    ),
    click.option("--c2pa-key", metavar="FILE", help="Private key of the certificate, a PEM file."),
    click.option(
        "--c2pa-timestamp",
        metavar="URL",
        help="Add a time stamp from this authority (RFC 3161) to each signature.",
    ),
]


def resource_options(command: Command) -> Command:
    """Options of how a run is worked on; pictures do not depend on them, but for the weights,
    which have to be those that it was started with."""
    return decorated(log_format_option(command), RESOURCES)


def take_resources(ctx: click.Context, options: dict[str, Any]) -> "Resources":
    """What the options of `resource_options` say; takes them out of the others."""
    from pipeline.run.options import Resources
    from pipeline.weights.store import shipped_weights

    names = {field.name for field in fields(Resources)} & options.keys()
    given = {name: options.pop(name) for name in names}
    given["weights"] = given["weights"] or shipped_weights()
    return Resources(**given, log_as_json=in_json(ctx))


RECIPE: list[Decorator] = [
    click.option(
        "--model",
        type=click.Choice([*MODEL_NAMES]),
        default="coltran",
        show_default=True,
        help="The model: ColTran, or the smaller and faster PIC.",
    ),
    click.option(
        "--precision",
        type=click.Choice(["auto", "float32", "bfloat16"]),
        default="auto",
        show_default=True,
        help="Number format of the model; bfloat16 is faster on processors that support it. auto:"
        " bfloat16 on a GPU, otherwise float32.",
    ),
    click.option(
        "--upsampler",
        type=click.Choice(["spatial", "guided"]),
        default="spatial",
        show_default=True,
        help="guided: skip the model's last and slowest stage, and enlarge the colors along the"
        " photo's contours.",
    ),
    click.option(
        "--method",
        type=click.Choice(["auto", "mean", "sample"]),
        default="auto",
        show_default=True,
        help="mean: the average of the colors that the model expects, in one pass. sample: colors"
        " drawn pixel by pixel, so that candidates differ. auto: mean for one candidate, sample"
        " for several.",
    ),
    click.option("--draft", is_flag=True, hidden=True, help="An older name for --method mean."),
    click.option("--seed", default=0, show_default=True, help="Another seed gives other pictures."),
    click.option(
        "--temperature",
        type=click.FloatRange(0, 10),
        callback=check_number,
        help="Below 1, likely colors get more weight; 0 takes the most likely color everywhere."
        "  [mean: 1, sample: 0.7]",
    ),
    click.option(
        "--saturation",
        type=click.FloatRange(0, 4),
        callback=check_number,
        help="Strength of colors: 1 keeps the model's colors, 0 is gray.  [mean: 1.7, sample: 1]",
    ),
    click.option(
        "--hints",
        metavar="FILE",
        help="Places whose color is known: CSV or Parquet with the columns photo, x, y, color"
        " (#rrggbb) and optionally radius and page.",
    ),
    click.option(
        "--palette",
        metavar="PICTURE",
        help="Expect the colors of this picture, a file or s3://bucket/key, in all photos.",
    ),
    click.option(
        "--candidates",
        type=click.IntRange(1, 1000),
        default=1,
        show_default=True,
        help="Number of pictures of each photo; they are ranked.",
    ),
    click.option(
        "--rank-by",
        type=click.Choice(["likelihood", "typicality", "nearness", "vividness", "balanced"]),
        help="Which of several candidates comes first; pic has only likelihood and typicality."
        "  [coltran: nearness, pic: likelihood]",
    ),
    click.option(
        "--output-size",
        type=click.Choice(["full", "256"]),
        default="full",
        show_default=True,
        help="full: the size of the photo. 256: pixels along the longer side.",
    ),
    click.option(
        "--format",
        type=click.Choice(FORMATS),
        default="auto",
        show_default=True,
        help="auto: the photo's own format, or PNG if that cannot be written.",
    ),
    click.option(
        "--shard-size",
        type=click.IntRange(1, 100_000),
        help="Photos that are committed together; does not affect the pictures. Only used at the"
        " first start.  [default: 64 on a GPU; without, 4, and up to 32 in large runs]",
    ),
    click.option(
        "--manifest",
        metavar="FILE",
        help="Only the photos in this list: Parquet or CSV with a column uri, or an S3 Inventory.",
    ),
    click.option(
        "--include",
        multiple=True,
        metavar="PATTERN",
        help="Only photos whose path matches, such as '1890/*.tif'; can be given several times.",
    ),
    click.option(
        "--exclude", multiple=True, metavar="PATTERN", help="Leave out photos whose path matches."
    ),
    click.option(
        "--limit",
        type=click.IntRange(1),
        metavar="N",
        help="Only the first N photos, for a trial with its own DST.",
    ),
    click.option("--follow-links", is_flag=True, help="Also follow symbolic links out of SRC."),
    click.option("--recolor", is_flag=True, help="Also colorize photos that are already in color."),
    click.option(
        "--pages",
        type=click.Choice(PAGES),
        default="first",
        show_default=True,
        help="Pages of multi-page TIFFs; with all, each page becomes a separate picture.",
    ),
    click.option(
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
        help="The IPTC term for how each picture was made.",
    ),
    click.option("--mark", is_flag=True, help="Write AI-colorized into a corner of each picture."),
    click.option(
        "--watermark",
        is_flag=True,
        help="Experimental: hide an identifier of run and photo in the colors of each picture.",
    ),
    click.option(
        "--sidecar",
        is_flag=True,
        help="Write a JSON file next to each picture that says how it was made.",
    ),
]


def recipe_options(command: Command) -> Command:
    """Options of all that decides pictures and their names: a destination keeps them for good."""
    return decorated(command, RECIPE)


def decorated(command: Command, options: Sequence[Decorator]) -> Command:
    """A command with options in their order."""
    for option in reversed(options):
        command = option(command)
    return command
