"""What a run would be: how many photos, how large, how long. Nothing is written anywhere."""

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import PurePosixPath
from random import Random

from pipeline.errors import StorageError, UsageError
from pipeline.ledger.choosing import chosen_photos, describe_nothing
from pipeline.ledger.plan import Photo, Shard
from pipeline.ledger.planning import refuse_overlap
from pipeline.ledger.run_file import Plan, Run, load_run
from pipeline.ledger.status import Ledger
from pipeline.ledger.updates import Changes, compare
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
    if asked.hints and asked.begun is None:
        listed = chosen_photos(asked.source, asked.recipe, asked.listing, Counter())
        asked.hints.refuse_unknown((photo.path for photo in listed), asked.source.uri)
    ignored: Counter[str] = Counter()
    formats: dict[str, tuple[int, int]] = {}
    chosen, photos, size = list[StoredObject](), 0, 0
    random = Random(0)
    for photo in chosen_photos(asked.source, asked.recipe, asked.listing, ignored):
        photos, size = photos + 1, size + photo.size
        suffix = PurePosixPath(photo.path).suffix.lower() or "without a suffix"
        count, total = formats.get(suffix, (0, 0))
        formats[suffix] = (count + 1, total + photo.size)
        if len(chosen) < PILOT:  # any photo is as likely as any other (reservoir sampling)
            chosen.append(photo)
        elif (place := random.randrange(photos)) < PILOT:
            chosen[place] = photo
    if not photos:
        raise UsageError(describe_nothing(asked.source, ignored))
    done, left, unplanned = _progress(destination, asked.source) or (0, photos, 0)
    left += unplanned if update else 0
    pilot = _try(chosen, asked, resources) if left else None
    about = (asked.source.uri, photos, size, formats, dict(ignored))
    return Survey(*about, done, pilot, left, unplanned)


def _progress(destination: Storage, source: Storage) -> tuple[int, int, int] | None:
    """Photos that are done, those that are planned and not done, and those that are not planned;
    None where nothing is planned yet."""
    run = load_run(destination)
    if run is None:
        return None
    ledger = Ledger(destination, run)
    ledger.refresh()
    status = ledger.status()
    same = source.uri == run.recipe.source  # else the run itself will refuse
    changes = (compare(source, destination, run) if same else None) or Changes()
    return status.photos - status.pending, status.pending, changes.new


def _try(photos: list[StoredObject], asked: Request, resources: Resources) -> Pilot:
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
