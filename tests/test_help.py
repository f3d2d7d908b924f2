"""What commands say of themselves: summaries, sections, and what Tab completes."""

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.shell_completion import BashComplete

from jobs.main import main
from jobs.sections import SECTIONS
from support.commands import run_command

UNSORTED = {"log_format"}


def command(name: str) -> click.Command:
    found = main.get_command(click.Context(main), name)
    assert found is not None
    return found


def help_of(*words: str) -> list[str]:
    result = run_command(*words, "--help")
    assert result.exit_code == 0
    return result.output.splitlines()


def test_summaries_fit_a_line() -> None:
    lines = help_of()
    listed = lines[lines.index("Commands:") + 1 :]
    assert len(listed) == len(main.list_commands(click.Context(main)))
    assert [line for line in listed if line.endswith("...")] == []


@pytest.mark.parametrize("name", ["colorize", "resume"])
def test_options_stand_in_sections(name: str) -> None:
    options = [each for each in command(name).params if isinstance(each, click.Option)]
    sorted_ones = {each for names in SECTIONS.values() for each in names}
    assert {each.name for each in options if not each.hidden} - sorted_ones == UNSORTED
    lines = help_of(name)
    titles = [line[:-1] for line in lines if line[:1].isupper() and line.endswith(":")]
    assert titles == [*SECTIONS, "Other options"]
    for option in options:
        shown = [line for line in lines if line.startswith(f"  {option.opts[0]} ")]
        assert len(shown) == (not option.hidden), option.opts


def test_each_option_has_one_section() -> None:
    names = [name for names in SECTIONS.values() for name in names]
    assert len(names) == len(set(names))
    known = {each.name for name in ("colorize", "resume") for each in command(name).params}
    assert set(names) <= known


def completions(words: list[str], unfinished: str) -> list[str]:
    complete = BashComplete(main, {}, "autochrome", "_AUTOCHROME_COMPLETE")
    return [item.value for item in complete.get_completions(words, unfinished)]


def test_commands_options_and_values_are_completed() -> None:
    assert completions([], "co") == ["colorize", "convert"]
    assert completions(["colorize", "in", "out"], "--sat") == ["--saturation"]
    assert completions(["colorize", "in", "out", "--method"], "") == ["auto", "mean", "sample"]
    assert completions(["resume", "out", "--reason"], "un") == ["unsupported", "unreadable"]


def test_folders_are_completed_by_the_shell_and_buckets_not_at_all() -> None:
    complete = BashComplete(main, {}, "autochrome", "_AUTOCHROME_COMPLETE")
    for words in (
        ["colorize"],
        ["colorize", "in"],
        ["resume"],
        ["status"],
        ["verify"],
        ["report"],
        ["train", "core"],
    ):
        assert [item.type for item in complete.get_completions(words, "sca")] == ["dir"], words
        assert complete.get_completions(words, "s3://archive/") == []


@pytest.mark.slow
def test_the_shell_gets_its_script_and_its_answers(tmp_path: Path) -> None:
    """As in docs/cookbook.md, with the program that is installed."""
    program = Path(sys.executable).with_name("autochrome")
    if not program.exists():
        pytest.skip("autochrome is not installed as a program")
    script = f"""
        set -e
        PATH={program.parent}:$PATH
        eval "$(_AUTOCHROME_COMPLETE=bash_source autochrome)"
        COMP_WORDS=(autochrome pre); COMP_CWORD=1
        _autochrome_completion autochrome
        echo "${{COMPREPLY[@]}}"
    """
    result = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, env=os.environ, cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["preview"]
