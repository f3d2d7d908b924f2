"""Color photographs for training and evaluation: decoded, at one size, and split.

Whole frames, or their centers, are scaled to squares by area means. Whether a photograph is held
out for validation depends on its bytes alone, not on names, order or the rest of the set; or a
column decides. Sources are those of `candidates`.

Memory: N * S * S * 3 bytes (100,000 photographs of side 92 are 2.5 GB).
"""

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import KW_ONLY, dataclass, replace
from typing import Generic, Literal, TypeVar

import numpy as np

from pipeline.errors import PhotoError, StorageError, UsageError
from pipeline.images.masters import Fit, read_rgb
from pipeline.images.tones import color_beyond_tone
from pipeline.storage.base import Storage
from pipeline.training.candidates import Candidates, Place, Task, fetch, list_candidates

Split = Literal["all", "train", "validation"]
Pixels = TypeVar("Pixels")  # of one photograph
Whole = TypeVar("Whole")  # the pixels of a set

HELD_OUT = 1 / 20
# Measured: 0.1 % of 981 color photographs lie below, as do all 90 gray and 6 of 16 toned scans.
LEAST_COLOR = 3.5
MAX_PIXELS = 100_000_000  # several photographs are decoded at once, at about 4 bytes a pixel
_SPLIT_OF_WORD: dict[str, Split] = {
    "train": "train",
    "val": "validation",
    "validation": "validation",
}


class EmptySet(UsageError):
    pass


@dataclass(frozen=True)
class Wanted:
    """Which photographs of a source, and how they become squares of (side, side).

    limit: how many at most; they are a random sample, in the order of a hash of their names.
    held_out: the share for validation. split_column: a Parquet column that decides instead, with
    train, and val or validation; rows with other values are in "all" only. group_column: fills
    `groups`. least_color: squares with less color, by color_beyond_tone, are skipped; 0 keeps gray
    ones. fit: squeeze whole frames, or crop the largest square in the middle.
    """

    side: int
    split: Split = "all"
    limit: int | None = None
    _: KW_ONLY
    held_out: float = HELD_OUT
    split_column: str | None = None
    group_column: str | None = None
    least_color: float = LEAST_COLOR
    fit: Fit = "squeeze"

    def may_have(self, place: Place) -> bool:
        """Whether a place may belong to the split, judged by the column alone."""
        if self.split == "all" or not self.split_column:
            return True
        return _SPLIT_OF_WORD.get(place.split) == self.split

    def has(self, place: Place, held_out: bool) -> bool:
        """Whether a photograph belongs to the split, now that its bytes are known."""
        return bool(place.split) or self.split == "all" or held_out == (self.split == "validation")

    def wave(self, found: int, candidates: int) -> int:
        """How many more candidates to read at once, so that the limit will probably be reached."""
        if self.limit is None:
            return candidates
        share = {"all": 1.0, "train": 1 - self.held_out, "validation": self.held_out}[self.split]
        rate = 1.0 if self.split_column else max(share, 0.001)
        return math.ceil(1.1 * (self.limit - found) / rate) + 8


@dataclass(frozen=True)
class PhotographSet(Generic[Pixels]):
    """Photographs in an order that depends on the source alone.

    rgb: uint8 (N, S, S, 3), or where to find it. names: path in the source, with `:row` for a row
    of a Parquet file. digests: SHA-256 of the image file. groups: the value of the group column, ""
    without one. held_out: bool (N,), true for validation. skipped: counts by reason, one of
    pipeline.errors.REASONS or "not_color" (gray, or evenly toned like old prints).
    """

    rgb: Pixels
    names: list[str]
    digests: list[str]
    groups: list[str]
    held_out: np.ndarray
    skipped: Counter[str]

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class Found(Generic[Pixels]):
    """A photograph that was read, by its candidate's number, or the reason why it was not."""

    index: int
    digest: str = ""
    held_out: bool = False
    rgb: Pixels | None = None
    reason: str = ""


def read_photographs(source: str, wanted: Wanted) -> PhotographSet[np.ndarray]:
    """Read photographs into memory, in this process.

    Raises:
        EmptySet: no photograph is left.
        UsageError: a column is missing, or a column was given for a source of files.
        StorageError: the source cannot be read.
    """

    def read(candidates: Candidates, wave: slice) -> Iterator[Found[np.ndarray]]:
        for task in candidates.tasks(wave, tasks_a_group=1):
            yield from read_task(task, candidates.storage, wanted)

    def gather(squares: list[np.ndarray]) -> np.ndarray:
        rgb = np.empty((len(squares), wanted.side, wanted.side, 3), np.uint8)
        for place in range(len(squares)):
            rgb[place] = squares[place]
            squares[place] = rgb[place]  # the copy may be freed
        return rgb

    candidates = list_candidates(source, wanted.split_column, wanted.group_column)
    return collect_photographs(candidates, wanted, read, gather)


