"""How far a run is: a bar on a terminal, a plain line every ten seconds elsewhere."""

import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Self, TextIO

import click

from pipeline.errors import shown

WIDTH = 24
_FORMAT = "autochrome.log_format"  # in a context's meta, which all contexts of a command share


class Progress:
    """Tells of a run on a stream, from a thread of its own, until it is left.

    as_json: one JSON object a line, for machines that collect logs.
    """

    def __init__(self, stream: TextIO, every: float | None = None, as_json: bool = False) -> None:
        self._stream, self._json = stream, as_json
        self._bar = stream.isatty() and not as_json
        self._every = every or (0.5 if self._bar else 10.0)
        self._marks: list[tuple[float, int]] = []  # time and photos: start of step, first news
        self._done = self._failed = self._photos = 0
        self._step = ""
        self._lock = threading.Lock()  # else a line may mix two steps
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._tell, daemon=True)

    def update(self, done: int, failed: int, photos: int, step: str = "") -> None:
        """Photos done, of these failed in this run, and to be done in all; or in this step.

        Steps have speeds of their own: a new one starts the estimate anew.
        """
        now = time.monotonic()
        with self._lock:
            if step != self._step:
                self._marks.clear()
            self._done, self._failed, self._photos, self._step = done, failed, photos, step
            if not self._marks:
                self._marks.append((now, done))
            elif len(self._marks) == 1 and done > self._marks[0][1]:
                self._marks.append((now, done))
        if self._thread.ident is None:
            self._thread.start()

    def wait(self, why: str) -> None:
        """Say what a run waits for."""
        why = shown(why)
        with self._lock:
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
        if self._marks:
            self._thread.join()

    def _tell(self) -> None:
        while not self._ended.wait(self._every):
            self._write()
        if self._bar:
            self._write()
            self._stream.write("\n")

    def _write(self) -> None:
        with self._lock:
            since, before = self._marks[-1]
            if before == self._done:  # no more news: this counts what it took to start, too
                since, before = self._marks[0]
            done, failed, photos, step = self._done, self._failed, self._photos, self._step
            new, seconds = done - before, time.monotonic() - since
            if self._json:
                rate = new / seconds if new and seconds > 0 else None
                left = (photos - done) / rate if rate else None
                line = to_line(
                    "progress",
                    **({"step": step} if step else {}),
                    done=done,
                    failed=failed,
                    photos=photos,
                    photos_per_second=rate,
                    seconds_left=left,
                )
            else:
                line = f"{step}: " if step else ""
                line += describe(new, done, failed, photos, seconds)
            if self._bar:
                full = WIDTH * done // max(1, photos)
                bar = "#" * full + "-" * (WIDTH - full)
                line = f"\r[{bar}] {line}\x1b[K"  # erases what a longer line left
            self._stream.write(line if self._bar or self._json else line + "\n")
            self._stream.flush()


def to_line(event: str, **facts: object) -> str:
    """A line of a log for machines: time (UTC) and event, then the facts."""
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
        help="json: one object a line, for machines that collect logs.",
    )(command)


def in_json(ctx: click.Context) -> bool:
    """Whether a command is asked to speak to machines."""
    return bool(ctx.meta.get(_FORMAT) == "json")


def describe(new: int, done: int, failed: int, photos: int, seconds: float) -> str:
    """One line; new is how many of those done were done in these seconds."""
    parts = [f"{done:,} of {photos:,} photos"]
    if failed:
        parts.append(f"{failed:,} failed")
    if new and seconds > 0:
        rate = new / seconds
        parts.append(f"{rate:.1f} photos/s" if rate >= 1 else f"{rate:.2f} photos/s")
        if done < photos:
            parts.append(f"{describe_duration((photos - done) / rate)} left")
    elif done < photos:
        parts.append("starting")
    return ", ".join(parts)


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
    """Tell what a command has to say, in words or as facts of an event."""
    click.echo(to_line(event, **facts) if in_json(ctx) else words + "\n", nl=False)
