"""How Ray is started, without a word on the terminal."""

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_ENVIRONMENT = {  # which Ray reads when it is imported, or started
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # a warning less
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # else warnings of its C++ part go to the terminal
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # its long words about lost workers, which it replaces
    "RAY_SCHEDULER_EVENTS": "0",
    "RAY_num_workers_soft_limit": "64",  # idle readers are used again, as writers, not ended
}


def on_cluster() -> bool:
    """Whether Ray runs elsewhere, or for others too: its nodes may come and go."""
    return bool(os.environ.get("RAY_ADDRESS"))


def address() -> str:
    """What Ray is given as such: without one, it would join any cluster of this machine."""
    return os.environ.get("RAY_ADDRESS") or "local"


def cluster_gpus() -> float:
    """How many GPUs the caller's Ray has now, or that of RAY_ADDRESS."""
    with quiet_ray():
        import ray

        return float(ray.cluster_resources().get("GPU", 0))


@contextmanager
def quiet_ray(num_cpus: int | None = None) -> Iterator[bool]:
    """The caller's Ray, that of RAY_ADDRESS, or one of our own; yields whether it ends with the
    block.

    num_cpus: how many it believes to have, by default what there are.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray
    import ray.data

    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler):  # its log file stays
            handler.setLevel(logging.CRITICAL + 1)
    own = not ray.is_initialized()
    if own:
        with _standard_error_closed(), _signals_kept():
            ray.init(
                address=address(),
                num_cpus=num_cpus,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.CRITICAL,
            )
    try:
        yield own
    finally:
        if own:
            ray.shutdown()


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
