"""autochrome colorize: every photograph of a folder or bucket, in color."""

import sys
from typing import Any

import click

from jobs.closing import finish
from jobs.options import complete_folder, recipe_options, resource_options, take_resources
from jobs.progress import Progress, in_json
from jobs.sections import SectionedCommand
from jobs.survey import tell_survey, workers_here
from pipeline.errors import UsageError


class Sources(click.Argument):
    """The sources before the destination: of one path alone, the destination is what is missing."""

    def process_value(self, ctx: click.Context, value: Any) -> Any:
        try:
            return super().process_value(ctx, value)
        except click.MissingParameter as error:
            words = "Give two paths: the photos, and where the pictures should go"
            raise click.MissingParameter(words, ctx, self, "'SRC... DST'") from error


@click.command(cls=SectionedCommand)
@click.argument(
    "sources",
    cls=Sources,
    nargs=-1,
    required=True,
    metavar="SRC...",
    shell_complete=complete_folder,
)
@click.argument("destination", metavar="DST", shell_complete=complete_folder)
@click.option(
    "--update", is_flag=True, help="Also colorize photos added to SRC since DST was started."
)
@click.option("--dry-run", is_flag=True, help="Report what would be done; write nothing.")
@click.option(
    "--price-per-hour",
    type=click.FloatRange(0),
    metavar="P",
    help="With --dry-run: price of this machine, to estimate the cost.",
)
@recipe_options
@resource_options
@click.pass_context
def colorize(
    ctx: click.Context,
    /,
    sources: tuple[str, ...],
    destination: str,
    update: bool,
    dry_run: bool,
    price_per_hour: float | None,
    **options: Any,
) -> None:
    """Colorize the photographs of SRC into DST.

    Both are folders or s3://bucket/prefix; SRC may also be a quoted pattern such as
    'scans/18*.tif', or one or several files. SRC is only read. After an interruption, run the same
    command again: it does only what is missing. It reports how many photos were added to SRC since
    the start, and colorizes these too with --update.

    \b
    Exit codes: 0 all photos are done, 2 wrong usage or setting, 3 finished but some photos
    failed, 4 stopped by --max-failed, 5 DST belongs to a run with other settings, 130 interrupted.

    \b
    Examples:
      autochrome colorize scans colored --dry-run
      autochrome colorize scans colored
      autochrome colorize scans colored --update
      autochrome colorize portrait.tif wedding.tif colored
      autochrome colorize s3://archive/scans s3://archive/colored --candidates 4 --seed 7
      autochrome colorize s3://archive s3://colored --manifest inventory.parquet --exclude 'tmp/*'
    """
    from pipeline.colorize import colorize as run
    from pipeline.ledger.sources import split_sources
    from pipeline.run.options import RecipeOptions

    if price_per_hour is not None and not dry_run:
        raise UsageError("--price-per-hour needs --dry-run")
    source, options["include"] = split_sources(sources, options["include"])
    if options.pop("draft"):
        options["method"] = "mean"
    resources = take_resources(ctx, options)
    recipe = RecipeOptions(**options)
    if dry_run:
        from pipeline.run.survey import survey
        from pipeline.storage.open_storage import open_storage

        found = survey(source, open_storage(destination), recipe, resources, update)
        tell_survey(ctx, found, destination, workers_here(resources.device), price_per_hour)
        return
    with Progress(sys.stderr, as_json=in_json(ctx)) as progress:
        summary = run(source, destination, recipe, resources, progress, update)
    finish(ctx, summary)
