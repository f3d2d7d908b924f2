"""Which pictures are delivered: by people's decisions, by rank, by scores."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

from pipeline.delivery.names import DeliveredNames
from pipeline.delivery.order import Order
from pipeline.ledger.results import read_results
from pipeline.ledger.run_file import Run
from pipeline.ledger.selection import Selection, kept_selections, known_photos
from pipeline.storage.base import Storage

Row = Mapping[str, Any]
# By photo and page: the decision on each candidate. A photo to be redone has none.
Decisions = dict[tuple[str, int], dict[int, str]]


@dataclass(frozen=True)
class Picture:
    """A picture to be delivered. row: of the results. name: below the folder of pictures; empty if
    the row has no picture although it was asked for."""

    row: Row
    decision: str | None
    name: str


def decisions_of(destination: Storage, run: Run, selection: Selection | None) -> Decisions:
    """The decisions of a file, or without one, those that the destination keeps.

    Raises UsageError if the file names something that the destination does not have, and
    StorageError.
    """
    found: Decisions = {}
    if selection is not None:
        known_photos(destination, run, selection)
        _decide(found, selection)
    else:
        for _, kept in kept_selections(destination):
            _decide(found, kept)
    return found


def chosen(
    destination: Storage, run: Run, order: Order, decisions: Decisions, left_out: Counter[str]
) -> Iterator[list[Picture]]:
    """The pictures to deliver of each photo that has any, from its last attempt, the best first.

    left_out: counts photos of which nothing is delivered, by reason. Raises StorageError.
    """
    names = DeliveredNames(order.candidates == "all", order.bag, order.for_windows)
    for table in read_results(destination, run):
        for photo, rows in groupby(table.to_pylist(), key=itemgetter("photo")):
            pages = defaultdict(list)
            for row in rows:
                pages[row["page"]].append(row)
            pictures, reasons = [], []
            for page, of_page in sorted(pages.items()):
                decided = decisions.get((photo, page), {})
                picked, why = _pick(of_page, order, decided)
                reasons.append(why)
                pictures += [
                    Picture(
                        row,
                        decided.get(row["candidate"]),
                        names.of(row) if row["status"] == "ok" else "",
                    )
                    for row in picked
                ]
            if pictures:
                yield pictures
            else:
                left_out[reasons[0]] += 1


def _decide(found: Decisions, selection: Selection) -> None:
    """Add the decisions of a file: a photo to be redone loses its decisions, and of several
    approvals the last counts."""
    fresh: Decisions = {}
    redone = {each.photo for each in selection.choices if each.decision == "redo"}
    for each in selection.choices:
        if each.candidate is not None and each.decision != "redo":
            fresh.setdefault((each.photo, each.page), {})[each.candidate] = each.decision
    for key in [key for key in found if key[0] in redone]:
        del found[key]
    for key, new in fresh.items():
        old = found.get(key, {})
        if "approve" in new.values():
            old = {candidate: word for candidate, word in old.items() if word != "approve"}
        found[key] = old | new


def _pick(
    rows: list[dict[str, Any]], order: Order, decided: Mapping[int, str]
) -> tuple[list[dict[str, Any]], str]:
    """The rows of a page to be delivered, the best first, or else the reason why there are none."""
    rows = sorted(rows, key=lambda row: (row["rank"] or len(rows), row["candidate"]))
    approved = [row for row in rows if decided.get(row["candidate"]) == "approve"]
    if order.choice == "ok":
        done = [row for row in rows if row["status"] == "ok"]
        if not done:
            return [], str(rows[0]["status"])
        kept = [row for row in done if decided.get(row["candidate"]) != "reject"]
        rows = [row for row in kept if row in approved] or kept
        why = "rejected"
    else:
        rows, why = approved, "not approved"
    if rows:
        rows, why = [row for row in rows if _is_good_enough(row, order)], "outside of the scores"
    return rows[: 1 if order.candidates == "best" else None], why


def _is_good_enough(row: Row, order: Order) -> bool:
    """Whether a picture's scores are good enough; a missing score is not."""
    if row["status"] != "ok":
        return True  # it was asked for, and the catalog tells why it is missing
    bits, colorfulness = row["bits_per_pixel"], row["colorfulness"]
    return (order.most_bits is None or (bits is not None and bits <= order.most_bits)) and (
        order.least_colorfulness is None
        or (colorfulness is not None and colorfulness >= order.least_colorfulness)
    )
