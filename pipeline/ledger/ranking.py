"""Ways to rank the candidates of a photograph's page, by the scores in their rows.

    likelihood   the likeliest first, which is mostly the palest
    typicality   whose bits are nearest to those expected along its own path
    nearness     whose colors are nearest to the mean of the parallel head
    vividness    whose chroma is nearest to that expected by the parallel head
    balanced     nearness and vividness together

Where several scores count, each does in units of its spread among the candidates. Equal ones come
in the order of their numbers.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.errors import UsageError, shown_in_line

# By way: the columns of the results that it looks at.
RANKINGS = {
    "likelihood": ("log_likelihood",),
    "typicality": ("excess_bits",),
    "nearness": ("mean_distance",),
    "vividness": ("chroma_excess",),
    "balanced": ("mean_distance", "chroma_excess"),
}
# Of each model, those that it has scores for, and that which did best on held-out photographs
# (docs/ranking.md); nobody measured PIC's.
RANKINGS_OF = {"coltran": tuple(RANKINGS), "pic": ("likelihood", "typicality")}
DEFAULTS = {"coltran": "nearness", "pic": "likelihood"}
FORMER = "likelihood"  # of runs that are older than the choice
Scores = Mapping[str, Any]


def refuse_ranking(model: str, rank_by: str) -> None:
    """Raises UsageError for a way that does not exist, or that the model has no scores for."""
    ways = RANKINGS_OF.get(model, ())
    if rank_by not in ways:
        words = f"--rank-by {rank_by}: the model {model} can rank by {', '.join(ways)}"
        raise UsageError(shown_in_line(words))  # run.json may be anyone's


def ranks(columns: Sequence[str], candidates: Sequence[Scores]) -> list[int]:
    """The rank of each candidate of a page, from 1.

    columns: those of a way, or others of `RANKINGS`. A score of None or NaN is the worst.
    """
    faults = [[fault(name, each[name]) for each in candidates] for name in columns]
    if len(columns) > 1:
        faults = list(map(_in_spreads, faults))
    totals = list(map(math.fsum, zip(*faults, strict=True)))
    order = sorted(range(len(totals)), key=lambda place: (totals[place], place))
    return [order.index(place) + 1 for place in range(len(totals))]


def fault(name: str, score: float | None) -> float:
    """The smaller, the better."""
    if score is None or math.isnan(score):
        return math.inf
    if name == "log_likelihood":
        return -score
    return abs(score)


def _in_spreads(faults: list[float]) -> list[float]:
    """How many standard deviations each lies above the mean; zeros where they are all the same."""
    known = [each for each in faults if math.isfinite(each)]
    mean = math.fsum(known) / max(1, len(known))
    spread = math.sqrt(math.fsum((each - mean) ** 2 for each in known) / max(1, len(known)))
    scale = 1 / spread if spread else 0.0
    return [(each - mean) * scale if math.isfinite(each) else math.inf for each in faults]
