"""The script that writes the tutorial's output, with small commands."""

import shutil
from pathlib import Path

import pytest

from tutorial import DOCUMENT, SHOWN_FOLDER, with_outputs

SHELL = "```sh\n{}\n```\n"


def test_what_commands_print_takes_its_place(tmp_path: Path) -> None:
    silent = SHELL.format("cd .") + "<!-- output -->\n"
    text = SHELL.format("echo one; pwd >&2") + "\n<!-- output -->\n\nThen:\n\n" + silent
    there = f"```text\none\n{SHOWN_FOLDER}\n```\n"
    written = with_outputs(text, tmp_path)
    assert written == text.replace("<!-- output -->\n\nThen", f"{there}\nThen")
    assert with_outputs(written, tmp_path) == written, "it can be written again"
    older = written.replace("one\n/", "none\n/")
    assert older != written and with_outputs(older, tmp_path) == written


def test_a_command_is_killed_after_some_shards(tmp_path: Path) -> None:
    commit = "mkdir -p out/results; echo begun; touch out/results/shard-1; sleep 600; echo ended"
    text = SHELL.format(commit) + "<!-- The command above is killed after 1 shards. -->\n\n"
    assert with_outputs(text + "<!-- output -->\n", tmp_path) == f"{text}```text\nbegun\n```\n"
    shutil.rmtree(tmp_path / "out")
    with pytest.raises(RuntimeError, match="echo done: 0"):
        with_outputs(text.replace(commit, "echo done"), tmp_path)


def test_a_command_that_fails_stops_it(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="exit 3: 3"):
        with_outputs(SHELL.format("exit 3") + "<!-- output -->\n", tmp_path)


def test_the_tutorial_leaves_a_place_for_each_output() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert text.count("<!-- output -->") + text.count("```text\n") == 7
    assert text.count("<!-- The command above is killed after 2 shards. -->") == 1
