"""A run that says nothing for a minute says what it waits for."""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

SECONDS = 60.0


class Watchdog:
    """Tells, from a thread of its own, when there was no news for so many seconds, and again after
    as many.

    explain: what is waited for, in words; it may raise, as it asks what may be gone.
    """

    def __init__(
        self,
        on_silence: Callable[[str], None],
        explain: Callable[[], str],
        seconds: float | None = None,
    ) -> None:
        self._on_silence, self._explain = on_silence, explain
        self._seconds = SECONDS if seconds is None else seconds
        self._last = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def news(self) -> None:
        self._last = time.monotonic()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()

    def _watch(self) -> None:
        told = self._last
        while not self._ended.wait(
            max(0.0, max(self._last, told) + self._seconds - time.monotonic())
        ):
            now = time.monotonic()
            if now < max(self._last, told) + self._seconds:
                continue
            silence, told = now - self._last, now
            try:
                why = self._explain()
            except Exception as error:
                why = f"Ray does not answer ({type(error).__name__})"
            if not self._ended.is_set():
                self._on_silence(f"nothing was committed for {silence:.0f} s: {why}")
