"""The progress of a run: a bar on a terminal, a plain line every ten seconds elsewhere."""

import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Self, TextIO

import click

from pipeline.errors import shown_in_line
from pipeline.storage.secrets import without_secrets

WIDTH = 24
_BEFORE_A_PLAN, _HELD_SECONDS = ("listing", "planning"), 2.0
_FORMAT = "autochrome.log_format"  # a key in the meta that all contexts of a command share


class Progress:
    """Writes the progress of a run to a stream, from a thread of its own, until the block ends.

    as_json: one JSON object per line, for systems that collect logs.
    """

    def __init__(self, stream: TextIO, every: float | None = None, as_json: bool = False) -> None:
        self._stream, self._json = stream, as_json
        self._bar = stream.isatty() and not as_json
        self._every = every or (0.5 if self._bar else 10.0)
        self._marks: list[tuple[float, int]] = []  # time and photos: start of step, first news
        self._done = self._failed = self._photos = 0
        self._found: int | None = None
        self._rate: float | None = None
        self._step = self._phase = ""
        self._told: set[str] = set()  # phases
        self._held: list[str] = []  # lines about phases, held back for a moment
        self._lock = threading.Lock()  # otherwise a line may mix two steps
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._tell, daemon=True)

    def begin(self, phase: str, photos: int | None = None) -> None:
        """A phase begins or continues. photos: how many were found so far.

        Without a bar, each phase is announced once, by a line. Lines before the plan are held back
        for a moment, so that a command that is refused right away only prints its error.
        """
        with self._lock:
            self._phase, self._found = phase, photos
            if not self._bar and phase not in self._told:
                self._told.add(phase)
                self._held.append(to_line("phase", phase=phase) if self._json else f"{phase}\n")
                if phase not in _BEFORE_A_PLAN:
                    self._release()
        self._start()

    def update(
        self, done: int, failed: int, photos: int, rate: float | None = None, step: str = ""
    ) -> None:
        """Photos done, photos that failed in this command, and photos in all; or the same of one
        step.

        rate: photos/s; None: measured since this step began, or its first photo was done. Steps
        differ in speed, so a new step starts a new estimate.
        """
        now = time.monotonic()
        with self._lock:
            if step != self._step:
                self._marks.clear()
            self._done, self._failed, self._photos = done, failed, photos
            self._rate, self._step = rate, step
            if not self._marks:
                self._marks.append((now, done))
            elif len(self._marks) == 1 and done > self._marks[0][1]:
                self._marks.append((now, done))
        self._start()

    def wait(self, why: str) -> None:
        """Say what a run waits for."""
        why = shown_in_line(without_secrets(why))
        with self._lock:
            self._release()
            if self._json:
                self._stream.write(to_line("waiting", message=why))
            else:
                self._stream.write(f"\r{why}\x1b[K\n" if self._bar else f"{why}\n")
            self._stream.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        if self._thread.ident is None:
            return
        self._thread.join()
        at_start = self._rate is None and len(self._marks) < 2
        if error is None:
            self._phase = ""
            self._release()
        if self._bar and self._marks and not (error and at_start):
            self._write()
            self._stream.write("\n")
        elif self._bar:
            self._stream.write("\r\x1b[K")  # nothing is done that a last line could report
        self._stream.flush()

    def _start(self) -> None:
        if self._thread.ident is None:
            self._thread.start()

    def _tell(self) -> None:
        tick, passed = min(self._every, _HELD_SECONDS), 0.0
        while not self._ended.wait(tick):
            passed += tick
            with self._lock:
                self._release()
                if passed >= self._every:
                    passed = 0.0
                    self._write()

    def _release(self) -> None:
        """Write the lines that were held back."""
        for line in self._held:
            self._stream.write(line)
        self._held.clear()
        self._stream.flush()

    def _write(self) -> None:
        if self._json:
            line = to_line("progress", **self._facts())
        else:
            line = self._words()
        if self._bar:
            line = f"\r{line}\x1b[K"  # erases what a longer line left
        self._stream.write(line if self._bar or self._json else line + "\n")
        self._stream.flush()

    def _facts(self) -> dict[str, object]:
        named = {"step": self._step, "phase": self._phase}
        facts: dict[str, object] = {name: value for name, value in named.items() if value}
        if not self._marks:
            return facts | {"found": self._found}
        rate = self._speed()
        return facts | {
            "done": self._done,
            "failed": self._failed,
            "photos": self._photos,
            "photos_per_second": rate,
            "seconds_left": (self._photos - self._done) / rate if rate else None,
        }

    def _words(self) -> str:
        if not self._marks:
            found = "" if self._found is None else f", {self._found:,} photos so far"
            return self._phase + found
        line = describe(self._done, self._failed, self._photos, self._speed(), self._phase)
        line = f"{self._step}: {line}" if self._step else line
        full = WIDTH * self._done // max(1, self._photos)
        return f"[{'#' * full}{'-' * (WIDTH - full)}] {line}" if self._bar else line

    def _speed(self) -> float | None:
        """Photos per second, as given or by the clock."""
        if self._rate is not None:
            return self._rate
        since, before = self._marks[-1]
        if before == self._done:  # nothing since: the rate includes the start
            since, before = self._marks[0]
        new, seconds = self._done - before, time.monotonic() - since
        return new / seconds if new and seconds > 0 else None


def to_line(event: str, **facts: object) -> str:
    """A log line for machines: time (UTC) and event, then the facts."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return json.dumps({"time": now, "event": event, **facts}) + "\n"


def log_format_option(command: Callable[..., None]) -> Callable[..., None]:
    """`--log-format`, which `in_json` asks for, and jobs.main for errors."""

    def keep(ctx: click.Context, option: click.Parameter, value: str) -> None:
        ctx.meta[_FORMAT] = value

    return click.option(
        "--log-format",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        callback=keep,
        expose_value=False,
        is_eager=True,
        help="json: one object per line, for log collectors.",
    )(command)


def in_json(ctx: click.Context) -> bool:
    """Whether a command was asked for JSON."""
    return bool(ctx.meta.get(_FORMAT) == "json")


def describe(done: int, failed: int, photos: int, rate: float | None, phase: str = "") -> str:
    """One line; rate in photos/s, None if none is done yet."""
    parts = [f"{done:,} of {photos:,} photos"]
    if failed:
        parts.append(f"{failed:,} failed")
    if rate:
        parts.append(describe_rate(rate))
        if done < photos:
            parts.append(f"{describe_duration((photos - done) / rate)} left")
    if phase and (phase != "coloring" or not rate):
        parts.append(phase)
    return ", ".join(parts)


def describe_colorized(done: int, photos: int, seconds: float, rate: float | None) -> str:
    """How many photos are colorized, and how long workers took, if any is; rate in photos/s."""
    words = f"{done:,} of {photos:,} photos colorized"
    if not rate or not done:
        return words
    return f"{words} in {describe_duration(seconds)}, {describe_rate(rate)}"


def describe_rate(rate: float) -> str:
    return f"{rate:,.1f} photos/s" if rate >= 1 else f"{rate:.2f} photos/s"


def describe_duration(seconds: float) -> str:
    """`42 s`, `3 min`, `2 h 05 min`, `4 d 6 h`."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min"
    return f"{hours // 24} d {hours % 24} h"


def say(ctx: click.Context, words: str, event: str, **facts: object) -> None:
    """Print a command's result, as text or as an event with facts."""
    click.echo(to_line(event, **facts) if in_json(ctx) else words + "\n", nl=False)
