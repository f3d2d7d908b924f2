"""Criss-cross and full attention: alternatives to axial layers in the core's encoder.

Huang et al., "CCNet: Criss-Cross Attention for Semantic Segmentation", ICCV 2019. Each pixel
attends to its row and its column at once, by one softmax over H + W - 1 positions (its own counts
once).
After two passes with the same weights, every pixel has seen every other, by way of the pixel where
the row of one crosses the column of the other. Full attention, the paper's non-local block, is
there for comparison.

Unlike the paper's, both have several heads and a learned relative bias, as axial attention does.

Legend: B batch, H W rows and columns (both L), D features, N heads, C features of a head.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.conditioning import NO_POSITIONS, PositionModulations
from model.layers import AxialAttention, AxialLayer, AxialLayers, axial_encoder
from model.settings import LayerSize

EncoderAttention = Literal["axial", "criss_cross", "full"]
PASSES = 2


class GridAttention(AxialAttention):
    """Attention in two dimensions: one relative bias along rows, and one along columns."""

    def __init__(self, hidden: int, heads: int, length: int) -> None:
        super().__init__(hidden, heads, length, "row", masked=False)
        self.column_relative_bias = nn.Parameter(torch.zeros(heads, 2 * length))

    def biases(self) -> tuple[Tensor, Tensor]:
        """Biases by head, query and key, within a row and within a column: (N, L, L) each."""
        place = torch.arange(self.length, device=self.relative_bias.device)
        distance = place[None, :] - place[:, None] + self.length - 1
        return self.relative_bias[:, distance], self.column_relative_bias[:, distance]


class CrissCrossAttention(GridAttention):
    """Recurrent criss-cross attention: two passes with the same weights."""

    def forward(self, x: Tensor, modulations: PositionModulations = NO_POSITIONS) -> Tensor:
        """(B, H, W, D) -> (B, H, W, D): the sum of what each pass adds to x."""
        total, current = torch.zeros_like(x), x
        for _ in range(PASSES):
            attended = self.attend(current, modulations)
            total, current = total + attended, current + attended
        return total

    def attend(self, x: Tensor, modulations: PositionModulations = NO_POSITIONS) -> Tensor:
        """One pass: (B, H, W, D) -> (B, H, W, D)."""
        q, k, v = self.project(x, modulations)
        q = q * q.shape[-1] ** -0.5
        row_bias, column_bias = self.biases()
        itself = torch.eye(self.length, dtype=torch.bool, device=x.device)
        column_bias = column_bias.masked_fill(itself, float("-inf"))  # it is part of the row
        # One line per batch entry: (B, H, N, W, C) for rows, (B, W, N, H, C) for columns.
        rows = [part.permute(0, 1, 3, 2, 4) for part in (q, k, v)]
        columns = [part.permute(0, 2, 3, 1, 4) for part in (q, k, v)]
        row_scores = rows[0] @ rows[1].transpose(-1, -2) + row_bias
        column_scores = columns[0] @ columns[1].transpose(-1, -2) + column_bias
        scores = torch.cat(
            (row_scores.permute(0, 1, 3, 2, 4), column_scores.permute(0, 3, 1, 2, 4)), dim=-1
        )  # (B, H, W, N, W + H)
        weights = torch.softmax(scores, dim=-1)
        along_row, along_column = weights.split(self.length, dim=-1)
        mixed = (along_row.permute(0, 1, 3, 2, 4) @ rows[2]).permute(0, 1, 3, 2, 4)
        crossed = (along_column.permute(0, 2, 3, 1, 4) @ columns[2]).permute(0, 3, 1, 2, 4)
        return self.output((mixed + crossed).flatten(-2))


class FullAttention(GridAttention):
    """Every pixel attends to every pixel; the bias is the row's plus the column's."""

    def forward(self, x: Tensor, modulations: PositionModulations = NO_POSITIONS) -> Tensor:
        """(B, H, W, D) -> (B, H, W, D)."""
        q, k, v = (part.flatten(1, 2).transpose(1, 2) for part in self.project(x, modulations))
        row_bias, column_bias = self.biases()
        bias = column_bias[:, :, None, :, None] + row_bias[:, None, :, None, :]
        bias = bias.flatten(3, 4).flatten(1, 2).to(q.dtype)  # (N, H W, H W)
        mixed = functional.scaled_dot_product_attention(q, k, v, bias[None])
        return self.output(mixed.transpose(1, 2).flatten(2).unflatten(1, x.shape[1:3]))


def build_encoder(size: LayerSize, layers: int, attention: EncoderAttention) -> AxialLayers:
    """The layers of the core's encoder. One axial layer counts as a pair, row and column."""
    if attention == "axial":
        return axial_encoder(size, layers)
    kind = CrissCrossAttention if attention == "criss_cross" else FullAttention
    stack = AxialLayers(AxialLayer(size, "row") for _ in range(layers))
    for layer in stack:
        layer.attention = kind(size.hidden, size.heads, size.resolution)
    return stack
