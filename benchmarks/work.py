"""The arithmetic of a model: what its matrix products amount to, counted as they run."""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class WorkCounter(TorchDispatchMode):
    """Counts the work of products. PyTorch's own counter looks into all else, and needs minutes."""

    def __init__(self) -> None:
        super().__init__()
        self.flop = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        count = flop_registry.get(func.overloadpacket)
        if count is not None:
            self.flop += count(*args, **(kwargs or {}), out_val=result)
        return result


def gflop_of(function: Callable[[], object]) -> float:
    """Of one call, in units of 10^9; in inference mode there would be nothing to count."""
    with torch.no_grad(), WorkCounter() as counter:
        function()
    return counter.flop / 1e9
