"""autochrome resume: go on with what was started, or do once more what has failed."""

import sys
from pathlib import Path
from typing import Any

import click

from jobs.colorize import finish, running_options
from jobs.progress import Progress
from pipeline.errors import REASONS, UsageError


@click.command()
@click.argument("destination", metavar="DST")
@click.option("--retry-failed", is_flag=True, help="Do failed photos once more, too.")
@click.option(
    "--reason",
    "reasons",
    type=click.Choice(REASONS),
    multiple=True,
    metavar="REASON",
    help="Of the failed photos only those that failed for this; may be given again.",
)
@running_options
@click.pass_context
def resume(
    ctx: click.Context,
    /,
    destination: str,
    weights: Path | None,
    retry_failed: bool,
    reasons: tuple[str, ...],
    **options: Any,
) -> None:
    """Go on with the run of DST, a folder or s3://bucket/prefix.

    Its source and settings are known there. What is done is not read again. With --retry-failed,
    photos that failed are planned once more first; their older rows stay, and the row of the
    highest attempt counts.

    \b
    Exit codes: as of autochrome colorize.

    \b
    Examples:
      autochrome resume colored
      autochrome resume s3://archive/colored --retry-failed --reason missing --reason timeout
    """
    from model.weights import WEIGHTS
    from pipeline.colorize import resume as run
    from pipeline.job import Settings

    if reasons and not retry_failed:
        raise UsageError("--reason chooses among failed photos: it needs --retry-failed")
    settings = Settings(weights or WEIGHTS, **options)
    with Progress(sys.stderr) as progress:
        summary = run(destination, settings, progress.update, retry_failed, reasons)
    finish(ctx, summary)
