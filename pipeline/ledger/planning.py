"""Making plans: which photos there are, and which of them are done once more."""

import hashlib
import io
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from itertools import islice
from pathlib import PurePosixPath
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import DestinationMismatch, ObjectMissing, StorageError, UsageError, shown
from pipeline.images.formats import MASTER_SUFFIXES
from pipeline.ledger.hints import HintFile
from pipeline.ledger.names import Names
from pipeline.ledger.plan import (
    FORMAT,
    RUN,
    SCHEMA,
    Plan,
    Run,
    Schedule,
    differences,
    is_plan_path,
    load_run,
    part_path,
    retry_path,
)
from pipeline.ledger.recipe import Recipe
from pipeline.ledger.sources import Listing, listing_of, named_files
from pipeline.storage.base import Storage, StoredObject
from pipeline.storage.open_storage import overlap
from pipeline.storage.probe import probe_conditional_writes

PHOTOS_PER_PART = 100_000
# Folders and files that systems leave beside photographs, and lists without a suffix.
_OF_SYSTEMS = {
    *("@eaDir", "#recycle", "#snapshot", "$RECYCLE.BIN", "System Volume Information"),
    *("__MACOSX", "lost+found", "Thumbs.db", "desktop.ini", "Icon\r"),
}
_LISTS = re.compile(r"(?:SHA\d+|MD5)(?:SUMS?)?|CHECKSUMS?|README|LICEN[CS]E|MANIFEST|INDEX", re.I)
_BEFORE_A_RUN = {"lease.json", "Thumbs.db", "desktop.ini"}
OnPhase = Callable[[Literal["listing", "planning"], int], None]
# As plan.SCHEMA names them.
PlanRow = tuple[str, int, int, int, int | None, str | None, str | None, str | None]


@dataclass(frozen=True)
class Redo:
    """A photo to be done once more, as its `attempt`-th.

    seed: 0..2^63 - 1, in the place of the run's; None: that of its last attempt. name: as in
    plan.Photo. hints, palette: as in plan.Photo, "" for none; None: those of its last attempt.
    """

    photo: str
    size: int
    attempt: int
    seed: int | None = None
    name: str | None = None
    hints: str | None = None
    palette: str | None = None


def prepare_run(
    source: Storage,
    destination: Storage,
    recipe: Recipe,
    shard_size: int,
    listing: Listing | None = None,
    on_plan: Callable[[], None] = lambda: None,
    on_phase: OnPhase = lambda phase, photos: None,
    hints: HintFile | None = None,
) -> Run:
    """The destination's run: the one that is there, or a new one, planned now.

    listing: yields what there is instead of the source's own listing, and counts what it leaves
    out. on_plan: called before a new one is planned. on_phase: hears that its photos are listed or
    planned, and how many were found so far. hints: of its photos; they are frozen in the plan.
    Raises UsageError (no photo, hints for a photo that is none of them, places overlap, the
    destination holds something else), DestinationMismatch, StorageError.
    """
    refuse_overlap(source, destination, recipe.include)
    found = load_run(destination)
    if found is None:
        _refuse_others_files(destination)
        on_plan()
        found = _freeze(source, destination, recipe, shard_size, listing, on_phase, hints)
    check_recipe(destination, found.recipe, recipe)
    return found


