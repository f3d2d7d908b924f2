"""What a run tells while it goes on, and to whom."""

from typing import Literal, Protocol

Phase = Literal[
    "listing",
    "planning",
    "starting workers",
    "loading weights",
    "coloring",
    "writing the report",
]


class Listener(Protocol):
    """Whoever wants to hear of a run while it goes on."""

    def begin(self, phase: Phase, photos: int | None = None) -> None:
        """A phase begins or continues; called from any thread. photos: found so far."""

    def update(self, done: int, failed: int, photos: int, rate: float | None = None) -> None:
        """Called at the start and after each shard.

        done, photos: of the whole run. failed, rate: of this command alone; the rate is in photos
        per second, measured by ledger.pace.Pace.
        """

    def wait(self, why: str) -> None:
        """Something is wrong that may pass by itself. Called from another thread."""
