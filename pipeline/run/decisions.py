"""Decisions that people made on the review page, taken into a run that goes on."""

from collections import Counter

from pipeline.ledger.hints import parse_hints, refuse_other_pages
from pipeline.ledger.selection import Selection, take_selection
from pipeline.run.known_colors import require_support
from pipeline.run.request import Job


def take_decisions(selection: Selection, job: Job) -> dict[str, int]:
    """Keep a selection in the destination and plan what is to be redone.

    Returns how many there were of each decision, and under "redone" how many photos were planned.
    Raises UsageError where the selection does not fit the run or its weights.
    """
    _require_hints_support(selection, job)
    redone = take_selection(job.destination, job.run, selection)
    return {**Counter(each.decision for each in selection.choices), "redone": redone}


def _require_hints_support(selection: Selection, job: Job) -> None:
    """Raise UsageError where decisions have hints that the weights cannot use."""
    for each in selection.choices:
        if each.hints:
            place = f"{selection.name}, line {each.line}"
            what = f"{place}: hints {each.hints[:60]!r}"
            require_support(what, "hints", job.resources.weights, job.knows)
            if job.run.recipe.pages == "first":
                refuse_other_pages(place, each.photo, parse_hints("", each.hints))
