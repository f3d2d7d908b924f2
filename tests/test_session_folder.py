"""A local Ray is closed to others and leaves nothing (pipeline/cluster/session_folder.py)."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pipeline.cluster.session_folder import session_folder, settings_for
from pipeline.errors import EngineError

# Three sessions, one after the other, each until a signal: the first then ends as if its work was
# done, the second by the exception. They say what they have; a worker leaves a file.
PROGRAM = """
import json, os, signal, tempfile, time
from contextlib import nullcontext, suppress
from pathlib import Path
from pipeline.cluster.session import ENVIRONMENT, quiet_ray

import ray
names = {*os.environ, *ENVIRONMENT}
for each in (signal.SIGINT, signal.SIGTERM):  # of which a shell may have the first ignored
    signal.signal(each, signal.default_int_handler)

def listeners():
    "Addresses, in the kernel's form, that processes of this session listen at."
    sockets = set()
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if os.getsid(int(place.name)) == os.getsid(0):
                sockets |= {os.readlink(each) for each in (place / "fd").iterdir()}
        except OSError:
            pass
    for kind in ("tcp", "tcp6"):
        for line in Path("/proc/net", kind).read_text().splitlines()[1:]:
            _, address, _, state, *rest = line.split()
            if state == "0A" and f"socket:[{rest[5]}]" in sockets:
                yield address.split(":")[0]

for number in range(3):
    with suppress(KeyboardInterrupt):
        with quiet_ray(num_cpus=1):
            file = Path(ray.get(ray.remote(num_cpus=0)(tempfile.mkdtemp).remote()))
            folder = file.parents[1]
            modes = [oct(path.stat().st_mode & 0o777) for path in (folder, folder / "token")]
            told = {"folder": str(folder), "listeners": sorted(listeners()), "modes": modes}
            print(json.dumps(told), flush=True)
            with nullcontext() if number else suppress(KeyboardInterrupt):
                time.sleep(600)
    left = [*map(str, folder.parent.iterdir()), *(set(os.environ) - names)]
    print(json.dumps(left), flush=True)
"""
LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F"}  # 127.0.0.1, and the same in IPv6
HOLDER = """
from pipeline.cluster.session_folder import session_folder
with session_folder() as folder:
    print(folder, flush=True)
    input()
"""


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder for temporary files, of a name that leaves room for sockets."""
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        yield Path(folder)


def start(program: str, repository: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=repository,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


def line_of(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    return process.stdout.readline().strip()


@pytest.mark.slow
def test_a_local_ray_is_closed_to_others_and_leaves_nothing(place: Path, repository: Path) -> None:
    with start(PROGRAM, repository) as process:
        try:
            for how in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
                told: dict[str, Any] = json.loads(line_of(process))
                assert len(told["listeners"]) > 5, "control store, raylet, agents, workers"
                assert set(told["listeners"]) <= LOOPBACK
                assert told["modes"] == ["0o700", "0o600"]
                assert [str(path) for path in place.iterdir()] == [told["folder"]]
                process.send_signal(how)
                if how != signal.SIGKILL:
                    assert json.loads(line_of(process)) == [], "it is gone before the next begins"
            process.wait(120)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert list(place.iterdir()), "nobody was left to remove it"
    with session_folder():
        pass
    assert not list(place.iterdir())


def test_only_what_a_killed_process_of_ours_left_is_removed(place: Path, repository: Path) -> None:
    with start(HOLDER, repository) as killed:
        left = Path(line_of(killed))
        killed.kill()
    others = [place / "autochrome-abcde", place / "autochrome-weights", place / "tmp012345"]
    for each in others:
        each.mkdir()
    (place / "autochrome-123456").symlink_to(others[0])
    if os.geteuid() == 0:
        (place / "autochrome-fedcba").mkdir(mode=0o700)
        os.chown(place / "autochrome-fedcba", 65534, 65534)
    before = set(place.iterdir())
    assert left in before
    with start(HOLDER, repository) as living:
        kept = Path(line_of(living))
        assert set(place.iterdir()) == before - {left} | {kept}
        with session_folder() as folder:
            assert set(place.iterdir()) == before - {left} | {kept, folder}
        living.communicate("\n")
    assert set(place.iterdir()) == before - {left}


def test_a_folder_is_for_its_owner_and_a_token_of_the_users_stays(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    previous = os.umask(0)
    try:
        with session_folder() as folder:
            modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
            assert folder.stat().st_mode & 0o777 == 0o700
            assert modes == {"token": 0o600, "tmp": 0o700}
            token = (folder / "token").read_text()
            assert re.fullmatch("[0-9a-f]{64}", token)
            assert settings_for(folder)["RAY_AUTH_TOKEN_PATH"] == str(folder / "token")
            monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "mine")
            assert "RAY_AUTH_TOKEN_PATH" not in settings_for(folder)
    finally:
        os.umask(previous)
    assert not folder.exists()


def test_a_place_that_is_too_long_for_sockets(
    place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    long = tmp_path / ("long" * 20)
    long.mkdir()
    monkeypatch.setenv("RAY_TMPDIR", str(long))
    with pytest.raises(EngineError, match="RAY_TMPDIR names a folder of at most"), session_folder():
        pass
    monkeypatch.delenv("RAY_TMPDIR")
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with session_folder() as folder:
        assert folder.parent == Path("/tmp").resolve()
    monkeypatch.setenv("RAY_TMPDIR", str(place / "absent"))
    with pytest.raises(EngineError, match="no folder in .*absent"), session_folder():
        pass
