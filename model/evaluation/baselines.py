"""Three histograms of color, as baselines for a trained core.

They count how often a bin occurs in training photographs: overall; at a gray value; or at a gray
value, with the bins of the left and the upper neighbor. Rare contexts are smoothed toward simpler
ones:

    gray and both neighbors -> mean of (gray, left) and (gray, upper) -> gray -> all -> uniform

p = (count + w * p_simpler) / (total + w): the more frequent a context, the weaker the smoothing.

Legend: N photographs, R their side, 512 bins. A neighbor outside of the picture is symbol 512.
"""

import bz2
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import safetensors
import torch
from numpy.typing import NDArray
from safetensors.numpy import save

from model.color import NUM_BINS, bins_from_coarse, coarse_from_rgb, gray_from_rgb
from model.weights import HEADER, WeightsError

BASELINES = "baselines.safetensors"  # beside the weights of the stages
MAX_BYTES = 1_500_000

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

# The contexts by name, each with its weight w. Chosen on training photographs that were not
# counted, at 16 and 32 pixels; halving or doubling one of them costs at most 0.005 bits.
_WEIGHTS = {"all": 10.0, "gray": 10.0, "left": 2.0, "upper": 2.0, "both": 12.0}
_SYMBOLS = NUM_BINS + 1
_PHOTOS_AT_ONCE = 256
_FORMAT = 1


class BaselineBits(NamedTuple):
    """Bits per pixel of each photograph, float64 (N,), given nothing, gray, or also neighbors."""

    marginal: Floats
    gray: Floats
    neighbor: Floats


