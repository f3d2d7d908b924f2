"""autochrome export: copies of pictures for an archive's own systems."""

import sys
from typing import TYPE_CHECKING

import click

from jobs.options import check_number
from jobs.progress import Progress, in_json, log_format_option, say
from pipeline.errors import UsageError, shown_lines

if TYPE_CHECKING:
    from pipeline.delivery.deliver import Summary

LISTED = 10  # how many pictures that could not be delivered are named on the screen


def check_lines(
    ctx: click.Context, option: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    """`LABEL=VALUE`, each label once."""
    lines: dict[str, str] = {}
    for each in values:
        label, separator, value = each.partition("=")
        if not separator or label in lines:
            raise click.BadParameter(f"{each!r} is not LABEL=VALUE, or repeats a label")
        lines[label] = value
    return lines


@click.command()
@click.argument("destination", metavar="DST")
@click.argument("out", metavar="OUT")
@click.option(
    "--selection",
    type=click.Path(exists=True, dir_okay=False),
    metavar="FILE",
    help="Only pictures approved in this CSV file from the review page.",
)
@click.option(
    "--approved", is_flag=True, help="Only pictures approved by the decisions stored in DST."
)
@click.option(
    "--candidates",
    type=click.Choice(["best", "all"]),
    default="best",
    show_default=True,
    help="Of each photo, the best-ranked candidate that qualifies, or all that do.",
)
@click.option(
    "--max-bits",
    type=float,
    callback=check_number,
    metavar="B",
    help="Only pictures of at most B bits per pixel, which the model finds likely.",
)
@click.option(
    "--min-colorfulness",
    type=float,
    callback=check_number,
    metavar="C",
    help="Only pictures with at least this colorfulness.",
)
@click.option("--bag", is_flag=True, help="Make a BagIt bag (RFC 8493), with SHA-256.")
@click.option(
    "--bag-info",
    multiple=True,
    callback=check_lines,
    metavar="LABEL=VALUE",
    help="A line of bag-info.txt, such as Source-Organization='City Archive'; can be given several"
    " times.",
)
@click.option(
    "--iiif",
    metavar="BASE_URL",
    help="Write IIIF manifests for the address at which OUT will be served.",
)
@click.option(
    "--hard-links",
    is_flag=True,
    help="For folders on one disk: hard links instead of copies. They take no space, but changing"
    " one changes both.",
)
@click.option(
    "--single-writer",
    is_flag=True,
    help="For stores without conditional writes, and disks without hard links, such as exFAT:"
    " promise that only this command writes to OUT.",
)
@log_format_option
@click.pass_context
def export(
    ctx: click.Context,
    /,
    destination: str,
    out: str,
    selection: str | None,
    approved: bool,
    candidates: str,
    max_bits: float | None,
    min_colorfulness: float | None,
    bag: bool,
    bag_info: dict[str, str],
    iiif: str | None,
    hard_links: bool,
    single_writer: bool,
) -> None:
    """Copy pictures of DST to OUT, with a catalog.

    Pictures get the names of their masters. DST and OUT are folders or s3://bucket/prefix. Without
    --selection and --approved, all pictures that nobody rejected are copied. DST is only read, and
    masters are not opened. Repeat the command to continue; existing files are compared.

    \b
    Exit codes: 0 everything is delivered; 2 wrong usage; 3 some pictures could not be delivered,
    and the catalog says which; 5 OUT holds a delivery with other options.

    \b
    Examples:
      autochrome export colored delivery
      autochrome export colored delivery --selection selection.csv
      autochrome export s3://archive/colored /mnt/disk/bag --approved --bag
      autochrome export colored web --iiif https://archive.example/colored
    """
    if selection and approved:
        raise UsageError("--selection and --approved exclude each other")
    from pipeline.delivery.deliver import deliver
    from pipeline.delivery.order import Order
    from pipeline.ledger.run_file import open_run
    from pipeline.ledger.selection import read_selection
    from pipeline.storage.lease import open_destination
    from pipeline.storage.open_storage import open_storage

    choice = "selection" if selection else "approved" if approved else "ok"
    order = Order(choice, candidates, max_bits, min_colorfulness, bag, bag_info, iiif)
    chosen = read_selection(selection) if selection else None
    place = open_storage(destination)
    run = open_run(place)
    source = open_storage(run.recipe.source)
    with (
        open_destination(out, single_writer) as (opened, _),
        Progress(sys.stderr, as_json=in_json(ctx)) as progress,
    ):
        summary = deliver(source, place, run, opened, order, chosen, hard_links, progress.update)
    say(ctx, describe(summary, opened.uri), "delivered", **to_json(summary))
    ctx.exit(3 if summary.failed else 0)


def to_json(summary: "Summary") -> dict[str, object]:
    """What was delivered, for machines."""
    failed = [
        {"photo": each.picture.row["photo"], "reason": each.reason, "error": each.error}
        for each in summary.failed
    ]
    kept = ("pictures", "photos", "bytes", "left_out", "pending")
    return {name: getattr(summary, name) for name in kept} | {"failed": failed}


def describe(summary: "Summary", out: str) -> str:
    """What was delivered, for people."""
    size = f"{summary.bytes:,} bytes"
    lines = [f"{summary.pictures:,} pictures of {summary.photos:,} photos delivered, {size}"]
    if summary.failed:
        lines.append(f"{len(summary.failed):,} could not be delivered:")
        for each in summary.failed[:LISTED]:
            photo = each.picture.row["photo"]
            lines.append(f"  {photo}: {each.reason}: {each.error}")
        if len(summary.failed) > LISTED:
            lines.append(f"  {len(summary.failed) - LISTED:,} more: status failed in the catalog")
    if summary.left_out:
        counts = sorted(summary.left_out.items())
        lines.append("left out: " + ", ".join(f"{count:,} {why}" for why, count in counts))
    if summary.pending:
        lines.append(f"{summary.pending:,} photos are not colorized yet")
    lines.append(f"delivery {out}")
    return shown_lines(lines)
