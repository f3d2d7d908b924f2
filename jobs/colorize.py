"""autochrome colorize: every photograph of a folder or bucket, in color."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from jobs.options import complete_folder, recipe_options, resource_options, take_resources
from jobs.progress import Progress, describe_colorized, in_json, say
from jobs.sections import SectionedCommand
from jobs.survey import describe_unplanned, tell_survey, workers_here
from pipeline.errors import UsageError, shown_in_line

if TYPE_CHECKING:
    from pipeline.ledger.status import Failure
    from pipeline.run.summary import Summary


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
@click.option("--update", is_flag=True, help="Add photos that came into SRC since DST was begun.")
@click.option("--dry-run", is_flag=True, help="Only say what there is to do; writes nothing.")
@click.option(
    "--price-per-hour",
    type=click.FloatRange(0),
    metavar="P",
    help="With --dry-run: of this machine, to reckon what the run costs.",
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

    Both are folders, or s3://bucket/prefix; SRC may be a quoted pattern below one, as
    'scans/18*.tif', or one or several files. SRC is only ever read. Run the same command again
    after an interruption: it does only what is missing. It says how many photos came into SRC
    meanwhile, and does them, too, with --update.

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
        raise UsageError("--price-per-hour is a part of --dry-run: give both")
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


def finish(ctx: click.Context, summary: "Summary") -> None:
    """Say what there is now, and end with the code for it."""
    say(ctx, describe(summary), "finished", **asdict(summary))
    ctx.exit(3 if summary.failed or summary.pending else 0)


def describe_more_pages(photos: int) -> str:
    has = "has" if photos == 1 else "have"
    return f"{photos:,} {has} more pages than the first: a run with --pages all does them all"


def describe_failures(failures: Sequence["Failure"], failed: int, destination: str) -> list[str]:
    """The first photos that failed, a line each, and where the others are named."""
    lines = [f"  {each}" for each in failures]
    if failures and failed > len(failures):
        more = failed - len(failures)
        lines.append(f"  {more:,} more: autochrome status {shlex.quote(destination)} --failed")
    return [shown_in_line(line) for line in lines]


def describe_selection(taken: Mapping[str, int]) -> str:
    """What was decided, and what that changed."""
    before = taken.get("redo", 0) - taken["redone"]
    counts = {
        "approved": taken.get("approve", 0),
        "rejected": taken.get("reject", 0),
        "done once more": taken["redone"],
        "done with that seed before": before,
    }
    words = [f"{count:,} {word}" for word, count in counts.items() if count]
    return f"selection: {', '.join(words) or 'no decisions'}"


def describe(summary: "Summary") -> str:
    """The closing words of a run."""
    from pipeline.ledger.planning import describe_ignored

    ok = summary.photos - summary.failed - summary.skipped - summary.pending
    seconds, rate = summary.work_seconds, summary.photos_per_second
    lines = [describe_colorized(ok, summary.photos, seconds, rate)]
    if summary.failed:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in summary.reasons.items())
        lines.append(f"{summary.failed:,} failed: {reasons}")
        lines += describe_failures(summary.failures, summary.failed, summary.destination)
    if summary.selection is not None:
        lines.append(describe_selection(summary.selection))
    if summary.retried == 0:
        lines.append("nothing to retry: no such failure is left")
    if summary.added is not None:
        new = "1 new photo was" if summary.added == 1 else f"{summary.added:,} new photos were"
        lines.append(f"{new} added to the plan" if summary.added else "no new photo to add")
    if summary.unplanned:
        lines.append(describe_unplanned(summary.unplanned))
    if summary.resized:
        have = "1 photo has" if summary.resized == 1 else f"{summary.resized:,} photos have"
        where = shlex.quote(summary.destination)
        lines.append(f"{have} another size than when planned: autochrome verify {where} tells more")
    if summary.skipped:
        lines.append(f"{summary.skipped:,} skipped: already in color, --recolor does them too")
    if summary.pending:
        lines.append(f"{summary.pending:,} not done: the same command tries them again")
    if summary.more_pages:
        lines.append(describe_more_pages(summary.more_pages))
    if summary.ignored:
        lines.append(describe_ignored(summary.ignored))
    if summary.log:
        lines.append(f"causes   {summary.log}")
    if summary.source:
        lines.append(f"masters  {summary.source}")
    lines += [
        f"images   {summary.destination}/images",
        f"results  {summary.destination}/results",
        f"report   {summary.report}",
    ]
    return "\n".join(lines)
