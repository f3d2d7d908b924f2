"""Counting the arithmetic of a model's matrix products while they run."""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class WorkCounter(TorchDispatchMode):
    """Counts the FLOP of products. PyTorch's own counter also inspects the rest, for minutes."""

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
    """GFLOP of one call; not in inference mode, where the counter sees nothing."""
    with torch.no_grad(), WorkCounter() as counter:
        function()
    return counter.flop / 1e9
