"""A run: what is not committed yet goes through Ray Data, wave by wave, then comes the report."""

import gc
import pickle
import shlex
from collections import Counter
from collections.abc import (
    Collection,
    Generator,
    Iterator,
    Mapping,
)
from collections.abc import Set as AbstractSet
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Literal, Protocol

from pipeline.cluster.pools import (
    SHARDS_PER_WAVE,
    size_pools,
    size_wave,
)
from pipeline.cluster.session import (
    capacity,
    cluster_joined,
    describe_lack,
    logs_folder,
    on_cluster,
    our_workers,
    quiet_ray,
)
from pipeline.cluster.watchdog import Watchdog
from pipeline.errors import (
    AutochromeError,
    DestinationGone,
    EngineError,
    Interrupted,
    StorageError,
    StoreUnavailable,
    TooManyFailures,
    from_interrupt,
)
from pipeline.ledger.hints import parse_hints, refuse_other_pages
from pipeline.ledger.pace import Pace
from pipeline.ledger.plan import RUN, Schedule, Shard
from pipeline.ledger.planning import refuse_overlap
from pipeline.ledger.results import committed_shards
from pipeline.ledger.selection import Selection, take_selection
from pipeline.ledger.series import plan_series
from pipeline.ledger.shard_report import ShardReport
from pipeline.ledger.status import Ledger
from pipeline.ledger.updates import Changes, compare, plan_update
from pipeline.run.known import refuse_untold
from pipeline.run.logs import LOGGER, RunLog, replay
from pipeline.run.metrics import Metrics
from pipeline.run.operators import warm_up
from pipeline.run.options import RecipeOptions, Resources, absolute_place
from pipeline.run.request import Job, prepare_job, reopen_job
from pipeline.run.summary import Summary, summarize
from pipeline.run.wave import (
    SILENCE_SECONDS,
    actor_need,
    actor_resources,
    gpu_share,
    run_wave,
)
from pipeline.storage.anchored import AnchoredStorage
from pipeline.storage.lease import Lease, open_destination
from pipeline.storage.open_storage import open_storage
from pipeline.storage.probe import probe_conditional_writes
from pipeline.weights.store import takes_hints

Phase = Literal[
    "listing",
    "planning",
    "starting workers",
    "loading weights",
    "coloring",
    "writing the report",
]
OUTAGE = 3  # shards in a row for which a store was out of reach
CHEAP_SECONDS = 30.0  # for telling whether a source has more photos than were planned


class Listener(Protocol):
    """Who wants to hear of a run while it goes on."""

    def begin(self, phase: Phase, photos: int | None = None) -> None:
        """A phase begins or goes on; photos: how many were found so far. From any thread."""

    def update(self, done: int, failed: int, photos: int, rate: float | None = None) -> None:
        """At the start and after each shard; failed counts those of this command, and so does the
        rate, photos per second as Pace has them."""

    def wait(self, why: str) -> None:
        """Where something is wrong that time may mend; from another thread."""


def colorize(
    source: str,
    destination: str,
    options: RecipeOptions,
    resources: Resources,
    listener: Listener,
    update: bool = False,
) -> Summary:
    """Colorize what is not done yet, then write the report.

    update: photos that came into the source since it was planned are planned first. Else it is told
    how many they are, where that is known soon. Raises AutochromeError, after which the same
    command goes on.
    """
    # Before a lease is written.
    refuse_overlap(open_storage(source), open_storage(destination), options.include)
    warm = partial(_warm_up, resources, options.model)
    with cluster_joined(), open_destination(destination, resources.single_writer) as (place, lease):
        job = prepare_job(source, place, options, resources, warm, listener.begin, update)
        if not job.begun:
            return _run(job, listener, lease)
        if update:
            listener.begin("listing")
            probe_conditional_writes(place)
            changes = plan_update(job.source, place, job.run)
            summary = _run(job, listener, lease)
            return replace(summary, added=changes.new, resized=changes.resized)
        summary = _run(job, listener, lease)
        found = _changes(job)
        return replace(summary, unplanned=found.new, resized=found.resized) if found else summary


def resume(
    destination: str,
    resources: Resources,
    listener: Listener,
    retry_failed: bool = False,
    reasons: Collection[str] = (),
    selection: Selection | None = None,
    series: bool = False,
) -> Summary:
    """Go on with a destination that was started before; all that decides pictures is known there.

    retry_failed: failed photos, or those that failed for one of these reasons, are done once more.
    selection: its photos to be redone are, and it is kept in the destination. series: then the
    photos of each folder are made alike (ledger.series). The rest is as in `colorize`.
    """
    with cluster_joined(), open_destination(destination, resources.single_writer) as (place, lease):
        job = reopen_job(place, resources)
        probe_conditional_writes(place)
        if series:
            refuse_untold("--series folder", "palette", resources.weights, job.knows)
        if selection or retry_failed or series:
            listener.begin("planning")
        taken = None
        if selection:
            refuse_untold_hints(selection, job)
            redone = take_selection(place, job.run, selection)
            taken = {**Counter(each.decision for each in selection.choices), "redone": redone}
        if series:
            plan_series(place, job.run, job.sizes[0])
        retried = Ledger(place, job.run).retry_failed(reasons) if retry_failed else None
        return replace(_run(job, listener, lease), retried=retried, selection=taken)


