"""Jobs on a cluster, by Ray's job server: sent, found again by their destination, stopped.

What is sent is this program's own code and weights, as Ray's working directory: a few megabytes, no
photographs. The nodes need what the program needs (see ray_cluster.yaml).
"""

import asyncio
import hashlib
import logging
import math
import os
import re
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from model.weights import MODELS
from pipeline.errors import EngineError, UsageError, first_line, missing_extra
from pipeline.storage.secrets import without_secrets

PREFIX = "autochrome-"
_NAME = re.compile(rf"{PREFIX}[0-9a-f]{{12}}-\d+")
AGENT_SECONDS = 90.0  # in which a cluster that has just started takes jobs
MOST_WEIGHTS = 200 * 2**20  # bytes that are sent; larger weights belong in a bucket
_ROOT = Path(__file__).resolve().parents[2]
_PACKAGES = ("model", "pipeline", "jobs")
_START = ("sh", "pipeline/cluster/start.sh")  # finds the cluster's Python, and starts again
RESTARTS = 2  # of a command whose process was killed
PAUSE = 5.0  # seconds before that


@dataclass(frozen=True)
class Job:
    """name: its id. state: pending, running, stopped, succeeded or failed. exit_code: of its
    command, where that has ended. seconds: from its start to its end, or till now."""

    name: str
    destination: str
    state: str
    exit_code: int | None
    seconds: float


def at(address: str | None) -> str:
    """What a hint adds to a command that needs a job server, without a password."""
    return f" --address {shlex.quote(without_secrets(address))}" if address else ""


def submit(
    address: str | None,
    destination: str,
    command: Sequence[str],
    weights: Path | None = None,
    pause: float = PAUSE,
) -> str:
    """Send a command of Autochrome as a job; returns its id, which tells the destination.

    destination: URI. weights: a folder that travels along, and appears as `weights` where the
    command runs. pause: as in `entrypoint`.
    Raises UsageError: no job server, a job on this destination is running, weights too large.
    """
    with _translate_errors(address), tempfile.TemporaryDirectory() as folder:
        client = _client(address)
        stem = job_of(destination)
        known = {job.submission_id: job for job in _jobs(client, stem)}
        for name, job in known.items():
            if not job.status.is_terminal():
                raise UsageError(
                    f"the job {name} works on {destination} already; to follow it:"
                    f" autochrome logs {name} --follow{at(address)}"
                )
        _pack(Path(folder), weights)
        name = f"{stem}-{len(known) + 1}"
        _send(
            client,
            entrypoint=entrypoint(command, pause),
            submission_id=name,  # which no second job can have: two commands at once are one job
            runtime_env={"working_dir": folder},
            metadata={"destination": destination},
        )
        return name


def entrypoint(command: Sequence[str], pause: float = PAUSE) -> str:
    """The shell command that runs a command of Autochrome in a job, and starts it again after so
    many seconds where its process is killed."""
    return "exec " + shlex.join([*_START, str(RESTARTS), str(math.ceil(pause)), *command])


def _send(client: Any, **job: Any) -> None:
    """Send a job. The server of a cluster that has just started is there before the agent that
    takes jobs, and says so."""
    last = time.monotonic() + AGENT_SECONDS
    while True:
        try:
            client.submit_job(**job)
            return
        except RuntimeError as error:
            if "No available agent" not in str(error) or time.monotonic() > last:
                raise
            time.sleep(1)


def job_of(destination: str) -> str:
    """What the ids of all jobs on a destination begin with."""
    return PREFIX + hashlib.sha256(destination.rstrip("/").encode()).hexdigest()[:12]


def find(address: str | None, job: str) -> str:
    """The id of a job, given that, or its destination's URI: then the last. Raises UsageError."""
    with _translate_errors(address):
        client = _client(address)
        if job.startswith(PREFIX) and any(each.submission_id == job for each in _jobs(client, job)):
            return job
        found = _jobs(client, job if job.startswith(PREFIX) else job_of(job))
        if not found:
            all_jobs = f"autochrome jobs{at(address)}"
            raise UsageError(f"no job of Autochrome is {job} or works on it; {all_jobs} lists them")
        return str(found[-1].submission_id)


def list_jobs(address: str | None) -> list[Job]:
    """All jobs of Autochrome that a cluster remembers, the last one first. Raises UsageError."""
    with _translate_errors(address):
        found = [
            job for job in _client(address).list_jobs() if _NAME.fullmatch(job.submission_id or "")
        ]
    found.sort(key=lambda job: job.start_time or 0, reverse=True)
    return [
        Job(
            job.submission_id,
            (job.metadata or {}).get("destination", "?"),
            str(job.status.value).lower(),
            job.driver_exit_code,
            ((job.end_time or time.time() * 1000) - (job.start_time or time.time() * 1000)) / 1000,
        )
        for job in found
    ]


