"""Tensors by name from a safetensors file or a saved state dict of PyTorch."""

import pickle
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from pipeline.errors import UsageError, first_line


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a file. A state dict is read as data only: no code in it is run.

    Raises:
        UsageError: there is no such file, or it is of neither kind.
    """
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == b"PK"
        if not zipped:
            return safetensors.torch.load_file(path)
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    except (safetensors.SafetensorError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        reason = first_line(error)
        raise UsageError(f"{path} holds no tensors that can be read: {reason}") from error
    if not isinstance(tensors, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in tensors.items()
    ):
        raise UsageError(f"{path} holds no tensors by their names")
    return tensors
