"""autochrome report: the page on which results are reviewed."""

import click

from jobs.options import complete_folder
from pipeline.errors import shown_in_line


@click.command()
@click.argument("destination", metavar="DST", shell_complete=complete_folder)
def report(destination: str) -> None:
    """Write the review page of DST, a folder or s3://bucket/prefix.

    The page shows what is committed so far, and replaces an existing one; colorize and resume also
    write it when they end. It opens from a disk or a bucket, without a server.

    \b
    Exit codes: 0 the page is written, 2 DST holds no run, or cannot be read or written.

    \b
    Examples:
      autochrome report colored
      autochrome report s3://archive/colored
    """
    from pipeline.ledger.run_file import open_run
    from pipeline.review.pages import write_review
    from pipeline.storage.open_storage import open_storage
    from pipeline.weights.store import shipped_weights, takes_hints

    place = open_storage(destination)
    run = open_run(place)
    hints = takes_hints(shipped_weights(), run.recipe.weights)
    click.echo(shown_in_line(f"report   {write_review(place, run, hints)}"))
