"""autochrome resume: continue a run, or retry what failed."""

import sys
from typing import Any

import click

from jobs.closing import finish
from jobs.options import complete_folder, resource_options, take_resources
from jobs.progress import Progress, in_json
from jobs.sections import SectionedCommand
from jobs.submit import send
from pipeline.errors import REASONS, UsageError


@click.command(cls=SectionedCommand)
@click.argument("destination", metavar="DST", shell_complete=complete_folder)
@click.option("--retry-failed", is_flag=True, help="Also retry photos that failed.")
@click.option(
    "--reason",
    "reasons",
    type=click.Choice(REASONS),
    multiple=True,
    metavar="REASON",
    help="Retry only photos that failed for this reason; can be given several times.",
)
@click.option(
    "--selection",
    type=click.Path(exists=True, dir_okay=False),
    metavar="FILE",
    help="Apply the decisions in this CSV file from the review page.",
)
@click.option(
    "--series",
    type=click.Choice(["folder"]),
    help="Give the photos of each folder similar colors: redo them with the palette of the first"
    " approved picture, or of a typical one.",
)
@resource_options
@click.option(
    "--address", metavar="URL", help="Run as a job on this cluster: the URL of Ray's job server."
)
@click.option("--follow", is_flag=True, help="With --address: print progress until the job ends.")
@click.pass_context
def resume(
    ctx: click.Context,
    /,
    destination: str,
    address: str | None,
    follow: bool,
    retry_failed: bool,
    reasons: tuple[str, ...],
    selection: str | None,
    series: str | None,
    **options: Any,
) -> None:
    """Continue the run of DST, a folder or s3://bucket/prefix.

    Its source and settings are stored there. Finished photos are not read again. With
    --retry-failed, photos that failed are planned again; their older rows stay, and the last
    attempt counts. With --selection, photos marked "redo" on the review page are planned again,
    with the seed given there. With --address, the run continues as a job on a cluster.

    \b
    Exit codes: those of autochrome colorize.

    \b
    Examples:
      autochrome resume colored
      autochrome resume s3://archive/colored --retry-failed --reason missing --reason timeout
      autochrome resume colored --selection selection.csv
      autochrome resume colored --series folder
    """
    from pipeline.colorize import resume as run
    from pipeline.ledger.selection import read_selection
    from pipeline.storage.open_storage import open_storage

    if reasons and not retry_failed:
        raise UsageError("--reason needs --retry-failed")
    if follow and not address:
        raise UsageError("--follow needs --address: without it, the work is done here")
    if selection and address:
        raise UsageError("--selection is a file here: take it without --address first")
    if address:
        weights = options.pop("weights")
        command = ["resume", open_storage(destination).uri]
        command += arguments_of(retry_failed, reasons, options | {"series": series})
        command += ["--log-format", "json"] if in_json(ctx) else []
        send(ctx, address, destination, command, weights, follow)
        return
    resources = take_resources(ctx, options)
    chosen = read_selection(selection) if selection else None
    with Progress(sys.stderr, as_json=in_json(ctx)) as progress:
        summary = run(destination, resources, progress, retry_failed, reasons, chosen, bool(series))
    finish(ctx, summary)


def arguments_of(
    retry_failed: bool, reasons: tuple[str, ...], options: dict[str, Any]
) -> list[str]:
    """Options as command-line arguments."""
    words = ["--retry-failed"] if retry_failed else []
    for reason in reasons:
        words += ["--reason", reason]
    for name, value in options.items():
        option = "--" + name.replace("_", "-")
        if value is True:
            words.append(option)
        elif isinstance(value, tuple):
            words += [option, ":".join(map(str, value))]
        elif value not in (None, False):
            words += [option, str(value)]
    return words
