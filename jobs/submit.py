"""autochrome submit, jobs, logs and stop: the same work as a job on a cluster."""

import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import click

from jobs.colorize import colorize
from jobs.options import complete_folder
from jobs.progress import describe_duration
from pipeline.errors import UsageError, shown_in_line


def address_option(command: Callable[..., None]) -> Callable[..., None]:
    return click.option(
        "--address",
        envvar="RAY_ADDRESS",
        metavar="URL",
        help="Ray's job server, such as http://127.0.0.1:8265.  [default: RAY_ADDRESS]",
    )(command)


def send(
    ctx: click.Context,
    address: str | None,
    destination: str,
    arguments: list[str],
    weights: str | None,
    follow: bool,
) -> None:
    """Submit a command on a destination, say its id and how to go on, or follow it to its end."""
    from pipeline.cluster import submission
    from pipeline.storage import lease
    from pipeline.storage.open_storage import open_storage

    uri = open_storage(destination).uri
    own = weights is not None and "://" not in weights
    if weights is not None:
        arguments += ["--weights", "weights" if own else weights]
    # A run that is killed and starts again is refused as long as its own old lease holds.
    pause = lease.SECONDS if "--single-writer" in arguments else submission.PAUSE
    sent = Path(weights) if own and weights else None
    name = submission.submit(address, uri, arguments, sent, pause)
    click.echo(f"job {name} works on {uri}")
    if follow:
        ctx.exit(submission.follow(address, name, tell))
    there = submission.at(address)
    click.echo(f"follow  autochrome logs {name} --follow{there}")
    click.echo(f"status  autochrome status {shlex.quote(uri)}")
    click.echo(f"stop    autochrome stop {name}{there}")


def tell(lines: str) -> None:
    sys.stderr.write(lines)
    sys.stderr.flush()


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("source", metavar="SRC", shell_complete=complete_folder)
@click.argument("destination", metavar="DST", shell_complete=complete_folder)
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[OPTION OF COLORIZE]...")
@address_option
@click.option(
    "--weights",
    metavar="FOLDER",
    help="As for colorize; a local folder is sent along with the job.",
)
@click.option("--follow", is_flag=True, help="Print progress until the job ends.")
@click.pass_context
def submit(
    ctx: click.Context,
    source: str,
    destination: str,
    options: tuple[str, ...],
    address: str | None,
    weights: str | None,
    follow: bool,
) -> None:
    """Colorize the photographs of SRC into DST on a cluster.

    Takes all options of autochrome colorize. The cluster must be able to reach SRC, DST and any
    manifest. A destination has one job at a time.

    \b
    Exit codes: 0 the job was sent; 2 wrong usage, or a job on DST is running; with --follow,
    those of autochrome colorize.

    \b
    Examples:
      autochrome submit s3://archive/scans s3://archive/colored --address http://127.0.0.1:8265
      autochrome submit s3://archive/scans s3://archive/colored --candidates 4 --follow
    """
    from pipeline.storage.open_storage import open_storage

    # Refuses what is wrong.
    asked = colorize.make_context("colorize", [source, destination, *options])
    if asked.params["sources"] != (source,):
        raise UsageError("a job takes one SRC: a folder, s3://bucket/prefix, or a pattern")
    places = [open_storage(place).uri for place in (source, destination)]
    send(ctx, address, destination, ["colorize", *places, *options], weights, follow)


@click.command()
@address_option
def jobs(address: str | None) -> None:
    """List the jobs of a cluster.

    One line per job, latest first: its id, state and destination.

    \b
    Exit codes: 0 listed, 2 no job server answers.

    \b
    Example:
      autochrome jobs --address http://127.0.0.1:8265
    """
    from pipeline.cluster import submission

    found = submission.list_jobs(address)
    if not found:
        click.echo("no job of Autochrome is known there", err=True)
    for job in found:
        state = f"{job.state} ({job.exit_code})" if job.exit_code else job.state
        lasted = f"{state} {describe_duration(job.seconds)}"
        click.echo(f"{job.name}  {lasted:24}  {shown_in_line(job.destination)}")


@click.command()
@click.argument("job", metavar="ID|DST")
@address_option
@click.option("--follow", is_flag=True, help="Keep printing until the job ends.")
@click.pass_context
def logs(ctx: click.Context, job: str, address: str | None, follow: bool) -> None:
    """Print the output of a job.

    Name the job by its id, or by its destination for the latest job there.

    \b
    Exit codes: 0 printed; 2 there is no such job; with --follow, that of the job's command.

    \b
    Examples:
      autochrome logs autochrome-0123456789ab-1 --address http://127.0.0.1:8265
      autochrome logs s3://archive/colored --follow
    """
    from pipeline.cluster import submission

    name = submission.find(address, job_place(job))
    if follow:
        ctx.exit(submission.follow(address, name, tell))
    click.echo(submission.read_logs(address, name), nl=False)


@click.command()
@click.argument("job", metavar="ID|DST")
@address_option
def stop(job: str, address: str | None) -> None:
    """Stop a job, and keep what is committed.

    Name the job by its id or by its destination. autochrome resume continues its run.

    \b
    Exit codes: 0 it is being stopped, or has ended already; 2 there is no such job.

    \b
    Examples:
      autochrome stop autochrome-0123456789ab-1 --address http://127.0.0.1:8265
      autochrome stop s3://archive/colored
    """
    from pipeline.cluster import submission

    name = submission.find(address, job_place(job))
    stopped = submission.stop(address, name)
    click.echo(f"{name} is being stopped" if stopped else f"{name} has ended already")
    (place,) = [each.destination for each in submission.list_jobs(address) if each.name == name]
    words = f"resume  autochrome resume {shlex.quote(place)}{submission.at(address)}"
    click.echo(shown_in_line(words))


def job_place(job: str) -> str:
    """A job's id as it is, or a destination as the URI that ids are made of."""
    from pipeline.cluster.submission import PREFIX
    from pipeline.storage.open_storage import open_storage

    return job if job.startswith(PREFIX) and "/" not in job else open_storage(job).uri
