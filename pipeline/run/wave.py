"""A wave: some shards through Ray Data, as three operators on one stream.

The operators are read (tasks), colorize (actors that hold the loaded model) and write (tasks, which
commit). Small arrays travel between them, and counts come back. Reasons for this setup:

- `map` over rows keeps a shard one unit; batches of rows would be merged or cut by Ray.
- Readers and writers take next to no CPU, so that actors can never starve them, and are capped.
- The pool of actors may shrink to one: a pool of fixed size stalls when a node is lost.
- A shard whose process dies is tried again, but not forever; if it fails all the same, it stays to
  be done and harms no other.
"""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipeline.cluster.pools import ACTOR_CORES, TASK_CORES, Pools, size_pools
from pipeline.cluster.session import capacity, on_cluster
from pipeline.errors import UsageError
from pipeline.run.operators import ColorizeActor, Row, read_row, write_row
from pipeline.run.options import Resources
from pipeline.run.request import Job, pages_per_file

if TYPE_CHECKING:
    from ray.data import ActorPoolStrategy, Dataset

# Ray gives up after so long without progress. A CPU can need hours for a shard with a large model,
# a writer for large masters, a cloud for a new node; the watchdog tells users, who may stop the
# run.
SILENCE_SECONDS = 24 * 3600.0
RETRIES = 2  # of a shard whose process died; then open_shards does it photo by photo


def gpu_share(resources: Resources, device: str) -> float:
    """The share of a GPU that an actor takes; 0 if it takes a core."""
    return resources.gpus_per_actor if device == "cuda" else 0


def actor_resources(gpus: float) -> dict[str, Any]:
    """What an actor takes, as Ray's options."""
    return {"num_cpus": 0 if gpus else ACTOR_CORES, "num_gpus": gpus}


def actor_need(job: Job) -> tuple[str, float]:
    """What an actor takes: the name of Ray's resource, and how much of it."""
    gpus = gpu_share(job.resources, job.device)
    return ("GPU", gpus) if gpus else ("CPU", ACTOR_CORES)


def run_wave(shards: Sequence[Row], job: Job, isolated: bool) -> Iterator[Row]:
    """Rows of `write_row`, as shards are done. shards: packed. isolated: each photo in a process of
    its own.

    Raises UsageError (no GPU) and whatever Ray raises.
    """
    pools = _pools(len(shards), job)
    _configure(job, pools)
    with _quiet_warnings():
        rows = _operators(shards, job, pools, isolated)
        batches: Iterable[Any] = rows.iter_batches(
            batch_size=None, batch_format="pyarrow", prefetch_batches=0
        )
        for batch in batches:
            yield from batch.to_pylist()


def _pools(shards: int, job: Job) -> Pools:
    there, gpus = capacity(), gpu_share(job.resources, job.device)
    if gpus and not there.gpus and not on_cluster():  # a cluster may add some on demand
        raise UsageError("--device cuda: Ray finds no GPU here")
    _, high = job.sizes
    pictures = job.run.plan.shard_size * pages_per_file(job.run.recipe)
    shard_bytes = pictures * high**2 * (2 + 3 * job.run.recipe.candidates)
    return size_pools(there, shards, shard_bytes, gpus, job.resources.actors)


def _operators(rows: Sequence[Row], job: Job, pools: Pools, isolated: bool) -> "Dataset":
    import ray.data
    from ray.data import TaskPoolStrategy

    unsigned = replace(job, signer=None)  # only writers, who sign, get the key
    task: dict[str, Any] = {
        "num_cpus": TASK_CORES[job.device],
        "scheduling_strategy": "SPREAD",  # even if a shard is large
        "max_retries": RETRIES,
    }
    return (
        ray.data.from_items(list(rows), override_num_blocks=len(rows))
        .map(
            read_row,  # type: ignore[arg-type]
            fn_args=[unsigned, isolated],
            compute=TaskPoolStrategy(size=pools.readers),
            **task,
        )
        .map(
            ColorizeActor,  # type: ignore[arg-type]
            fn_constructor_args=[unsigned],
            compute=_actor_pool(pools),
            max_task_retries=RETRIES,
            **actor_resources(gpu_share(job.resources, job.device)),
        )
        .map(
            write_row,  # type: ignore[arg-type]
            fn_args=[job, pools, isolated],
            compute=TaskPoolStrategy(size=pools.writers),
            **task,
        )
    )


def _actor_pool(pools: Pools) -> "ActorPoolStrategy":
    from ray.data import ActorPoolStrategy

    return ActorPoolStrategy(
        min_size=pools.min_actors,
        max_size=pools.max_actors,
        initial_size=pools.initial_actors,
        max_tasks_in_flight_per_actor=2,
        max_concurrent_calls_per_actor=2,
        enable_true_multi_threading=True,  # the actor lets one colorize at a time
    )


@contextmanager
def _quiet_warnings() -> Iterator[None]:
    from ray.util.annotations import RayDeprecationWarning

    with warnings.catch_warnings():
        # Ray has deprecated the only option for retries.
        warnings.simplefilter("ignore", RayDeprecationWarning)
        # If the process that reads the only shard dies, the other operators have nothing to do.
        warnings.filterwarnings("ignore", "The (minimum|maximum) number of concurrent")
        yield


def _configure(job: Job, pools: Pools) -> None:
    """Set Ray Data's options in this process."""
    from ray.data import DataContext
    from ray.data.context import AutoscalingConfig

    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1  # safe because a row is a shard, which then stays to be done
    context.actor_init_retry_on_errors = True
    context.max_consecutive_actor_init_deaths = 3
    context.execution_no_progress_timeout_s = SILENCE_SECONDS
    # An actor holds two shards and colorizes one: with both it is busy, with none idle.
    context.autoscaling_config = AutoscalingConfig(
        actor_pool_util_upscaling_threshold=0.875, actor_pool_util_downscaling_threshold=0.25
    )
    context.execution_options.resource_limits = context.execution_options.resource_limits.copy(
        object_store_memory=pools.object_bytes
    )
