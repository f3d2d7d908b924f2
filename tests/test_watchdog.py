"""A silent run says what it waits for, and one with news says nothing."""

import threading
import time

import pytest

from pipeline.cluster.watchdog import Watchdog


def test_silence_is_explained_again_and_again() -> None:
    told: list[str] = []
    twice = threading.Event()

    def tell(line: str) -> None:
        told.append(line)
        if len(told) == 2:
            twice.set()

    with Watchdog(tell, lambda: "waiting for a node with a GPU", seconds=0.02):
        assert twice.wait(30)
    assert all(
        line.startswith("nothing was committed for ")
        and line.endswith(" s: waiting for a node with a GPU")
        for line in told
    )


def test_news_keep_it_quiet() -> None:
    told: list[str] = []
    with Watchdog(told.append, lambda: "", seconds=30) as watchdog:
        for _ in range(5):
            watchdog.news()
            time.sleep(0.01)
    assert not told


def test_what_cannot_be_asked_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    heard = threading.Event()

    def tell(line: str) -> None:
        told.append(line)
        heard.set()

    def explain() -> str:
        raise ConnectionError("the head is gone")

    with Watchdog(tell, explain, seconds=0.01):
        assert heard.wait(30)
    assert told[0].endswith("Ray does not answer (ConnectionError)")