def refuse_nothing(candidates: Candidates, wanted: Wanted) -> None:
    """Raise EmptySet where the names alone show that no photograph would be left."""
    if not any(map(wanted.may_have, candidates.places)):
        raise EmptySet(_nothing(candidates.source, wanted.split, 0, Counter()))


def collect_photographs(
    candidates: Candidates,
    wanted: Wanted,
    read: Callable[[Candidates, slice], Iterable[Found[Pixels]]],
    gather: Callable[[list[Pixels]], Whole],
) -> PhotographSet[Whole]:
    """The set that `wanted` describes; the caller decides who reads and keeps the pixels.

    read: reads some candidates, in any order. gather: combines the pixels of single photographs
    into those of the set. Raises as `read_photographs`.
    """
    places = [place for place in candidates.places if wanted.may_have(place)]
    candidates = replace(candidates, places=places)
    found, skipped = _find(candidates, wanted, read)
    if not found:
        raise EmptySet(_nothing(candidates.source, wanted.split, len(places), skipped))
    kept = [places[one.index] for one in found]
    names, groups = [place.name for place in kept], [place.group for place in kept]
    digests, held_out = [one.digest for one in found], np.array([one.held_out for one in found])
    squares = [one.rgb for one in found if one.rgb is not None]
    del found  # so that single pictures may be freed while they are gathered
    return PhotographSet(gather(squares), names, digests, groups, held_out, skipped)


def _find(
    candidates: Candidates,
    wanted: Wanted,
    read: Callable[[Candidates, slice], Iterable[Found[Pixels]]],
) -> tuple[list[Found[Pixels]], Counter[str]]:
    """The first photographs, up to the limit, in the order of candidates, and skipped ones by
    reason."""
    found: list[Found[Pixels]] = []
    skipped: Counter[str] = Counter()
    at, count = 0, len(candidates.places)
    while at < count and (wanted.limit is None or len(found) < wanted.limit):
        wave = slice(at, at + wanted.wave(len(found), count))
        for one in sorted(read(candidates, wave), key=lambda each: each.index):
            if one.rgb is None:
                skipped[one.reason] += 1
            else:
                found.append(one)
        at = wave.stop
    return found[: wanted.limit], skipped


def read_task(task: Task, storage: Storage, wanted: Wanted) -> list[Found[np.ndarray]]:
    """Read those photographs of a task that belong to the split. Raises StoreUnavailable,
    UsageError."""
    found = []
    for index, place, data in fetch(task, storage):
        if isinstance(data, StorageError):
            found.append(Found[np.ndarray](index, reason="missing"))
            continue
        digest = hashlib.sha256(data).hexdigest()
        told = _SPLIT_OF_WORD.get(place.split)
        held_out = told == "validation" if place.split else is_held_out(digest, wanted.held_out)
        if wanted.has(place, held_out):
            found.append(_decode(index, digest, held_out, data, wanted))
    return found


def _decode(
    index: int, digest: str, held_out: bool, data: bytes, wanted: Wanted
) -> Found[np.ndarray]:
    try:
        rgb = read_rgb(data, wanted.side, MAX_PIXELS, wanted.fit)
    except PhotoError as error:
        return Found(index, reason=error.reason)
    if color_beyond_tone(rgb) < wanted.least_color:
        return Found(index, reason="not_color")
    return Found(index, digest, held_out, rgb)


def is_held_out(digest: str, share: float) -> bool:
    """Whether the photograph with this SHA-256 (hexadecimal) is among the held-out share."""
    return int(digest[:16], 16) < share * 2**64


def describe_skipped(skipped: Counter[str]) -> str:
    """For people: `12 skipped (9 corrupt, 3 not_color)`; empty if nothing was skipped."""
    if not skipped:
        return ""
    named = ", ".join(f"{count:,} {reason}" for reason, count in skipped.most_common())
    return f"{skipped.total():,} skipped ({named})"


def _nothing(source: str, split: Split, candidates: int, skipped: Counter[str]) -> str:
    of = "" if split == "all" else f" of the split {split!r}"
    reasons = f": {describe_skipped(skipped)}" if skipped else ""
    return f"no color photograph{of} among {candidates:,} candidates in {source}{reasons}"
