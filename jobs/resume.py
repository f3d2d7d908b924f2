"""autochrome resume: go on with a run, or retry what failed."""

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
@click.option("--retry-failed", is_flag=True, help="Do failed photos once more, too.")
@click.option(
    "--reason",
    "reasons",
    type=click.Choice(REASONS),
    multiple=True,
    metavar="REASON",
    help="Of the failed photos only those that failed for this; may be given again.",
)
@click.option(
    "--selection",
    type=click.Path(exists=True, dir_okay=False),
    metavar="FILE",
    help="CSV of the review page: do photos once more that are to be redone, keep the rest.",
)
@click.option(
    "--series",
    type=click.Choice(["folder"]),
    help="Make the photos of each folder alike: by the palette of the first approved picture, or of"
    " a typical one, the rest is done once more.",
)
@resource_options
@click.option("--address", metavar="URL", help="Ray's job server: do it there, as a job.")
@click.option("--follow", is_flag=True, help="With --address: tell of the progress until the end.")
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
    """Go on with the run of DST, a folder or s3://bucket/prefix.

    Its source and settings are stored there. Finished photos are not read again. With
    --retry-failed, photos that failed are planned once more; their older rows stay, and the last
    attempt counts. With --selection, so are photos that were marked "redo" on the review page, with
    the seed given there. With --address, a job on a cluster does the work.

    \b
    Exit codes: as of autochrome colorize.

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
