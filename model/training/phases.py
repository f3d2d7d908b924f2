"""Phases of training, from a TOML file, and the weights that they start from.

    optimizer = "muon"        # settings of all phases

    [[phase]]
    name = "encoder"          # also of the folder that it is trained in
    stage = "core"
    steps = 1600              # its own settings, which take precedence

Settings have the names of the options of `autochrome train`. The first phase of a stage starts from
fresh or given weights, and each later one from those of the previous phase of the same stage.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from model.training.growth import grow
from model.training.trainer import TrainingConfig
from model.weights import (
    TRAINABLE,
    Stage,
    StageConfig,
    build_config,
    build_stage,
    load_stage,
    read_config,
)

DEFAULT_PHASES = Path(__file__).parent / "default_phases.toml"  # of the default weights
MAY_CHANGE = ("resolution", "dropout", "trunk_dropout")  # in further training of existing weights
Setting = str | int | float | bool
_NAME = re.compile("[a-z0-9]+(-[a-z0-9]+)*")
_LONGEST = 64  # every file system takes it
_LARGE = 2**63  # whole numbers of TOML have 64 bits, which Python's parser does not check


@dataclass(frozen=True)
class Phase:
    """settings: names of options of `autochrome train`, without the leading hyphens."""

    name: str
    stage: str
    settings: Mapping[str, Setting]


def read_phases(path: Path) -> list[Phase]:
    """The phases of a file, each with the settings that all of them share.

    Raises:
        ValueError: not TOML, or not a file of phases; the message is one line. The names and values
            of settings are not checked.
    """
    try:
        shared = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: {error}") from error
    tables = shared.pop("phase", None)
    if not isinstance(tables, list) or not tables:
        raise ValueError(f"{path} has no [[phase]]")
    phases: dict[str, Phase] = {}
    for number, table in enumerate(tables, 1):
        if not isinstance(table, dict):
            raise ValueError(f"{path}: phase {number} is not a table")
        phase = _read_phase(f"{path}: phase {number}", {**shared, **table})
        if phase.name in phases:
            raise ValueError(f"{path} has two phases with the name {phase.name!r}")
        phases[phase.name] = phase
    return list(phases.values())


def _read_phase(place: str, told: dict[str, Any]) -> Phase:
    name, stage = told.pop("name", None), told.pop("stage", None)
    if not isinstance(name, str) or not _NAME.fullmatch(name) or len(name) > _LONGEST:
        raise ValueError(
            f"{place}: its name must be of a-z, 0-9 and single hyphens, at most {_LONGEST} of them"
        )
    if stage not in TRAINABLE:
        raise ValueError(f"{place}, {name!r}: stage must be one of {', '.join(TRAINABLE)}")
    for setting, value in told.items():
        large = isinstance(value, int) and abs(value) >= _LARGE
        if not isinstance(value, Setting) or value == "" or large:
            raise ValueError(
                f"{place}, {name!r}: {setting} must be a text, true, false or a number below 2^63"
            )
    return Phase(name, stage, told)


def training_config(settings: Mapping[str, object], stage: str) -> TrainingConfig:
    """The settings of `autochrome train` that are fields of TrainingConfig, and encoder_only.

    Raises:
        ValueError: a setting that is missing, of another type, out of its range or for other
            stages.
    """
    names = [field.name for field in fields(TrainingConfig)]
    chosen = {name: settings[name] for name in names if name in settings}
    if settings.get("encoder_only"):
        if stage not in ("core", "pic"):
            raise ValueError(f"--encoder-only is for core and pic; {stage} has no decoder")
        chosen |= {"autoregressive_weight": 0.0, "parallel_weight": 1.0}
    for name in ("weight_norm", "data_init"):
        if settings.get(name) and stage not in ("pic", "pixelcnn"):
            raise ValueError(f"--{name.replace('_', '-')} is for pic and pixelcnn, not for {stage}")
    try:
        return TrainingConfig(**chosen)  # type: ignore[arg-type]
    except TypeError as error:
        raise ValueError(str(error)) from error


def change_sizes(
    stage: str, config: StageConfig, sizes: Mapping[str, object], origin: str
) -> StageConfig:
    """The configuration of weights that are trained further. origin: their name in messages.

    Raises:
        ValueError: another size that weights cannot change, or one that cannot be built.
    """
    old = asdict(config)
    for name, value in sizes.items():
        if name in old and name not in MAY_CHANGE and value != old[name]:
            raise ValueError(f"{origin} has {name} {old[name]}, so it cannot become {value}")
    return build_config(stage, old | dict(sizes))


def read_stage_config(path: Path, stage: str) -> StageConfig:
    """The configuration of a file of weights. Raises ValueError if they are of another stage."""
    found, config = read_config(path)
    if found != stage:
        raise ValueError(f"{path} holds the stage {found!r}, not {stage!r}")
    return config


def take_up(path: Path, stage: str, sizes: Mapping[str, object]) -> Stage:
    """The weights of a file, to be trained further; of `sizes`, MAY_CHANGE alone may differ.

    Raises:
        ValueError: weights of another stage, or as `change_sizes`.
    """
    config = read_stage_config(path, stage)
    wanted = change_sizes(stage, config, sizes, str(path))
    model = build_stage(replace(wanted, resolution=config.resolution))
    model.load_state_dict(load_stage(path).state_dict())
    if wanted.resolution == config.resolution:
        return model
    return grow(model, wanted.resolution)  # type: ignore[type-var]