def refuse_overlap(source: Storage, destination: Storage, include: Sequence[str] = ()) -> None:
    """Raises UsageError where writing to one would be writing to the other.

    include: of a source that is a list of files, their folder may be that of the destination, too.
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
    """Which files are in a destination, or are it; links count as what they lead to."""
    folder = destination.uri.rstrip("/") + "/"
    places = (file if "://" in file else os.path.realpath(file) for file in files)
    return [place for place in places if f"{place}/".startswith(folder)]


def check_recipe(destination: Storage, frozen: Recipe, wanted: Recipe) -> None:
    """Raises DestinationMismatch where a run was started with other settings."""
    changed = differences(asdict(frozen), asdict(wanted))
    if changed:
        raise DestinationMismatch(
            "\n".join([f"{destination.uri} belongs to a run with other settings", *changed])
        )


def plan_retry(destination: Storage, run: Run, redo: Callable[[Schedule], Iterable[Redo]]) -> int:
    """Add shards for photos to be done once more; returns how many photos.

    redo: chooses them, given what is planned already; asked again where another command has
    planned a retry at the same moment. Raises StorageError.
    """
    while True:
        schedule = Schedule(destination, run)
        seeds, hints, palettes = schedule.seeds(), schedule.hints(), schedule.palettes()
        chosen = [
            replace(
                each,
                seed=seeds.get(each.photo) if each.seed is None else each.seed,
                hints=hints.get(each.photo) if each.hints is None else each.hints or None,
                palette=palettes.get(each.photo) if each.palette is None else each.palette or None,
            )
            for each in redo(schedule)
        ]
        chosen.sort(key=lambda each: (*_kind(each), each.photo.encode()))
        if not chosen:
            return 0
        number, shard = schedule.shards - 1, run.plan.shard_size
        rows: list[PlanRow] = []
        filled, kind = shard, (0, -1)
        for each in chosen:
            if filled == shard or _kind(each) != kind:
                number, filled, kind = number + 1, 0, _kind(each)
            filled += 1
            name = short_name(each.name, each.photo)
            facts = each.photo, each.size, number, each.attempt, each.seed
            rows.append((*facts, name, each.hints, each.palette))
        if destination.write_if_absent(retry_path(schedule.next_file), to_parquet(rows)):
            return len(chosen)


def _kind(redo: Redo) -> tuple[int, int]:
    """Attempt and seed, which the photos of a shard have in common."""
    return redo.attempt, -1 if redo.seed is None else redo.seed


def short_name(name: str | None, photo: str) -> str | None:
    """A name as a plan has it: most are the photo's own, and take no room."""
    return "" if name == photo else name


def describe_ignored(ignored: dict[str, int]) -> str:
    """A phrase for people: `3 other files ignored (2 .txt, 1 hidden)`."""
    count = sum(ignored.values())
    kinds = sorted(ignored.items(), key=lambda item: (-item[1], item[0]))
    named = ", ".join(f"{number:,} {shown(kind)}" for kind, number in kinds[:5])
    more = ", ..." if len(kinds) > 5 else ""
    return f"{count:,} other file{'' if count == 1 else 's'} ignored ({named}{more})"


def _freeze(
    source: Storage,
    destination: Storage,
    recipe: Recipe,
    shard_size: int,
    listing: Listing | None,
    on_phase: OnPhase,
    hints: HintFile | None,
) -> Run:
    """Write plan/, part by part, then run.json."""
    if hints is not None:  # before the first write, so that the source is listed twice
        listed = chosen_photos(source, recipe, listing, Counter())
        hints.refuse_unknown((photo.path for photo in _told(listed, on_phase)), source.uri)
    ignored: Counter[str] = Counter()
    every_page, ranked = recipe.pages == "all", recipe.rank_by
    names = Names(recipe.candidates, every_page, in_order=listing is None, rank_by=ranked)
    photos = (
        (
            *(photo.path, photo.size, number // shard_size, 1, None),
            short_name(names.of(photo.path), photo.path),
            hints.text_of(photo.path) if hints else None,
            None,
        )
        for number, photo in enumerate(
            _told(chosen_photos(source, recipe, listing, ignored), on_phase)
        )
    )
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
    )
    content = {"format_version": FORMAT, **asdict(recipe), "plan": asdict(plan)}
    destination.write_if_absent(RUN, json.dumps(content, indent=2, sort_keys=True).encode() + b"\n")
    run = load_run(destination)  # another command's, where that came first
    if run is None:
        raise StorageError(f"{destination.uri_of(RUN)} was written and is not there")
    return run


def _told(photos: Iterator[StoredObject], on_phase: OnPhase) -> Iterator[StoredObject]:
    on_phase("listing", 0)
    for number, photo in enumerate(photos, start=1):
        if not number % 1000:
            on_phase("listing", number)
        yield photo


