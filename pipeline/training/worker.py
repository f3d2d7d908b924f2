"""One worker's part in training a stage: steps, validations, checkpoints. Runs without Ray.

It writes to the destination, always atomically:

    <stage>.safetensors    the moving average at the best validation: what is used afterwards
    <stage>.checkpoint     all that an exact continuation needs
    <stage>.history.json   one row a validation, drawn in <stage>.png
    tensorboard/<stage>/   the same rows

Everything random depends only on the seed and the step, and so do validations: a run that continues
from a checkpoint ends with exactly the weights of an undisturbed one.
"""

import copy
import io
import json
import math
import pickle
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from model.color import NUM_BINS
from model.core import ColTranCore
from model.training.losses import LossInputs, stage_losses
from model.training.photographs import Photographs, Share, fit_histogram
from model.training.trainer import Trainer, TrainingConfig
from model.weights import Stage, save_stage
from pipeline.errors import ObjectMissing, StorageError, UsageError, first_line
from pipeline.storage.base import Storage
from pipeline.training.learning_curve import Row, draw_curve, event_file
from pipeline.training.progress import Progress

TELL_SECONDS = 1.0
MOST_BITS = 100 * math.log2(NUM_BINS)  # above this, or if it is NaN, training has failed


@dataclass(frozen=True)
class StageSettings:
    """How a stage is trained.

    low_resolution: of the spatial upsampler's input. validate_every: steps from one validation to
    the next; there is always one after the last step. half: write weights as bfloat16.
    checkpoint_seconds: has no influence on the weights.
    """

    training: TrainingConfig
    low_resolution: int = 64
    validate_every: int = 500
    half: bool = False
    checkpoint_seconds: float = 300.0


