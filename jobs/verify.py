"""autochrome verify: prove that a destination holds what was planned, as it was recorded."""

import math
import shlex
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from jobs.closing import finish
from jobs.options import complete_folder, resource_options, take_resources
from jobs.progress import Progress, in_json, say
from pipeline.errors import UsageError, shown_lines

if TYPE_CHECKING:
    from pipeline.ledger.run_file import Run
    from pipeline.run.options import Resources
    from pipeline.storage.base import Storage
    from pipeline.verification.findings import Findings

LISTED = 50  # how many problems of a kind are named


def check_share(ctx: click.Context, option: click.Parameter, value: str) -> float:
    """Parse `5%` or `0.05` as a number above 0 and at most 1."""
    try:
        share = float(value.removesuffix("%")) / (100 if value.endswith("%") else 1)
    except ValueError:
        share = math.nan
    if not 0 < share <= 1:
        raise click.BadParameter(f"{value!r} is not a share such as 5% or 0.05")
    return share


@click.command()
@click.argument("destination", metavar="DST", shell_complete=complete_folder)
@click.option(
    "--sample",
    callback=check_share,
    default="100%",
    show_default=True,
    metavar="P%",
    help="Share of photos, chosen at random, whose bytes are compared.",
)
@click.option("--repair", is_flag=True, help="Redo what is broken.")
@click.option("--prune", is_flag=True, help="Delete stray files, and previews of older attempts.")
@resource_options
@click.pass_context
def verify(
    ctx: click.Context,
    /,
    destination: str,
    sample: float,
    repair: bool,
    prune: bool,
    **options: Any,
) -> None:
    """Check that DST holds what was planned.

    DST is a folder or s3://bucket/prefix. Every planned photo must have exactly one result per
    candidate; every image must be there, with the recorded bytes; every photograph must be
    unchanged; and there must be no stray files. Nothing is written without --repair or
    --prune.

    \b
    Exit codes: 0 nothing is wrong, or it was repaired; 2 wrong usage; 3 something is wrong or not
    done yet.

    \b
    Examples:
      autochrome verify colored
      autochrome verify s3://archive/colored --sample 1%
      autochrome verify colored --repair --prune
    """
    from pipeline.ledger.run_file import open_run
    from pipeline.storage.open_storage import open_storage
    from pipeline.verify import verify as run_verify

    place, resources = open_storage(destination), take_resources(ctx, options)
    run = open_run(place)
    with Progress(sys.stderr, as_json=in_json(ctx)) as progress:
        findings = run_verify(
            open_storage(run.recipe.source),
            place,
            run,
            sample,
            lambda done, photos: progress.update(done, 0, photos),
        )
    say(ctx, describe(findings), "verified", **to_json(findings))
    broken = repair and (findings.redo or findings.of_kind("damaged_results"))
    prune = prune and not (broken and findings.unknown_shards)  # before it is known what to delete
    left = len(findings.problems) - (delete_orphans(ctx, place, findings) if prune else 0)
    if broken:
        do_again(ctx, destination, run, findings, resources)
    ctx.exit(3 if left or findings.pending else 0)


def delete_orphans(ctx: click.Context, place: "Storage", findings: "Findings") -> int:
    """Delete files that belong to nothing, and print how many. Raises UsageError."""
    from pipeline.verify import prune

    if findings.pending:
        raise UsageError(
            f"--prune: {findings.pending:,} photos are not done yet, and a file without a result"
            f" may be theirs; first: autochrome resume {shlex.quote(place.uri)}"
        )
    if findings.unknown_shards:
        raise UsageError(
            f"--prune: the results of {findings.unknown_shards:,} shards cannot be read, or came"
            " meanwhile, and a file without a result may be theirs"
        )
    deleted, stale = prune(place, findings), len(findings.stale)
    counts = f"{deleted:,} orphans" + (f" and {stale:,} old previews" if stale else "")
    say(ctx, f"{counts} deleted", "pruned", orphans=deleted, stale_previews=stale)
    return deleted


def do_again(
    ctx: click.Context, destination: str, run: "Run", findings: "Findings", resources: "Resources"
) -> None:
    """Plan broken photos once more, do them, and end the command."""
    from pipeline.colorize import resume
    from pipeline.storage.lease import open_destination
    from pipeline.verify import repair

    with open_destination(destination, resources.single_writer) as (opened, _):
        planned = repair(opened, run, findings)
    say(ctx, f"{planned:,} photos are redone", "planned", photos=planned)
    with Progress(sys.stderr, as_json=in_json(ctx)) as progress:
        summary = resume(destination, resources, progress)
    finish(ctx, summary)


def to_json(findings: "Findings") -> dict[str, object]:
    """What was found, for machines."""
    problems = [asdict(problem) for problem in findings.problems]
    counted = {"pending": findings.pending, "images": findings.images, "sources": findings.sources}
    counted["stale_previews"] = len(findings.stale)
    return {**counted, "problems": problems}


def describe(findings: "Findings") -> str:
    """What was found, for people."""
    from pipeline.verification.findings import KINDS

    lines = []
    for kind, count in findings.counts().most_common():
        lines.append(f"{count:,} {KINDS[kind]}:")
        problems = findings.of_kind(kind)
        for problem in problems[:LISTED]:
            lines.append(f"  {problem.path}" + (f"  ({problem.detail})" if problem.detail else ""))
        if len(problems) > LISTED:
            lines.append(f"  ... and {len(problems) - LISTED:,} more")
    if findings.pending:
        lines.append(f"{findings.pending:,} photos are not done yet; orphans were not looked for")
    elif findings.unknown_shards:
        lines.append("orphans were not looked for: some results cannot be read, or came meanwhile")
    if findings.stale:
        lines.append(
            f"{len(findings.stale):,} previews are of older attempts: --prune deletes them"
        )
    read = f"{findings.images:,} images and {findings.sources:,} sources were read and compared"
    wrong = findings.problems or findings.pending
    lines.append(read if wrong else f"nothing is wrong: {read}")
    return shown_lines(lines)
