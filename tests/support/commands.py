"""How tests run `autochrome`: in this process, or in one of its own."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from click.testing import CliRunner, Result

from jobs.main import main

REPOSITORY = Path(__file__).resolve().parents[2]
# A shell lets what it starts in the background ignore SIGINT; a terminal does not.
_HEED_INTERRUPTS = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"


def run_command(*arguments: object) -> Result:
    """Run a command in this process, whose Ray it shares where there is one."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def refusal(*arguments: object, code: int = 2) -> str:
    """What a command says that refuses to work, in one line and with this exit code."""
    result = run_command(*arguments)
    assert (result.exit_code, result.stdout) == (code, ""), result.output
    [line] = result.stderr.splitlines()
    assert line.startswith("autochrome: ")
    return line.removeprefix("autochrome: ")


@contextmanager
def started_command(
    *arguments: object, environment: Mapping[str, str] | None = None, first: str = ""
) -> Iterator["subprocess.Popen[str]"]:
    """A command in a process of its own, with its Ray if any; it is killed at the block's end.

    environment: added to this process's. first: a program that runs before the command.
    """
    program = f"{_HEED_INTERRUPTS}\n{first}\nfrom jobs.main import main\nmain()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=REPOSITORY,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
