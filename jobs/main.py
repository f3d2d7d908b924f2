"""The command `autochrome`; the one place where an error of ours becomes one line and a code."""

import errno
import logging
import os
import re
import signal
import sys
import threading
from typing import Any, NoReturn

import click

from jobs.colorize import colorize
from jobs.convert import convert
from jobs.evaluate import evaluate
from jobs.export import export
from jobs.inspect import inspect
from jobs.preview import preview
from jobs.progress import in_json, to_line
from jobs.report import report
from jobs.resume import resume
from jobs.status import status
from jobs.submit import jobs, logs, stop, submit
from jobs.train import train
from jobs.train_all import train_all
from jobs.verify import verify
from pipeline.errors import (
    AutochromeError,
    DestinationMismatch,
    EngineError,
    Interrupted,
    StorageError,
    UsageError,
    from_interrupt,
    shown,
    shown_in_line,
)
from pipeline.run.logs import LOGGER, ShownFormatter
from pipeline.storage.secrets import without_secrets

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
_NO_PLACE = {errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR}


class Commands(click.Group):
    """A group of commands whose errors are one line, not a traceback."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """An empty argument is never meant, and would pass for an option that is not given."""
        for before, each in zip(["autochrome", *args], args, strict=False):
            if not each or re.fullmatch(r"--[\w-]+=", each):
                place = f"{each!r}" if each else f"the argument after {before!r}"
                raise click.UsageError(f"{place} is empty: is a variable not set?", ctx)
        try:
            return super().parse_args(ctx, args)
        except OSError as error:  # where the output of --help or --version goes
            if words := describe_refusal(error):
                tell_error(ctx, words, StorageError.exit_code)
            raise

    def invoke(self, ctx: click.Context) -> Any:
        if threading.current_thread() is threading.main_thread():
            # What cluster managers send before they kill; it ends a command as Ctrl-C does.
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
                signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            return super().invoke(ctx)
        except AutochromeError as error:
            if from_interrupt(error) and not isinstance(error, Interrupted):
                tell_error(ctx, "interrupted", Interrupted.exit_code)
            LOGGER.debug("the command ends", exc_info=error)
            tell_error(ctx, str(error), error.exit_code)
        except ModuleNotFoundError as error:  # a cluster whose `python` is not Autochrome's
            lacks = f"{sys.executable} has no module {error.name}"
            tell_error(ctx, f"{lacks}; it is not the Python of Autochrome", UsageError.exit_code)
        except KeyboardInterrupt:
            tell_error(ctx, "interrupted", Interrupted.exit_code)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise  # Click knows what to do, also where whoever reads the output has gone
        except Exception as error:  # our fault; the words are those of the bug report
            if from_interrupt(error):
                tell_error(ctx, "interrupted", Interrupted.exit_code)
            if words := describe_refusal(error):
                LOGGER.debug("the command ends", exc_info=error)
                tell_error(ctx, words, StorageError.exit_code)
            LOGGER.error("a fault of Autochrome", exc_info=error)
            what = f"{type(error).__name__}: {error}".splitlines()[0]
            how = "please report it with what `autochrome --verbose` shows"
            tell_error(ctx, f"a fault of Autochrome: {what}; {how}", EngineError.exit_code)


def describe_refusal(error: Exception) -> str:
    """Why the system refuses a place that is not a storage's, which would say so itself; "" where
    that is not what is wrong."""
    if not isinstance(error, OSError):
        return ""
    # What Python's tempfile says where all disks for temporary files are full, say.
    if error.errno in _NO_ROOM or str(error.strerror).startswith("No usable temporary directory"):
        where = "temporary files go to TMPDIR if you set it, otherwise to /tmp"
        return f"cannot write: {error.strerror}; {where}"
    if error.errno in _NO_PLACE and isinstance(error.filename, str | bytes):
        return f"{os.fsdecode(error.filename)} cannot be used: {error.strerror}"
    return ""


def tell_error(ctx: click.Context, message: str, code: int) -> NoReturn:
    """The last words of a command that has failed."""
    message = without_secrets(message)
    if in_json(ctx):
        click.echo(to_line("error", message=message, exit_code=code), nl=False, err=True)
    else:
        # One line, but for the settings that differ, one a line.
        show = shown if code == DestinationMismatch.exit_code else shown_in_line
        click.echo(f"autochrome: {show(message)}", err=True)
    ctx.exit(code)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="autochrome")
@click.option("--verbose", is_flag=True, help="Show the causes of failures, with tracebacks.")
@click.pass_context
def main(ctx: click.Context, verbose: bool) -> None:
    """Color for archives of black-and-white photographs."""
    if verbose:
        handler = logging.StreamHandler()
        handler.setFormatter(ShownFormatter("%(levelname)s %(message)s"))
        LOGGER.addHandler(handler)
        LOGGER.setLevel(logging.DEBUG)
        ctx.call_on_close(lambda: LOGGER.removeHandler(handler))


main.add_command(colorize)
main.add_command(convert)
main.add_command(evaluate)
main.add_command(export)
main.add_command(inspect)
main.add_command(jobs)
main.add_command(logs)
main.add_command(preview)
main.add_command(report)
main.add_command(resume)
main.add_command(status)
main.add_command(stop)
main.add_command(submit)
main.add_command(train)
main.add_command(train_all)
main.add_command(verify)