def refuse_untold_hints(selection: Selection, job: Job) -> None:
    """Raises UsageError where decisions have hints, and the weights cannot be told of any."""
    for each in selection.choices:
        if each.hints:
            what = f"{selection.name}, line {each.line}: hints {each.hints[:60]!r}"
            refuse_untold(what, "hints", job.resources.weights, job.knows)
            if job.run.recipe.pages == "first":
                refuse_other_pages(
                    f"{selection.name}, line {each.line}", each.photo, parse_hints("", each.hints)
                )


def _changes(job: Job) -> Changes | None:
    """How the source differs from the plan; None where that is not known soon."""
    try:
        return compare(job.source, job.destination, job.run, CHEAP_SECONDS)
    except StorageError:  # a source that went away after all of it was done
        return None


def _warm_up(resources: Resources, model: str, device: str, digests: Mapping[str, str]) -> None:
    """On a cluster, let the weights come to where the first actors will be, while the source is
    listed and planned; where there is no room for these yet, it comes meanwhile, too."""
    if not on_cluster():
        return
    import ray

    gpus = gpu_share(resources, device)
    first = size_pools(capacity(), SHARDS_PER_WAVE[1], 0, gpus, resources.actors).initial_actors
    warm = ray.remote(scheduling_strategy="SPREAD", max_retries=0, **actor_resources(gpus))(warm_up)
    for _ in range(first):
        warm.remote(absolute_place(resources.weights), model, digests)


def _run(job: Job, listener: Listener, lease: Lease | None) -> Summary:
    schedule = Schedule(job.destination, job.run)
    committed = committed_shards(job.destination).keys()
    done = schedule.photos_in(committed)
    listener.update(done, 0, schedule.photos)
    log = RunLog(job.resources.log_as_json)
    if done < schedule.photos:  # without a Ray that would have nothing to do
        if job.signer and job.signer.silent:
            listener.wait(f"{job.resources.c2pa_timestamp} gives {job.signer.silent}")
        listener.begin("starting workers")
        with _resumable(job, log), quiet_ray() as own, log.written_to(logs_folder(own)):
            _run_open_shards(job, schedule, committed, listener, lease)
    listener.begin("writing the report")
    destination = AnchoredStorage(job.destination, RUN)
    hints = takes_hints(job.resources.weights, job.run.recipe.weights)
    return replace(summarize(destination, job.run, hints), log=log.path)


def _run_open_shards(
    job: Job,
    schedule: Schedule,
    committed: AbstractSet[int],
    listener: Listener,
    lease: Lease | None,
) -> None:
    """Do all shards that are not committed."""
    limit = failure_limit(job.resources.max_failed, schedule.planned)
    done, failed, pace = schedule.photos_in(committed), 0, Pace()
    lack = partial(describe_lack, *actor_need(job))
    with (
        Watchdog(our_workers, lack, listener.begin, listener.wait) as watchdog,
        closing(_run_shards(schedule.open(committed), job, schedule.photos - done)) as reports,
    ):
        for report in reports:
            watchdog.news(report.span)
            pace.add(report.photos, report.span)
            done, failed = done + report.photos, failed + report.failed
            listener.update(done, failed, schedule.photos, pace.photos_per_second)
            if failed > limit:
                allowed = f"--max-failed {job.resources.max_failed}"
                raise TooManyFailures(f"{failed:,} photos failed: {allowed} was given")
            if lease:
                lease.check()


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
    gpus, metrics = gpu_share(job.resources, job.device), Metrics()
    while wave := list(islice(shards, size_wave(capacity(), gpus, job.resources.actors))):
        lost = {shard.number: shard for shard in wave}
        for isolated in (False, True):
            for row in run_wave(list(lost.values()), job, isolated) if lost else ():
                lost.pop(row["shard"], None)
                report, trouble_now, records = pickle.loads(row["ended"])
                replay(records)
                if not trouble_now:
                    outage, photos = 0, photos - report.photos
                    metrics.record(report, photos)
                    yield report
                    continue
                outage, trouble = outage + 1, trouble_now
                if outage == OUTAGE or not _may_pass(trouble):
                    raise trouble
        for number in lost:
            LOGGER.error("shard %d: its processes died; it stays to be done", number)
        gc.collect()  # a data set holds itself in circles, with all that it knows of its shards
    if trouble:
        raise StoreUnavailable(f"some photos are left to be done: {trouble}")


def _may_pass(trouble: AutochromeError) -> bool:
    """Whether the next shard may fare better."""
    return isinstance(trouble, StoreUnavailable) and not isinstance(trouble, DestinationGone)


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
    except Exception as error:
        if from_interrupt(error):
            raise Interrupted(f"interrupted; {again}") from error
        if isinstance(error, AutochromeError):
            raise type(error)(f"{error}; {again}") from error
        from ray.data.exceptions import ExecutionTimeoutError  # here, where Ray is loaded already

        cause = (str(error).strip() or type(error).__name__).splitlines()[-1]
        if isinstance(error, ExecutionTimeoutError):  # whose words are for programmers
            cause = f"nothing has moved for {SILENCE_SECONDS / 3600:g} hours"
        where = f" (more in {log.path})" if log.path else ""
        raise EngineError(f"Ray gave up: {cause}{where}; {again}") from error
