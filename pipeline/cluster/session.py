"""How Ray is started, without a word on the terminal, and what it has to offer."""

import logging
import math
import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.cluster.session_folder import session_folder, settings_for
from pipeline.cluster.time_limit import time_limit
from pipeline.errors import EngineError, UsageError
from pipeline.user_folders import state_folder

ENVIRONMENT = {  # which Ray reads when it is imported, or started
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # a warning less
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # else warnings of its C++ part go to the terminal
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # its long words about lost workers, which it replaces
    "RAY_SCHEDULER_EVENTS": "0",
    "GRPC_ENABLE_FORK_SUPPORT": "0",  # else gRPC, on a busy machine, waits before forks and says so
    "RAY_task_oom_retries": "2",  # else a task that takes all memory would come again for ever
    "RAY_prestart_worker_first_driver": "0",  # else a start waits for ever if one of these dies
    "RAY_num_workers_soft_limit": "64",  # idle readers are used again, as writers, not ended
}
# What Ray sets and leaves. With the first, any Ray that this process or a child of it starts later
# would want a token, and end at once if it finds none.
_LEFT_BY_RAY = ("RAY_AUTH_MODE", "PYTHONBREAKPOINT")
_START_SECONDS = 180.0
_TIMED_OUT = "timed out during startup"  # after 30 s, Ray's own limit, which a busy machine misses


def on_cluster() -> bool:
    """Whether Ray runs elsewhere, or for others too: its nodes may come and go."""
    return address() != "local"


def address() -> str:
    """What Ray is given as such: without one, it would join any cluster of this machine."""
    return os.environ.get("RAY_ADDRESS") or "local"


@dataclass(frozen=True)
class Capacity:
    """What a Ray has, and what it may grow to.

    object_bytes: what may be spread evenly over the object stores, until the smallest is full.
    """

    cores: float
    gpus: float
    max_cores: float
    max_gpus: float
    object_bytes: int


def capacity() -> Capacity:
    """That of the caller's Ray, of RAY_ADDRESS, or of one of our own.

    A cluster that is scaled by Ray says how far; of another, whose nodes come and go by other
    hands, nobody knows: then it may grow without bounds.
    """
    with quiet_ray():
        import ray
        from ray._private.state import state  # Ray Data's own source; there is no public one

        now = ray.cluster_resources()
        most = (state.get_max_resources_from_cluster_config() or {}) if on_cluster() else now
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        unknown = 0 if most else math.inf
        cores, gpus = (float(now.get(kind, 0)) for kind in ("CPU", "GPU"))
        return Capacity(
            cores=cores,
            gpus=gpus,
            max_cores=max(cores, float(most.get("CPU", unknown))),
            max_gpus=max(gpus, float(most.get("GPU", unknown if gpus else 0))),
            object_bytes=evenly_spread(nodes),
        )


def evenly_spread(nodes: Sequence[Mapping[str, float]]) -> int:
    """Bytes that fill the smallest object store of the nodes that work, when all get the same.

    nodes: the resources of each, as Ray names them. Before any works, the head stands for them.
    """
    working = [node for node in nodes if node.get("CPU") or node.get("GPU")] or nodes
    return len(working) * int(min(node.get("object_store_memory", 0) for node in working))


@dataclass(frozen=True)
class Workers:
    """Actors of this job, which hold the model: those that load it, and those ready for work."""

    loading: int
    ready: int


def our_workers() -> Workers:
    """Ray must be running."""
    import ray
    from ray._private.state import actors  # the public list needs a dashboard

    job = ray.JobID(bytes.fromhex(ray.get_runtime_context().get_job_id()))
    found = actors(job_id=job).values()
    ours = [each for each in found if each["ActorClassName"].startswith("MapWorker(")]
    return Workers(
        loading=sum(each["State"] == "PENDING_CREATION" and each["Pid"] > 0 for each in ours),
        ready=sum(each["State"] == "ALIVE" for each in ours),
    )


def describe_lack(kind: str, share: float) -> str | None:
    """What keeps an actor from being started that needs so much CPU or GPU, in words; None where
    nothing but time does. Ray must be running.
    """
    import ray

    nodes = sum(1 for node in ray.nodes() if node["Alive"])
    total = float(ray.cluster_resources().get(kind, 0))
    free = float(ray.available_resources().get(kind, 0))
    on = f"{nodes} node{'' if nodes == 1 else 's'}"
    if total < share:
        return f"waiting for a node with a {kind}: there is none among {on}"
    if free < share and on_cluster():  # a Ray of our own has nobody else who could take any
        return f"waiting for a free {kind}: {total - free:g} of {total:g} on {on} are taken"
    return None


