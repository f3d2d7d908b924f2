"""Which score agrees with what people decided about a destination's pictures.

Decisions are those of DST/selections. Each is about the pictures that its photo had then: where the
photo was redone since, those of the attempt before.

Two figures for each way to rank:

    agreed   of pages with several candidates, how often its first one is what people wanted: one
             that they approved, or where they only rejected, one that they did not
    apart    over all photos, how often an approved picture has the better score than one that was
             rejected or redone; for ways of one score, as others compare candidates of one page

A page shows its rank 1 first, and people may take the first that is good enough: the way that a run
ranked by has that advantage.
"""

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import UsageError
from pipeline.ledger.ranking import FORMER, RANKINGS, fault, ranks
from pipeline.ledger.results import read_results
from pipeline.ledger.run_file import Run
from pipeline.ledger.seeds import photo_seed
from pipeline.ledger.selection import Choice, kept_selections
from pipeline.storage.base import Storage

Row = Mapping[str, Any]
_SCORES = list(dict.fromkeys(name for columns in RANKINGS.values() for name in columns))
_COLUMNS = [
    *("photo", "page", "attempt", "candidate", "rank", "seed", "source_sha256", "status"),
    *_SCORES,
]
_NORMAL = 1.959964  # of an interval of 95 %
_RESAMPLES = 2000


@dataclass
class JudgedPage:
    """The pictures of a page, by candidate, and what people thought of them.

    file: the last that approved one; of several files, its approvals count.
    """

    rows: dict[int, Row]
    file: int = 0
    approved: set[int] = field(default_factory=set)
    rejected: set[int] = field(default_factory=set)
    redone: bool = False

    def decide(self, candidate: int, approved: bool, file: int) -> None:
        """Take a decision over; of what is decided twice, the later one counts."""
        if approved and file != self.file:
            self.approved, self.file = set(), file
        self.approved.discard(candidate)
        self.rejected.discard(candidate)
        (self.approved if approved else self.rejected).add(candidate)

    @property
    def wanted(self) -> set[int]:
        """Candidates that a way should put first; none, or all, where the page tells nothing."""
        if self.approved:
            return self.approved
        return set(self.rows) - self.rejected if not self.redone else set()


@dataclass(frozen=True)
class Share:
    """hits of count, as a share with its interval of 95 %; chance: the share of a way that does not
    look. None where count is 0."""

    hits: float
    count: int
    share: float | None
    least: float | None
    most: float | None
    chance: float | None


@dataclass(frozen=True)
class Agreement:
    """One way to rank. gain: by how much its `agreed` exceeds that of the way that the run ranked
    by, on the pages that both can rank, with an interval of 95 %; None where there is no page."""

    agreed: Share
    apart: Share | None
    gain: tuple[float, float, float] | None


@dataclass(frozen=True)
class DecisionScores:
    """approved, rejected, redone: counts of pictures, and of photos' pages. rank_by: of the run.
    better: the way with the highest gain, where its interval lies above 0."""

    approved: int
    rejected: int
    redone: int
    rank_by: str
    ways: dict[str, Agreement]
    better: str | None


def score_decisions(destination: Storage, run: Run) -> DecisionScores:
    """Compare all ways to rank. Raises UsageError where nobody decided anything, StorageError."""
    pages = judged_pages(destination, run)
    if not pages:
        raise UsageError(f"{destination.uri} has no decisions: autochrome resume --selection FILE")
    used = run.recipe.rank_by or FORMER
    found = {way: _agreements(way, pages) for way in RANKINGS}
    ways = {
        way: Agreement(_agreed(found[way]), _apart(way, pages), _gain(found[way], found[used]))
        for way in RANKINGS
    }
    gains = {way: each.gain for way, each in ways.items() if each.gain and each.gain[1] > 0}
    return DecisionScores(
        sum(len(page.approved) for page in pages),
        sum(len(page.rejected) for page in pages),
        sum(page.redone for page in pages),
        used,
        ways,
        max(gains, key=lambda way: gains[way][0], default=None),
    )


def judged_pages(destination: Storage, run: Run) -> list[JudgedPage]:
    """Pages that were decided about, in the order of photos; of a page that was redone, each of its
    attempts. Raises StorageError."""
    choices: dict[str, list[Choice]] = defaultdict(list)
    files: dict[str, list[int]] = defaultdict(list)
    for number, selection in kept_selections(destination):
        for choice in selection.choices:
            choices[choice.photo].append(choice)
            files[choice.photo].append(number)
    attempts = _attempts(destination, run, set(choices))
    pages = []
    for photo, decided in sorted(choices.items()):
        judged: dict[tuple[int, int], JudgedPage] = {}
        there = attempts.get(photo, {})
        facts = zip(decided, files[photo], _judged_attempts(decided, there), strict=True)
        for choice, file, attempt in facts:
            for page, rows in there.get(attempt, {}).items():
                known = judged.setdefault((attempt, page), JudgedPage(rows))
                if choice.decision == "redo":
                    known.redone = True
                elif page == choice.page and choice.candidate in rows:
                    known.decide(choice.candidate, choice.decision == "approve", file)
        pages += [page for page in judged.values() if page.approved or page.rejected or page.redone]
    return pages


Attempts = dict[int, dict[int, dict[int, Row]]]  # rows of a photo by attempt, page and candidate


