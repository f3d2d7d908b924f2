"""FID: the distance between two sets of pictures in the features of an Inception network.

The user provides the network: a TorchScript file that takes uint8 (B, 3, H, W) and returns features
(B, D), such as NVIDIA's `inception-2015-12-05.pt`. If its forward method has the argument
`return_features`, it is set.
"""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_BATCH = 16


class Inception:
    """An Inception network from a TorchScript file: pictures -> features."""

    def __init__(self, path: Path | str, device: str) -> None:
        """device: where it runs. Raises ValueError: not a TorchScript file that can be read."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript as a whole
                self._network: Any = torch.jit.load(str(path), map_location=device).eval()
        except (RuntimeError, ValueError, OSError) as error:
            cause = str(error).strip().splitlines()[0]
            wanted = "FID needs an Inception network as a TorchScript file"
            raise ValueError(f"{wanted}; {path} cannot be used: {cause}") from error
        arguments = [each.name for each in self._network.forward.schema.arguments]
        self._options = {"return_features": True} if "return_features" in arguments else {}
        self._device = device

    @torch.inference_mode()
    def features(self, rgb_NHW3: NDArray[np.uint8]) -> Floats:
        """Pictures, uint8 (N, H, W, 3) -> features, float64 (N, D).

        Raises:
            ValueError: the network fails, or does not return features (B, D).
        """
        parts = []
        for start in range(0, len(rgb_NHW3), _BATCH):
            batch = torch.from_numpy(rgb_NHW3[start : start + _BATCH]).to(self._device)
            try:
                result = self._network(batch.permute(0, 3, 1, 2).contiguous(), **self._options)
            except RuntimeError as error:
                cause = str(error).strip().splitlines()[-1]
                raise ValueError(f"the Inception network fails on pictures: {cause}") from error
            if not isinstance(result, torch.Tensor) or result.shape[:1] != (len(batch),):
                raise ValueError("the Inception network does not return features (B, D)")
            parts.append(result.flatten(1).double().cpu().numpy())
        return np.concatenate(parts)


def frechet_distance(first: Floats, second: Floats) -> float:
    """Frechet distance between Gaussians fitted to features (N, D) and (M, D), N and M at least 2.

    |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)); the last trace is computed from the eigenvalues of
    the symmetric S1^(1/2) S2 S1^(1/2).

    Raises:
        ValueError: fewer than two pictures in a set.
    """
    if min(len(first), len(second)) < 2:
        raise ValueError("FID needs at least two pictures in each set")
    gap = first.mean(axis=0) - second.mean(axis=0)
    one, two = (np.atleast_2d(np.cov(each, rowvar=False)) for each in (first, second))
    values, vectors = np.linalg.eigh(one)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    shared = np.sqrt(np.linalg.eigvalsh(root @ two @ root).clip(0)).sum()
    return float(gap @ gap + np.trace(one) + np.trace(two) - 2 * shared)