class StageTraining:
    """One stage in training by one of several workers; the first worker does all writing."""

    def __init__(
        self,
        model: Stage,
        settings: StageSettings,
        photographs: Photographs,
        held_out: Tensor | None,
        destination: Storage,
        share: Share | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        """held_out: uint8 (N, R, R, 3) at the model's resolution, or None for no validation."""
        share = share or Share()
        model = copy.deepcopy(model).to(device)
        self.trainer = Trainer(model, settings.training, settings.low_resolution, share)
        self.stage = str(model.describe()["stage"])
        self.settings, self.photographs, self.held_out = settings, photographs, held_out
        self.destination, self.share, self.device = destination, share, torch.device(device)
        self.history: list[Row] = []
        self.best: float | None = None
        self._sums: dict[str, float] = {}
        self._steps_in_sums = 0
        self._drawn = 0

    def run(self, on_progress: Callable[[Progress], None]) -> None:
        """Train from the last checkpoint, if there is one, to the last step.

        on_progress is called by the first worker, about once a second. Raises UsageError (training
        diverged, or a checkpoint does not fit) and StorageError.
        """
        self._resume()
        self._fit_histogram()
        steps, size = self.settings.training.steps, self.settings.training.batch_size
        first, started = self.trainer.step, time.monotonic()
        saved = told = started
        for losses in self.trainer.run(self.photographs):
            self._add(losses)
            step, now = self.trainer.step, time.monotonic()
            if step % self.settings.validate_every == 0 or step == steps:
                self._finish_row(step * size)
            if self.share.rank:
                continue
            if step == steps or now - saved >= self.settings.checkpoint_seconds:
                self._save()
                saved = time.monotonic()
            if step == steps or now - told >= TELL_SECONDS:
                told = time.monotonic()
                on_progress(self._progress((step - first) / (told - started)))

    def _progress(self, rate: float) -> Progress:
        """rate: steps per second."""
        step, steps = self.trainer.step, self.settings.training.steps
        images = rate * self.settings.training.batch_size
        left = (steps - step) / rate
        return Progress(step, steps, self._bits(), self._validated(), images, left)

    def _fit_histogram(self) -> None:
        """Fit the histogram before the first step of a core without one; all workers use the
        same."""
        model, average = self.trainer.model, self.trainer.average
        if not (isinstance(model, ColTranCore) and isinstance(average, ColTranCore)):
            return
        if model.config.histogram and not bool(model.log_histogram.any()):
            fit_histogram(model, self.photographs)
            average.log_histogram.copy_(model.log_histogram)

    def _add(self, losses: dict[str, float]) -> None:
        # All workers see the same sums, so all of them stop here.
        if not all(abs(bits) < MOST_BITS for bits in losses.values()):
            named = ", ".join(f"{name} {bits:.3g} bits" for name, bits in losses.items())
            raise UsageError(
                f"training diverged at step {self.trainer.step:,} ({named}); a lower"
                " --learning-rate, a longer --warmup or a lower --clip-norm helps, with a new OUT"
            )
        self._sums = {name: self._sums.get(name, 0.0) + bits for name, bits in losses.items()}
        self._steps_in_sums += 1

    def _bits(self) -> dict[str, float]:
        if not self._steps_in_sums:
            return dict(self.history[-1]["train"])
        return {name: total / self._steps_in_sums for name, total in self._sums.items()}

    def _validated(self) -> dict[str, float]:
        return dict(self.history[-1]["validation"]) if self.history else {}

    def _finish_row(self, images: int) -> None:
        """Validate, keep the average if it is the best so far, and record both."""
        validation = {} if self.held_out is None else self.validate(self.held_out)
        row: Row = {
            "step": self.trainer.step,
            "images": images,
            "time": time.time(),
            "train": self._bits(),
            "validation": validation,
        }
        loss = self._objective(validation) if validation else -math.inf
        better = not validation or self.best is None or loss < self.best
        if better:
            self.best = loss
        row["kept"] = better
        self.history.append(row)
        self._sums, self._steps_in_sums = {}, 0
        if self.share.rank:
            return
        if better:
            self._write_weights()
        name, events = event_file(row)
        self.destination.write(f"tensorboard/{self.stage}/{name}", events)

    def _objective(self, bits: dict[str, float]) -> float:
        tensors = {name: torch.tensor(value) for name, value in bits.items()}
        return float(self.trainer.total(tensors))

    @torch.no_grad()
    def validate(self, held_out: Tensor) -> dict[str, float]:
        """Bits of the moving average on whole frames, uint8 (N, R, R, 3), shared among workers."""
        model = self.trainer.average.eval()
        own = held_out[self.share.of(len(held_out))]
        names = self._loss_names()
        inputs = LossInputs(len(names) > 1, low_resolution=self.settings.low_resolution)
        sums = torch.zeros(len(names), dtype=torch.float64, device=self.device)
        # A worker may have none, and the mean of no picture is not a number.
        for batch in own.split(self.settings.training.batch_size) if len(own) else ():
            losses = stage_losses(model, batch.to(self.device), inputs)
            sums += torch.stack([losses[name].double() for name in names]) * len(batch)
        self.share.add_up([sums])
        return dict(zip(names, (sums / len(held_out)).tolist(), strict=True))

    def _loss_names(self) -> list[str]:
        if self.stage not in ("core", "pic"):
            return [self.stage]
        autoregressive = self.settings.training.autoregressive_weight > 0
        return ["parallel", self.stage] if autoregressive else ["parallel"]

    def _write_weights(self) -> None:
        dtype = torch.bfloat16 if self.settings.half else torch.float32
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "weights")
            save_stage(cast(Stage, self.trainer.weights()), path, dtype)
            self.destination.write(f"{self.stage}.safetensors", path.read_bytes())

    def _write_curve(self) -> None:
        if self._drawn == len(self.history):
            return
        self._drawn = len(self.history)
        text = json.dumps(self.history, indent=1)
        self.destination.write(f"{self.stage}.history.json", text.encode())
        self.destination.write(f"{self.stage}.png", draw_curve(self.stage, self.history))

    def _save(self) -> None:
        file = io.BytesIO()
        state = {
            "trainer": self.trainer.state(),
            "history": self.history,
            "best": self.best,
            "sums": self._sums,
            "steps_in_sums": self._steps_in_sums,
        }
        torch.save(state, file)
        self._write_curve()  # first, so that a run whose checkpoint is its last step has its curve
        self.destination.write(checkpoint_path(self.stage), file.getvalue())

    def _resume(self) -> None:
        try:
            data = self.destination.read(checkpoint_path(self.stage))
        except ObjectMissing:
            return
        try:
            state = torch.load(io.BytesIO(data), map_location=self.device, weights_only=True)
            self.trainer.restore(state["trainer"])
        except (RuntimeError, KeyError, ValueError, EOFError, pickle.UnpicklingError) as error:
            uri = self.destination.uri_of(checkpoint_path(self.stage))
            cause = first_line(error)
            raise UsageError(f"{uri} cannot be continued: {cause}") from error
        self.history, self.best = state["history"], state["best"]
        self._sums, self._steps_in_sums = state["sums"], state["steps_in_sums"]


def read_history(destination: Storage, stage: str) -> list[Row]:
    """The rows of all validations so far; row["kept"] tells whether its weights were the best."""
    rows: list[Row] = json.loads(destination.read(f"{stage}.history.json"))
    return rows


def is_finished(destination: Storage, stage: str, steps: int) -> bool:
    """Whether a training has made all steps, so that its weights are final. Raises StorageError."""
    try:
        return bool(read_history(destination, stage)[-1]["step"] == steps)
    except ObjectMissing:
        return False
    except (ValueError, LookupError, TypeError) as error:
        uri = destination.uri_of(f"{stage}.history.json")
        raise StorageError(f"{uri} is damaged: {first_line(error)}") from error


def checkpoint_path(stage: str) -> str:
    return f"{stage}.checkpoint"