def _write_part(destination: Storage, part: int, rows: Sequence[PlanRow]) -> str:
    data, path = to_parquet(rows), part_path(part)
    # Where it is there already: of an interrupted start, or of a command that starts just now.
    if not destination.write_if_absent(path, data) and destination.read(path) != data:
        raise UsageError(
            f"{destination.uri_of(path)} is of an interrupted start with another source or"
            " shard size; remove plan/ there, and start again"
        )
    return hashlib.sha256(data).hexdigest()


def to_parquet(rows: Sequence[PlanRow]) -> bytes:
    columns = [pa.array(column, field.type) for column, field in zip(zip(*rows), SCHEMA)]  # noqa: B905
    file = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(columns, schema=SCHEMA), file, compression="zstd")
    return file.getvalue()


def chosen_photos(
    source: Storage, recipe: Recipe, listing: Listing | None, ignored: Counter[str]
) -> Iterator[StoredObject]:
    """The photographs that a run takes, in the order of their listing; the rest is counted.

    listing: None lists the source, or its files where the recipe names some.
    """
    listing = listing or listing_of(source, recipe.include)
    listed = listing(ignored) if listing else source.list(skip=partial(_not_entered, recipe))
    return islice(_photos(listed, recipe, ignored), recipe.limit)


def describe_nothing(source: Storage, ignored: Counter[str]) -> str:
    """A source without a photograph, for people."""
    others = f"; {describe_ignored(ignored)}" if ignored else ""
    return f"no photograph in {source.uri}{others}"


def _photos(
    listed: Iterable[StoredObject], recipe: Recipe, ignored: Counter[str]
) -> Iterator[StoredObject]:
    """What is taken for a photograph; the rest is counted."""
    included, excluded = _matcher(recipe.include), _matcher(recipe.exclude)
    for found in listed:
        suffix, parts = PurePosixPath(found.path).suffix.lower().rstrip(), found.path.split("/")
        if found.skipped:
            ignored[found.skipped] += 1
        elif _is_hidden(parts):
            ignored["hidden"] += 1
        elif not _OF_SYSTEMS.isdisjoint(parts) or _LISTS.fullmatch(parts[-1]):
            ignored["of the system"] += 1
        elif suffix and suffix not in MASTER_SUFFIXES:
            ignored[suffix] += 1
        elif (recipe.include and not included(found.path)) or excluded(found.path):
            ignored["filtered"] += 1
        else:
            yield found


def _is_hidden(parts: Sequence[str]) -> bool:
    return any(part.startswith(".") and part not in (".", "..") for part in parts)


def _not_entered(recipe: Recipe, folder: str) -> str:
    """Why nothing below a folder can be a photograph of a run, whatever is there: a Skip."""
    parts = folder.split("/")
    if _is_hidden(parts):
        return "hidden folder"
    if not _OF_SYSTEMS.isdisjoint(parts):
        return "folder of the system"
    # What such a pattern finds in the folder's own path, it finds in all that begins with that.
    below = (pattern for pattern in recipe.exclude if pattern.endswith("*"))
    return "excluded folder" if any(fnmatchcase(folder, pattern) for pattern in below) else ""


def _matcher(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Whether a path is one of these, or matches one."""
    files = named_files(patterns)
    if files is not None:  # which may be thousands
        return set(files).__contains__
    return lambda path: any(fnmatchcase(path, pattern) for pattern in patterns)


def _all_in(destination: Storage) -> Iterator[StoredObject]:
    with suppress(ObjectMissing):  # a folder that is made with the first write
        yield from destination.list()


def _refuse_others_files(destination: Storage) -> None:
    """A destination without a run must be empty, or hold the beginnings of one."""
    for found in _all_in(destination):
        hidden = any(part.startswith(".") for part in found.path.split("/"))
        if not hidden and not is_plan_path(found.path) and found.path not in _BEFORE_A_RUN:
            raise UsageError(
                f"{destination.uri} holds {found.path} and no run.json: it is no destination of"
                " Autochrome; choose an empty one"
            )
