"""A run on Ray: what is not committed yet goes through Ray Data, a shard a row.

Three operators: read (tasks), colorize (actors that hold the loaded model) and write (tasks, which
commit). Between them travel small arrays, and what comes back are counts. Why it is set up so:

- `map` over rows keeps a shard one unit; batches of rows would be merged or cut by Ray.
- Readers and writers take no CPU, so that actors can never starve them, and are capped instead.
- The pool of actors may shrink to one: a pool of fixed size stalls when a node is lost.
- A shard whose process dies is tried again, but not for ever; one that fails all the same stays
  to be done, and harms no other.
"""

import pickle
import shlex
import warnings
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from itertools import islice
from typing import Any

from pipeline.cluster import on_cluster, quiet_ray
from pipeline.errors import (
    AutochromeError,
    EngineError,
    Interrupted,
    StoreUnavailable,
    TooManyFailures,
    UsageError,
)
from pipeline.isolation import call_here, call_isolated
from pipeline.job import Job, Settings, Summary, prepare_job, reopen_job, summarize
from pipeline.lease import Lease, open_destination
from pipeline.ledger import Ledger
from pipeline.plan import Schedule, Shard
from pipeline.planning import refuse_overlap
from pipeline.probe import probe_conditional_writes
from pipeline.results import committed_shards
from pipeline.stages import ShardCounts, colorize_shard, read_shard, write_shard
from pipeline.storage import open_storage
from pipeline.weights_store import fetch_weights

SHARDS_PER_WAVE = 2000  # each costs a data set 2 ms before its first can start
SHARDS_IN_FLIGHT = 25
# Seconds without any news before Ray gives up; a CPU can need hours for a shard of a large model.
SILENCE = {"cpu": 24 * 3600.0, "cuda": 900.0}
RETRIES = 2  # of a shard whose process died
OUTAGE = 3  # shards in a row for which a store was out of reach

Row = dict[str, Any]
Tell = Callable[[int, int, int], None]


def colorize(source: str, destination: str, settings: Settings, tell: Tell) -> Summary:
    """Colorize what is not done yet, then write the report.

    tell(done, failed, photos) is called at the start and after each shard; failed counts those of
    this command. Raises AutochromeError, after which the same command goes on.
    """
    refuse_overlap(open_storage(source), open_storage(destination))  # before a lease is written
    with open_destination(destination, settings.single_writer) as (place, lease):
        return _run(prepare_job(source, place, settings), settings.max_failed, tell, lease)


def resume(
    destination: str,
    settings: Settings,
    tell: Tell,
    retry_failed: bool = False,
    reasons: Collection[str] = (),
) -> Summary:
    """Go on with a destination that was started before; all that decides pictures is known there.

    retry_failed: failed photos, or those that failed for one of these reasons, are done once more.
    The rest is as in `colorize`.
    """
    with open_destination(destination, settings.single_writer) as (place, lease):
        job = reopen_job(place, settings)
        probe_conditional_writes(place)
        if retry_failed:
            Ledger(place, job.run).retry_failed(reasons)
        return _run(job, settings.max_failed, tell, lease)


def _run(job: Job, max_failed: str | None, tell: Tell, lease: Lease | None) -> Summary:
    committed = committed_shards(job.destination).keys()
    schedule = Schedule(job.destination, job.run)
    limit = failure_limit(max_failed, job.run.plan.photos)
    done, failed = schedule.photos_in(committed), 0
    tell(done, failed, schedule.photos)
    with _explained(job), closing(_run_shards(schedule.open(committed), job)) as rows:
        for row in rows:
            done, failed = done + row["photos"], failed + row["failed"]
            tell(done, failed, schedule.photos)
            if failed > limit:
                allowed = f"--max-failed {max_failed}"
                raise TooManyFailures(f"{failed:,} photos failed: {allowed} was given")
            if lease:
                lease.check()
    return summarize(job.destination, job.run)


def failure_limit(max_failed: str | None, photos: int) -> float:
    """How many of so many photos may fail, of "10", "5%" or None. Raises ValueError."""
    if max_failed is None:
        return float("inf")
    return float(max_failed.rstrip("%")) * (photos / 100 if max_failed.endswith("%") else 1)


def _run_shards(shards: Iterator[Shard], job: Job) -> Generator[Row]:
    """Run shards in waves; yields {"photos": n, "failed": n, ...} as each is committed.

    Shards whose processes died, time and again, are done once more, each photo in a process of its
    own. Those that are lost all the same stay to be done.
    """
    wave = list(islice(shards, SHARDS_PER_WAVE))
    if not wave:
        return  # without a Ray that would have nothing to do
    outage, trouble = 0, ""
    with quiet_ray():
        while wave:
            lost = {shard.number: shard for shard in wave}
            for isolated in (False, True):
                for row in _run_wave(list(lost.values()), job, isolated) if lost else ():
                    lost.pop(row["shard"], None)
                    if not row["trouble"]:
                        outage = 0
                        yield row
                        continue
                    outage, trouble = outage + 1, row["trouble"]
                    if outage == OUTAGE:
                        raise StoreUnavailable(trouble)
            wave = list(islice(shards, SHARDS_PER_WAVE))
    if trouble:
        raise StoreUnavailable(f"some photos are left to be done: {trouble}")


