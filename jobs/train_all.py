"""autochrome train-all: all stages of the model, in phases, from color photographs."""

import sys
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jobs.options import complete_folder
from jobs.train import build_request, train
from jobs.training_options import (
    DATA,
    SIZES,
    Option,
    add_options,
    checkpoint_option,
    resource_options,
    resources_of,
)
from jobs.training_progress import PhaseLines
from pipeline.errors import UsageError, shown_in_line

if TYPE_CHECKING:
    from model.training.phases import Phase
    from pipeline.training.request import StageRequest

# What depends on the photographs, not on the phase; what is given applies to all phases.
SHARED: list[Option] = [
    *((name, kind, None, help) for name, kind, _, help in DATA if name != "side"),
    ("seed", int, None, "Of all that is random."),
]
_NO_SETTINGS = {"init", "checkpoint_minutes", "workers", "threads", "device", "max_failures"}


@click.command()
@click.argument("source", metavar="SRC", shell_complete=complete_folder)
@click.argument("out", metavar="OUT", shell_complete=complete_folder)
@click.option(
    "--phases",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The phases, in TOML.  [default: those of the default weights]",
)
@click.option(
    "--init",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="WEIGHTS",
    help="Start from the weights in this folder, with their sizes.",
)
@add_options(SHARED)
@checkpoint_option
@resource_options
def train_all(
    source: str, out: str, phases: Path | None, init: Path | None, **options: Any
) -> None:
    """Train all stages of the model, phase by phase.

    SRC and OUT are as for `autochrome train`. Each phase is trained in OUT/PHASE and starts from
    the weights of the previous phase of the same stage; those of each stage's last phase end up in
    OUT. A file tells the phases and their settings; options given here apply to all of them. After
    an interruption, run the same command again: it continues from the last checkpoint.

    \b
    Exit codes: 0 all phases are finished, 1 stopped, the same command goes on, 2 wrong usage or
    setting, 5 a phase was trained with other settings, 130 interrupted.

    \b
    Examples:
      autochrome train-all photographs weights
      autochrome train-all photographs tuned --phases tuning.toml --init weights
    """
    from model.training.phases import DEFAULT_PHASES
    from pipeline.training.phases import train_phases

    requests = build_requests(phases or DEFAULT_PHASES, options)
    lines = PhaseLines(sys.stderr)
    stages = train_phases(requests, source, out, init, resources_of(options), lines)
    click.echo(shown_in_line(f"weights  {out}  ({', '.join(stages)})"))


def build_requests(file: Path, options: Mapping[str, Any]) -> "dict[str, StageRequest]":
    """The phases of a file, by their names. options: of `train_all`. Raises UsageError."""
    from model.training.phases import read_phases

    names = [name.replace("-", "_") for name, *_ in SHARED] + ["checkpoint_minutes"]
    given = {name.replace("_", "-"): options[name] for name in names if options[name] is not None}
    try:
        phases = read_phases(file)
    except ValueError as error:
        raise UsageError(str(error)) from error
    requests = {}
    for phase in phases:
        try:
            request = build_request(phase.stage, _parse(phase, given))
            requests[phase.name] = replace(request, sizes={**_switched_off(phase), **request.sizes})
        except UsageError as error:
            raise UsageError(f"{file}: phase {phase.name!r}: {error}") from error
    return requests


def _switched_off(phase: "Phase") -> dict[str, object]:
    """Parts that a phase must not have, as `hints = false`; `autochrome train` has no such
    options."""
    from model.weights import NETWORKS

    config, _ = NETWORKS[phase.stage]
    known = {field.name for field in fields(config)}  # type: ignore[arg-type]
    flags = {name for name, kind, *_ in SIZES if kind is bool and name in known}
    return {name: False for name in flags if phase.settings.get(name) is False}


def _parse(phase: "Phase", given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of `autochrome train` for a phase, checked as on the command line."""
    known = {each.name: each for each in train.params if isinstance(each, click.Option)}
    words = [phase.stage, "SRC", "OUT"]
    for name, value in phase.settings.items():
        option = known.get(name.replace("-", "_"))
        if option is None or option.name in _NO_SETTINGS or "_" in name:
            raise UsageError(f"no setting {name!r}; they are options of `autochrome train`")
        if option.is_flag != isinstance(value, bool):
            kind = "true or false" if option.is_flag else "a value"
            raise UsageError(f"{name} must be {kind}, not {str(value).lower()}")
        if value is not False:
            words.append(f"--{name}" if option.is_flag else f"--{name}={value}")
    words += [f"--{name}={value}" for name, value in given.items()]
    try:
        return train.make_context("train", words).params
    except click.ClickException as error:
        raise UsageError(error.format_message()) from error
