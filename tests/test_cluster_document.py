"""docs/cluster.md: its commands are ours, its policies let nobody touch the masters."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest

from jobs.main import main

READING = {"s3:GetObject", "s3:ListBucket"}


@pytest.fixture
def document(repository: Path) -> str:
    return (repository / "docs" / "cluster.md").read_text(encoding="utf-8")


def blocks(document: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", document, re.DOTALL | re.MULTILINE)


def test_every_command_is_one_of_ours_with_its_options(document: str) -> None:
    text = "\n".join(blocks(document, "sh")).replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.startswith("autochrome ")]
    names = set()
    for line in lines:
        _, name, *arguments = shlex.split(line, comments=True)
        command = main.get_command(click.Context(main), name)
        assert command, line
        command.make_context(name, arguments)  # refuses what is wrong
        names.add(name)
    assert names >= {"submit", "status", "stop", "logs", "resume"}


def permissions(policy: dict[str, Any]) -> set[tuple[str, str]]:
    """Pairs of an action and a resource."""
    assert policy["Version"] == "2012-10-17"
    found = set()
    for statement in policy["Statement"]:
        assert statement["Effect"] == "Allow"
        actions = statement["Action"]
        for action in [actions] if isinstance(actions, str) else actions:
            found.add((action, statement["Resource"]))
    return found


def test_the_policy_of_buckets_is_the_least(document: str) -> None:
    buckets, machines = (permissions(json.loads(block)) for block in blocks(document, "json"))
    masters = {action for action, place in buckets if place.endswith(":::YOUR-BUCKET/photos/*")}
    assert masters == {"s3:GetObject"}
    assert {action for action, place in buckets if "/colorized/" not in place} == READING
    (deleted,) = [place for action, place in buckets if action == "s3:DeleteObject"]
    assert deleted.endswith("/colorized/.autochrome-probe-*")
    assert {action for action, _ in buckets} == READING | {"s3:PutObject", "s3:DeleteObject"}
    assert not [action for action, _ in buckets | machines if "*" in action]
    (passed,) = [place for action, place in machines if action == "iam:PassRole"]
    assert passed.endswith("role/autochrome-worker")


def test_it_names_the_groups_and_limits_of_the_files(document: str, repository: Path) -> None:
    text = (repository / "ray_cluster.yaml").read_text(encoding="utf-8")
    (most,) = re.findall(r"--actors 1:(\d+)", text.split("cluster_name")[0])
    assert set(re.findall(r"^  --address .* --actors 1:(\d+)$", document, re.MULTILINE)) == {most}
    for word in ("8 on spot and 2 on demand", "Sizing: begin", "Sizing: end"):
        assert word in document
