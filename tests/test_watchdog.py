"""A healthy start is told by its phases; only what is wrong is told besides."""

import threading
import time
from collections.abc import Callable

import pytest

from pipeline.cluster.session import Workers
from pipeline.cluster.watchdog import Watchdog

STARTING, LOADING, READY = Workers(0, 0), Workers(2, 0), Workers(1, 3)


class Told:
    """What a watchdog says, until it has said enough."""

    def __init__(self) -> None:
        self.phases: list[str] = []
        self.troubles: list[str] = []

    def phase(self, phase: str) -> None:
        if phase not in self.phases[-1:]:
            self.phases.append(phase)

    def until(self, enough: Callable[[], bool]) -> None:
        end = time.monotonic() + 30
        while not enough():
            assert time.monotonic() < end, (self.phases, self.troubles)
            time.sleep(0.001)


def test_a_start_however_long_is_told_by_its_phases_alone() -> None:
    told, looks = Told(), iter([STARTING] * 50 + [LOADING] * 50)
    done = threading.Event()

    def look() -> Workers:
        workers = next(looks, READY)
        if workers is READY:
            done.set()
        return workers

    with Watchdog(look, lambda: None, told.phase, told.troubles.append, seconds=0.002):
        assert done.wait(30)
        told.until(lambda: len(told.phases) == 3)
    assert told.phases == ["starting workers", "loading weights", "coloring"]
    assert not told.troubles


def test_what_a_start_lacks_is_said_once_and_anew_when_it_changes() -> None:
    told, lacks = Told(), ["no node has a GPU"] * 20
    with Watchdog(
        lambda: STARTING,
        lambda: lacks.pop() if lacks else "all GPUs are taken",
        told.phase,
        told.troubles.append,
        seconds=0.002,
    ):
        told.until(lambda: len(told.troubles) == 2)
    assert told.troubles == ["no node has a GPU", "all GPUs are taken"]
    assert told.phases == ["starting workers"]


def test_a_shard_that_takes_far_longer_than_any_before_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = Told()
    with Watchdog(lambda: READY, lambda: None, told.phase, told.troubles.append, 0.01) as watchdog:
        time.sleep(0.05)  # a first shard may take long: nobody knows how long it should
        assert not told.troubles
        watchdog.news((100.0, 100.1))
        told.until(lambda: bool(told.troubles))
    [trouble] = told.troubles
    assert trouble.startswith("no shard was done for 0 s by 3 workers; the longest so far took 0 s")


def test_news_keep_it_quiet() -> None:
    told = Told()
    with Watchdog(lambda: READY, lambda: None, told.phase, told.troubles.append, 0.5) as watchdog:
        for _ in range(60):
            watchdog.news((0.0, 0.1))
            time.sleep(0.02)
    assert not told.troubles


def test_a_ray_that_does_not_answer_is_told() -> None:
    told = Told()

    def look() -> Workers:
        raise ConnectionError("the head is gone")

    with Watchdog(look, lambda: None, told.phase, told.troubles.append, seconds=0.01):
        told.until(lambda: bool(told.troubles))
    assert told.troubles == ["Ray does not answer (ConnectionError)"]


def test_it_is_silent_and_gone_when_it_is_left() -> None:
    told, before = Told(), threading.active_count()
    with Watchdog(lambda: READY, lambda: None, told.phase, told.troubles.append, seconds=0.002):
        told.until(lambda: bool(told.phases))
    assert threading.active_count() == before
