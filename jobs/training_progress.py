"""What `autochrome train` and `train-all` say while they train, and when they end."""

import time
from typing import TYPE_CHECKING, TextIO

import click

from jobs.progress import describe_duration

if TYPE_CHECKING:
    from pipeline.training.learning_curve import Row
    from pipeline.training.phases import Turn
    from pipeline.training.progress import Progress


class ProgressLine:
    """Shows the progress of training: a changing line on a terminal, a line every ten seconds
    elsewhere."""

    def __init__(self, stage: str, stream: TextIO, label: str = "") -> None:
        """label: what each line begins with."""
        self._stage, self._stream, self._bar = stage, stream, stream.isatty()
        self._label = label
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
        line = self._label + line
        if self._bar:
            self._stream.write(f"\r{line}\x1b[K" + "\n" * for_good)
        else:
            self._stream.write(line + "\n")
        self._stream.flush()


class PhaseLines:
    """Shows the progress of phases, each line with the phase that it is about."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: dict[int, ProgressLine] = {}

    def message(self, turn: "Turn", line: str) -> None:
        click.echo(f"{turn}: {line}")

    def progress(self, turn: "Turn", progress: "Progress") -> None:
        line = self._lines.get(turn.number)
        if line is None:
            line = self._lines[turn.number] = ProgressLine(turn.stage, self._stream, f"{turn}: ")
        line(progress)

    def end(self, turn: "Turn", row: "Row") -> None:
        self.message(turn, f"finished, weights of {describe_kept(turn.stage, row)}")


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
    return "\n".join(
        [
            f"weights  {place}/{stage}.safetensors  ({describe_kept(stage, row)})",
            f"curve    {place}/{stage}.png, and: tensorboard --logdir {place}/tensorboard",
        ]
    )


def describe_kept(stage: str, row: "Row") -> str:
    """`step 1,200, validation: core 2.104 bits per pixel`."""
    from pipeline.training.learning_curve import unit_of

    kind = "validation" if row["validation"] else "train"
    return f"step {row['step']:,}, {kind}: {_describe_bits(row[kind])} {unit_of(stage)}"


def _describe_bits(bits: dict[str, float]) -> str:
    return " ".join(f"{name} {value:.3f}" for name, value in sorted(bits.items()))
