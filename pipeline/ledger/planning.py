"""A run is planned: its photos are listed, cut into shards, and frozen."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from itertools import islice
from typing import Literal

from pipeline.errors import DestinationMismatch, ObjectMissing, StorageError, UsageError
from pipeline.ledger.choosing import chosen_photos, describe_nothing
from pipeline.ledger.hints import HintFile
from pipeline.ledger.names import Names
from pipeline.ledger.plan import (
    PlanRow,
    choose_shard_size,
    is_plan_path,
    part_path,
    short_name,
    to_parquet,
)
from pipeline.ledger.recipe import Recipe
from pipeline.ledger.run_file import FORMAT, RUN, Plan, Run, differences, load_run
from pipeline.ledger.seen import Seen
from pipeline.ledger.sources import Listing, named_files
from pipeline.storage.base import Storage, StoredObject
from pipeline.storage.open_storage import overlap
from pipeline.storage.probe import probe_conditional_writes

PHOTOS_PER_PART = 100_000
_BEFORE_A_RUN = {"lease.json", "Thumbs.db", "desktop.ini"}
OnPhase = Callable[[Literal["listing", "planning"], int], None]


def prepare_run(
    source: Storage,
    destination: Storage,
    recipe: Recipe,
    shard_size: int,
    listing: Listing | None = None,
    on_plan: Callable[[], None] = lambda: None,
    on_phase: OnPhase = lambda phase, photos: None,
    hints: HintFile | None = None,
    largest_shard: int | None = None,
) -> Run:
    """The destination's run: the existing one, or a new one, planned now.

    shard_size: photos in a shard. largest_shard: what shards may grow to, as long as there are
    FEW_SHARDS of them. listing: replaces the source's own listing, and counts what it leaves out.
    on_plan: called before a new run is planned. on_phase: called while photos are listed or
    planned, with the number found so far. hints: of the photos; they are frozen in the plan. Raises
    UsageError (no photo, hints for an unknown photo, source and destination overlap, the
    destination holds something else), DestinationMismatch, StorageError.
    """
    refuse_overlap(source, destination, recipe.include)
    found = load_run(destination)
    if found is None:
        _refuse_others_files(destination)
        on_plan()
        if hints is not None:  # checked before the first write, so the source is listed twice
            listed = chosen_photos(source, recipe, listing, Counter())
            known = (photo.path for photo in _reporting(listed, on_phase))
            hints.refuse_unknown(known, source.uri)
        sizes = shard_size, largest_shard or shard_size
        freeze = partial(_freeze, source, destination, recipe, sizes, listing, on_phase, hints)
        found = _frozen(destination, freeze)
    check_recipe(destination, found.recipe, recipe)
    return found


def refuse_overlap(source: Storage, destination: Storage, include: Sequence[str] = ()) -> None:
    """Raise UsageError if writing to the destination could change the source.

    include: if it lists single files, the destination may lie in their folder.
    """
    if not overlap(source, destination):
        return
    files = named_files(include)
    inside = [source.uri] if files is None else _inside(destination, map(source.uri_of, files))
    if inside:
        raise UsageError(
            f"the destination {destination.uri} and the source {inside[0]} must not lie inside"
            " each other"
        )


def _inside(destination: Storage, files: Iterable[str]) -> list[str]:
    """The files that lie in a destination, or are it; links are followed."""
    folder = destination.uri.rstrip("/") + "/"
    places = (file if "://" in file else os.path.realpath(file) for file in files)
    return [place for place in places if f"{place}/".startswith(folder)]


def check_recipe(destination: Storage, frozen: Recipe, wanted: Recipe) -> None:
    """Raise DestinationMismatch if a run was started with other settings."""
    changed = differences(asdict(frozen), asdict(wanted))
    if changed:
        raise DestinationMismatch(
            "\n".join([f"{destination.uri} belongs to a run with other settings", *changed])
        )


class OutOfOrder(Exception):
    """Photos do not come in the order of their paths: a manifest has another one, or a store does
    not list as S3 does."""


class OtherPlan(UsageError):
    """A plan is there already, without run.json or with one that was written meanwhile."""


def _frozen(destination: Storage, freeze: Callable[..., Run], in_order: bool = True) -> Run:
    """The run that is planned now, or that of another command that was first."""
    try:
        return freeze(in_order=in_order)
    except OutOfOrder:  # all that is named has to be kept in mind, which takes longer
        return _frozen(destination, freeze, in_order=False)
    except OtherPlan:
        run = load_run(destination)
        if run is None:
            raise
        return run


def _freeze(
    source: Storage,
    destination: Storage,
    recipe: Recipe,
    shard_sizes: tuple[int, int],
    listing: Listing | None,
    on_phase: OnPhase,
    hints: HintFile | None,
    in_order: bool,
) -> Run:
    """Write plan/, part by part, then run.json. shard_sizes: as in `choose_shard_size`. in_order:
    as in Names. Raises OutOfOrder, OtherPlan, StorageError."""
    ignored: Counter[str] = Counter()
    listed = chosen_photos(source, recipe, listing, ignored)
    if listing is None or in_order:
        listed = _each_once(listed, in_order)
    names = Names(recipe.candidates, recipe.pages == "all", in_order, recipe.rank_by)
    listed, shard_size = choose_shard_size(_reporting(listed, on_phase), *shard_sizes)
    photos = _rows(listed, names, shard_size, hints)
    shards_per_part = max(1, PHOTOS_PER_PART // shard_size)  # no shard lies in two parts
    count, digests = 0, list[str]()
    while rows := list(islice(photos, shards_per_part * shard_size)):
        if not digests:
            probe_conditional_writes(destination)  # the first write of all
        on_phase("planning", count + len(rows))
        digests.append(_write_part(destination, len(digests), rows))
        count += len(rows)
    if not count:
        raise UsageError(describe_nothing(source, ignored))
    plan = Plan(
        photos=count,
        shards=-(-count // shard_size),
        shard_size=shard_size,
        shards_per_part=shards_per_part,
        digests=tuple(digests),
        ignored=dict(sorted(ignored.items())),
        least_shard=shard_sizes[0] if shard_size > shard_sizes[0] else None,
    )
    return _write_run(destination, recipe, plan)


def _write_run(destination: Storage, recipe: Recipe, plan: Plan) -> Run:
    """Write run.json; returns what is there then: another command's, if that was first."""
    known = {name: value for name, value in asdict(plan).items() if value is not None}
    content = {"format_version": FORMAT, **asdict(recipe), "plan": known}
    destination.write_if_absent(RUN, json.dumps(content, indent=2, sort_keys=True).encode() + b"\n")
    run = load_run(destination)
    if run is None:
        raise StorageError(f"{destination.uri_of(RUN)} was written and is not there")
    return run