@contextmanager
def cluster_joined() -> Iterator[None]:
    """On a cluster, one connection as long as the block: with the last one goes the code that was
    sent with a job. A Ray of our own starts where it is needed, and only there."""
    with quiet_ray() if on_cluster() else nullcontext():
        yield


@contextmanager
def quiet_ray(num_cpus: int | None = None) -> Iterator[bool]:
    """The caller's Ray, that of RAY_ADDRESS, or one of our own; yields whether it ends with the
    block.

    num_cpus: how many it believes to have, by default what there are. Raises UsageError,
    EngineError.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray
    import ray.data

    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler):  # its log file stays
            handler.setLevel(logging.CRITICAL + 1)
    if ray.is_initialized():
        yield False
        return
    with ExitStack() as stack:
        place = address()
        _check_address(place)
        folder = stack.enter_context(session_folder()) if place == "local" else None
        stack.enter_context(_restored(*_LEFT_BY_RAY))
        stack.callback(ray.shutdown)
        _start(place, num_cpus, folder)
        yield True


def _start(place: str, num_cpus: int | None, folder: Path | None) -> None:
    """folder: of a Ray of our own. Raises EngineError."""
    from ray import _raylet

    with ExitStack() as stack:
        if folder:
            stack.enter_context(_set(settings_for(folder)))
            stack.enter_context(_loopback())
        # Ray may wait for ever: for workers that were killed while they started, say.
        stack.enter_context(
            time_limit(
                _START_SECONDS,
                f"autochrome: Ray did not start within {_START_SECONDS:g} s; try again",
            )
        )
        stack.enter_context(_standard_error_closed())
        stack.enter_context(_signals_kept())
        # Else whether it wants a token, and which, would be as in a session before; there is no
        # public way to forget that.
        _raylet.Config.initialize("")  # type: ignore[attr-defined]
        _raylet.AuthenticationTokenLoader.instance().reset_cache()  # type: ignore[attr-defined]
        _init(place, num_cpus, str(folder / "r") if folder else None)


def _init(place: str, num_cpus: int | None, folder: str | None) -> None:
    """Twice where Ray says that it ran out of time. Raises EngineError."""
    import ray

    for last in (False, True):
        try:
            ray.init(
                address=place,
                num_cpus=num_cpus,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.CRITICAL,
                _temp_dir=folder,
            )
            return
        except Exception as error:
            cause = (str(error).strip() or type(error).__name__).splitlines()[-1]
            if last or _TIMED_OUT not in cause:
                raise EngineError(f"Ray did not start: {cause}") from error


@contextmanager
def _set(variables: Mapping[str, str]) -> Iterator[None]:
    """Environment variables for Ray's processes, which do not stay in this one."""
    with _restored(*variables):
        os.environ.update(variables)
        yield


@contextmanager
def _restored(*names: str) -> Iterator[None]:
    """Environment variables that are after the block what they were before."""
    before = {name: os.environ.get(name) for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _loopback() -> Iterator[None]:
    """Ray that starts in the block listens on 127.0.0.1 alone.

    It does so on systems where it knows no clusters, and nothing else makes it: an address that it
    is given is told to others, but not bound to.
    """
    from ray._private import ray_constants

    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def logs_folder(own: bool) -> Path:
    """Where the log of a run is kept. own: as quiet_ray, in whose block this is called, says.

    Of a cluster, beside Ray's own logs, which its dashboard shows; those of a Ray that ends with
    the block go with it, and the log has to stay. Raises UsageError.
    """
    if own and not on_cluster():
        return state_folder("logs")
    import ray

    with _signals_kept():
        context: Any = ray.init(ignore_reinit_error=True, logging_level=logging.CRITICAL)
    return Path(context.address_info["session_dir"], "logs")


def _check_address(place: str) -> None:
    """Raises UsageError where no Ray can answer; Ray itself would wait for minutes."""
    if place.startswith(("http://", "https://")):
        raise UsageError(
            f"RAY_ADDRESS: {place} is a job server, for autochrome submit; without it, Ray starts"
            " on this machine"
        )
    host, _, port = place.rpartition(":")
    if not port.isdecimal() or "/" in host:
        return  # "local", "auto" or an address of a kind that only Ray knows
    try:
        socket.create_connection((host.strip("[]"), int(port)), 10).close()
    except OSError as error:
        raise UsageError(f"RAY_ADDRESS: no Ray answers at {place}: {error}") from error


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray takes SIGTERM for itself, and would end this process with a trace of its own."""
    handler = signal.getsignal(signal.SIGTERM)
    yield
    if threading.current_thread() is threading.main_thread() and handler is not None:
        signal.signal(signal.SIGTERM, handler)


@contextmanager
def _standard_error_closed() -> Iterator[None]:
    """While Ray starts: its C++ part announces there that it was told to be quiet."""
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)
