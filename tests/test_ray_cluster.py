"""ray_cluster.yaml, by Ray's own rules and by ours."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml


@pytest.fixture
def text(repository: Path) -> str:
    return (repository / "ray_cluster.yaml").read_text(encoding="utf-8")


@pytest.fixture
def config(text: str) -> dict[str, Any]:
    config = yaml.safe_load(text)
    assert isinstance(config, dict)
    return config


def test_ray_accepts_it(config: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(config)
    validate_config(prepared)
    assert prepared["available_node_types"].keys() == {"head", "gpu"}


def test_ray_would_refuse_a_misspelled_setting(config: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    with pytest.raises(Exception, match="idle_minutes"):
        validate_config(prepare_config(config | {"idle_minutes": 5}))


def test_versions_are_those_of_the_constraints(text: str, repository: Path) -> None:
    constraints = (repository / "constraints.txt").read_text(encoding="utf-8")
    pins = dict(re.findall(r"^(ray|torch)==(\S+)$", constraints, flags=re.MULTILINE))
    named = re.findall(r"rayproject/ray:([\d.]+)|ray\[default\]==([\d.]+)|== \"([\d.]+)\"", text)
    assert {version for each in named for version in each if version} == {pins["ray"]}
    assert re.findall(r"torch==(\S+)", text) == [pins["torch"]]


def test_gpu_workers_are_bounded_and_the_head_does_no_work(config: dict[str, Any]) -> None:
    nodes = config["available_node_types"]
    assert nodes["head"]["max_workers"] == 0
    assert 0 < nodes["gpu"]["max_workers"] <= config["max_workers"]
