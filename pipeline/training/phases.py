"""Phases of training, each from the weights of the previous phase of the same stage.

    OUT/<phase>/               what the training of a phase leaves, see `worker`
    OUT/<stage>.safetensors    the weights of each stage's last phase, once all phases are finished

A phase whose history has its last step is finished. There is no other state, so the same command
continues wherever it was stopped.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from model.training.phases import MAY_CHANGE, change_sizes, read_stage_config
from model.training.trainer import trunk_of
from model.weights import Stage, StageConfig, build_config, outline_stage, stage_path
from pipeline.errors import AutochromeError, UsageError
from pipeline.storage.open_storage import open_storage
from pipeline.training.learning_curve import Row, check_packages
from pipeline.training.progress import Progress
from pipeline.training.ray_train import (
    Resources,
    check_share,
    compare_photographs,
    train_on,
    training_ray,
    wanted_by,
)
from pipeline.training.request import (
    StageRequest,
    TrainingJob,
    check_settings,
    has_begun,
    prepare_start,
    prepare_training,
    pretrained_trunk,
)
from pipeline.training.stored import StoredSource
from pipeline.training.worker import is_finished
from pipeline.weights.store import fetch_weights

Phases = Mapping[str, StageRequest]  # by their names, in their order


@dataclass(frozen=True)
class Turn:
    """A phase among all of them. number: from 1."""

    number: int
    count: int
    name: str
    stage: str

    def __str__(self) -> str:
        return f"phase {self.number} of {self.count}, {self.name}"


class PhaseListener(Protocol):
    """Whoever wants to hear of phases while they are trained."""

    def message(self, turn: Turn, line: str) -> None:
        """A line for people."""

    def progress(self, turn: Turn, progress: Progress) -> None:
        """Called about once a second."""

    def end(self, turn: Turn, row: Row) -> None:
        """A phase is finished. row: of its history, whose weights are kept."""


def train_phases(
    phases: Phases,
    source: str,
    out: str,
    init: Path | None,
    resources: Resources,
    listener: PhaseListener,
) -> list[str]:
    """Train all phases that are not finished; returns the stages whose weights are in OUT.

    init: a folder of weights that the first phase of each stage starts from; their sizes count, and
    not those of the phases. Raises AutochromeError, whose message names the phase; after
    EngineError and Interrupted, the same command goes on.
    """
    check_packages()
    if init:
        phases = {name: _without_sizes(request) for name, request in phases.items()}
    outlines = check_phases(phases, init, resources)
    photographs = StoredSource(source)
    _check_places(phases, outlines, photographs, out)
    with ExitStack() as block:
        found: Resources | None = None
        finished: TrainingJob | None = None
        for turn, job in _jobs(phases, source, out, init):
            begun = has_begun(job)
            if is_finished(job.destination, job.stage, job.settings.training.steps):
                listener.message(turn, "finished before")
                finished = job
                continue
            with _named(turn.name):
                found = found or block.enter_context(training_ray(resources))
                if finished and not begun:  # else they are compared with those that it began with
                    compare_photographs(photographs, finished)
                finished = None
                say, show = partial(listener.message, turn), partial(listener.progress, turn)
                listener.end(turn, train_on(photographs, job, found, say, show))
    return _deliver(phases, out)


def _without_sizes(request: StageRequest) -> StageRequest:
    sizes = {name: request.sizes[name] for name in MAY_CHANGE if name in request.sizes}
    return replace(request, sizes=sizes)


def check_phases(phases: Phases, init: Path | None, resources: Resources) -> dict[str, Stage]:
    """Checks of all phases that need neither photographs nor weights of other phases.

    Returns what each phase trains, without values. Raises UsageError.
    """
    configs: dict[str, tuple[StageConfig, str]] = {}  # of stages so far, and whose they are
    outlines = {}
    for name, request in phases.items():
        stage = request.stage
        with _named(name):
            try:
                if init and stage not in configs:
                    path = stage_path(init, stage)
                    configs[stage] = read_stage_config(path, stage), str(path)
                outline = _outline(request, configs.get(stage))
            except (ValueError, TypeError) as error:
                raise UsageError(str(error)) from error
            check_settings(request, outline.config, fresh=stage not in configs)
            check_share(request.settings.training, resources)
        configs[stage] = outline.config, f"phase {name!r}"
        outlines[name] = outline
    return outlines


def _outline(request: StageRequest, before: tuple[StageConfig, str] | None) -> Stage:
    """What a phase trains, without values. before: the configuration of the weights that it starts
    from, and whose it is.

    Raises ValueError, UsageError.
    """
    if before is not None:
        config = change_sizes(request.stage, before[0], request.sizes, before[1])
        return outline_stage(config)
    outline = outline_stage(build_config(request.stage, dict(request.sizes)))
    if trunk := trunk_of(outline):
        pretrained_trunk(trunk.name)
    return outline


def _check_places(
    phases: Phases, outlines: Mapping[str, Stage], photographs: StoredSource, out: str
) -> None:
    """Checks of all phases against what is in OUT, and that there may be photographs for those that
    are not finished.

    Raises UsageError, StorageError, DestinationMismatch.
    """
    _refuse_other_weights(phases, out)
    missing: dict[str, str] = {}  # by stage, the first phase that has not begun
    for name, request in phases.items():
        with _named(name):
            start, place = (outlines[name], None), _place(out, name)
            job = prepare_training(request, start, photographs.source, place, unknown=("init",))
            if not has_begun(job):
                missing.setdefault(job.stage, name)
            elif job.stage in missing:
                raise UsageError(
                    f"{job.destination.uri} was trained, but not phase {missing[job.stage]!r}"
                    " before it; give it another name, or choose another OUT"
                )
            if not is_finished(job.destination, job.stage, job.settings.training.steps):
                photographs.refuse_nothing(wanted_by(job.data))


def _jobs(
    phases: Phases, source: str, out: str, init: Path | None
) -> Iterator[tuple[Turn, TrainingJob]]:
    """The training of each phase, prepared only once the previous one has its weights."""
    before: dict[str, Path] = {}
    for number, (name, request) in enumerate(phases.items(), 1):
        stage, place = request.stage, _place(out, name)
        with _named(name):
            first = before.get(stage, init)
            start = prepare_start(stage, request.sizes, first, request.settings.training.seed)
            job = prepare_training(request, start, source, place)
        yield Turn(number, len(phases), name, stage), job
        with _named(name):
            before[stage] = fetch_weights(place, stages=[stage])


def _place(out: str, phase: str) -> str:
    return f"{out.rstrip('/')}/{phase}"


@contextmanager
def _named(phase: str) -> Iterator[None]:
    """Our errors name the phase."""
    try:
        yield
    except AutochromeError as error:
        raise type(error)(f"phase {phase!r}: {error}") from error


def _weights(phases: Phases, out: str, stage: str) -> Iterator[bytes]:
    """The weights of a stage's phases, as far as there are any, the last one first."""
    for name, request in reversed(list(phases.items())):
        place, path = open_storage(_place(out, name)), f"{stage}.safetensors"
        if request.stage == stage and place.exists(path):
            yield place.read(path)


def _refuse_other_weights(phases: Phases, out: str) -> None:
    """Raise UsageError if weights from elsewhere would be overwritten in the end."""
    destination = open_storage(out)
    for stage in dict.fromkeys(request.stage for request in phases.values()):
        path = f"{stage}.safetensors"
        if destination.exists(path) and destination.read(path) not in _weights(phases, out, stage):
            raise UsageError(
                f"{destination.uri} holds {path}, which is of none of these phases; choose another"
                " OUT"
            )


def _deliver(phases: Phases, out: str) -> list[str]:
    """Copy the weights of each stage's last phase to OUT."""
    destination = open_storage(out)
    stages = list(dict.fromkeys(request.stage for request in phases.values()))
    for stage in stages:
        destination.write(f"{stage}.safetensors", next(_weights(phases, out, stage)))
    return stages
