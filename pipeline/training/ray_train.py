"""Training a stage on Ray Train: photographs are held once per node, and every worker runs the same
loop.

The checkpoint in the destination is the only state. If a worker dies, Ray ends the group and starts
it again from that checkpoint, as the same command does after a kill.
"""

import os
import queue
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from model.training.photographs import Photographs, Share
from model.training.trainer import TrainingConfig, seen_resolution
from pipeline.cluster.session import quiet_ray
from pipeline.errors import AutochromeError, EngineError, Interrupted, UsageError
from pipeline.storage.anchored import AnchoredStorage
from pipeline.training.learning_curve import Row, check_packages
from pipeline.training.photographs import (
    EmptySet,
    PhotographSet,
    Split,
    Wanted,
    describe_skipped,
)
from pipeline.training.progress import Progress
from pipeline.training.request import (
    Data,
    TrainingJob,
    balanced_weights,
    freeze_training,
    settings_path,
)
from pipeline.training.stored import StoredPixels, StoredSource
from pipeline.training.worker import StageTraining, read_history

if TYPE_CHECKING:
    from ray.train.torch import TorchTrainer

AGAIN = "the same command again goes on from the last checkpoint"


@dataclass(frozen=True)
class Resources:
    """What training runs on. workers: (least, most), elastic if they differ.

    threads: per worker. device: auto, cpu or cuda. max_failures: how often workers are restarted
    after a death; -1: always.
    """

    workers: tuple[int, int] = (1, 1)
    threads: int = 1
    device: str = "auto"
    max_failures: int = 3


def train(
    job: TrainingJob,
    resources: Resources,
    on_message: Callable[[str], None],
    on_progress: Callable[[Progress], None],
) -> Row:
    """Train a stage to its last step; returns the history row whose weights were kept.

    on_message: a line for people before the first step. on_progress: about once a second.
    Raises AutochromeError; after EngineError and Interrupted, the same command goes on.
    """
    check_packages()
    check_share(job.settings.training, resources)
    source = StoredSource(job.source)
    source.refuse_nothing(wanted_by(job.data))  # before Ray starts, which takes seconds
    with training_ray(resources) as found:
        return train_on(source, job, found, on_message, on_progress)


def check_share(training: TrainingConfig, resources: Resources) -> None:
    """Raise UsageError if a batch has fewer pictures than there may be workers."""
    size, most = training.batch_size, resources.workers[1]
    if size < most:
        raise UsageError(f"--batch-size {size} cannot be shared among {most} workers")


@contextmanager
def training_ray(resources: Resources) -> Iterator[Resources]:
    """A Ray to train on; yields the resources, with cpu or cuda for auto."""
    with _translate_errors(), quiet_ray() as own:
        yield replace(resources, device="cuda" if _check_cluster(resources, own) else "cpu")


def train_on(
    source: StoredSource,
    job: TrainingJob,
    resources: Resources,
    on_message: Callable[[str], None],
    on_progress: Callable[[Progress], None],
) -> Row:
    """As `train`, on a Ray that runs. source: that of the job, which other jobs may share."""
    with _translate_errors():
        photographs, held_out = _read(source, job)
        data = job.data
        weights = balanced_weights(photographs.groups, data.balance_power, data.emphasis)
        freeze_training(job, photographs, held_out)  # after all that refuses settings
        on_message(_describe_sets(photographs, held_out))
        _fit(job, resources, photographs.rgb, weights, held_out, on_progress)
    return [row for row in read_history(job.destination, job.stage) if row["kept"]][-1]


def compare_photographs(source: StoredSource, job: TrainingJob) -> None:
    """Raise DestinationMismatch if a training has seen other photographs than there are now."""
    with _translate_errors():
        freeze_training(job, *_read(source, job))


def _check_cluster(resources: Resources, own: bool) -> bool:
    """Whether to train on GPUs. Raises UsageError if this machine can never have enough workers."""
    import ray

    there = ray.cluster_resources()
    cpus, gpus = int(there.get("CPU", 0)), int(there.get("GPU", 0))
    if resources.device == "cuda" and own and not gpus:
        raise UsageError("--device cuda: Ray finds no GPU here")
    on_gpu = resources.device == "cuda" or (resources.device == "auto" and gpus > 0)
    least, have = resources.workers[0], gpus if on_gpu else cpus
    if own and not os.environ.get("RAY_ADDRESS") and least > have:  # a cluster may grow
        raise UsageError(f"--workers {least}: there are only {have} {'GPUs' if on_gpu else 'CPUs'}")
    return on_gpu


