"""What training tells of itself. Without PyTorch, as it passes through a queue's own process."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """The progress of training; bits are means over the steps since the last row of the history."""

    step: int
    steps: int
    bits: dict[str, float]
    validation: dict[str, float]
    images_per_second: float
    seconds_left: float
