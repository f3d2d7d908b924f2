"""deploy/: the run on Kubernetes and its image, against KubeRay's fields and ray_cluster.yaml."""

import re
import shlex
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import click
import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml

from jobs.colorize import colorize
from support.cluster_rules import Config, drifted, launched, secrets_in, unmarked
from support.kuberay_fields import DOCUMENTS

Change = Callable[[Config], object]


@pytest.fixture
def text(repository: Path) -> str:
    return (repository / "deploy" / "rayjob.yaml").read_text(encoding="utf-8")


@pytest.fixture
def dockerfile(repository: Path) -> str:
    return (repository / "deploy" / "Dockerfile").read_text(encoding="utf-8")


@pytest.fixture
def documents(text: str) -> list[Config]:
    return [deepcopy(each) for each in yaml.safe_load_all(text)]


@pytest.fixture
def job(documents: list[Config]) -> Config:
    """The RayJob, with copies in the place of YAML's references, so that tests may break one."""
    (found,) = [each for each in documents if each["kind"] == "RayJob"]
    unshared = yaml.safe_load(yaml.dump(found, Dumper=Unshared))
    assert isinstance(unshared, dict)
    return unshared


class Unshared(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def pods(job: Config) -> Iterator[Config]:
    """The specs of all kinds of pods that a RayJob starts."""
    cluster = job["spec"]["rayClusterSpec"]
    yield job["spec"]["submitterPodTemplate"]["spec"]
    yield cluster["headGroupSpec"]["template"]["spec"]
    for group in cluster["workerGroupSpecs"]:
        yield group["template"]["spec"]


def amount(quantity: str) -> float:
    """A quantity of Kubernetes as a number: 500m, 2, 24Gi."""
    units = {"": 1.0, "m": 1e-3, "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}
    number, unit = re.fullmatch(r"([\d.]+)([a-zA-Z]*)", quantity).groups()  # type: ignore[union-attr]
    return float(number) * units[unit]


DRAIN = "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"


def problems(job: Config) -> list[str]:
    """What is wrong with a RayJob, though KubeRay's fields are all there."""
    spec, found = job["spec"], []
    cluster = spec["rayClusterSpec"]
    if spec["ttlSecondsAfterFinished"] and not spec["shutdownAfterJobFinishes"]:
        found.append("KubeRay refuses ttlSecondsAfterFinished without shutdownAfterJobFinishes")
    if not spec["shutdownAfterJobFinishes"] or not spec.get("activeDeadlineSeconds"):
        found.append("nothing ends the cluster")
    if cluster["authOptions"]["mode"] != "token":
        found.append("no token is asked for")
    if cluster["headGroupSpec"]["rayStartParams"].get("num-cpus") != "0":
        found.append("the head has CPUs")
    if cluster["headGroupSpec"]["serviceType"] != "ClusterIP":
        found.append("the dashboard can be reached from outside")
    for group in cluster["workerGroupSpecs"]:
        name = group["groupName"]
        if group["minReplicas"] > group["maxReplicas"]:
            found.append(f"{name}: minReplicas is more than maxReplicas")
        if not 0 < group.get("idleTimeoutSeconds", 0) <= 1800:
            found.append(f"{name}: idle pods are kept for ever, or too long")
        token = group["template"]["spec"].get("automountServiceAccountToken")
        if token is not False or group["template"]["spec"]["serviceAccountName"].endswith("-head"):
            found.append(f"{name}: workers may change the cluster")
    for pod in pods(job):
        grace = pod.get("terminationGracePeriodSeconds", 30)  # Kubernetes' own
        for container in pod["containers"]:
            name, resources = container["name"], container["resources"]
            variables = {each["name"]: each["value"] for each in container.get("env", [])}
            if float(variables.get(DRAIN, 0)) >= grace:
                found.append(f"{name}: is killed before its work has ended")
            if not pod["securityContext"].get("runAsNonRoot"):
                found.append(f"{name}: may be root")
            if container["securityContext"].get("allowPrivilegeEscalation") is not False:
                found.append(f"{name}: may become root")
            if resources["requests"].keys() != resources["limits"].keys():
                found.append(f"{name}: not all requests have limits")
            for key, quantity in resources["requests"].items():
                if amount(quantity) > amount(resources["limits"].get(key, "0")):
                    found.append(f"{name}: requests more {key} than its limit")
    if len({container["image"] for pod in pods(job) for container in pod["containers"]}) > 1:
        found.append("images differ")
    return found


def test_kuberay_knows_every_field(documents: list[Config]) -> None:
    assert [each["kind"] for each in documents] == ["ServiceAccount", "ServiceAccount", "RayJob"]
    for document in documents:
        jsonschema.validate(document, DOCUMENTS[document["kind"]])


UNKNOWN: dict[str, Change] = {
    "shutdownAfterJobFinish": lambda job: job["spec"].update(shutdownAfterJobFinish=True),
    "'2' is not of type": lambda job: job["spec"].update(backoffLimit="2"),
    "0 is not of type": lambda job: job["spec"]["rayClusterSpec"]["headGroupSpec"][
        "rayStartParams"
    ].update({"num-cpus": 0}),
    "maxReplicas' is a required": lambda job: job["spec"]["rayClusterSpec"]["workerGroupSpecs"][
        0
    ].pop("maxReplicas"),
    "'24GB' does not match": lambda job: next(pods(job))["containers"][0]["resources"][
        "limits"
    ].update(memory="24GB"),
    "toleration'": lambda job: next(pods(job)).update(toleration=[]),
}


@pytest.mark.parametrize("complaint", UNKNOWN)
def test_kuberay_would_refuse_other_fields(job: Config, complaint: str) -> None:
    UNKNOWN[complaint](job)
    with pytest.raises(jsonschema.ValidationError, match=re.escape(complaint)):
        jsonschema.validate(job, DOCUMENTS["RayJob"])


def test_nothing_is_wrong_with_it(job: Config, text: str) -> None:
    assert problems(job) == []
    assert secrets_in(text) == []
    assert unmarked(text) == []


def spec(**settings: Any) -> Change:
    return lambda job: job["spec"].update(settings)


def worker(**settings: Any) -> Change:
    return lambda job: job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0].update(settings)


def head(**settings: Any) -> Change:
    return lambda job: job["spec"]["rayClusterSpec"]["headGroupSpec"].update(settings)


def last_pod(**settings: Any) -> Change:
    return lambda job: list(pods(job))[-1].update(settings)


def container(**settings: Any) -> Change:
    return lambda job: list(pods(job))[-1]["containers"][0].update(settings)


def resources(requests: dict[str, str], limits: dict[str, str]) -> Change:
    return container(resources={"requests": requests, "limits": limits})


BROKEN: dict[str, Change] = {
    "without shutdownAfterJobFinishes": spec(shutdownAfterJobFinishes=False),
    "nothing ends the cluster": spec(activeDeadlineSeconds=None),
    "no token": lambda job: job["spec"]["rayClusterSpec"].update(authOptions={"mode": "disabled"}),
    "the head has CPUs": head(rayStartParams={}),
    "from outside": head(serviceType="LoadBalancer"),
    "minReplicas is more": worker(minReplicas=9),
    "idle pods are kept": worker(idleTimeoutSeconds=0),
    "cpu: workers may change": last_pod(automountServiceAccountToken=True),
    "ray-worker: may be root": last_pod(securityContext={"runAsUser": 1000}),
    "ray-worker: may become root": container(securityContext={}),
    "not all requests have limits": resources({"cpu": "1", "memory": "1Gi"}, {"cpu": "1"}),
    "requests more memory": resources({"memory": "2Gi"}, {"memory": "1000Mi"}),
    "ray-worker: is killed before its work": container(env=[{"name": DRAIN, "value": "30"}]),
    "images differ": container(image="YOUR-REGISTRY/autochrome:0.0.9"),
}


@pytest.mark.parametrize("complaint", BROKEN)
def test_a_broken_run_is_refused(job: Config, complaint: str) -> None:
    BROKEN[complaint](job)
    assert complaint in "\n".join(problems(job))


def test_its_command_is_one_of_ours_and_asks_for_all_gpus(job: Config) -> None:
    program, command, *arguments = shlex.split(job["spec"]["entrypoint"])
    assert (program, command) == ("autochrome", "colorize")
    context = colorize.make_context(command, arguments)
    assert isinstance(context, click.Context)
    assert context.params["device"] == "cuda"
    groups = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    gpus = sum(each["maxReplicas"] for each in groups if each["groupName"].startswith("gpu"))
    assert context.params["actors"] == (1, gpus)


def autoscaling(job: Config) -> Config:
    """The settings that Ray's autoscaler makes of the cluster in a RayJob; it validates them."""
    from ray.autoscaler._private.kuberay import autoscaling_config

    resource = {
        "metadata": {"name": "autochrome", "namespace": "default"},
        "spec": job["spec"]["rayClusterSpec"],
    }
    config: Config = autoscaling_config._derive_autoscaling_config_from_ray_cr(resource)
    return config


def test_ray_knows_for_how_long_a_leaving_node_drains(job: Config) -> None:
    """A name that Ray does not read would be ignored without a word."""
    from ray._private import ray_constants

    spot = job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["template"]["spec"]
    [variable] = spot["containers"][0]["env"]
    assert variable["name"] == DRAIN and hasattr(ray_constants, DRAIN)


def test_its_shape_is_that_of_the_cluster_on_aws(job: Config, repository: Path) -> None:
    aws = yaml.safe_load((repository / "ray_cluster.yaml").read_text(encoding="utf-8"))
    there = aws["available_node_types"]
    here = autoscaling(job)["available_node_types"]
    here["head"] = here.pop("headgroup")
    assert here.keys() == there.keys()
    for name in here.keys() - {"head"}:
        for key in ("min_workers", "max_workers", "idle_timeout_s", "priority"):
            assert here[name][key] == there[name][key], f"{name}: {key}"
    assert here["head"]["resources"]["CPU"] == there["head"]["resources"]["CPU"] == 0


def test_the_autoscaler_takes_spot_first_and_falls_back(job: Config) -> None:
    config = autoscaling(job)
    assert launched(config, 9) == {"cpu": 1, "gpu-spot": 8, "gpu-on-demand": 1}
    assert launched(config, 2, "gpu-spot") == {"cpu": 1, "gpu-on-demand": 2}


def test_versions_are_those_of_the_constraints(
    job: Config, text: str, dockerfile: str, repository: Path
) -> None:
    constraints = (repository / "constraints.txt").read_text(encoding="utf-8")
    assert drifted(text + dockerfile, constraints) == []
    assert re.search(r"constraints\.txt '\S+\[provenance\]'", dockerfile), "pictures can be signed"
    older = (text + dockerfile).replace("2.60.0", "2.59.1").replace("torch==2.13.0", "torch==2.9.0")
    assert drifted(older, constraints) == [
        *(["ray 2.59.1, not 2.60.0"] * 2),
        *("torch 2.9.0, not 2.13.0", "ray 2.59.1, not 2.60.0"),
    ]


def test_the_image_holds_the_wheel_and_is_what_runs(
    job: Config, dockerfile: str, repository: Path
) -> None:
    project = (repository / "pyproject.toml").read_text(encoding="utf-8")
    (version,) = re.findall(r'^version = "(.*)"', project, re.MULTILINE)
    wheel = f"dist/autochrome-{version}-py3-none-any.whl"  # tests/test_dist.py installs it
    copied = " ".join(re.findall(r"^COPY --chown=\S+ (.+) \S+$", dockerfile, re.MULTILINE)).split()
    assert set(copied) == {"constraints.txt", wheel}
    assert (repository / "constraints.txt").exists()
    assert f"'./{Path(wheel).name}[provenance]'" in dockerfile, "what is copied is installed"
    taken = (repository / "deploy" / "Dockerfile.dockerignore").read_text(encoding="utf-8")
    assert {line[1:] for line in taken.splitlines() if line.startswith("!")} == set(copied)
    assert re.findall(r"^USER (\S+)$", dockerfile, re.MULTILINE) == ["1000"]
    image = next(pods(job))["containers"][0]["image"]
    assert f"-t {image} ." in dockerfile
    assert image.endswith(f":{version}")
