"""All shards that are not committed yet, through Ray Data in waves.

A wave (run.wave) is as many shards as keep the machines busy for a while. Failures are handled
here: a shard whose processes died is done again photo by photo, a store that is out of reach ends
the run only if it stays so, and too many failed photos end it at once.
"""

import pickle
from collections.abc import Generator, Iterator
from collections.abc import Set as AbstractSet
from contextlib import closing
from functools import partial
from itertools import islice

from pipeline.cluster.pools import size_wave
from pipeline.cluster.session import capacity, describe_lack, our_workers
from pipeline.cluster.watchdog import Watchdog
from pipeline.errors import AutochromeError, DestinationGone, StoreUnavailable, TooManyFailures
from pipeline.ledger.pace import Pace
from pipeline.ledger.plan import Schedule, Shard
from pipeline.ledger.shard_report import ShardReport
from pipeline.run.listener import Listener
from pipeline.run.logs import LOGGER, replay
from pipeline.run.metrics import Metrics
from pipeline.run.operators import Row, pack
from pipeline.run.release import release_memory, return_memory
from pipeline.run.request import Job
from pipeline.run.wave import actor_need, gpu_share, run_wave
from pipeline.storage.lease import Lease

SHARDS_PER_RETURN = 32  # a shard leaves some 16 KiB of free memory in the driver
OUTAGE = 3  # shards in a row for which a store was out of reach: the run ends


def run_open_shards(
    job: Job,
    schedule: Schedule,
    committed: AbstractSet[int],
    listener: Listener,
    lease: Lease | None,
) -> None:
    """Do all shards that are not committed. Raises AutochromeError and whatever Ray raises."""
    limit = failure_limit(job.resources.max_failed, schedule.planned)
    done, failed, pace = schedule.photos_in(committed), 0, Pace()
    lack = partial(describe_lack, *actor_need(job))
    with (
        Watchdog(our_workers, lack, listener.begin, listener.wait) as watchdog,
        closing(_run_shards(schedule.open(committed), job, schedule.photos - done)) as reports,
    ):
        for count, report in enumerate(reports, 1):
            watchdog.news(report.span)
            pace.add(report.photos, report.span)
            done, failed = done + report.photos, failed + report.failed
            listener.update(done, failed, schedule.photos, pace.photos_per_second)
            if failed > limit:
                allowed = f"--max-failed {job.resources.max_failed}"
                raise TooManyFailures(f"{failed:,} photos failed: {allowed} was given")
            if count % SHARDS_PER_RETURN == 0:
                return_memory()
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
    while lost := _packed(shards, size_wave(capacity(), gpus, job.resources.actors)):
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
        release_memory()  # a data set holds itself in circles, with all that it knows of its shards
    if trouble:
        raise StoreUnavailable(f"some photos are left to be done: {trouble}")


def _packed(shards: Iterator[Shard], most: int) -> dict[int, Row]:
    """The rows of the next shards by their numbers. A whole wave is held, and a packed shard of 64
    photos takes a quarter of the memory."""
    return {shard.number: pack(shard) for shard in islice(shards, most)}


def _may_pass(trouble: AutochromeError) -> bool:
    """Whether the next shard may fare better."""
    return isinstance(trouble, StoreUnavailable) and not isinstance(trouble, DestinationGone)
