"""What Ray Data's workers run to decode training photographs.

Without PyTorch, whose import takes longer than most of their work.
"""

import pickle
from typing import Any

import numpy as np

from pipeline.errors import StorageError, UsageError
from pipeline.storage.base import Storage
from pipeline.training.photographs import Found, Wanted, read_task

Spot = tuple[int, int]  # number of a task, and place among the photographs that it gave


def read_row(row: dict[str, Any], storage: Storage, wanted: Wanted) -> dict[str, Any]:
    """The photographs of a task. row: its `number`, and the pickled `task`.

    Returns the number, `rgb`, the bytes of all squares one after the other, and `found`, pickled:
    a list of Found with spots in the place of pixels, or the error of ours that was raised.
    """
    result: Any
    squares: list[np.ndarray] = []
    try:
        found = read_task(pickle.loads(row["task"]), storage, wanted)
        result = [_without_pixels(one, row["number"], squares) for one in found]
    except (StorageError, UsageError) as error:
        result = error
    rgb = b"".join(square.tobytes() for square in squares)
    return {"number": row["number"], "rgb": rgb, "found": pickle.dumps(result)}


def _without_pixels(one: Found[np.ndarray], number: int, squares: list[np.ndarray]) -> Found[Spot]:
    """A found photograph, with its pixels replaced by their spot; they are added to the task's
    others."""
    if one.rgb is None:
        return Found(one.index, reason=one.reason)
    squares.append(one.rgb)
    return Found(one.index, one.digest, one.held_out, (number, len(squares) - 1))
