"""What a run would be: how many photos, how large, how long. Nothing is written anywhere."""

import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from random import Random

from pipeline.errors import StorageError, UsageError
from pipeline.ledger.choosing import chosen_photos, describe_nothing
from pipeline.ledger.plan import Photo, Shard
from pipeline.ledger.planning import check_recipe, refuse_overlap
from pipeline.ledger.run_file import Plan, Run, load_run
from pipeline.ledger.status import Ledger
from pipeline.ledger.updates import Changes, Watch
from pipeline.run.options import RecipeOptions, Resources, method_of
from pipeline.run.request import Request, check_request
from pipeline.run.steps import colorize_shard, read_shard, write_shard
from pipeline.storage.base import Storage, StoredObject
from pipeline.storage.memory import MemoryStorage
from pipeline.weights.store import fetch_weights

PILOT = 8  # photos that are colorized, on one core


@dataclass(frozen=True)
class Pilot:
    """Photos that were colorized for an estimate, and what they took.

    seconds: of one core a photo, or of one GPU and the core beside it. bytes_out: of the pictures
    for each byte of a master. reasons: of those that failed.
    """

    photos: int
    seconds: float
    bytes_out: float
    reasons: dict[str, int]


@dataclass(frozen=True)
class Survey:
    """What is there and what is left to do.

    formats: photos and bytes by suffix. unplanned: photos that came after the rest was planned;
    they are left to do only where that is asked for.
    """

    source: str
    photos: int
    size: int
    formats: dict[str, tuple[int, int]]
    ignored: dict[str, int]
    done: int
    pilot: Pilot | None
    left: int
    unplanned: int = 0


def survey(
    source: str,
    destination: Storage,
    options: RecipeOptions,
    resources: Resources,
    update: bool = False,
) -> Survey:
    """List the source as a run would, and colorize a few of its photos in this process.

    Raises AutochromeError, as the run would.
    """
    asked = check_request(source, destination, options, resources)
    refuse_overlap(asked.source, destination, asked.recipe.include)
    run, watch = load_run(destination), None
    if run is not None:
        check_recipe(destination, run.recipe, asked.recipe)
        watch = Watch(destination, run)
    tally = _Tally()
    paths = tally.listed(asked, watch)
    if asked.hints and run is None:
        asked.hints.refuse_unknown(paths, asked.source.uri)
    deque(paths, maxlen=0)  # what that left
    if not tally.photos:
        raise UsageError(describe_nothing(asked.source, tally.ignored))
    done, left, unplanned = 0, tally.photos, 0
    if run is not None and watch is not None:
        done, left = _progress(destination, run)
        unplanned = (watch.changes() or Changes()).new
    left += unplanned if update else 0
    pilot = _run_pilot(tally.chosen, asked, resources) if left else None
    about = (asked.source.uri, tally.photos, tally.size, tally.formats, dict(tally.ignored))
    return Survey(*about, done, pilot, left, unplanned)


class _Tally:
    """What one listing of a source tells: counts, and a few photos that any of them may be."""

    def __init__(self) -> None:
        self.photos, self.size, self.ignored = 0, 0, Counter[str]()
        self.formats: dict[str, tuple[int, int]] = {}
        self.chosen: list[StoredObject] = []
        self._random = Random(0)

    def listed(self, asked: Request, watch: Watch | None) -> Iterator[str]:
        """The path of each photo that the run takes, once it is counted. watch: sees those beyond
        the run's limit, too."""
        limit, ignored = asked.recipe.limit, self.ignored
        further = watch is not None and watch.can_tell
        recipe = replace(asked.recipe, limit=None) if further else asked.recipe
        for photo in chosen_photos(asked.source, recipe, asked.listing, ignored):
            if watch is not None:
                watch.see(photo)
            if limit is None or self.photos < limit:
                self._add(photo)
                if self.photos == limit:
                    self.ignored = Counter(ignored)  # as a listing that ends here has it
                yield photo.path

    def _add(self, photo: StoredObject) -> None:
        self.photos, self.size = self.photos + 1, self.size + photo.size
        suffix = PurePosixPath(photo.path).suffix.lower() or "without a suffix"
        count, total = self.formats.get(suffix, (0, 0))
        self.formats[suffix] = (count + 1, total + photo.size)
        if len(self.chosen) < PILOT:  # any photo is as likely as any other (reservoir sampling)
            self.chosen.append(photo)
        elif (place := self._random.randrange(self.photos)) < PILOT:
            self.chosen[place] = photo


def _progress(destination: Storage, run: Run) -> tuple[int, int]:
    """Photos that are done, and those that are planned and not done."""
    ledger = Ledger(destination, run)
    ledger.refresh()
    status = ledger.status()
    return status.photos - status.pending, status.pending


def _run_pilot(photos: list[StoredObject], asked: Request, resources: Resources) -> Pilot:
    """Colorize photos as a shard of the run would be, into memory."""
    import torch

    from model.systems import load_colorizer

    recipe = asked.recipe
    folder = fetch_weights(resources.weights, recipe.weights)
    colorizer = load_colorizer(
        recipe.model, folder, asked.device, resources.batch_size, method_of(recipe)
    )
    shard = Shard(0, tuple(Photo(each.path, each.size, name=each.path) for each in photos))
    plan = Plan(len(photos), 1, len(photos), 1, (), {})
    threads, place = torch.get_num_threads(), MemoryStorage("pilot")
    try:
        torch.set_num_threads(1)  # as an actor has
        start = time.perf_counter()
        read = read_shard(
            shard, asked.source, asked.sizes, recolor=recipe.recolor, pages=recipe.pages
        )
        colored = colorize_shard(read, colorizer, recipe, asked.device)
        report = write_shard(0, colored, asked.source, place, Run(recipe, plan, ""))
        seconds = (time.perf_counter() - start) / len(photos)
    except StorageError as error:
        raise UsageError(f"the pilot cannot read {asked.source.uri}: {error}") from error
    finally:
        torch.set_num_threads(threads)
    written = sum(len(data) for path, data in place.objects.items() if path.startswith("images/"))
    return Pilot(
        len(photos), seconds, written / max(1, sum(each.size for each in photos)), report.reasons
    )
