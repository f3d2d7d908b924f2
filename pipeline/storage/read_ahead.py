"""A stream that a thread reads some items ahead of whoever uses it."""

import threading
from collections.abc import Iterator
from queue import Full, Queue
from typing import Generic, TypeVar

Item = TypeVar("Item")


class ReadAhead(Generic[Item]):
    """Iterates over a stream that a thread of its own reads, at most `ahead` items in advance.

    An error of the stream is raised where its items are used. name: of the thread.
    """

    def __init__(self, stream: Iterator[Item], ahead: int, name: str) -> None:
        self._items: Queue[Item | Exception | None] = Queue(ahead)  # None: there are no more
        self._stopped = threading.Event()
        threading.Thread(target=self._read, args=(stream,), name=name, daemon=True).start()

    def __iter__(self) -> Iterator[Item]:
        try:
            while (item := self._items.get()) is not None:
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            self.stop()

    def stop(self) -> None:
        """End the thread, whatever is left to be read."""
        self._stopped.set()

    def _read(self, stream: Iterator[Item]) -> None:
        try:
            for item in stream:
                if not self._hand_over(item):
                    return
            self._hand_over(None)
        except Exception as error:
            self._hand_over(error)

    def _hand_over(self, item: Item | Exception | None) -> bool:
        """False where nobody waits for it any more."""
        while not self._stopped.is_set():
            try:
                self._items.put(item, timeout=1)
                return True
            except Full:
                continue
        return False
