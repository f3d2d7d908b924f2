"""One command at a time, where the store cannot arbitrate."""

import json
import time
from pathlib import Path

import pytest

from pipeline.errors import StorageError, StoreUnavailable, UsageError
from pipeline.storage import lease as module
from pipeline.storage.lease import LEASE, Lease, open_destination
from pipeline.storage.local import LocalStorage
from pipeline.storage.memory import MemoryStorage


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS", 0.6)
    monkeypatch.setattr(module, "SETTLING", 0.05)


def wait_until(condition: object, seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:  # type: ignore[operator]
        time.sleep(0.02)
    assert condition()  # type: ignore[operator]


def test_a_second_command_is_refused_until_the_first_ends() -> None:
    destination = MemoryStorage()
    first = Lease(destination)
    time.sleep(0.8)  # longer than a lease that is not renewed
    with pytest.raises(UsageError, match=r"^process \d+ on .* writes to .*; its lease"):
        Lease(destination)
    first.check()
    first.release()
    assert not destination.objects
    Lease(destination).release()


def test_the_lease_of_a_command_that_was_killed_runs_out() -> None:
    destination = MemoryStorage()
    dead = {"id": "x", "host": "h", "process": 1, "until": time.time() + 0.5}
    destination.write(LEASE, json.dumps(dead).encode())
    with pytest.raises(UsageError, match="process 1 on h writes"):
        Lease(destination)
    time.sleep(0.5)
    Lease(destination).release()


@pytest.mark.parametrize("until", [86_400.0, 1e308])
def test_a_lease_of_another_clock_is_said_to_be_one(until: float) -> None:
    destination = MemoryStorage()
    ahead = {"id": "x", "host": "h", "process": 1, "until": time.time() + until}
    destination.write(LEASE, json.dumps(ahead).encode())
    with pytest.raises(UsageError, match="clock that differs .* delete memory.*lease.json") as told:
        Lease(destination)
    assert len(str(told.value)) < 200


def test_of_two_that_start_at_once_the_later_write_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    class Contested(MemoryStorage):
        def write(self, path: str, data: bytes) -> None:
            super().write(path, data)
            rival = {"id": "rival", "host": "h", "process": 2, "until": time.time() + 9}
            super().write(path, json.dumps(rival).encode())

    with pytest.raises(UsageError, match="process 2 on h writes"):
        Lease(Contested())


def test_a_lease_that_is_taken_over_stops_the_command_and_is_not_released() -> None:
    destination = MemoryStorage()
    own = Lease(destination)
    rival = json.dumps({"id": "rival", "host": "h", "process": 2, "until": time.time() + 9})
    destination.write(LEASE, rival.encode())
    wait_until(lambda: own.lost)
    with pytest.raises(StoreUnavailable, match="process 2 on h writes"):
        own.check()
    own.release()
    assert destination.objects[LEASE] == rival.encode()


def test_a_lease_that_cannot_be_renewed_stops_the_command() -> None:
    class Failing(MemoryStorage):
        broken = False

        def write(self, path: str, data: bytes) -> None:
            if self.broken:
                raise StorageError("out of reach")
            super().write(path, data)

    destination = Failing()
    own = Lease(destination)
    destination.broken = True
    wait_until(lambda: own.lost)
    with pytest.raises(StoreUnavailable, match="could not be renewed: out of reach"):
        own.check()
    own.release()


def test_a_command_that_is_interrupted_at_its_start_leaves_no_lease() -> None:
    class Interrupting(MemoryStorage):
        def write(self, path: str, data: bytes) -> None:
            super().write(path, data)
            raise KeyboardInterrupt

    destination = Interrupting()
    with pytest.raises(KeyboardInterrupt):
        Lease(destination)
    assert not destination.objects


def test_an_interrupted_command_leaves_the_lease_of_another_that_took_it_over() -> None:
    class Interrupting(MemoryStorage):
        def write(self, path: str, data: bytes) -> None:
            super().write(path, json.dumps(other).encode())
            raise KeyboardInterrupt

    other = {"id": "x", "host": "h", "process": 1, "until": time.time() + 60}
    destination = Interrupting()
    with pytest.raises(KeyboardInterrupt):
        Lease(destination)
    assert json.loads(destination.read(LEASE)) == other


def test_a_destination_is_opened_by_its_store_or_by_a_lease(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with open_destination(str(folder), single_writer=False) as (place, lease):
        assert isinstance(place, LocalStorage) and place.conditional and lease is None
    assert not folder.exists()
    with open_destination(str(folder), single_writer=True) as (place, lease):
        assert not place.conditional and lease and (folder / LEASE).exists()
        assert place.write_if_absent("a", b"1") and not place.write_if_absent("a", b"2")
        assert place.read("a") == b"1"
    assert [path.name for path in folder.iterdir()] == ["a"]
