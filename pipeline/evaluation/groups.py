"""Scores by group, where a column names the group of each photograph: collection, decade, maker."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from pipeline.evaluation.figures import Evaluation, Figures
from pipeline.ledger.results import null_if_nan

NAMES = ("best", "median", "worst")
_FIGURES = {  # by the name of their bits
    "core": "core_bits_per_pixel",
    "PIC": "pic_bits_per_pixel",
    "parallel head": "parallel_bits_per_pixel",
}
WITHOUT = "(none)"  # photographs without a value in the column


class PictureScores(NamedTuple):
    """Of M finished pictures, each (M,): shift is (M, 2), how far a* and b* of the result lie from
    the truth, on average over the picture."""

    groups: Sequence[str]
    ciede2000: np.ndarray
    colorfulness_true: np.ndarray
    colorfulness_result: np.ndarray
    shift: np.ndarray


def score_groups(result: Evaluation, groups: Sequence[str], pictures: PictureScores) -> None:
    """Fill in the figures of each group, from the bits and the chroma of the photographs (N,)."""
    from model.evaluation.scores import explained_variance

    kinds, own = np.array(groups, object), np.array(pictures.groups, object)
    bits = {_FIGURES[name]: each for name, each in result.bits.items() if name in _FIGURES}
    for name in sorted(set(groups)):
        seen, drawn = kinds == name, own == name
        figures: Figures = {"photos": int(seen.sum()), "pictures": int(drawn.sum())}
        figures |= {key: float(each[seen].mean()) for key, each in bits.items()}
        if result.chroma is not None:
            true, expected = (each[seen] for each in result.chroma)
            figures["chroma_r2"] = null_if_nan(explained_variance(true, expected))
        result.groups[name or WITHOUT] = figures | figures_of_pictures(pictures, drawn)


def figures_of_pictures(pictures: PictureScores, chosen: np.ndarray) -> Figures:
    """Means over the chosen pictures, bool (M,); null if there are none."""
    means = {
        "ciede2000_mean": pictures.ciede2000[chosen],
        "colorfulness_true": pictures.colorfulness_true[chosen],
        "colorfulness_result": pictures.colorfulness_result[chosen],
        "a_shift": pictures.shift[chosen, 0],
        "b_shift": pictures.shift[chosen, 1],
    }
    return {name: float(each.mean()) if len(each) else None for name, each in means.items()}


def choose_examples(groups: Sequence[str], ciede2000: np.ndarray) -> Iterator[tuple[str, int]]:
    """The best, median and worst picture of each group by CIEDE2000: a caption, and its number.

    Groups of fewer than three have fewer. If all groups are "", they count as one unnamed group.
    """
    kinds, all_alike = np.array(groups, object), not any(groups)
    for name in sorted(set(groups)):
        own = np.flatnonzero(kinds == name)
        order = own[np.argsort(ciede2000[own], kind="stable")].tolist()
        places = dict(zip((0, (len(order) - 1) // 2, len(order) - 1), NAMES, strict=True))
        for place, words in places.items():
            yield (words if all_alike else f"{name or WITHOUT}, {words}"), order[place]