def _rows(
    photos: Iterable[StoredObject], names: Names, shard_size: int, hints: HintFile | None
) -> Iterator[PlanRow]:
    for number, photo in enumerate(photos):
        yield (
            *(photo.path, photo.size, number // shard_size, 1, None),
            short_name(names.of(photo.path), photo.path),
            hints.text_of(photo.path) if hints else None,
            None,
        )


def _each_once(photos: Iterable[StoredObject], in_order: bool) -> Iterator[StoredObject]:
    """Photos of a listing without those that a store repeats. Raises OutOfOrder if they were to
    come in order, and do not."""
    seen, last = Seen(), ""
    for photo in photos:
        if in_order and photo.path < last:
            raise OutOfOrder
        if photo.path != last if in_order else seen.add(photo.path):
            yield photo
        last = photo.path


def _reporting(photos: Iterator[StoredObject], on_phase: OnPhase) -> Iterator[StoredObject]:
    on_phase("listing", 0)
    for number, photo in enumerate(photos, start=1):
        if not number % 1000:
            on_phase("listing", number)
        yield photo


def _write_part(destination: Storage, part: int, rows: Sequence[PlanRow]) -> str:
    data, path = to_parquet(rows), part_path(part)
    # If it exists, it comes from an interrupted start, or from a command that starts right now.
    if not destination.write_if_absent(path, data) and destination.read(path) != data:
        raise OtherPlan(
            f"{destination.uri_of(path)} comes from an interrupted start with another source or"
            " shard size, or from a command that starts right now: if there is none, remove plan/"
            " there, and start again"
        )
    return hashlib.sha256(data).hexdigest()


def _all_in(destination: Storage) -> Iterator[StoredObject]:
    with suppress(ObjectMissing):  # the folder is only made with the first write
        yield from destination.list()


def _refuse_others_files(destination: Storage) -> None:
    """Raise UsageError unless a destination without a run is empty or holds the beginnings of
    one."""
    for found in _all_in(destination):
        hidden = any(part.startswith(".") for part in found.path.split("/"))
        if not hidden and not is_plan_path(found.path) and found.path not in _BEFORE_A_RUN:
            if destination.exists(RUN):  # of another command, which started a run meanwhile
                return
            raise UsageError(
                f"{destination.uri} holds {found.path} and no run.json: it is not a destination of"
                " Autochrome; choose an empty one"
            )
