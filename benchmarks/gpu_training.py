"""Slice d of benchmarks/gpu.py: continue the training of the default weights, in parts.

It runs the phases of `autochrome train-all`, from a file, each starting from the weights of the one
before. The spatial upsampler is left out, as small photographs cannot teach it sharpness.
"""

import dataclasses
import json
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from parts import load_parts, read_squares, save_parts
from torch import Tensor

from model.color import NUM_BINS
from model.scaling import scale_by_area
from model.training.losses import LossInputs, stage_losses
from model.training.phases import (
    DEFAULT_PHASES,
    MAY_CHANGE,
    read_phases,
    take_up,
    training_config,
)
from model.training.photographs import Photographs
from model.training.trainer import Trainer, TrainingConfig, seen_resolution
from model.weights import Stage, save_stage
from model.weights import stage_path as path_of

PART_BYTES = 15_000_000
LEFT_OUT = "spatial"


@dataclass(frozen=True)
class Phase:
    """sizes: what differs from the weights that it starts from."""

    name: str
    stage: str
    sizes: dict[str, object]
    training: TrainingConfig


def phases(file: Path, longer: float, batch: int | None, high: int | None) -> list[Phase]:
    """The phases of a file, `longer` times as many steps each.

    batch, high: batch size and high resolution of all phases, if they are not to be those of the
    file. Raises ValueError.
    """
    instead = {"batch_size": batch, "high_resolution": high}
    changes: dict[str, Any] = {name: value for name, value in instead.items() if value}
    found = []
    for told in read_phases(file):
        settings = {name.replace("-", "_"): value for name, value in told.settings.items()}
        config = training_config(settings, told.stage)
        steps = max(1, round(config.steps * longer))
        warmup = min(config.warmup, steps)
        config = dataclasses.replace(config, steps=steps, warmup=warmup, **changes)
        sizes: dict[str, object] = {name: settings[name] for name in MAY_CHANGE if name in settings}
        found.append(Phase(told.name, told.stage, sizes, config))
    return [phase for phase in found if phase.stage != LEFT_OUT]


