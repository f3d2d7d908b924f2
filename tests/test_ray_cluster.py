"""ray_cluster.yaml, by the rules of Ray, of the EC2 client, of the autoscaler, and by ours."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.cluster_rules import Config, launched, problems

# What Ray asks EC2 for when a cluster is started.
INSTANCES = {"g5.2xlarge": {"CPU": 8, "GPU": 1}, "m6i.2xlarge": {"CPU": 8}}


@pytest.fixture
def text(repository: Path) -> str:
    return (repository / "ray_cluster.yaml").read_text(encoding="utf-8")


@pytest.fixture
def config(text: str) -> Config:
    config = yaml.safe_load(text)
    assert isinstance(config, dict)
    return config


def test_ray_accepts_it(config: Config) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(config)
    validate_config(prepared)
    assert set(prepared["available_node_types"]) == {"head", "gpu-spot", "gpu-on-demand", "cpu"}


def test_ray_would_refuse_a_misspelled_setting(config: Config) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    with pytest.raises(Exception, match="idle_minutes"):
        validate_config(prepare_config(config | {"idle_minutes": 5}))
    config["available_node_types"]["cpu"]["prio"] = 1
    with pytest.raises(Exception, match="prio"):
        validate_config(prepare_config(config))


def ask_ec2(node_config: dict[str, Any]) -> str:
    """What EC2's client finds wrong with the request that Ray makes of a node's settings."""
    import botocore.session
    from botocore.validate import ParamValidator

    request = {key: value for key, value in node_config.items() if key != "SubnetIds"}  # Ray's own
    model = botocore.session.get_session().get_service_model("ec2")
    shape = model.operation_model("RunInstances").input_shape
    report = ParamValidator().validate(request | {"MinCount": 1, "MaxCount": 1}, shape)
    return str(report.generate_report())


def test_ec2_knows_every_setting_of_a_node(config: Config) -> None:
    for group in config["available_node_types"].values():
        assert ask_ec2(group["node_config"]) == ""
    assert "Spot" in ask_ec2({"InstanceMarketOptions": {"Spot": True}})


def test_the_autoscaler_takes_spot_first_and_on_demand_for_the_rest(config: Config) -> None:
    for each in config["available_node_types"].values():
        each["resources"] = INSTANCES[each["node_config"]["InstanceType"]] | each["resources"]
    always = {"cpu": 1}
    assert launched(config, 0) == always
    assert launched(config, 3) == always | {"gpu-spot": 3}
    assert launched(config, 9) == always | {"gpu-spot": 8, "gpu-on-demand": 1}
    assert launched(config, 50) == always | {"gpu-spot": 8, "gpu-on-demand": 2}
    assert launched(config, 3, "gpu-spot") == always | {"gpu-spot": 1, "gpu-on-demand": 2}


def test_a_refused_request_is_not_held_against_a_group() -> None:
    """Where this fails, Ray falls back when EC2 has no spot nodes; the file says it does not."""
    from ray.autoscaler.v2.instance_manager.subscribers.cloud_resource_monitor import (
        CloudResourceMonitor,
    )

    messages: Any = import_module("ray.core.generated.instance_manager_pb2")  # has no types
    monitor = CloudResourceMonitor()
    for status in (messages.Instance.ALLOCATION_FAILED, messages.Instance.ALLOCATION_TIMEOUT):
        assert monitor.get_recoverable_resource_availabilities() == {}
        event = messages.InstanceUpdateEvent(instance_type="gpu-spot", new_instance_status=status)
        monitor.notify([event])
    assert monitor.get_recoverable_resource_availabilities() == {"gpu-spot": 0.0}


def test_nothing_is_wrong_with_it(config: Config, text: str, repository: Path) -> None:
    assert problems(config, text, repository) == []


def group(name: str, **settings: Any) -> Callable[[Config], None]:
    """A change of a group's settings; None takes one away."""

    def change(config: Config) -> None:
        found = config["available_node_types"][name]
        for key, value in settings.items():
            place = found if key in found else found["node_config"]
            del place[key]
            if value is not None:
                place[key] = value

    return change


def setting(key: str, value: Any) -> Callable[[Config], None]:
    return lambda config: config.update({key: value})


BROKEN = {
    "min_workers 3 is more than max_workers 2": group("cpu", min_workers=3),
    "gpu-spot has no limit": group("gpu-spot", max_workers=None),
    "the groups' limits add up to 12": setting("max_workers", 11),
    "idle nodes are kept for ever": group("gpu-on-demand", idle_timeout_s=None),
    "the head has CPUs": group("head", resources={}),
    "the head's group may have workers": group("head", max_workers=1),
    "spot GPUs are not preferred": group("gpu-spot", priority=10),
    "gpu-on-demand: without IamInstanceProfile": group("gpu-on-demand", IamInstanceProfile=None),
    "head: without SecurityGroupIds": group("head", SecurityGroupIds=None),
    "workers have the head's profile": group(
        "head",
        IamInstanceProfile={"Arn": "arn:aws:iam::000000000000:instance-profile/autochrome-worker"},
    ),
    "there is no deploy/nowhere": setting("file_mounts", {"/home/ray/x": "deploy/nowhere"}),
    "there is no pins.txt": setting("setup_commands", ["pip install -c pins.txt ."]),
    "open to other machines": setting(
        "head_start_ray_commands", ["ray start --head --dashboard-host=0.0.0.0"]
    ),
    "workers: no token is asked for": setting("worker_start_ray_commands", ["ray start"]),
}


@pytest.mark.parametrize("complaint", BROKEN)
def test_a_broken_file_is_refused(
    config: Config, text: str, repository: Path, complaint: str
) -> None:
    BROKEN[complaint](config)
    assert complaint in "\n".join(problems(config, text, repository))


TAMPERED = {
    "another version: ray 2.59.1": ("ray:2.60.0-py311-gpu", "ray:2.59.1-py311-gpu"),
    "another version: ray 2.61.0": ('== "2.60.0"', '== "2.61.0"'),
    "another version: torch 2.12.0": ("torch==2.13.0", "torch==2.12.0"),
    "not marked: ImageId": ("  # CHANGE: a current Deep", "  # a current Deep"),
    "secret: AKIA": ("ssh_user: ubuntu", "ssh_user: AKIA" + "ABCDEFGHIJKLMNOP"),
    "secret: aws_secret_access_key": ("ssh_user: ubuntu", "aws_secret_access_key: abc"),
    "secret: password": ("ssh_user: ubuntu", 'password: "abc"'),
    "secret: RAY_AUTH_TOKEN=": ("export RAY_AUTH_MODE=token", "export RAY_AUTH_TOKEN=abc"),
    "secret: -----BEGIN": ("ssh_user: ubuntu", "key: -----BEGIN RSA PRIVATE KEY-----"),
}


@pytest.mark.parametrize("complaint", TAMPERED)
def test_a_tampered_text_is_refused(
    config: Config, text: str, repository: Path, complaint: str
) -> None:
    old, new = TAMPERED[complaint]
    assert old in text
    assert complaint in "\n".join(problems(config, text.replace(old, new), repository))


def test_what_is_to_be_changed_is_marked(text: str) -> None:
    marked = {line.split(":")[0].strip() for line in text.splitlines() if "# CHANGE" in line}
    assert marked == {
        *("region", "availability_zone", "ImageId", "SubnetIds", "SecurityGroupIds"),
        *("IamInstanceProfile", "min_workers", "max_workers"),
    }
