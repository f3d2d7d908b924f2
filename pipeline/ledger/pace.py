"""How fast photos are done, measured over the time in which there were workers."""

from bisect import bisect_left, bisect_right
from datetime import datetime
from itertools import pairwise

# Seconds. A shorter gap between two shards is caused by the engine, readers or writers, and counts
# as work. In a longer one there were no workers: a pause, or the start of a command.
PAUSE = 60.0
Span = tuple[float, float]  # seconds since the epoch


def span_of(finished_at: datetime | None, seconds: float) -> Span | None:
    """When a shard was worked on, given when its last photo was done and how long all of them took;
    None if unknown."""
    if finished_at is None:
        return None
    end = finished_at.timestamp()
    return end - seconds, end


class Pace:
    """Photos per second of the time in which a shard was at work.

    The time before the first shard, and pauses between commands, do not count. Shards may be added
    in any order.
    """

    def __init__(self) -> None:
        self._photos = 0
        self._spans: list[Span] = []  # in order, with pauses between them

    def add(self, photos: int, span: Span | None) -> None:
        """Count a shard; one without a span is ignored."""
        if span is None:
            return
        self._photos += photos
        start, end = span
        first = bisect_left(self._spans, start - PAUSE, key=lambda each: each[1])
        last = bisect_right(self._spans, end + PAUSE, key=lambda each: each[0])
        near = self._spans[first:last]
        if near:
            start, end = min(start, near[0][0]), max(end, near[-1][1])
        self._spans[first:last] = [(start, end)]

    @property
    def seconds(self) -> float:
        return sum(end - start for start, end in self._spans)

    @property
    def photos_per_second(self) -> float | None:
        """None if nothing is done yet."""
        seconds = self.seconds
        return self._photos / seconds if self._photos and seconds > 0 else None

    @property
    def first(self) -> float | None:
        """When the first shard was begun."""
        return self._spans[0][0] if self._spans else None

    def pauses_since(self, moment: float) -> float:
        """Seconds of pauses between shards after a moment."""
        pairs = pairwise(self._spans)
        return sum(max(0.0, start - max(end, moment)) for (_, end), (start, _) in pairs)