def read_logs(address: str | None, name: str) -> str:
    """All that a job has said until now. Raises UsageError."""
    with _translate_errors(address):
        return str(_client(address).get_job_logs(name))


def follow(address: str | None, name: str, write: Callable[[str], None]) -> int:
    """Pass on what a job says, to its end; returns the exit code of its command.

    Raises UsageError, EngineError (it ended without one: stopped, or its node was lost).
    """
    with _translate_errors(address):
        client = _client(address)

        async def tail() -> None:
            async for lines in client.tail_job_logs(name):
                write(lines)

        asyncio.run(tail())
        job = client.get_job_info(name)
    if job.status == "SUCCEEDED":
        return 0
    if job.driver_exit_code:
        return int(job.driver_exit_code)
    why = " ".join((job.message or "").split())
    raise EngineError(f"the job {name} has ended: {job.status.lower()}. {why}".strip())


def stop(address: str | None, name: str) -> bool:
    """End a job as Ctrl-C would; False where it has ended already. Raises UsageError."""
    with _translate_errors(address):
        client = _client(address)
        if client.get_job_status(name).is_terminal():
            return False
        return bool(client.stop_job(name))


def _client(address: str | None) -> Any:
    try:
        from ray.job_submission import JobSubmissionClient

        for handler in logging.getLogger("ray").handlers:  # it tells of every upload
            handler.setLevel(logging.WARNING)
        return JobSubmissionClient(address, headers=_token_header())
    except (ImportError, RuntimeError) as error:
        if "ray[default]" in str(error) or isinstance(error, ImportError):
            raise missing_extra("jobs need Ray's client", "cluster") from error
        raise


def _token_header() -> dict[str, str]:
    """What proves to the job server who we are, from where Ray keeps its token.

    Ray itself sends it only where RAY_AUTH_MODE was set before it was imported, though its own
    local clusters ask for it.
    """
    token = os.environ.get("RAY_AUTH_TOKEN", "")
    place = os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token"
    if not token and os.environ.get("RAY_AUTH_MODE") != "disabled":
        with suppress(OSError):
            token = Path(place).read_text(encoding="utf-8")
    return {"Authorization": f"Bearer {token.strip()}"} if token.strip() else {}


def _jobs(client: Any, start: str) -> list[Any]:
    """Jobs whose id begins so, in the order in which they were sent."""
    found = [job for job in client.list_jobs() if (job.submission_id or "").startswith(start)]
    return sorted(found, key=lambda job: int(job.submission_id.rpartition("-")[2]))


def _pack(folder: Path, weights: Path | None) -> None:
    """This program's code, the weights that it comes with, and its name and version."""
    for package in _PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(_ROOT / package, folder / package, ignore=ignored)
    number = version("autochrome")  # which a run is bound to
    about = folder / f"autochrome-{number}.dist-info"
    about.mkdir()
    metadata = f"Metadata-Version: 2.1\nName: autochrome\nVersion: {number}\n"
    (about / "METADATA").write_text(metadata, encoding="utf-8")
    if weights is None:
        return
    stages = [stage for stages in MODELS.values() for stage in stages]
    files = [weights / f"{stage}.safetensors" for stage in stages]
    files = [file for file in files if file.exists()]  # of the models that are there
    if not files:
        raise UsageError(f"{weights} holds no weights: none of {', '.join(stages)} .safetensors")
    size = sum(file.stat().st_size for file in files)
    if size > MOST_WEIGHTS:
        raise UsageError(
            f"{weights} is {size / 2**20:,.0f} MiB, too much to send with a job; copy it to where"
            " the nodes can reach it, and give --weights s3://..."
        )
    (folder / "weights").mkdir()
    for file in files:
        shutil.copy(file, folder / "weights")


@contextmanager
def _translate_errors(address: str | None) -> Iterator[None]:
    """What Ray's client raises, as errors of ours."""
    try:
        yield
    except (UsageError, EngineError):
        raise
    except ConnectionError as error:
        where = address or "the address in RAY_ADDRESS"
        raise UsageError(f"no job server answers at {where} ({first_line(error)})") from error
    except Exception as error:
        from ray.exceptions import AuthenticationError  # here, where Ray is loaded already

        if isinstance(error, AuthenticationError):
            raise UsageError(
                "the job server wants another token; Ray looks for it in RAY_AUTH_TOKEN, in the"
                " file RAY_AUTH_TOKEN_PATH, and in ~/.ray/auth_token"
            ) from error
        if not isinstance(error, RuntimeError | ValueError):
            raise
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UsageError(f"the job server refused: {lines[-1]}") from error
