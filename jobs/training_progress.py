"""What `autochrome train` says while it trains, and when it ends."""

import time
from typing import TYPE_CHECKING, TextIO

from jobs.progress import describe_duration

if TYPE_CHECKING:
    from pipeline.training.learning_curve import Row
    from pipeline.training.worker import Progress


class ProgressLine:
    """Shows the progress of training: a changing line on a terminal, a line every ten seconds
    elsewhere."""

    def __init__(self, stage: str, stream: TextIO) -> None:
        self._stage, self._stream, self._bar = stage, stream, stream.isatty()
        self._told, self._step = -10.0, 0

    def __call__(self, progress: "Progress") -> None:
        if progress.step < self._step:
            self._write("workers were lost; going on from an earlier checkpoint", True)
        self._step = progress.step
        over = progress.step == progress.steps
        if self._bar or over or time.monotonic() - self._told >= 10:
            self._told = time.monotonic()
            self._write(describe_progress(self._stage, progress), over)

    def _write(self, line: str, for_good: bool) -> None:
        if self._bar:
            self._stream.write(f"\r{line}\x1b[K" + "\n" * for_good)
        else:
            self._stream.write(line + "\n")
        self._stream.flush()


def describe_progress(stage: str, progress: "Progress") -> str:
    """`step 120 of 1,000, core 2.104 parallel 3.210 bits per pixel (held out 2.2 ...), ...`."""
    from pipeline.training.learning_curve import unit_of

    held_out = f" (held out {_describe_bits(progress.validation)})" if progress.validation else ""
    parts = [
        f"step {progress.step:,} of {progress.steps:,}",
        f"{_describe_bits(progress.bits)} {unit_of(stage)}{held_out}",
        f"{progress.images_per_second:.1f} images/s",
    ]
    if progress.step < progress.steps:
        parts.append(f"{describe_duration(progress.seconds_left)} left")
    return ", ".join(parts)


def describe_end(stage: str, row: "Row", place: str) -> str:
    from pipeline.training.learning_curve import unit_of

    kind = "validation" if row["validation"] else "train"
    return "\n".join(
        [
            f"weights  {place}/{stage}.safetensors  (step {row['step']:,}, {kind}:"
            f" {_describe_bits(row[kind])} {unit_of(stage)})",
            f"curve    {place}/{stage}.png, and: tensorboard --logdir {place}/tensorboard",
        ]
    )


def _describe_bits(bits: dict[str, float]) -> str:
    return " ".join(f"{name} {value:.3f}" for name, value in sorted(bits.items()))
