"""The three operators of a run for Ray Data, whose rows are shards.

They are shells around pipeline.run.steps, which does the work and runs without Ray.
"""

import os
import pickle
import socket
import threading
import traceback
from collections.abc import Mapping, Sequence
from logging import LogRecord
from typing import Any

from pipeline.cluster.pools import Pools
from pipeline.errors import (
    AutochromeError,
    DeviceBroken,
    DeviceFull,
    StorageError,
    StoreUnavailable,
)
from pipeline.ledger.advice import workers_of
from pipeline.ledger.plan import Shard
from pipeline.ledger.recipe import Recipe
from pipeline.ledger.run_file import RUN
from pipeline.ledger.shard_report import ShardReport
from pipeline.run.isolation import call_here, call_isolated
from pipeline.run.logs import collect_records
from pipeline.run.options import method_of
from pipeline.run.request import Job
from pipeline.run.steps import Candidate, ReadPhoto, colorize_shard, read_shard, write_shard
from pipeline.storage.anchored import AnchoredStorage
from pipeline.weights.store import fetch_weights

Row = dict[str, Any]


def pack(
    shard: Shard,
    work: object = None,
    trouble: AutochromeError | None = None,
    actor: str = "",
    records: Sequence[LogRecord] = (),
) -> Row:
    """A row of a data set; pickled, because Arrow would first try to make columns of all parts.

    trouble: an error that keeps the shard from being done now; later steps pass it on. records:
    what was logged about the shard so far.
    """
    return {
        "work": pickle.dumps((shard, work), pickle.HIGHEST_PROTOCOL),  # arrays without a copy each
        "trouble": pickle.dumps(trouble),
        "actor": actor,
        "records": pickle.dumps(list(records)),
    }


def read_row(row: Row, job: Job, isolated: bool) -> Row:
    """The first operator. isolated: each photo is decoded in a process of its own."""
    shard, _ = pickle.loads(row["work"])
    call = call_isolated if isolated else call_here
    recipe, photos, trouble = job.run.recipe, None, None
    with collect_records() as records:
        try:
            photos = read_shard(shard, job.source, job.sizes, call, recipe.recolor, recipe.pages)
        except StoreUnavailable as error:
            trouble = error
    return pack(shard, photos, trouble, records=records)


def warm_up(weights: str, model: str, digests: Mapping[str, str]) -> None:
    """Fetch the weights to this machine, and load them and PyTorch once.

    An actor that starts later, in another process, then finds all files in the system's cache: on a
    new machine, reading the disk takes longest. The actor will report whatever fails here.
    """
    from model.systems import load_colorizer

    load_colorizer(model, fetch_weights(weights, digests))


class ColorizeActor:
    """The actor: a shell around the loaded model.

    Ray calls it from several threads. One shard at a time is colorized while another is unpacked or
    packed, so that the model does not wait for that.
    """

    def __init__(self, job: Job) -> None:
        import torch

        from model.systems import load_colorizer

        self._recipe, self._on_cpu = job.run.recipe, job.device == "cpu"
        folder = fetch_weights(job.resources.weights, job.run.recipe.weights)
        recipe = job.run.recipe
        self.colorizer = load_colorizer(
            recipe.model, folder, job.device, job.resources.batch_size, method_of(recipe)
        )
        self._device = "cpu" if self._on_cpu else torch.cuda.get_device_name()
        self._name, self._turn = f"{socket.gethostname()}:{os.getpid()}", threading.Lock()

    def __call__(self, row: Row) -> Row:
        if pickle.loads(row["trouble"]):
            return row
        shard, photos = pickle.loads(row["work"])
        recipe, colored, trouble = shard.recipe(self._recipe), None, None
        with self._turn, collect_records() as records:
            try:
                colored = self._colorize(photos, recipe)
            except DeviceFull as error:
                trouble = error
            except DeviceBroken:
                # Everything that this process computes from now on may be wrong: a new one takes
                # over.
                traceback.print_exc()
                os._exit(1)
        records = pickle.loads(row["records"]) + records
        return pack(shard, colored, trouble, self._name, records)

    def _colorize(self, photos: list[ReadPhoto], recipe: Recipe) -> list[list[Candidate]]:
        if self._on_cpu:
            import torch

            # Of this thread: an actor has one core, the others belong to other actors.
            torch.set_num_threads(1)
        return colorize_shard(photos, self.colorizer, recipe, self._device)


def write_row(row: Row, job: Job, pools: Pools, isolated: bool) -> Row:
    """The last operator, which commits; its row has the shard's number and what came of it."""
    shard, photos = pickle.loads(row["work"])
    report, trouble = ShardReport(0, 0), pickle.loads(row["trouble"])
    call = call_isolated if isolated else call_here
    workers = workers_of(row["actor"], pools.readers, pools.writers)
    with collect_records() as records:
        try:
            if not trouble:
                report = write_shard(
                    shard.number,
                    photos,
                    job.source,
                    AnchoredStorage(job.destination, RUN),
                    job.run,
                    call,
                    workers,
                    job.signer,
                )
        except StorageError as error:  # of the commit: a photo's own is in its row
            trouble = error
    records = pickle.loads(row["records"]) + records
    return {"shard": shard.number, "ended": pickle.dumps((report, trouble, records))}
