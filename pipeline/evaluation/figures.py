"""The results of an evaluation: figures, bits of each photograph, and example pictures."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

SHOWN = 40  # photographs that are shown
Figures = dict[str, str | int | float | None]


class Shown(NamedTuple):
    """A photograph to be shown; pictures uint8 (S, S, 3)."""

    name: str
    true: np.ndarray
    result: np.ndarray
    expected: np.ndarray
    scores: str


@dataclass
class Evaluation:
    """figures: printed as JSON. bits: by name, bits per pixel of each photograph. groups: figures
    of each group of photographs, if a column was given. examples: best, median and worst pictures,
    of each group if there are any, with a caption."""

    figures: Figures = field(default_factory=dict)
    bits: dict[str, np.ndarray] = field(default_factory=dict)
    groups: dict[str, Figures] = field(default_factory=dict)
    shown: list[Shown] = field(default_factory=list)
    examples: list[tuple[str, Shown]] = field(default_factory=list)
    chroma: tuple[np.ndarray, np.ndarray] | None = None  # true and expected, as in CoreScores
    notes: list[str] = field(default_factory=list)
