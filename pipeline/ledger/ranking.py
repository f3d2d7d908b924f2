"""Ways to rank the candidates of a photograph's page, by the scores in their rows.

    likelihood   the likeliest first, which are mostly the palest
    typicality   whose bits are nearest to those expected along its own path
    nearness     whose colors are nearest to the mean of the parallel head
    balanced     the last two together, each in units of its spread among the candidates

Equal ones come in the order of their numbers.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.errors import UsageError

# By way: the columns of the results that it looks at.
RANKINGS = {
    "likelihood": ("log_likelihood",),
    "typicality": ("excess_bits",),
    "nearness": ("mean_distance",),
    "balanced": ("excess_bits", "mean_distance"),
}
# What a model has scores for.
RANKINGS_OF = {
    "coltran": tuple(RANKINGS),
    "pic": ("likelihood", "typicality"),
}
FORMER = "likelihood"  # of runs that were begun before there was a choice
Scores = Mapping[str, Any]


def default_ranking(model: str) -> str:
    """The way that was found best on held-out photographs (docs/benchmarks.md)."""
    return {"coltran": "balanced", "pic": "typicality"}[model]


def refuse_ranking(model: str, rank_by: str) -> None:
    """Raises UsageError for a way that there is none of, or that the model has no scores for."""
    if rank_by not in RANKINGS_OF.get(model, ()):
        ways = ", ".join(RANKINGS_OF[model])
        raise UsageError(f"--rank-by {rank_by}: the model {model} ranks by {ways}")


def ranks(rank_by: str, candidates: Sequence[Scores]) -> list[int]:
    """The rank of each candidate, from 1. A score that is not there is None, and counts as worst.

    Raises KeyError for an unknown way.
    """
    faults = [list(column) for column in zip(*_standardized(rank_by, candidates), strict=True)]
    totals = [math.fsum(each) for each in faults]
    order = sorted(range(len(totals)), key=lambda place: (totals[place], place))
    return [order.index(place) + 1 for place in range(len(totals))]


def _standardized(rank_by: str, candidates: Sequence[Scores]) -> list[list[float]]:
    """The fault of each candidate by each column: in units of their spread where columns are
    several."""
    columns = RANKINGS[rank_by]
    faults = [[_fault(name, each[name]) for each in candidates] for name in columns]
    return faults if len(columns) == 1 else list(map(_in_spreads, faults))


def _fault(name: str, value: float | None) -> float:
    """The less, the better."""
    if value is None or math.isnan(value):
        return math.inf
    return {"log_likelihood": -value, "excess_bits": abs(value)}.get(name, value)


def _in_spreads(faults: list[float]) -> list[float]:
    """By how many standard deviations each is above the mean of those that are known."""
    known = [each for each in faults if each < math.inf]
    mean = math.fsum(known) / len(known) if known else 0.0
    spread = math.sqrt(math.fsum((each - mean) ** 2 for each in known) / len(known)) if known else 0
    return [(each - mean) / spread if spread else min(each, math.inf) * 0 for each in faults]