class Counts:
    """How often each bin occurs in each context; keys are context * 512 + bin, sorted."""

    def __init__(self, keys: Ints, counts: Ints) -> None:
        self.keys, self.counts = keys, counts
        self.contexts, starts = np.unique(keys // NUM_BINS, return_index=True)
        self.totals = np.add.reduceat(counts, starts) if len(keys) else counts

    def smoothed(self, contexts: Ints, bins: Ints, weight: float, simpler: Floats) -> Floats:
        """Probability of each bin in its context; contexts, bins and simpler have equal shapes."""
        count = _look_up(self.keys, self.counts, contexts * NUM_BINS + bins)
        total = _look_up(self.contexts, self.totals, contexts)
        return (count + weight * simpler) / (total + weight)


class Baselines:
    """The histograms of one set of photographs at one resolution."""

    def __init__(self, resolution: int, photos: int, counts: dict[str, Counts]) -> None:
        self.resolution, self.photos, self.counts = resolution, photos, counts

    @classmethod
    def fit(cls, rgb_NRR3: NDArray[np.uint8]) -> Self:
        """Count the colors of photographs, uint8 (N, R, R, 3). Raises ValueError if N is 0."""
        if not len(rgb_NRR3):
            raise ValueError("baselines need at least one photograph")
        parts: dict[str, list[tuple[Ints, Ints]]] = {name: [] for name in _WEIGHTS}
        for _, contexts, bins in _contexts(rgb_NRR3):
            for name, context in contexts.items():
                keys, counts = np.unique(context * NUM_BINS + bins, return_counts=True)
                parts[name].append((keys, counts))
        counts = {name: _merged(parts.pop(name)) for name in _WEIGHTS}
        return cls(rgb_NRR3.shape[1], len(rgb_NRR3), counts)

    def bits(self, rgb_NRR3: NDArray[np.uint8]) -> BaselineBits:
        """Bits per pixel that the three histograms assign to photographs, uint8 (N, R, R, 3).

        Raises:
            ValueError: photographs of another resolution.
        """
        if rgb_NRR3.shape[1:] != (self.resolution, self.resolution, 3):
            size = f"{self.resolution} x {self.resolution} pixels"
            raise ValueError(f"baselines are of {size}, photographs {rgb_NRR3.shape}")
        result = np.empty((3, len(rgb_NRR3)))
        for photos, contexts, bins in _contexts(rgb_NRR3):
            uniform = np.full(bins.shape, 1 / NUM_BINS)
            marginal = self._smoothed("all", contexts, bins, uniform)
            gray = self._smoothed("gray", contexts, bins, marginal)
            left = self._smoothed("left", contexts, bins, gray)
            upper = self._smoothed("upper", contexts, bins, gray)
            both = self._smoothed("both", contexts, bins, (left + upper) / 2)
            for row, probability in zip(result, (marginal, gray, both), strict=True):
                row[photos] = -np.log2(probability).mean(axis=(1, 2))
        return BaselineBits(*result)

    def given_gray(self) -> Floats:
        """Probability of each bin at each gray value, float64 (256, 512)."""
        gray, bins = np.indices((256, NUM_BINS))
        contexts, uniform = (
            {"all": np.zeros_like(gray), "gray": gray},
            np.full(gray.shape, 1 / NUM_BINS),
        )
        marginal = self._smoothed("all", contexts, bins, uniform)
        return self._smoothed("gray", contexts, bins, marginal)

    def save(self, path: Path | str, max_bytes: int = MAX_BYTES) -> None:
        """Write one file of at most max_bytes.

        Counts of contexts with neighbors are rounded to 10 %, and the smallest are left out until
        the file is small enough.

        Raises:
            OSError: the file cannot be written.
        """
        about = {"format": _FORMAT, "resolution": self.resolution, "photos": self.photos}
        metadata = {HEADER: json.dumps({"stage": "baselines", **about}, sort_keys=True)}
        data, least = self._packed(1, metadata), 1
        while len(data) > max_bytes:
            least += 1
            data = self._packed(least, metadata)
        Path(path).write_bytes(data)

    def _packed(self, least: int, metadata: dict[str, str]) -> bytes:
        """The file without counts below `least`; in contexts of one neighbor, below half of it."""
        tensors = {}
        for name, table in self.counts.items():
            keys, counts = table.keys, table.counts
            if name in ("left", "upper", "both"):
                keep = counts >= (least if name == "both" else least // 2 + 1)
                keys = keys[keep]
                counts = np.rint(np.exp(np.rint(5 * np.log(counts[keep])) / 5)).astype(np.int64)
            tensors[f"{name}.keys"] = _pack(np.diff(keys, prepend=0))
            tensors[f"{name}.counts"] = _pack(counts)
        return save(tensors, metadata)

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read a file written by `save`. Raises WeightsError: no such file, or not a valid one."""
        try:
            with safetensors.safe_open(path, framework="np") as file:
                about = json.loads((file.metadata() or {}).get(HEADER, "{}"))
                if about.get("stage") != "baselines" or about.get("format") != _FORMAT:
                    raise ValueError(f"no baselines in format {_FORMAT}")
                counts = {
                    name: Counts(
                        np.cumsum(_unpack(file.get_tensor(f"{name}.keys"))),
                        _unpack(file.get_tensor(f"{name}.counts")),
                    )
                    for name in _WEIGHTS
                }
                return cls(about["resolution"], about["photos"], counts)
        except FileNotFoundError as error:
            raise WeightsError(f"no baselines at {path}") from error
        except (safetensors.SafetensorError, OSError, EOFError, KeyError, ValueError) as error:
            raise WeightsError(f"{path} is not a readable file of baselines: {error}") from error

    def _smoothed(
        self, name: str, contexts: dict[str, Ints], bins: Ints, simpler: Floats
    ) -> Floats:
        return self.counts[name].smoothed(contexts[name], bins, _WEIGHTS[name], simpler)


def _contexts(rgb_NRR3: NDArray[np.uint8]) -> Iterator[tuple[slice, dict[str, Ints], Ints]]:
    """Groups of photographs: their places, contexts by name, and bins, int64 (n, R, R)."""
    for start in range(0, len(rgb_NRR3), _PHOTOS_AT_ONCE):
        photos = slice(start, start + _PHOTOS_AT_ONCE)
        rgb = torch.from_numpy(rgb_NRR3[photos])
        gray, bins = gray_from_rgb(rgb).numpy(), bins_from_coarse(coarse_from_rgb(rgb)).numpy()
        left, upper = np.full_like(bins, NUM_BINS), np.full_like(bins, NUM_BINS)
        left[:, :, 1:], upper[:, 1:] = bins[:, :, :-1], bins[:, :-1]
        contexts = {
            "all": np.zeros_like(gray),
            "gray": gray,
            "left": gray * _SYMBOLS + left,
            "upper": gray * _SYMBOLS + upper,
            "both": (gray * _SYMBOLS + left) * _SYMBOLS + upper,
        }
        yield photos, contexts, bins


def _merged(parts: list[tuple[Ints, Ints]]) -> Counts:
    """Add up the counts of several parts."""
    keys, place = np.unique(np.concatenate([part[0] for part in parts]), return_inverse=True)
    counts = np.concatenate([part[1] for part in parts])
    return Counts(keys, np.bincount(place, counts, len(keys)).astype(np.int64))


def _look_up(sorted_keys: Ints, values: Ints, wanted: Ints) -> Ints:
    """The value of each wanted key, or 0 if it is absent."""
    if not len(sorted_keys):
        return np.zeros_like(wanted)
    place = np.searchsorted(sorted_keys, wanted).clip(max=len(sorted_keys) - 1)
    return np.where(sorted_keys[place] == wanted, values[place], 0)


def _pack(values: Ints) -> NDArray[np.uint8]:
    """Non-negative integers as bytes of seven bits, with a high bit if more follow; then bzip2."""
    digits, rest = [values & 127], values >> 7
    while rest.any():
        digits.append(rest & 127)
        rest = rest >> 7
    table = np.stack(digits, axis=-1)  # (values, bytes), least first
    more = np.maximum.accumulate(table[:, :0:-1] > 0, axis=1)[:, ::-1]  # a later one is above 0
    used = np.insert(more, 0, True, axis=1)
    table[:, :-1] |= more.astype(np.int64) << 7
    return np.frombuffer(bz2.compress(table[used].astype(np.uint8).tobytes()), np.uint8)


def _unpack(packed: NDArray[np.uint8]) -> Ints:
    data = np.frombuffer(bz2.decompress(packed.tobytes()), np.uint8).astype(np.int64)
    starts = np.flatnonzero(np.append(True, data[:-1] < 128)) if len(data) else data
    place = np.arange(len(data)) - np.repeat(starts, np.diff(starts, append=len(data)))
    return np.add.reduceat((data & 127) << (7 * place), starts) if len(data) else data
