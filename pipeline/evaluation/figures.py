"""What an evaluation finds: figures, bits of each photograph, and pictures to be looked at."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

SHOWN = 40  # photographs that are kept to be looked at
Figures = dict[str, str | int | float | None]


class Shown(NamedTuple):
    """A photograph to be looked at; pictures uint8 (S, S, 3)."""

    name: str
    true: np.ndarray
    result: np.ndarray
    expected: np.ndarray
    scores: str


@dataclass
class Evaluation:
    """figures: what is printed as JSON. bits: by name, bits per pixel of each photograph. groups:
    figures of each group of photographs, where a column was asked for. examples: best, median and
    worst pictures, of each group if there are any, with words for which it is."""

    figures: Figures = field(default_factory=dict)
    bits: dict[str, np.ndarray] = field(default_factory=dict)
    groups: dict[str, Figures] = field(default_factory=dict)
    shown: list[Shown] = field(default_factory=list)
    examples: list[tuple[str, Shown]] = field(default_factory=list)
    chroma: tuple[np.ndarray, np.ndarray] | None = None  # true and expected, as in CoreScores
    notes: list[str] = field(default_factory=list)
