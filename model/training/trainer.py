"""The training loop of all stages, without Ray (paper, section 5.1).

Legend: B batch, H W rows and columns (the stage's resolution), N photographs, S their side.

Everything random in step `i` comes from generators seeded by (seed, i), so a run that is resumed
from a checkpoint makes exactly the steps that it would have made without the interruption.
"""

import copy
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from model.core import ColTranCore, CoreConfig
from model.pic.network import Pic
from model.pic.pixelcnn import PixelCnn
from model.training.degradation import degrade_some
from model.training.losses import LossInputs, stage_losses
from model.training.photographs import ALONE, Photographs, Share
from model.training.weight_norm import add_weight_norm, fold_weight_norm, start_from_data
from model.trunk import EfficientNetLite, PhotoContext
from model.upsamplers import CHANNELS, ChannelUpsampler
from model.weights import StageConfig

Optimizer = Literal["rmsprop", "adamw", "muon"]
Schedule = Literal["constant", "cosine", "linear"]
TRUNK = "encoder.photo.trunk."
_WEIGHTS = ("autoregressive_weight", "parallel_weight")
_SEEDS = 2**40  # those of steps are a million times as large, and have 64 bits


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of one phase of training; the paper's own settings have its defaults.

    steps: length of the phase, and of the learning rate's schedule. batch_size: pictures per step,
    of all workers together. learning_rate: reached after `warmup` steps. encoder_rate, trunk_rate:
    factors on it for the encoder of core or PIC, and for its trunk (0: frozen). high_resolution:
    side of the photographs that a trunk sees.

    autoregressive_weight, parallel_weight: the loss of core and PIC is the first times the
    autoregressive bits plus the second times the parallel head's; with autoregressive_weight 0 the
    decoders are neither run nor trained. average_decay: of the moving average of the weights.
    clip_norm: largest norm of the gradient. crop: smallest share of height and of width, drawn
    independently, that a random crop keeps. degrade: share of pictures that are made to look like
    scans of old prints. bfloat16: compute the forward pass in mixed precision. weight_norm,
    data_init: of PIC and PixelCNN++, see model/training/weight_norm.py.

    Raises:
        ValueError: a setting out of its range, or weight_norm together with muon.
    """

    steps: int
    batch_size: int
    learning_rate: float = 3e-4
    optimizer: Optimizer = "rmsprop"
    schedule: Schedule = "constant"
    warmup: int = 0
    encoder_rate: float = 1.0
    trunk_rate: float = 0.0
    high_resolution: int = 256
    autoregressive_weight: float = 0.99
    parallel_weight: float = 0.01
    average_decay: float = 0.999
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    crop: float = 0.7
    degrade: float = 0.0
    bfloat16: bool = False
    seed: int = 0
    weight_norm: bool = False
    data_init: bool = False

    def __post_init__(self) -> None:
        for name, choices in (("optimizer", get_args(Optimizer)), ("schedule", get_args(Schedule))):
            if getattr(self, name) not in choices:
                wanted = ", ".join(choices)
                raise ValueError(f"{name} must be one of {wanted}, not {getattr(self, name)!r}")
        for name in ("steps", "batch_size", "learning_rate", "clip_norm", "high_resolution"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)!r}")
        for name in ("warmup", "encoder_rate", "trunk_rate", "weight_decay", *_WEIGHTS):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be at least 0, not {getattr(self, name)!r}")
        for name in ("learning_rate", "encoder_rate", "trunk_rate", "weight_decay", *_WEIGHTS):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} must be finite, not {getattr(self, name)!r}")
        if not 0 <= self.average_decay < 1:
            raise ValueError(
                f"average_decay must be at least 0 and below 1, not {self.average_decay!r}"
            )
        if not abs(self.seed) < _SEEDS:
            raise ValueError(f"seed must be between -{_SEEDS} and {_SEEDS}, not {self.seed!r}")
        if self.weight_norm and self.optimizer == "muon":
            raise ValueError("weight_norm leaves muon no matrices; take adamw or rmsprop")
        if not 0 < self.crop <= 1:
            raise ValueError(f"crop must be above 0 and at most 1, not {self.crop!r}")
        if not 0 <= self.degrade <= 1:
            raise ValueError(f"degrade must be between 0 and 1, not {self.degrade!r}")

    def rate_at(self, step: int) -> float:
        """Factor on the learning rate in a step, 0..1."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        done = min(1.0, (step - self.warmup) / max(1, self.steps - self.warmup))
        if self.schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * done))
        return 1.0 - done if self.schedule == "linear" else 1.0


