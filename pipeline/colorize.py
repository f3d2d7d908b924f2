"""A run from its sources to its report: what is not committed yet goes through Ray Data.

`colorize` starts a run or goes on with it, `resume` goes on with one that only the destination
knows. Both check what is asked for (run.request), do all open shards (run.open_shards), and write
the report (run.summary).
"""

from collections.abc import Collection, Mapping
from dataclasses import replace

from pipeline.cluster.session import cluster_joined, logs_folder, on_cluster, quiet_ray
from pipeline.errors import StorageError
from pipeline.ledger.plan import Schedule
from pipeline.ledger.planning import refuse_overlap
from pipeline.ledger.results import committed_shards
from pipeline.ledger.run_file import RUN
from pipeline.ledger.selection import Selection
from pipeline.ledger.series import plan_series
from pipeline.ledger.status import Ledger
from pipeline.ledger.updates import Changes, compare, plan_update
from pipeline.run.decisions import take_decisions
from pipeline.run.engine_errors import resumable
from pipeline.run.known_colors import require_support
from pipeline.run.listener import Listener
from pipeline.run.logs import RunLog
from pipeline.run.open_shards import run_open_shards
from pipeline.run.options import RecipeOptions, Resources
from pipeline.run.request import Job, prepare_job, reopen_job
from pipeline.run.summary import Summary, summarize
from pipeline.run.warming import warm_up_cluster
from pipeline.storage.anchored import AnchoredStorage
from pipeline.storage.lease import Lease, open_destination
from pipeline.storage.open_storage import open_storage
from pipeline.storage.probe import probe_conditional_writes
from pipeline.user_folders import state_folder
from pipeline.weights.store import takes_hints

# How long a finished run may look for photos that came into its source since it was planned.
LOOK_SECONDS = 30.0


def colorize(
    source: str,
    destination: str,
    options: RecipeOptions,
    resources: Resources,
    listener: Listener,
    update: bool = False,
) -> Summary:
    """Colorize what is not done yet, then write the report.

    update: photos that came into the source since it was planned are planned first; otherwise the
    summary tells how many they are, where a short look finds out. Raises AutochromeError; the same
    command goes on from there.
    """
    # Checked before the lease, which is written into the destination.
    refuse_overlap(open_storage(source), open_storage(destination), options.include)

    def before_planning(device: str, digests: Mapping[str, str]) -> None:
        if not on_cluster():
            state_folder("logs")  # which the run needs, so that it is refused now
        warm_up_cluster(resources, options.model, device, digests)

    with cluster_joined(), open_destination(destination, resources.single_writer) as (place, lease):
        job = prepare_job(
            source, place, options, resources, before_planning, listener.begin, update
        )
        if not job.begun:
            return _run(job, listener, lease)
        if update:
            listener.begin("listing")
            probe_conditional_writes(place)
            changes = plan_update(job.source, place, job.run)
            summary = _run(job, listener, lease)
            return replace(summary, added=changes.new, resized=changes.resized)
        summary = _run(job, listener, lease)
        found = _look_for_changes(job)
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
    """Go on with a run whose settings are read from its destination.

    retry_failed: photos that failed are done once more, or only those that failed for one of the
    `reasons`. selection: decisions to keep in the destination; photos to be redone are redone.
    series: after that, the photos of each folder get similar colors (ledger.series). The rest is as
    in `colorize`.
    """
    with cluster_joined(), open_destination(destination, resources.single_writer) as (place, lease):
        job = reopen_job(place, resources)
        probe_conditional_writes(place)
        if series:
            require_support("--series folder", "palette", resources.weights, job.knows)
        if selection or retry_failed or series:
            listener.begin("planning")
        taken = None
        if selection:
            taken = take_decisions(selection, job)
        if series:
            plan_series(place, job.run, job.sizes[0])
        retried = Ledger(place, job.run).retry_failed(reasons) if retry_failed else None
        return replace(_run(job, listener, lease), retried=retried, selection=taken)


def _look_for_changes(job: Job) -> Changes | None:
    """How the source differs from the plan; None where a short look does not tell."""
    try:
        return compare(job.source, job.destination, job.run, LOOK_SECONDS)
    except StorageError:  # a source that went away after all of it was done
        return None


def _run(job: Job, listener: Listener, lease: Lease | None) -> Summary:
    schedule = Schedule(job.destination, job.run)
    committed = committed_shards(job.destination).keys()
    done = schedule.photos_in(committed)
    listener.update(done, 0, schedule.photos)
    log = RunLog(job.resources.log_as_json)
    if done < schedule.photos:  # else no Ray is started, which takes seconds
        if job.signer and job.signer.silent:
            listener.wait(f"{job.resources.c2pa_timestamp} gives {job.signer.silent}")
        listener.begin("starting workers")
        with (
            resumable(job.destination.uri, log),
            quiet_ray() as own,
            log.written_to(logs_folder(own)),
        ):
            run_open_shards(job, schedule, committed, listener, lease)
    listener.begin("writing the report")
    destination = AnchoredStorage(job.destination, RUN)
    hints = takes_hints(job.resources.weights, job.run.recipe.weights)
    return replace(summarize(destination, job.run, hints), log=log.path)
