"""A run on Ray: what is not committed yet goes through Ray Data, a shard a row.

Three operators: read (tasks), colorize (actors that hold the loaded model) and write (tasks, which
commit). Between them travel small arrays, and what comes back are counts. Why it is set up so:

- `map` over rows keeps a shard one unit; batches of rows would be merged or cut by Ray.
- Readers and writers take next to no CPU, so that actors can never starve them, and are capped.
- The pool of actors may shrink to one: a pool of fixed size stalls when a node is lost.
- A shard whose process dies is tried again, but not for ever; one that fails all the same stays
  to be done, and harms no other.
"""

import gc
import pickle
import shlex
import warnings
from collections.abc import (
    Callable,
    Collection,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from collections.abc import Set as AbstractSet
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any, Protocol

from pipeline.cluster.pools import (
    ACTOR_CORES,
    SHARDS_PER_WAVE,
    TASK_CORES,
    Pools,
    size_pools,
    size_wave,
)
from pipeline.cluster.session import (
    capacity,
    cluster_joined,
    describe_wait,
    on_cluster,
    quiet_ray,
    session_logs,
)
from pipeline.cluster.watchdog import Watchdog
from pipeline.errors import (
    AutochromeError,
    EngineError,
    Interrupted,
    StoreUnavailable,
    TooManyFailures,
    UsageError,
)
from pipeline.ledger.plan import Schedule, Shard
from pipeline.ledger.planning import describe_planning, refuse_overlap
from pipeline.ledger.results import committed_shards
from pipeline.ledger.selection import Selection, take_selection
from pipeline.ledger.shard_report import ShardReport
from pipeline.ledger.status import Ledger
from pipeline.run.logs import LOGGER, RunLog, replay
from pipeline.run.metrics import Metrics
from pipeline.run.operators import ColorizeActor, Row, pack, read_row, warm_up, write_row
from pipeline.run.request import (
    Job,
    Settings,
    Summary,
    absolute_place,
    pages_per_file,
    prepare_job,
    reopen_job,
    summarize,
)
from pipeline.storage.lease import Lease, open_destination
from pipeline.storage.open_storage import open_storage
from pipeline.storage.probe import probe_conditional_writes

# Without any news before Ray gives up. A CPU can need hours for a shard of a large model, a writer
# for one of large masters, a cloud for a node; the watchdog tells the user, who may stop it.
SILENCE_SECONDS = 24 * 3600.0
RETRIES = 2  # of a shard whose process died
OUTAGE = 3  # shards in a row for which a store was out of reach


class Listener(Protocol):
    """Who wants to hear of a run while it goes on."""

    def update(self, done: int, failed: int, photos: int) -> None:
        """At the start and after each shard; failed counts those of this command."""

    def wait(self, why: str) -> None:
        """Where nothing has happened for a while; from another thread."""


def colorize(source: str, destination: str, settings: Settings, listener: Listener) -> Summary:
    """Colorize what is not done yet, then write the report.

    Raises AutochromeError, after which the same command goes on.
    """
    refuse_overlap(open_storage(source), open_storage(destination))  # before a lease is written
    warm = partial(_warm_up, settings)
    with cluster_joined(), open_destination(destination, settings.single_writer) as (place, lease):
        with Watchdog(listener.wait, partial(describe_planning, place)):
            job = prepare_job(source, place, settings, warm)
        return _run(job, settings, listener, lease)


def resume(
    destination: str,
    settings: Settings,
    listener: Listener,
    retry_failed: bool = False,
    reasons: Collection[str] = (),
    selection: Selection | None = None,
) -> Summary:
    """Go on with a destination that was started before; all that decides pictures is known there.

    retry_failed: failed photos, or those that failed for one of these reasons, are done once more.
    selection: its photos to be redone are, and it is kept in the destination. The rest is as in
    `colorize`.
    """
    with cluster_joined(), open_destination(destination, settings.single_writer) as (place, lease):
        job = reopen_job(place, settings)
        probe_conditional_writes(place)
        if selection:
            take_selection(place, job.run, selection)
        retried = Ledger(place, job.run).retry_failed(reasons) if retry_failed else None
        return replace(_run(job, settings, listener, lease), retried=retried)


def _warm_up(settings: Settings, device: str, digests: Mapping[str, str]) -> None:
    """On a cluster, let the weights come to where the first actors will be, while the source is
    listed and planned; where there is no room for these yet, it comes meanwhile, too."""
    if not on_cluster():
        return
    import ray

    gpus = _gpu_share(settings, device)
    first = size_pools(capacity(), SHARDS_PER_WAVE[1], 0, gpus, settings.actors).first
    warm = ray.remote(scheduling_strategy="SPREAD", max_retries=0, **_resources(gpus))(warm_up)
    for _ in range(first):
        warm.remote(absolute_place(settings.weights), settings.model, digests)


def _run(job: Job, settings: Settings, listener: Listener, lease: Lease | None) -> Summary:
    schedule = Schedule(job.destination, job.run)
    committed = committed_shards(job.destination).keys()
    done = schedule.photos_in(committed)
    listener.update(done, 0, schedule.photos)
    log = RunLog(settings.log_as_json)
    if done < schedule.photos:  # without a Ray that would have nothing to do
        limit = failure_limit(settings.max_failed, job.run.plan.photos)
        allowed = partial(_check_failures, settings.max_failed, limit)
        with _resumable(job, log), quiet_ray(), log.written_to(session_logs()):
            _run_open_shards(job, schedule, committed, allowed, listener, lease)
    with Watchdog(listener.wait, lambda: "the report is being written"):
        return replace(summarize(job.destination, job.run), log=log.path)


def _run_open_shards(
    job: Job,
    schedule: Schedule,
    committed: AbstractSet[int],
    allowed: Callable[[int], None],
    listener: Listener,
    lease: Lease | None,
) -> None:
    """Do all shards that are not committed. allowed: raises where so many photos failed."""
    done, failed = schedule.photos_in(committed), 0
    with (
        Watchdog(listener.wait, partial(describe_wait, *_need(job))) as watchdog,
        closing(_run_shards(schedule.open(committed), job, schedule.photos - done)) as reports,
    ):
        for report in reports:
            watchdog.news()
            done, failed = done + report.photos, failed + report.failed
            listener.update(done, failed, schedule.photos)
            allowed(failed)
            if lease:
                lease.check()


def _check_failures(max_failed: str | None, limit: float, failed: int) -> None:
    if failed > limit:
        raise TooManyFailures(f"{failed:,} photos failed: --max-failed {max_failed} was given")


def failure_limit(max_failed: str | None, photos: int) -> float:
    """How many of so many photos may fail, of "10", "5%" or None. Raises ValueError."""
    if max_failed is None:
        return float("inf")
    return float(max_failed.rstrip("%")) * (photos / 100 if max_failed.endswith("%") else 1)


def _run_shards(shards: Iterator[Shard], job: Job, photos: int) -> Generator[ShardReport]:
    """Run shards, of so many photos, in waves; yields a report as each is committed.

    Shards whose processes died, time and again, are done once more, each photo in a process of its
    own. Those that are lost all the same stay to be done.
    """
    outage, trouble = 0, None
    gpus, metrics = _gpu_share(job, job.device), Metrics()
    while wave := list(islice(shards, size_wave(capacity(), gpus, job.actors))):
        lost = {shard.number: shard for shard in wave}
        for isolated in (False, True):
            for row in _run_wave(list(lost.values()), job, isolated) if lost else ():
                lost.pop(row["shard"], None)
                report, trouble_now, records = pickle.loads(row["ended"])
                replay(records)
                if not trouble_now:
                    outage, photos = 0, photos - report.photos
                    metrics.record(report, photos)
                    yield report
                    continue
                outage, trouble = outage + 1, trouble_now
                if outage == OUTAGE or not isinstance(trouble, StoreUnavailable):
                    raise trouble
        for number in lost:
            LOGGER.error("shard %d: its processes died; it stays to be done", number)
        gc.collect()  # a data set holds itself in circles, with all that it knows of its shards
    if trouble:
        raise StoreUnavailable(f"some photos are left to be done: {trouble}")


def _gpu_share(asked: Settings | Job, device: str) -> float:
    """What an actor takes of a GPU; 0 where it takes a core."""
    return asked.gpus_per_actor if device == "cuda" else 0


def _resources(gpus: float) -> dict[str, Any]:
    """What an actor takes, in Ray's words."""
    return {"num_cpus": 0 if gpus else ACTOR_CORES, "num_gpus": gpus}


def _need(job: Job) -> tuple[str, float]:
    """What an actor takes: the kind of Ray's resource, and how much of it."""
    gpus = _gpu_share(job, job.device)
    return ("GPU", gpus) if gpus else ("CPU", ACTOR_CORES)


def _run_wave(shards: Sequence[Shard], job: Job, isolated: bool) -> Iterator[Row]:
    import ray.data
    from ray.data import ActorPoolStrategy, TaskPoolStrategy
    from ray.util.annotations import RayDeprecationWarning

    there, gpus = capacity(), _gpu_share(job, job.device)
    if gpus and not there.gpus and not on_cluster():  # a cluster may get some when asked for
        raise UsageError("--device cuda: Ray finds no GPU here")
    _, high = job.sizes
    pictures = job.run.plan.shard_size * pages_per_file(job.run.spec)
    shard_bytes = pictures * high**2 * (2 + 3 * job.run.spec.candidates)
    pools = size_pools(there, len(shards), shard_bytes, gpus, job.actors)
    _configure(job, pools)
    unsigned = replace(job, signer=None)  # the key goes to those alone who sign
    with warnings.catch_warnings():
        # Retries have no other name than one that Ray means to take away.
        warnings.simplefilter("ignore", RayDeprecationWarning)
        # Where the process that reads the only shard dies, the rest gets nothing to do.
        warnings.filterwarnings("ignore", "The (minimum|maximum) number of concurrent")
        rows = (
            ray.data.from_items([pack(shard) for shard in shards], override_num_blocks=len(shards))
            .map(
                read_row,  # type: ignore[arg-type]
                fn_args=[unsigned, isolated],
                num_cpus=TASK_CORES[job.device],
                scheduling_strategy="SPREAD",  # however large a shard is
                compute=TaskPoolStrategy(size=pools.readers),
                max_retries=RETRIES,
            )
            .map(
                ColorizeActor,  # type: ignore[arg-type]
                fn_constructor_args=[unsigned],
                **_resources(gpus),
                compute=ActorPoolStrategy(
                    min_size=pools.least,
                    max_size=pools.most,
                    initial_size=pools.first,
                    max_tasks_in_flight_per_actor=2,
                    max_concurrent_calls_per_actor=2,
                    enable_true_multi_threading=True,  # the actor lets one colorize at a time
                ),
                max_task_retries=RETRIES,
            )
            .map(
                write_row,  # type: ignore[arg-type]
                fn_args=[job, pools, isolated],
                num_cpus=TASK_CORES[job.device],
                scheduling_strategy="SPREAD",
                compute=TaskPoolStrategy(size=pools.writers),
                max_retries=RETRIES,
            )
        )
        batches: Iterable[Any] = rows.iter_batches(
            batch_size=None, batch_format="pyarrow", prefetch_batches=0
        )
        for batch in batches:
            yield from batch.to_pylist()


def _configure(job: Job, pools: Pools) -> None:
    """Ray Data's settings for this process."""
    from ray.data import DataContext
    from ray.data.context import AutoscalingConfig

    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1  # safe because a shard is a row: it stays to be done
    context.actor_init_retry_on_errors = True
    context.max_consecutive_actor_init_deaths = 3
    context.execution_no_progress_timeout_s = SILENCE_SECONDS
    # An actor holds two shards, of which it colorizes one: it is at work with both, idle with none.
    context.autoscaling_config = AutoscalingConfig(
        actor_pool_util_upscaling_threshold=0.875, actor_pool_util_downscaling_threshold=0.25
    )
    context.execution_options.resource_limits = context.execution_options.resource_limits.copy(
        object_store_memory=pools.object_bytes
    )


@contextmanager
def _resumable(job: Job, log: RunLog) -> Iterator[None]:
    """Ctrl-C and whatever Ray raises, as errors of ours, each with how to go on."""
    again = (
        "the same command again goes on from here, and so does:"
        f" autochrome resume {shlex.quote(job.destination.uri)}"
    )
    try:
        yield
    except KeyboardInterrupt as error:
        raise Interrupted(f"interrupted; {again}") from error
    except AutochromeError as error:
        raise type(error)(f"{error}; {again}") from error
    except Exception as error:
        if _from_interrupt(error):
            raise Interrupted(f"interrupted; {again}") from error
        cause = (str(error).strip() or type(error).__name__).splitlines()[-1]
        if type(error).__name__ == "ExecutionTimeoutError":  # whose words are for programmers
            cause = f"nothing has moved for {SILENCE_SECONDS / 3600:g} hours"
        where = f" (more in {log.path})" if log.path else ""
        raise EngineError(f"Ray gave up: {cause}{where}; {again}") from error


def _from_interrupt(error: BaseException | None) -> bool:
    """Whether Ctrl-C is behind an error: it may strike inside of Ray, which then raises its own."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False
