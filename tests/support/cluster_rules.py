"""What a cluster file must be beyond what Ray checks, and what the autoscaler does with it."""

import re
from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

Config = dict[str, Any]

# An identifier of nobody's: what a reader has to replace.
PLACEHOLDER = re.compile(r"0{8,}|YOUR-")
PINS = re.compile(
    r"(?:(?P<image>rayproject/ray):|(?P<ray>ray(?:\[default\])?)==|(?P<torch>torch)==|"
    r"__version__ == \"|rayVersion: \"?)(?P<version>\d+\.\d+\.\d+)"
)
# Kinds of secrets by what they look like, and by the names of what holds them.
SECRETS = (
    re.compile(r"\b(AKIA|ASIA)[A-Z0-9]{16}\b"),
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    re.compile(
        r"(?im)^[\s-]*\"?(\w*(secret|password|credential|auth_token|access_key)\w*)\"?\s*[:=]\s*"
        r"(?!~/)\S+"  # not where the user keeps it
    ),
    re.compile(r"(?i)(RAY_AUTH_TOKEN|AWS_SECRET_ACCESS_KEY|AWS_ACCESS_KEY_ID|AWS_SESSION_TOKEN)="),
)


def secrets_in(text: str) -> list[str]:
    """What of a text looks like a secret."""
    return [match[0].strip() for pattern in SECRETS for match in pattern.finditer(text)]


def drifted(text: str, constraints: str) -> list[str]:
    """Versions of Ray and PyTorch that are named in a text and are not those of constraints.txt."""
    pins = dict(re.findall(r"^(ray|torch)==(\S+)$", constraints, flags=re.MULTILINE))
    named = [
        ("torch" if match["torch"] else "ray", match["version"]) for match in PINS.finditer(text)
    ]
    return [
        f"{name} {version}, not {pins[name]}" for name, version in named if version != pins[name]
    ]


def unmarked(text: str) -> list[str]:
    """Lines with a placeholder of which neither they nor the two lines above say CHANGE."""
    lines = text.splitlines()
    return [
        line.strip()
        for number, line in enumerate(lines)
        if PLACEHOLDER.search(line)
        and "CHANGE" not in " ".join(lines[max(0, number - 2) : number + 1])
    ]


def problems(config: Config, text: str, repository: Path) -> list[str]:
    """All that is wrong with a ray_cluster.yaml; the text is what the config was read from."""
    constraints = (repository / "constraints.txt").read_text(encoding="utf-8")
    return [
        *(f"looks like a secret: {each}" for each in secrets_in(text)),
        *(f"another version: {each}" for each in drifted(text, constraints)),
        *(f"to be changed, but not marked: {each}" for each in unmarked(text)),
        *_group_problems(config),
        *_file_problems(config, repository),
        *_start_problems(config),
    ]


def launched(config: Config, gpus: int, timed_out: str = "") -> Counter[str]:
    """How many nodes of which group the autoscaler starts, from none, for actors with a GPU.

    timed_out: a group of which a node has lately been waited for in vain.
    """
    from ray.autoscaler._private.util import prepare_config
    from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
    from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
    from ray.autoscaler.v2.utils import ResourceRequestUtil

    known = AutoscalingConfig(prepare_config(deepcopy(config)), skip_content_hash=True)
    demand = [ResourceRequestUtil.make({"GPU": 1})] * gpus
    reply = ResourceDemandScheduler().schedule(
        SchedulingRequest(
            disable_launch_config_check=True,
            node_type_configs=known.get_node_type_configs(),
            max_num_nodes=known.get_max_num_nodes(),
            resource_requests=ResourceRequestUtil.group_by_count(demand),
            recoverable_resource_availabilities={timed_out: 0.0} if timed_out else {},
        )
    )
    return Counter({each.instance_type: each.count for each in reply.to_launch})


def _group_problems(config: Config) -> Iterator[str]:
    head = config["head_node_type"]
    nodes = config["available_node_types"]
    workers = {name: group for name, group in nodes.items() if name != head}
    if nodes[head]["resources"].get("CPU") != 0:
        yield "the head has CPUs, so that work may run there"
    if nodes[head].get("max_workers") != 0:
        yield "the head's group may have workers"
    for name, group in workers.items():
        least, most = group.get("min_workers", 0), group.get("max_workers")
        if most is None:
            yield f"{name} has no limit"
        elif least > most:
            yield f"{name}: min_workers {least} is more than max_workers {most}"
        if not 0 < (group.get("idle_timeout_s") or 0) <= 1800:
            yield f"{name}: idle nodes are kept for ever, or too long"
    total = sum(group.get("max_workers") or 0 for group in workers.values())
    if total != config["max_workers"]:
        yield f"max_workers is {config['max_workers']}, the groups' limits add up to {total}"
    for name, group in nodes.items():
        for key in ("IamInstanceProfile", "SecurityGroupIds", "SubnetIds"):
            if not group["node_config"].get(key):
                yield f"{name}: without {key} of its own, Ray makes a permissive one"
    profiles = {
        group["node_config"].get("IamInstanceProfile", {}).get("Arn") for group in workers.values()
    }
    if nodes[head]["node_config"].get("IamInstanceProfile", {}).get("Arn") in profiles:
        yield "workers have the head's profile, which may start machines"
    spot, demand = _priorities(workers, spot=True), _priorities(workers, spot=False)
    if not spot or not demand or min(spot) <= max(demand):
        yield "spot GPUs are not preferred to those on demand"


def _priorities(workers: Config, spot: bool) -> list[int]:
    """Of the GPU groups that are spot, or are not."""
    return [
        group.get("priority", 0)
        for name, group in workers.items()
        if name.startswith("gpu") and spot == ("InstanceMarketOptions" in group["node_config"])
    ]


def _file_problems(config: Config, repository: Path) -> Iterator[str]:
    for target, source in config.get("file_mounts", {}).items():
        if source.startswith("~/"):  # the user's own; the head of the file says how it is made
            continue
        if not (repository / source).exists():
            yield f"there is no {source} to be mounted at {target}"
    for command in config["setup_commands"]:
        for name in re.findall(r"-[cr] ([\w./]+\.txt)", command):
            if not (repository / name).exists():
                yield f"there is no {name}, which a setup command wants"


def _start_problems(config: Config) -> Iterator[str]:
    head = " ".join(config["head_start_ray_commands"])
    workers = " ".join(config["worker_start_ray_commands"])
    if "--dashboard-host=127.0.0.1" not in head:
        yield "the dashboard's port, which runs jobs, is open to other machines"
    for name, commands in (("head", head), ("workers", workers)):
        if "export RAY_AUTH_MODE=token;" not in commands:
            yield f"{name}: no token is asked for"
        if "--metrics-export-port=8080" not in commands:
            yield f"{name}: metrics have no known port"
    if "--autoscaling-config=" not in head:
        yield "the head would start no workers"