def _read(
    source: StoredSource, job: TrainingJob
) -> tuple[PhotographSet[StoredPixels], PhotographSet[StoredPixels] | None]:
    """Photographs to train on, and held-out whole frames at the model's resolution."""
    import ray.data

    ray.data.DataContext.get_current().enable_progress_bars = False
    wanted, most = wanted_by(job.data), job.data.validation_photos
    train = source.read(wanted)
    if not most:
        return train, None
    side = seen_resolution(job.start.config, job.settings.training)
    try:
        return train, source.read(replace(wanted, side=side, split="validation", limit=most))
    except EmptySet as error:
        raise EmptySet(
            f"{error}; --held-out S holds out more, --validation-photos 0 none"
        ) from error


def wanted_by(data: Data) -> Wanted:
    """The photographs to train on."""
    split: Split = "train" if data.validation_photos or data.split_column else "all"
    return Wanted(
        data.side,
        split,
        data.limit,
        held_out=data.held_out,
        split_column=data.split_column,
        group_column=data.balance,
    )


def _describe_sets(train: PhotographSet, held_out: PhotographSet | None) -> str:
    skipped = train.skipped + (held_out.skipped if held_out else Counter())
    parts = [
        f"{len(train):,} photographs to train on",
        f"{len(held_out) if held_out else 0:,} held out for validation",
        describe_skipped(skipped),
    ]
    return ", ".join(part for part in parts if part)


def _fit(
    job: TrainingJob,
    resources: Resources,
    photographs: StoredPixels,
    weights: torch.Tensor,
    held_out: PhotographSet[StoredPixels] | None,
    on_progress: Callable[[Progress], None],
) -> None:
    """Train with Ray's workers until the last step, or an error of theirs."""
    import ray
    from ray.util.queue import Queue
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # On this process's node, so that the loss of another node does not take it away.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    news = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})
    work = {
        "job": replace(job, destination=AnchoredStorage(job.destination, settings_path(job))),
        "threads": resources.threads,
        "news": news,
        "photographs": photographs,
        "weights": weights,
        "held_out": None if held_out is None else held_out.rgb,
    }
    with tempfile.TemporaryDirectory() as folder:  # for Ray's own records; checkpoints are ours
        follow(_trainer(work, resources, folder), news, on_progress)


def _trainer(work: dict[str, Any], resources: Resources, folder: str) -> "TorchTrainer":
    from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    least, most = resources.workers
    on_gpu = resources.device == "cuda"
    return TorchTrainer(
        _work,
        train_loop_config=work,
        scaling_config=ScalingConfig(
            # These are types of Ray Train V2; mypy sees those of V1.
            num_workers=least if least == most else (least, most),  # type: ignore[arg-type]
            use_gpu=on_gpu,
            resources_per_worker={"CPU": 0 if on_gpu else 1, **({"GPU": 1} if on_gpu else {})},
        ),
        run_config=RunConfig(  # type: ignore[call-arg]
            name="autochrome",
            storage_path=folder,
            failure_config=FailureConfig(max_failures=resources.max_failures),
            logging_config=LoggingConfig(log_level="CRITICAL"),
        ),
    )


def follow(trainer: Any, news: Any, on_progress: Callable[[Progress], None]) -> None:
    """Run the trainer in a thread, so that Ctrl-C reaches us, and pass on what workers report."""
    ended: list[BaseException | None] = []

    def fit() -> None:
        try:
            trainer.fit()
            ended.append(None)
        except BaseException as error:
            ended.append(error)

    threading.Thread(target=fit, daemon=True).start()
    while True:
        over = bool(ended)  # checked before the queue, so that its last messages are not lost
        try:
            said = news.get(timeout=0.5)
        except queue.Empty:
            if over:
                break
            continue
        if isinstance(said, AutochromeError):
            raise said
        on_progress(said)
    if ended[0] is not None:
        raise ended[0]


def _work(work: dict[str, Any]) -> None:
    """What every worker runs: a shell around StageTraining."""
    import ray.train
    import ray.train.torch

    job: TrainingJob = work["job"]
    torch.set_num_threads(work["threads"])
    context = ray.train.get_context()
    share = Share(context.get_world_rank(), context.get_world_size())
    held_out: StoredPixels | None = work["held_out"]
    training = StageTraining(
        job.start,
        job.settings,
        Photographs(work["photographs"].open(), work["weights"]),
        None if held_out is None else held_out.open().copy(),
        job.destination,
        share,
        ray.train.torch.get_device(),
    )
    try:
        training.run(work["news"].put)
    except UsageError as error:  # all workers get the same error, and restarting would not help
        if share.rank == 0:
            work["news"].put(error)


@contextmanager
def _translate_errors() -> Iterator[None]:
    """Translates Ctrl-C and whatever Ray raises into our own errors."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise Interrupted(f"interrupted; {AGAIN}") from error
    except AutochromeError:
        raise
    except Exception as error:
        failures = getattr(error, "worker_failures", None) or {0: error}
        cause = next(iter(failures.values()))
        lines = str(cause).strip().splitlines() or [type(cause).__name__]
        raise EngineError(f"training stopped: {lines[-1]}; {AGAIN}") from error
