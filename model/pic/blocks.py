"""PixelCNN++'s gated residual block, with a short-cut, and with a context if there is one.

Legend: B batch, H W rows and columns, D features, F features of a context.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from model.initialization import linear
from model.pic.convolutions import Convolution, concat_elu


class BlockSize(NamedTuple):
    """Features of a block, of its short-cut and of its context; 0 if it has none.

    joined: the context is concatenated to the short-cut, as in PIC, and not added at the gate.
    """

    hidden: int
    dropout: float
    short_cut: int = 0
    context: int = 0
    joined: bool = False


class GatedBlock(nn.Module):
    """Two convolutions: a short-cut is added after the first, context and gate after the second."""

    def __init__(
        self,
        first: Callable[[int, int], Convolution],
        second: Callable[[int, int], Convolution],
        size: BlockSize,
    ) -> None:
        super().__init__()
        hidden = size.hidden
        self.joined = size.joined
        joined = size.short_cut + (size.context if size.joined else 0)
        gated = 0 if size.joined else size.context
        self.first = first(2 * hidden, hidden)
        self.short_cut = linear(2 * joined, hidden) if joined else None
        self.dropout = nn.Dropout(size.dropout)
        self.second = second(2 * hidden, 2 * hidden)
        self.context = linear(gated, 2 * hidden, bias=False) if gated else None

    def join_context(self, short_cut: Tensor | None, context: Tensor | None) -> Tensor | None:
        """The short-cut, concatenated with the context if they are joined."""
        if not self.joined or context is None:
            return short_cut
        return context if short_cut is None else torch.cat((short_cut, context), dim=-1)

    def project(self, context: Tensor | None) -> Tensor | None:
        """The context as it is added at the gate, (..., F) -> (..., 2 D); None if it is not."""
        return None if self.context is None or context is None else self.context(context)

    def between(self, convolved: Tensor, short_cut: Tensor | None) -> Tensor:
        """What lies between the two convolutions, by position: (..., D) -> (..., 2 D)."""
        if self.short_cut is not None and short_cut is not None:
            convolved = convolved + self.short_cut(concat_elu(short_cut))
        return self.dropout(concat_elu(convolved))

    def finish(self, x: Tensor, convolved: Tensor, projected: Tensor | None) -> Tensor:
        """What follows the second convolution, by position: (..., D)."""
        if projected is not None:
            convolved = convolved + projected
        value, gate = convolved.chunk(2, dim=-1)
        return x + value * torch.sigmoid(gate)

    def forward(self, x: Tensor, short_cut: Tensor | None, context: Tensor | None) -> Tensor:
        """(B, H, W, D), (B, H, W, short-cut) and (B, H, W, F) -> (B, H, W, D)."""
        joined = self.join_context(short_cut, context)
        inner = self.between(self.first(concat_elu(x)), joined)
        return self.finish(x, self.second(inner), self.project(context))
