"""What the documents promise: links lead somewhere, every file and command is mentioned."""

import re
import shlex
from pathlib import Path

import click
import pytest

from jobs.main import main

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
DOCUMENTS = ("*.md", "docs/**/*.md", "examples/**/*.md")


def commands() -> list[str]:
    return main.list_commands(click.Context(main))


def command(name: str) -> click.Command:
    found = main.get_command(click.Context(main), name)
    assert found is not None
    return found


def test_relative_links_lead_somewhere(repository: Path) -> None:
    documents = [path for pattern in DOCUMENTS for path in repository.glob(pattern)]
    assert repository / "README.md" in documents
    for document in documents:
        for link in LINK.findall(document.read_text(encoding="utf-8")):
            target = link.split("#")[0]
            if target and "://" not in target:
                assert (document.parent / target).exists(), f"{document.name}: {link}"


@pytest.mark.parametrize("name", commands())
def test_every_command_has_help_an_example_and_a_section(repository: Path, name: str) -> None:
    found = command(name)
    assert found.help and "Example" in found.help and f"autochrome {name} " in found.help
    options = [each for each in found.params if isinstance(each, click.Option)]
    assert [each.name for each in options if not each.help] == []
    text = (repository / "docs" / "commands.md").read_text(encoding="utf-8")
    section = re.search(rf"^## autochrome {name}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    assert section and f"```sh\nautochrome {name} " in section[1]
    assert [each.opts[0] for each in options if f"`{each.opts[0]}" not in section[1]] == []


def shown_commands(text: str) -> list[list[str]]:
    """The words of each command of ours in blocks for a shell, without its comment."""
    found = []
    for block in re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words and words[0].split("/")[-1] == "autochrome":
                found.append(words[1:])
    return found


def test_every_command_shown_is_understood(repository: Path) -> None:
    """Its options and their values exist; whether the files do is another matter."""
    seen = 0
    for document in [repository / "README.md", *(repository / "docs").glob("*.md")]:
        for words in shown_commands(document.read_text(encoding="utf-8")):
            line = f"{document.name}: autochrome {' '.join(words)}"
            try:
                command(words[0]).make_context(words[0], words[1:])
            except click.BadParameter as error:
                assert "does not exist" in error.message, f"{line}: {error.message}"
            except click.ClickException as error:
                pytest.fail(f"{line}: {error.message}")
            seen += 1
    assert seen > 60


def test_a_command_that_does_not_exist_is_noticed() -> None:
    [words] = shown_commands(
        "```sh\n.venv/bin/autochrome colorize a b --colour  # a comment\n```\n"
    )
    assert words == ["colorize", "a", "b", "--colour"]
    with pytest.raises(click.NoSuchOption):
        command(words[0]).make_context(words[0], words[1:])


def test_the_map_names_every_source_file(repository: Path) -> None:
    text = (repository / "CONTRIBUTING.md").read_text(encoding="utf-8")
    block = text.split("## Map")[1].split("```")[1]
    named, parents = [], [""] * 4
    for line in block.splitlines():
        if found := re.match(r"( *)(\S+)  ", line):
            depth, name = len(found[1]) // 2, found[2]
            parents[depth] = name
            named.append("".join(parents[:depth]) + name)
    listed = {name for name in named if name.endswith(".py")}
    present = {
        path.relative_to(repository).as_posix()
        for folder in ("model", "pipeline", "jobs", "benchmarks")
        for path in (repository / folder).rglob("*.py")
        if path.name != "__init__.py"
    }
    assert listed == present, listed ^ present
