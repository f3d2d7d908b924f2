"""Looks after the workers of a run: which phase they are in, and what is wrong."""

import threading
import time
from collections.abc import Callable
from typing import Literal, Self

from pipeline.cluster.session import Workers

SECONDS = 60.0
# What workers that are there may take for a shard before that is worth a word: so many times the
# longest so far, or before there is any, as long as a CPU needs for a large model.
_SLOWER = 3.0
_FIRST_SHARD_SECONDS = 600.0
WorkerPhase = Literal["starting workers", "loading weights", "coloring"]


class Watchdog:
    """Looks every second, from a thread of its own, until it is left.

    look: the workers there are. lack: what keeps more from being started; None where nothing does.
    Both may raise, as they ask what may be gone. on_phase: hears what the workers do, again and
    again. on_trouble: hears what is wrong where nothing has happened for so many seconds, once
    until there is news or another trouble. A start, however long, is no trouble as long as it
    goes on.
    """

    def __init__(
        self,
        look: Callable[[], Workers],
        lack: Callable[[], str | None],
        on_phase: Callable[[WorkerPhase], None],
        on_trouble: Callable[[str], None],
        seconds: float | None = None,
    ) -> None:
        self._look, self._lack = look, lack
        self._seconds = SECONDS if seconds is None else seconds
        self._on_phase, self._on_trouble = on_phase, on_trouble
        self._last, self._longest = time.monotonic(), 0.0
        self._phase: WorkerPhase = "starting workers"
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def news(self, span: tuple[float, float] | None = None) -> None:
        """A shard is done, which was worked on from then to then (seconds)."""
        self._last = time.monotonic()
        if span:
            self._longest = max(self._longest, span[1] - span[0])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join(5)  # it must not ask a Ray that is gone, but Ray may not answer

    def _watch(self) -> None:
        told, at = None, self._last
        while not self._ended.wait(min(1.0, self._seconds)):
            if self._last != at:
                told, at = None, self._last
            trouble = self._trouble()
            if trouble and trouble != told and not self._ended.is_set():
                self._on_trouble(trouble)
                told = trouble

    def _trouble(self) -> str | None:
        """Looks once, and says what is wrong."""
        try:
            workers = self._look()
            phase = phase_of(workers)
            if phase != self._phase:
                self._phase, self._last = phase, time.monotonic()
            if not self._ended.is_set():
                self._on_phase(phase)
            silence = time.monotonic() - self._last
            if silence < self._seconds:
                return None
            return self._slow(workers, silence) if workers.ready else self._lack()
        except Exception as error:
            if time.monotonic() - self._last < self._seconds:
                return None
            return f"Ray does not answer ({type(error).__name__})"

    def _slow(self, workers: Workers, silence: float) -> str | None:
        patience = _SLOWER * self._longest if self._longest else _FIRST_SHARD_SECONDS
        if silence < patience:
            return None
        at_work = f"{workers.ready} worker{'' if workers.ready == 1 else 's'}"
        longest = f"; the longest so far took {self._longest:.0f} s" if self._longest else ""
        limit = max(patience, self._seconds)
        return f"no shard was done for {limit:.0f} s by {at_work}{longest}: storage may not answer"


def phase_of(workers: Workers) -> WorkerPhase:
    if workers.ready:
        return "coloring"
    return "loading weights" if workers.loading else "starting workers"
