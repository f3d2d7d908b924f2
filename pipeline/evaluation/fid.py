"""FID by the two published protocols, which differ in the photographs and in how these are cropped.

Same photographs: results against their own truth, whole frames squeezed, 5,000 of them.
Other photographs: results of 5,000 against the truth of another 5,000, center crops.

Only features of pictures are kept (16 kB each instead of 200), and the protocols run one after the
other.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipeline.errors import UsageError

if TYPE_CHECKING:
    from model.evaluation.frechet import Inception
    from pipeline.training.photographs import PhotographSet

FID_PHOTOS = 5_000

FidFigures = dict[str, int | float]
# Colorizes photographs, uint8 (N, S, S, 3), with these digests.
Draw = Callable[[np.ndarray, Sequence[str]], np.ndarray]


class Features:
    """The network's features of up to FID_PHOTOS pictures, collected batch by batch."""

    def __init__(self, inception: "Inception") -> None:
        self._inception = inception
        self._parts: list[np.ndarray] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, rgb_NSS3: np.ndarray) -> None:
        """Add pictures, uint8 (N, S, S, 3). Raises UsageError if the network fails on them."""
        taken = rgb_NSS3[: FID_PHOTOS - self._count]
        if not len(taken):
            return
        try:
            self._parts.append(self._inception.features(taken))
        except ValueError as error:
            raise UsageError(str(error)) from error
        self._count += len(taken)

    def distance(self, other: "Features") -> float:
        """The FID between two sets. Raises UsageError: too few pictures."""
        from model.evaluation.frechet import frechet_distance

        if min(len(self), len(other)) < 2:
            raise UsageError("too few photographs are left for FID")
        return frechet_distance(np.concatenate(self._parts), np.concatenate(other._parts))


def score_same(results: Features, truth: Features) -> FidFigures:
    """The figures of the protocol with the same photographs."""
    return {"fid_same": results.distance(truth), "fid_same_photos": len(results)}


def score_other(
    crops: "PhotographSet",
    inception: "Inception",
    draw: Draw,
    batch_size: int,
    on_progress: Callable[[int, int], None],
) -> FidFigures:
    """The figures of the protocol with other photographs; the first half of crops is colorized."""
    half = min(FID_PHOTOS, len(crops) // 2)
    results, own, others = (Features(inception) for _ in range(3))
    for start in range(0, half, batch_size):
        places = slice(start, min(start + batch_size, half))
        results.add(draw(crops.rgb[places], crops.digests[places]))
        own.add(crops.rgb[places])
        others.add(crops.rgb[half + places.start : half + places.stop])
        on_progress(places.stop, half)
    return {
        "fid_other": results.distance(others),
        "fid_other_of_truth": own.distance(others),
        "fid_other_photos": half,
    }


def describe_bias(figures: FidFigures) -> list[str]:
    """A note if there are fewer photographs than in published figures."""
    same, half = figures["fid_same_photos"], figures["fid_other_photos"]
    if min(same, half) >= FID_PHOTOS:
        return []
    return [
        f"FID of {same:,} and {half:,} photographs is biased upward: published figures have"
        f" {FID_PHOTOS:,} results (--pictures {FID_PHOTOS}) and {FID_PHOTOS:,} others"
    ]