def _run_wave(shards: Sequence[Shard], job: Job, isolated: bool) -> Iterator[Row]:
    import ray.data
    from ray.data import ActorPoolStrategy, TaskPoolStrategy
    from ray.util.annotations import RayDeprecationWarning

    resources = ray.cluster_resources()
    cores, gpus = int(resources.get("CPU", 1)), int(resources.get("GPU", 0))
    on_gpu = job.device == "cuda"
    if on_gpu and not gpus and not on_cluster():  # a cluster may get some when they are asked for
        raise UsageError("--device cuda: Ray finds no GPU here")
    share = job.gpus_per_actor
    least, most = job.actors or (1, max(1, int(gpus / share) if on_gpu else cores))
    most = min(most, len(shards))
    least = min(least, most)
    _configure(job)
    with warnings.catch_warnings():
        # Retries have no other name than one that Ray means to take away.
        warnings.simplefilter("ignore", RayDeprecationWarning)
        # Where the process that reads the only shard dies, the rest gets nothing to do.
        warnings.filterwarnings("ignore", "The (minimum|maximum) number of concurrent")
        rows = (
            ray.data.from_items([_row(shard) for shard in shards], override_num_blocks=len(shards))
            .map(
                _read,  # type: ignore[arg-type]
                fn_args=[job, isolated],
                num_cpus=0,
                compute=TaskPoolStrategy(size=min(max(1, cores // 2), len(shards))),
                max_retries=RETRIES,
            )
            .map(
                _Colorize,  # type: ignore[arg-type]
                fn_constructor_args=[job],
                num_cpus=0 if on_gpu else 1,
                num_gpus=share if on_gpu else 0,
                compute=ActorPoolStrategy(
                    min_size=least,
                    max_size=most,
                    initial_size=least if job.actors else most,
                    max_tasks_in_flight_per_actor=2,
                ),
                max_task_retries=RETRIES,
            )
            .map(
                _write,  # type: ignore[arg-type]
                fn_args=[job, isolated],
                num_cpus=0,
                compute=TaskPoolStrategy(size=min(max(1, cores), len(shards))),
                max_retries=RETRIES,
            )
        )
        batches: Iterable[Any] = rows.iter_batches(
            batch_size=None, batch_format="pyarrow", prefetch_batches=0
        )
        for batch in batches:
            yield from batch.to_pylist()


def _configure(job: Job) -> None:
    """Ray Data's settings for this process."""
    from ray.data import DataContext

    _, high = job.sizes
    shard_bytes = job.run.plan.shard_size * high**2 * (2 + 3 * job.run.spec.candidates)
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1  # safe because a shard is a row: it stays to be done
    context.actor_init_retry_on_errors = True
    context.max_consecutive_actor_init_deaths = 3
    context.execution_no_progress_timeout_s = SILENCE[job.device]
    context.execution_options.resource_limits = context.execution_options.resource_limits.copy(
        object_store_memory=max(SHARDS_IN_FLIGHT * shard_bytes, 2**28)
    )


def _row(shard: Shard, work: object = None, trouble: str = "") -> Row:
    """A row of a data set; pickled, because Arrow would first try to make columns of all parts."""
    return {"work": pickle.dumps((shard, work)), "trouble": trouble}


def _read(row: Row, job: Job, isolated: bool) -> Row:
    shard, _ = pickle.loads(row["work"])
    call = call_isolated if isolated else call_here
    try:
        return _row(shard, read_shard(shard, job.source, job.sizes, call))
    except StoreUnavailable as error:
        return _row(shard, trouble=str(error))


class _Colorize:
    """The actor: a shell around the three loaded stages."""

    def __init__(self, job: Job) -> None:
        import torch

        from model.colorizer import Colorizer

        if job.device == "cpu":
            torch.set_num_threads(1)  # an actor has one core; the rest is other actors'
        self._spec = job.run.spec
        folder = fetch_weights(job.weights, job.run.spec.weights)
        self._colorizer = Colorizer.load(folder, job.device, job.batch_size)
        self._device = torch.cuda.get_device_name() if job.device == "cuda" else "cpu"

    def __call__(self, row: Row) -> Row:
        if row["trouble"]:
            return row
        shard, photos = pickle.loads(row["work"])
        return _row(shard, colorize_shard(photos, self._colorizer, self._spec, self._device))


def _write(row: Row, job: Job, isolated: bool) -> Row:
    shard, photos = pickle.loads(row["work"])
    counts, trouble = ShardCounts(0, 0), row["trouble"]
    call = call_isolated if isolated else call_here
    if not trouble:
        try:
            counts = write_shard(shard.number, photos, job.source, job.destination, job.run, call)
        except StoreUnavailable as error:
            trouble = str(error)
    return {"shard": shard.number, "trouble": trouble, **asdict(counts)}


@contextmanager
def _explained(job: Job) -> Iterator[None]:
    """Ctrl-C and whatever Ray raises, as errors of ours, each with how to go on."""
    again = (
        "the same command again goes on from here, and so does:"
        f" autochrome resume {shlex.quote(job.destination.uri)}"
    )
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted; {again}") from None
    except AutochromeError as error:
        raise type(error)(f"{error}; {again}") from None
    except Exception as error:
        if _from_interrupt(error):
            raise Interrupted(f"interrupted; {again}") from None
        cause = (str(error).strip() or type(error).__name__).splitlines()[-1]
        raise EngineError(f"Ray gave up: {cause}; {again}") from error


def _from_interrupt(error: BaseException | None) -> bool:
    """Whether Ctrl-C is behind an error: it may strike inside of Ray, which then raises its own."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False