def _attempts(destination: Storage, run: Run, photos: set[str]) -> dict[str, Attempts]:
    found: dict[str, Attempts] = defaultdict(lambda: defaultdict(lambda: defaultdict(dict)))
    wanted = pa.array(sorted(photos), pa.string())

    def add(table: pa.Table) -> None:
        of_them = pc.and_(pc.is_in(table["photo"], wanted), pc.equal(table["status"], "ok"))
        for row in table.filter(of_them).to_pylist():
            found[row["photo"]][row["attempt"]][row["page"]][row["candidate"]] = row

    for table in read_results(destination, run, _COLUMNS, on_older=add):
        add(table)
    return found


def _judged_attempts(decided: list[Choice], there: Attempts) -> list[int]:
    """The attempt that each decision of a photo is about: the last before it was redone."""
    order = sorted(there)
    found: list[int] = []
    start = 0  # in `order`, of attempts after the last redo
    for place, choice in enumerate(decided):
        if choice.decision != "redo":
            continue
        again = [k for k in range(start + 1, len(order)) if _has_seed(there[order[k]], choice.seed)]
        last = again[0] - 1 if again else len(order) - 1
        found += [order[last] if order else 0] * (place + 1 - len(found))
        start = last + 1 if again else last
    return found + [order[-1] if order else 0] * (len(decided) - len(found))


def _has_seed(attempt: dict[int, dict[int, Row]], seed: int | None) -> bool:
    """Whether an attempt was drawn from the seed of a decision."""
    row = next(row for rows in attempt.values() for row in rows.values())
    own = photo_seed(seed or 0, row["source_sha256"], row["candidate"], row["page"])
    return bool(row["seed"] == own)


def _agreements(way: str, pages: list[JudgedPage]) -> list[tuple[bool, float] | None]:
    """Of each page, whether the way's first candidate is wanted, and how likely that is by chance;
    None where the page tells nothing, or lacks a score."""
    found: list[tuple[bool, float] | None] = []
    for page in pages:
        rows, wanted = list(page.rows.values()), page.wanted
        known = all(row[name] is not None for row in rows for name in RANKINGS[way])
        if not known or not wanted or len(wanted) == len(rows):
            found.append(None)
            continue
        first = rows[ranks(RANKINGS[way], rows).index(1)]
        found.append((first["candidate"] in wanted, len(wanted) / len(rows)))
    return found


def _agreed(found: list[tuple[bool, float] | None]) -> Share:
    known = [each for each in found if each is not None]
    hits, count = sum(hit for hit, _ in known), len(known)
    if not count:
        return Share(0, 0, None, None, None, None)
    chance = math.fsum(chance for _, chance in known) / count
    return Share(hits, count, hits / count, *wilson(hits, count), chance)


def wilson(hits: int, count: int) -> tuple[float, float]:
    """The interval of 95 % for a share (Wilson 1927), for few as for many."""
    share, square = hits / count, _NORMAL**2
    middle = share + square / (2 * count)
    reach = _NORMAL * math.sqrt(share * (1 - share) / count + square / (4 * count**2))
    scale = 1 + square / count
    return max(0.0, (middle - reach) / scale), min(1.0, (middle + reach) / scale)


def _gain(
    found: list[tuple[bool, float] | None], used: list[tuple[bool, float] | None]
) -> tuple[float, float, float] | None:
    pairs = [(a[0], b[0]) for a, b in zip(found, used, strict=True) if a and b]
    if not pairs:
        return None
    steps = np.array([float(one) - float(other) for one, other in pairs])
    places = np.random.default_rng(0).integers(0, len(steps), (_RESAMPLES, len(steps)))
    least, most = np.quantile(steps[places].mean(axis=1), (0.025, 0.975))
    return float(steps.mean()), float(least), float(most)


def _apart(way: str, pages: list[JudgedPage]) -> Share | None:
    """hits: pairs that are in order, equal ones half. The interval is a bootstrap over pages."""
    if len(RANKINGS[way]) > 1:
        return None
    [column] = RANKINGS[way]
    good, bad = list[list[float]](), list[list[float]]()  # faults, by page
    for page in pages:
        refused = set(page.rows) - page.approved if page.redone else page.rejected
        for side, chosen in ((good, page.approved), (bad, refused)):
            scores = [page.rows[each][column] for each in sorted(chosen)]
            side.append([fault(column, score) for score in scores if score is not None])
    hits, count = _in_order(good, bad)
    if not count:
        return Share(0, 0, None, None, None, None)
    shares, random = [], np.random.default_rng(0)
    for _ in range(_RESAMPLES):
        places = random.integers(0, len(pages), len(pages))
        some = _in_order([good[k] for k in places], [bad[k] for k in places])
        if some[1]:
            shares.append(some[0] / some[1])
    least, most = (float(each) for each in np.quantile(shares, (0.025, 0.975)))
    return Share(hits, count, hits / count, least, most, 0.5)


def _in_order(good: list[list[float]], bad: list[list[float]]) -> tuple[float, int]:
    """Pairs of a good and a bad one of which the good has the smaller fault, and all pairs."""
    better = np.sort([each for page in good for each in page])
    worse = np.sort([each for page in bad for each in page])
    below = np.searchsorted(better, worse, "left") + np.searchsorted(better, worse, "right")
    return float(below.sum()) / 2, len(better) * len(worse)
