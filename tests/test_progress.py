"""What a person reads while a run works."""

import io
import json
import time
from datetime import datetime, timedelta
from types import SimpleNamespace

import pytest

from jobs import progress as module
from jobs.progress import Progress, describe, describe_duration


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((0, 0, 0, 1000, 3.0), "0 of 1,000 photos, starting"),
        ((50, 250, 0, 1000, 10.0), "250 of 1,000 photos, 5.0 photos/s, 2 min left"),
        ((1, 1, 1, 2, 10.0), "1 of 2 photos, 1 failed, 0.10 photos/s, 10 s left"),
        ((2, 2, 0, 2, 4.0), "2 of 2 photos, 0.50 photos/s"),
        ((0, 5, 0, 5, 4.0), "5 of 5 photos"),
    ],
)
def test_lines(arguments: tuple[int, int, int, int, float], line: str) -> None:
    assert describe(*arguments) == line


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "1 s"),
        (89, "89 s"),
        (90, "2 min"),
        (5399, "1 h 30 min"),
        (7500, "2 h 05 min"),
        (200_000, "2 d 7 h"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    assert describe_duration(seconds) == words


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar_that_ends_complete() -> None:
    stream = Terminal()
    with Progress(stream) as progress:
        progress.update(0, 0, 4)
        progress.update(4, 1, 4)
    *_, last = stream.getvalue().split("\r")
    assert last.startswith("[########################] 4 of 4 photos, 1 failed, ")
    assert last.endswith("\n")


def test_elsewhere_there_are_plain_lines_and_none_for_a_short_run() -> None:
    stream = io.StringIO()
    with Progress(stream) as progress:
        progress.update(0, 0, 4)
        progress.update(4, 0, 4)
    assert stream.getvalue() == ""
    with Progress(stream, every=0.001) as progress:
        progress.update(1, 0, 4)
        while "\n" not in stream.getvalue():
            pass
    assert stream.getvalue().splitlines()[0] == "1 of 4 photos, starting"


def test_a_slow_step_has_its_own_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now))
    stream = Terminal()
    progress = Progress(stream, every=1000)
    with progress:
        for second in range(11):  # a hundred photos a second
            now = float(second)
            progress.update(100 * second, 0, 1000, "step 1 of 2, core")
        for done in range(3):  # one in a hundred seconds
            now = 10.0 + 100 * done
            progress.update(done, 0, 12, "step 2 of 2, pictures")
    *_, last = stream.getvalue().split("\r")
    assert "step 2 of 2, pictures: 2 of 12 photos, 0.01 photos/s, 17 min left" in last


def test_nothing_is_told_of_what_never_started() -> None:
    stream = Terminal()
    with Progress(stream):
        pass
    assert stream.getvalue() == ""


def test_machines_get_one_object_a_line() -> None:
    stream = io.StringIO()
    with Progress(stream, every=0.001, as_json=True) as progress:
        progress.update(1, 0, 4)
        progress.update(2, 1, 4)
        while '"done": 2' not in stream.getvalue():
            time.sleep(0.001)
        progress.wait("waiting for a node with a GPU")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert all(datetime.fromisoformat(line["time"]).utcoffset() == timedelta(0) for line in lines)
    told = [line for line in lines if line["event"] == "progress"][-1]
    assert (told["done"], told["failed"], told["photos"]) == (2, 1, 4)
    assert told["photos_per_second"] > 0 and told["seconds_left"] > 0
    [waiting] = [line for line in lines if line["event"] == "waiting"]
    assert waiting["message"] == "waiting for a node with a GPU"


def test_people_read_what_is_waited_for() -> None:
    stream = io.StringIO()
    Progress(stream).wait("nothing moves")
    assert stream.getvalue() == "nothing moves\n"
    terminal = Terminal()
    Progress(terminal).wait("nothing moves")
    assert terminal.getvalue() == "\rnothing moves\x1b[K\n"
