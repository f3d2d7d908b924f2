"""What a person reads while a run works."""

import io
import json
import threading
import time
from datetime import datetime, timedelta
from types import SimpleNamespace

import pytest

from jobs import progress as module
from jobs.progress import Progress, describe, describe_colorized, describe_duration
from pipeline.errors import UsageError


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((0, 0, 1000, None, "loading weights"), "0 of 1,000 photos, loading weights"),
        ((0, 0, 1000, None, "coloring"), "0 of 1,000 photos, coloring"),
        ((250, 0, 1000, 5.0, "coloring"), "250 of 1,000 photos, 5.0 photos/s, 2 min left"),
        ((1, 1, 2, 0.1), "1 of 2 photos, 1 failed, 0.10 photos/s, 10 s left"),
        ((2, 0, 2, 0.5, "writing the report"), "2 of 2 photos, 0.50 photos/s, writing the report"),
        ((5, 0, 5, None), "5 of 5 photos"),
    ],
)
def test_lines(arguments: tuple[int, int, int, float | None], line: str) -> None:
    assert describe(*arguments) == line


def test_what_there_is_and_how_long_it_took() -> None:
    assert describe_colorized(5, 1200, 0.0, None) == "5 of 1,200 photos colorized"
    assert describe_colorized(0, 1, 1.0, 12.8) == "0 of 1 photos colorized", "all have failed"
    words = "1,000 of 1,200 photos colorized in 3 min, 5.6 photos/s"
    assert describe_colorized(1000, 1200, 180.0, 1000 / 180) == words


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
    assert stream.getvalue().splitlines()[0] == "1 of 4 photos"


def test_a_slow_step_has_its_own_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now))
    stream = Terminal()
    progress = Progress(stream, every=1000)
    with progress:
        for second in range(11):  # a hundred photos a second
            now = float(second)
            progress.update(100 * second, 0, 1000, step="step 1 of 2, core")
        for done in range(3):  # one in a hundred seconds
            now = 10.0 + 100 * done
            progress.update(done, 0, 12, step="step 2 of 2, pictures")
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


def test_phases_are_told_once_in_order_where_there_is_no_bar() -> None:
    stream = io.StringIO()
    with Progress(stream, every=0.001) as progress:
        progress.begin("listing", 0)
        while "listing, 0 photos so far" not in stream.getvalue():
            time.sleep(0.001)
        progress.begin("planning", 3000)
        progress.begin("listing", 4000)  # goes on beside it
        progress.update(0, 0, 4000)
        progress.begin("coloring")
        progress.update(4, 0, 4000, 2.0)
        while "4 of 4,000 photos, 2.0 photos/s, 33 min left" not in stream.getvalue():
            time.sleep(0.001)
        progress.begin("writing the report")
    lines = stream.getvalue().splitlines()
    phases = ["listing", "planning", "coloring", "writing the report"]
    assert [line for line in lines if line in phases] == phases


def test_machines_get_an_event_for_each_phase() -> None:
    stream = io.StringIO()
    with Progress(stream, as_json=True) as progress:
        for phase in ("listing", "planning", "listing"):
            progress.begin(phase, 3)
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(each["event"], each["phase"]) for each in events] == [
        ("phase", "listing"),
        ("phase", "planning"),
    ]


def test_a_phase_after_the_plan_is_told_at_once_with_those_before() -> None:
    stream = io.StringIO()
    with pytest.raises(UsageError), Progress(stream) as progress:
        progress.begin("listing", 0)
        progress.begin("starting workers")  # which closes standard error for a while
        assert stream.getvalue() == "listing\nstarting workers\n"
        raise UsageError("Ray did not start")


@pytest.mark.parametrize("as_json", [False, True])
def test_of_a_command_that_is_refused_right_away_no_phase_is_told(as_json: bool) -> None:
    stream = io.StringIO()
    with pytest.raises(UsageError), Progress(stream, as_json=as_json) as progress:
        progress.begin("listing", 0)
        raise UsageError("no photograph in it")
    assert stream.getvalue() == ""


def test_a_terminal_shows_the_phase_and_is_clean_after_an_interruption() -> None:
    stream = Terminal()
    with pytest.raises(KeyboardInterrupt), Progress(stream, every=0.001) as progress:
        progress.begin("planning", 1234)
        while "\rplanning, 1,234 photos so far\x1b[K" not in stream.getvalue():
            time.sleep(0.001)
        progress.update(0, 0, 4)
        progress.begin("loading weights")
        while "0 of 4 photos, loading weights\x1b[K" not in stream.getvalue():
            time.sleep(0.001)
        raise KeyboardInterrupt
    assert stream.getvalue().endswith("\r\x1b[K") and "\n" not in stream.getvalue()


def test_no_thread_outlives_it() -> None:
    before = threading.active_count()
    with Progress(Terminal()) as progress:
        progress.begin("coloring")
    assert threading.active_count() == before
