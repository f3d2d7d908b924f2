"""The command `autochrome`; the one place where an error of ours becomes one line and a code."""

import signal
import sys
import threading
from typing import Any, NoReturn

import click

from jobs.colorize import colorize
from jobs.convert import convert
from jobs.evaluate import evaluate
from jobs.preview import preview
from jobs.progress import in_json, to_line
from jobs.report import report
from jobs.resume import resume
from jobs.status import status
from jobs.submit import logs, stop, submit
from jobs.train import train
from jobs.verify import verify
from pipeline.errors import AutochromeError, Interrupted, UsageError, shown


class Commands(click.Group):
    """A group of commands whose errors are told, not traced."""

    def invoke(self, ctx: click.Context) -> Any:
        if threading.current_thread() is threading.main_thread():
            # What cluster managers send before they kill; it ends a command as Ctrl-C does.
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            return super().invoke(ctx)
        except AutochromeError as error:
            tell_error(ctx, str(error), error.exit_code)
        except ModuleNotFoundError as error:  # a cluster whose `python` is not Autochrome's
            lacks = f"{sys.executable} has no module {error.name}"
            tell_error(ctx, f"{lacks}; it is not the Python of Autochrome", UsageError.exit_code)
        except KeyboardInterrupt:
            tell_error(ctx, "interrupted", Interrupted.exit_code)


def tell_error(ctx: click.Context, message: str, code: int) -> NoReturn:
    """The last words of a command that has failed."""
    if in_json(ctx):
        click.echo(to_line("error", message=message, exit_code=code), nl=False, err=True)
    else:
        click.echo(f"autochrome: {shown(message)}", err=True)
    ctx.exit(code)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="autochrome")
def main() -> None:
    """Color for archives of black-and-white photographs."""


main.add_command(colorize)
main.add_command(convert)
main.add_command(evaluate)
main.add_command(logs)
main.add_command(preview)
main.add_command(report)
main.add_command(resume)
main.add_command(status)
main.add_command(stop)
main.add_command(submit)
main.add_command(train)
main.add_command(verify)
