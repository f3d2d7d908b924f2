"""Folders of this user alone (pipeline/user_folders.py), and the copies of weights in one."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from model.weights import file_digests
from pipeline.errors import UsageError
from pipeline.storage.s3 import S3Storage
from pipeline.user_folders import cache_folder, state_folder
from pipeline.weights.store import fetch_weights
from support.tiny_models import write_tiny_weights


def linked(folder: Path) -> None:
    folder.parent.mkdir(parents=True)
    (folder.parent / "elsewhere").mkdir()
    folder.symlink_to("elsewhere")


def open_to_others(folder: Path) -> None:
    folder.mkdir(parents=True)
    folder.chmod(0o777)


def parent_open_to_others(folder: Path) -> None:
    folder.mkdir(parents=True)
    folder.parent.chmod(0o777)


def of_another_user(folder: Path) -> None:
    folder.mkdir(parents=True)
    if os.geteuid():
        pytest.skip("only root can give a folder away")
    os.chown(folder, 65534, 65534)


def a_file(folder: Path) -> None:
    folder.parent.mkdir(parents=True)
    folder.touch()


FOREIGN = {
    linked: "is a link",
    open_to_others: "can be written to by other users",
    parent_open_to_others: "can be written to by other users",
    of_another_user: "belongs to another user",
    a_file: "File exists",
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("XDG_STATE_HOME")
    return tmp_path


def test_folders_are_where_the_system_has_them(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder("weights") == home / ".cache/autochrome/weights"
    assert state_folder("logs") == home / ".local/state/autochrome/logs"
    assert (home / ".local/state/autochrome/logs").stat().st_mode & 0o777 == 0o700
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "other"))
    assert state_folder("logs") == home / "other/autochrome/logs"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert state_folder("logs") == home / ".local/state/autochrome/logs", "as XDG says"


@pytest.mark.parametrize(("make", "why"), FOREIGN.items())
def test_a_folder_that_others_can_write_to_is_not_used(
    make: Callable[[Path], None], why: str, home: Path
) -> None:
    make(home / ".cache/autochrome/weights")
    make(home / ".local/state/autochrome/logs")
    assert cache_folder("weights") is None
    with pytest.raises(UsageError, match=f"{re.escape(why)}; XDG_STATE_HOME names another"):
        state_folder("logs")


@pytest.mark.parametrize("make", FOREIGN)
def test_weights_of_a_bucket_never_go_through_a_folder_of_others(
    make: Callable[[Path], None], home: Path, bucket: str
) -> None:
    weights = write_tiny_weights(home / "tiny")
    for file in weights.iterdir():
        S3Storage(bucket).write(f"weights/{file.name}", file.read_bytes())
    cache, digests = home / ".cache/autochrome/weights", file_digests(weights)
    own = fetch_weights(f"s3://{bucket}/weights", digests)
    assert own.parent == cache and file_digests(own) == digests
    cache.rename(home / "before")
    cache.parent.rmdir()
    make(cache)
    other = fetch_weights(f"s3://{bucket}/weights", digests)
    assert not other.is_relative_to(home / ".cache") and file_digests(other) == digests
    assert other.parent.stat().st_mode & 0o777 == 0o700
    assert cache.is_file() or not list(cache.iterdir())


def test_a_copy_of_weights_that_was_changed_is_fetched_again(home: Path, bucket: str) -> None:
    weights = write_tiny_weights(home / "tiny")
    for file in weights.iterdir():
        S3Storage(bucket).write(f"weights/{file.name}", file.read_bytes())
    digests = file_digests(weights)
    copy = fetch_weights(f"s3://{bucket}/weights", digests)
    (copy / "core.safetensors").write_bytes((copy / "color.safetensors").read_bytes())
    assert fetch_weights(f"s3://{bucket}/weights", digests) == copy
    assert file_digests(copy) == digests