class Run:
    """Training that goes from phase to phase, and from slice to slice."""

    def __init__(
        self, out: Path, init: Path, wanted: list[Phase], photographs: Path, device: str
    ) -> None:
        """Raises ValueError: a checkpoint of other settings, or one that is damaged."""
        self.out, self.init, self.phases, self.device = out, init, wanted, device
        self.settings = [dataclasses.asdict(each) for each in wanted]
        self.phase, self.best, self.history = 0, float("inf"), list[dict[str, object]]()
        trainings = [each.training for each in wanted]
        side = max(160, *(round(each.high_resolution / each.crop) for each in trainings))
        squares = read_squares(photographs, min(side, 320), most_held_out=384)
        self.photographs = Photographs(squares.train, squares.weights)
        self.held_out = squares.held_out
        state = load_parts(out)
        if state is not None and state["settings"] != self.settings:
            raise ValueError(f"{out} holds a checkpoint of other settings; take the same, or a new")
        if state is not None:
            self.phase, self.best, self.history = (
                state[each] for each in ("phase", "best", "history")
            )
        self.trainer = None if self.done else self.start()
        if state is not None and self.trainer is not None and state["trainer"] is not None:
            self.trainer.restore(state["trainer"])

    @property
    def done(self) -> bool:
        return self.phase == len(self.phases)

    def start(self) -> Trainer:
        """A phase from its first step: from the best weights so far, or those to start from."""
        phase = self.phases[self.phase]
        ours = path_of(self.out, phase.stage)
        path = ours if ours.exists() else path_of(self.init, phase.stage)
        return Trainer(take_up(path, phase.stage, phase.sizes).to(self.device), phase.training)

    def save(self) -> None:
        state = {
            "settings": self.settings,
            "phase": self.phase,
            "best": self.best,
            "history": self.history,
            "trainer": None if self.trainer is None else self.trainer.state(),
        }
        save_parts(state, self.out, PART_BYTES)
        (self.out / "history.json").write_text(json.dumps(self.history, indent=1))

    def go_on(self, until: float, validate_every: int) -> None:
        """Train until the clock of time.monotonic shows `until`, or all is done; then save."""
        while self.trainer is not None and time.monotonic() < until:
            trainer, config = self.trainer, self.trainer.config
            first, started = trainer.step, time.monotonic()
            with ThreadPoolExecutor(8) as pool:
                coming: deque[Future[tuple[Tensor, torch.Generator]]] = deque()
                for step in range(trainer.step, min(trainer.step + 16, config.steps)):
                    coming.append(pool.submit(self.batch, trainer, step))
                while trainer.step < config.steps and time.monotonic() < until:
                    losses = trainer.train_on(*coming.popleft().result())
                    if not all(value < 100 * NUM_BINS for value in losses.values()):  # nor nan
                        raise ValueError(f"training diverged at step {trainer.step}: {losses}")
                    if trainer.step + len(coming) < config.steps:
                        coming.append(pool.submit(self.batch, trainer, trainer.step + len(coming)))
                    if trainer.step % validate_every == 0 or trainer.step == config.steps:
                        rate = (trainer.step - first) * config.batch_size
                        self.validate(losses, rate / (time.monotonic() - started))
                for future in coming:
                    future.cancel()
            if trainer.step == config.steps:
                self.phase, self.best = self.phase + 1, float("inf")
                self.trainer = None if self.done else self.start()
        self.save()

    def batch(self, trainer: Trainer, step: int) -> tuple[Tensor, torch.Generator]:
        """What `Trainer.run` draws for a step, ahead of time."""
        config = trainer.config
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
        size, side = config.batch_size, seen_resolution(trainer.model.config, config)
        return self.photographs.crops(side, config.crop, size, generator), generator

    @torch.no_grad()
    def validate(self, losses: dict[str, float], images_per_second: float) -> None:
        """A row of the history; the average is kept where it is the best of its phase."""
        assert self.trainer is not None
        phase, config = self.phases[self.phase], self.trainer.config
        model = self.trainer.average.eval()
        held_out = scale_by_area(self.held_out, seen_resolution(self.trainer.model.config, config))
        sums: dict[str, float] = {}
        for batch in held_out.split(config.batch_size):
            inputs = LossInputs(config.autoregressive_weight > 0)
            for key, value in stage_losses(model, batch.to(self.device), inputs).items():
                sums[key] = sums.get(key, 0.0) + float(value) * len(batch) / len(held_out)
        total = float(self.trainer.total({key: torch.tensor(sums[key]) for key in sums}))
        kept = total < self.best
        if kept:
            self.best = total
            average = cast(Stage, self.trainer.weights())
            save_stage(average, path_of(self.out, phase.stage), torch.bfloat16)
        row = {
            "phase": phase.name,
            "step": self.trainer.step,
            "steps": config.steps,
            "train": losses,
            "held_out": sums,
            "images_per_second": images_per_second,
            "kept": kept,
        }
        self.history.append(row)
        print(json.dumps(row), flush=True)


@dataclass(frozen=True)
class Slice:
    """What a slice of training is asked for; `until`: a time of time.monotonic."""

    photographs: Path
    init: Path
    device: str
    until: float
    phases: Path = DEFAULT_PHASES
    longer: float = 1.0
    batch: int | None = None
    high: int | None = None
    validate_every: int = 250
    resume: Path | None = None


def train(out: Path, asked: Slice) -> bool:
    """One slice; whether all phases are done. Raises ValueError as `Run` does."""
    out.mkdir(parents=True, exist_ok=True)
    if asked.resume is not None and not (out / "checkpoint.json").exists():
        for file in (asked.resume / out.name).iterdir():  # it may be read-only, the copies not
            (out / file.name).write_bytes(file.read_bytes())
    wanted = phases(asked.phases, asked.longer, asked.batch, asked.high)
    run = Run(out, asked.init, wanted, asked.photographs, asked.device)
    run.go_on(asked.until, asked.validate_every)
    return run.done
