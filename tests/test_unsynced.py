"""Files of a folder that are made to last together: what the system may do to them meanwhile."""

import errno
import io
import os
import threading
from pathlib import Path

import pytest

from pipeline.errors import DestinationGone, StoreUnavailable
from pipeline.storage.anchored import AnchoredStorage
from pipeline.storage.durability import Unsynced
from pipeline.storage.local import LocalStorage


def test_no_file_is_held_open_by_a_name_that_is_deleted(tmp_path: Path) -> None:
    """NFS and FUSE would keep it in the folder, under a name that nothing prunes."""
    with LocalStorage(str(tmp_path)).together() as together:
        together.write("1", b"one")
        together.write_file("2", io.BytesIO(b"two"))
        links = [f"/proc/self/fd/{each}" for each in os.listdir("/proc/self/fd")]
        held = [os.readlink(link) for link in links if os.path.lexists(link)]
    own = sorted(path for path in held if path.startswith(str(tmp_path)))
    assert own == [f"{tmp_path}/1", f"{tmp_path}/2"]


@pytest.mark.parametrize("threads", [0, 1])
def test_where_no_thread_can_be_started_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    started: list[threading.Thread] = []
    synced: list[str] = []

    def begin(thread: threading.Thread) -> None:
        if len(started) == threads:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    def fsync(descriptor: int) -> None:
        synced.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        if synced[-1] == "0" and synced.count("0") == 1:  # the system tells of it once
            raise OSError(errno.EIO, "Input/output error")

    start = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", begin)
    monkeypatch.setattr(os, "fsync", fsync)
    written = []
    with (
        pytest.raises(StoreUnavailable, match=f"cannot write {tmp_path}/0: Input/output error"),
        LocalStorage(str(tmp_path)).together() as together,
    ):
        for number in range(20):
            together.write(str(number), b"x")
            written.append(str(number))
    assert len(written) == 20 and set(synced) == set(written)


def test_a_descriptor_whose_closing_fails_is_closed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[int] = []

    def close(descriptor: int) -> None:
        closed.append(descriptor)
        let_go(descriptor)
        raise OSError(errno.EIO, "Input/output error")

    let_go, unsynced = os.close, Unsynced()
    for name in ("1", "2"):
        (tmp_path / name).write_bytes(b"x")
        unsynced.add(str(tmp_path / name))
    with monkeypatch.context() as patch:
        patch.setattr(os, "close", close)
        unsynced.close()
        unsynced.close()
    assert len(closed) == len(set(closed)) == 2


@pytest.mark.parametrize("there", [True, False])
def test_a_disk_that_vanishes_before_all_is_made_to_last_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    def fsync(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    (tmp_path / "run.json").touch()
    place = AnchoredStorage(LocalStorage(str(tmp_path)), "run.json")
    with pytest.raises(StoreUnavailable) as caught, place.together() as together:
        together.write("1", b"x")
        if not there:
            (tmp_path / "run.json").unlink()
        monkeypatch.setattr(os, "fsync", fsync)
    assert type(caught.value) is (StoreUnavailable if there else DestinationGone)
