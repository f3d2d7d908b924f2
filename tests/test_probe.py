"""Stores that keep the promise of write_if_absent pass, those that do not are refused."""

import errno
import os
from pathlib import Path

import pytest

from pipeline.errors import StorageError, StoreUnavailable, UsageError
from pipeline.storage.local import LocalStorage
from pipeline.storage.memory import MemoryStorage
from pipeline.storage.probe import probe_conditional_writes
from pipeline.storage.s3 import S3Storage
from support import s3_servers
from support.fault_proxy import Broken, FaultProxy, Refusal, first


@pytest.mark.parametrize("server", ["s3_endpoint", "ministack_endpoint"])
def test_stores_that_honor_conditions_pass(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, server: str
) -> None:
    bucket = s3_servers.new_bucket(request.getfixturevalue(server), monkeypatch)
    probe_conditional_writes(S3Storage(bucket, "out"))
    assert list(S3Storage(bucket).list()) == []


def test_folders_and_memory_pass(tmp_path: Path) -> None:
    probe_conditional_writes(LocalStorage(str(tmp_path)))
    assert os.listdir(tmp_path) == []
    memory = MemoryStorage()
    probe_conditional_writes(memory)
    assert memory.objects == {}


def test_a_store_that_ignores_conditions_is_refused(
    rclone_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = s3_servers.new_bucket(rclone_endpoint, monkeypatch)
    store = S3Storage(bucket, "out")
    with pytest.raises(UsageError, match="ignores If-None-Match: two runs .* --single-writer"):
        probe_conditional_writes(store)
    assert list(store.list()) == []
    single = S3Storage(bucket, "out", conditional=False)
    assert single.write_if_absent("a", b"first")
    assert not single.write_if_absent("a", b"second")
    assert single.read("a") == b"first"


def test_a_store_that_refuses_conditions_is_refused(bucket: str, faults: FaultProxy) -> None:
    faults.rule = first("PUT", Refusal(501, "NotImplemented"))
    with pytest.raises(UsageError, match="refuses If-None-Match: two runs .* --single-writer"):
        probe_conditional_writes(S3Storage(bucket))


def test_a_file_system_without_links_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(source: str, target: str) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(UsageError, match=r"no hard links \(Operation not permitted\).*--single-w"):
        probe_conditional_writes(LocalStorage(str(tmp_path)))
    assert os.listdir(tmp_path) == []


def test_a_place_that_cannot_be_written_is_named_and_not_the_probe() -> None:
    with pytest.raises(StorageError, match=r"^cannot write /proc/nowhere: No such file"):
        probe_conditional_writes(LocalStorage("/proc/nowhere"))


def test_a_lost_answer_is_no_reason_to_refuse(bucket: str, faults: FaultProxy) -> None:
    faults.rule = first("PUT", Broken.RESET_AFTER)
    probe_conditional_writes(S3Storage(bucket))
    assert list(S3Storage(bucket).list()) == []


def test_who_may_not_delete_can_still_work(bucket: str, faults: FaultProxy) -> None:
    faults.rule = first("DELETE", Refusal(403, "AccessDenied"))
    probe_conditional_writes(S3Storage(bucket))
    [left] = S3Storage(bucket).list()
    assert left.path.startswith(".autochrome-probe-")


def test_an_unreachable_store_is_not_said_to_ignore_conditions(
    bucket: str, faults: FaultProxy
) -> None:
    faults.rule = lambda request: Refusal(500, "InternalError")
    with pytest.raises(StoreUnavailable, match="cannot write"):
        probe_conditional_writes(S3Storage(bucket))