class Trainer:
    """One stage in training: the model, its optimizers and its moving average.

    low_resolution: side of the picture that the spatial upsampler enlarges; other stages ignore it.
    share: this worker's part of each batch.
    """

    def __init__(
        self,
        model: ColTranCore | ChannelUpsampler | Pic | PixelCnn,
        config: TrainingConfig,
        low_resolution: int = 64,
        share: Share = ALONE,
    ) -> None:
        self.model, self.config, self.low_resolution = model, config, low_resolution
        self.share = share
        if trunk := trunk_of(model):
            trunk.requires_grad_(config.trunk_rate > 0)
        if config.weight_norm:
            add_weight_norm(model)
        self.average = copy.deepcopy(model).requires_grad_(False)
        self.optimizers = list(build_optimizers(model, config))
        self.step = 0

    def run(self, photographs: Photographs) -> Iterator[dict[str, float]]:
        """Train from the current step to the last; yields the losses of each step, in bits."""
        if self.config.data_init and self.step == 0:
            self.start_from(photographs)
        while self.step < self.config.steps:
            seed = self.config.seed * 1_000_003 + self.step
            generator = torch.Generator().manual_seed(seed)
            resolution = seen_resolution(self.model.config, self.config)
            size, least = self.config.batch_size, self.config.crop
            batch = photographs.crops(resolution, least, size, generator, self.share)
            yield self.train_on(batch, generator)

    def start_from(self, photographs: Photographs) -> None:
        """Initialize all layers from their outputs for one batch, the same for all workers."""
        config, generator = self.config, torch.Generator().manual_seed(self.config.seed)
        resolution = seen_resolution(self.model.config, config)
        rgb = photographs.crops(resolution, config.crop, config.batch_size, generator)
        rgb = rgb.to(next(self.model.parameters()).device)
        self.model.eval()  # without dropout
        start_from_data(self.model, lambda: stage_losses(self.model, rgb))
        self.average.load_state_dict(self.model.state_dict())

    def weights(self) -> nn.Module:
        """The moving average in the form of a weights file: a copy, on the CPU."""
        return fold_weight_norm(self.average).cpu()

    def train_on(self, rgb_BHW3: Tensor, generator: torch.Generator) -> dict[str, float]:
        """Make one step on one batch, uint8 (B, H, W, 3), at the side of `seen_resolution`.

        With several workers, B is this worker's share of the configured batch size. Returns the
        losses of the whole batch by name, in bits.
        """
        self.model.train()
        count = len(rgb_BHW3) if self.share.workers == 1 else self.config.batch_size
        part = len(rgb_BHW3) / count
        losses = self._losses(rgb_BHW3, count, generator)
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        (self.total(losses) * part).backward()
        values = torch.stack(list(losses.values())).detach() * part
        gradients = [each.grad for each in self.model.parameters() if each.grad is not None]
        self.share.add_up([*gradients, values])
        self._move_weights()
        return dict(zip(losses, values.tolist(), strict=True))

    def _losses(
        self, rgb_BHW3: Tensor, count: int, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """This worker's losses for a batch of `count` pictures, of which it holds its share.

        The order of the draws is part of a run: another one gives other weights.
        """
        own, device = self.share.of(count), next(self.model.parameters()).device
        channel = torch.randint(CHANNELS, (count,), generator=generator)[own]
        seed = int(torch.randint(2**62, (1,), generator=generator))
        if self.config.degrade:
            seeds = torch.randint(2**62, (count,), generator=generator)
            rgb_BHW3 = degrade_some(rgb_BHW3, self.config.degrade, seeds[own])
        known_seeds = torch.randint(2**62, (count,), generator=generator)[own]
        autoregressive = self.config.autoregressive_weight > 0
        inputs = LossInputs(autoregressive, known_seeds, channel, self.low_resolution)
        torch.manual_seed(seed + self.share.rank)  # for dropout
        with torch.autocast(device.type, torch.bfloat16, enabled=self.config.bfloat16):
            return stage_losses(self.model, rgb_BHW3.to(device), inputs)

    def _move_weights(self) -> None:
        """Clip the gradients, and move the weights and their average by one step."""
        nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        rate = self.config.rate_at(self.step)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["full_rate"] * rate
            optimizer.step()
        self.update_average()
        self.step += 1

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        """The weighted sum of the losses, a scalar."""
        config = self.config
        autoregressive, parallel = config.autoregressive_weight, config.parallel_weight
        weights = {"core": autoregressive, "pic": autoregressive, "parallel": parallel}
        parts = [weights.get(name, 1.0) * loss for name, loss in losses.items()]
        return torch.stack(parts).sum()

    @torch.no_grad()
    def update_average(self) -> None:
        """Move the average of the weights toward their current values."""
        # A smaller decay in early steps, else the average would keep the first weights for long.
        decay = min(self.config.average_decay, (1 + self.step) / (10 + self.step))
        averages: list[Tensor] = list(self.average.parameters())
        values: list[Tensor] = list(self.model.parameters())
        get_ema_multi_avg_fn(decay)(averages, values, self.step)

    def state(self) -> dict[str, Any]:
        """All that is needed to continue exactly, for `torch.save`."""
        return {
            "step": self.step,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned."""
        self.step = state["step"]
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)


def trunk_of(model: nn.Module) -> EfficientNetLite | None:
    """The trunk of a core or of PIC, where it has one."""
    if isinstance(model, ColTranCore | Pic) and model.config.trunk != "none":
        photo = model.encoder.photo
        assert isinstance(photo, PhotoContext)
        return photo.trunk
    return None


def seen_resolution(stage: StageConfig, config: TrainingConfig) -> int:
    """Side, in pixels, of the photographs that a stage is trained on."""
    if isinstance(stage, CoreConfig) and stage.trunk != "none":
        return config.high_resolution
    return stage.resolution


def build_optimizers(model: nn.Module, config: TrainingConfig) -> Iterable[torch.optim.Optimizer]:
    """The optimizers of a phase; each parameter group has its full learning rate as `full_rate`.

    "muon" trains the matrices within layers by Muon, and all other parameters by AdamW.
    """
    muon: list[dict[str, Any]] = []
    other: list[dict[str, Any]] = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        rate = config.encoder_rate if name.startswith("encoder.") else 1.0
        rate = config.trunk_rate if name.startswith(TRUNK) else rate
        inside = ".layers." in f".{name}" and parameter.dim() == 2 and name.endswith("weight")
        use_muon = config.optimizer == "muon" and inside
        full = config.learning_rate * rate
        (muon if use_muon else other).append({"params": [parameter], "lr": full, "full_rate": full})
    if muon:
        yield torch.optim.Muon(
            muon, weight_decay=config.weight_decay, adjust_lr_fn="match_rms_adamw"
        )
    if config.optimizer == "rmsprop":
        yield torch.optim.RMSprop(other, alpha=0.9, eps=1e-7, foreach=True)
    else:
        yield torch.optim.AdamW(
            other, betas=(0.9, 0.99), weight_decay=config.weight_decay, foreach=True
        )
