"""Photos per second of the time that workers had, however shards lie in it."""

from datetime import UTC, datetime
from random import Random

import pytest

from pipeline.ledger.pace import PAUSE, Pace, span_of


def pace_of(*shards: tuple[int, float, float]) -> Pace:
    """photos, start and end of each shard."""
    pace = Pace()
    for photos, start, end in shards:
        pace.add(photos, (start, end))
    return pace


def test_a_span_ends_with_the_last_photo() -> None:
    assert span_of(datetime.fromtimestamp(100, UTC), 30.0) == (70.0, 100.0)
    assert span_of(None, 30.0) is None


@pytest.mark.parametrize(
    ("shards", "seconds", "rate"),
    [
        ([], 0.0, None),
        ([(4, 1000, 1008)], 8.0, 0.5),  # whatever came before the first is no work
        ([(4, 1000, 1010), (4, 1002, 1010)], 10.0, 0.8),  # two workers side by side
        ([(4, 1000, 1010), (4, 1030, 1040)], 40.0, 0.2),  # a short gap is the engine's
        ([(4, 0, 10), (4, 86_400, 86_410)], 20.0, 0.4),  # a night between two commands
        ([(4, 0, 10), (4, 86_400, 86_410), (1, 50, 86_395)], 86_410.0, 9 / 86_410),
        ([(4, 1000, 1000)], 0.0, None),
    ],
)
def test_rates(shards: list[tuple[int, float, float]], seconds: float, rate: float | None) -> None:
    pace = pace_of(*shards)
    assert (pace.seconds, pace.photos_per_second) == (seconds, rate)


def test_the_order_of_shards_does_not_matter() -> None:
    random = Random(0)
    for _ in range(50):
        starts = [random.uniform(0, 3000) for _ in range(30)]
        shards = [(1, start, start + random.uniform(0, 40)) for start in starts]
        marks = sorted(shards, key=lambda shard: shard[1])
        seconds, (_, since, until) = 0.0, marks[0]
        for _, start, end in marks[1:]:  # the obvious way
            if start > until + PAUSE:
                seconds, since = seconds + until - since, start
            until = max(until, end)
        seconds += until - since
        assert pace_of(*shards).seconds == pytest.approx(seconds)
        assert pace_of(*reversed(marks)).seconds == pytest.approx(seconds)


def test_a_shard_of_unknown_time_does_not_count() -> None:
    pace = pace_of((4, 0, 8))
    pace.add(1000, None)
    assert pace.photos_per_second == 0.5


def test_pauses_after_a_moment() -> None:
    pace = pace_of((1, 0, 10), (1, 1000, 1010), (1, 2000, 2010))
    assert [pace.pauses_since(moment) for moment in (0, 900, 1500, 2005)] == [1980, 1090, 500, 0]
    assert (pace.first, Pace().first) == (0, None)
