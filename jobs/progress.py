"""How far a run is: a bar on a terminal, a plain line every ten seconds elsewhere."""

import threading
import time
from types import TracebackType
from typing import Self, TextIO

WIDTH = 24


class Progress:
    """Tells of a run on a stream, from a thread of its own, until it is left."""

    def __init__(self, stream: TextIO, every: float | None = None) -> None:
        self._stream, self._bar = stream, stream.isatty()
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
        line = describe(done - before, done, failed, photos, time.monotonic() - since)
        if step:
            line = f"{step}: {line}"
        if self._bar:
            full = WIDTH * done // max(1, photos)
            bar = "#" * full + "-" * (WIDTH - full)
            self._stream.write(f"\r[{bar}] {line}\x1b[K")  # erases what a longer line left
        else:
            self._stream.write(line + "\n")
        self._stream.flush()


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
