"""Axial layers with optional conditioning (ColTran, section 3).

Legend: B batch, H W rows and columns, D features, N heads, C features of a head (D / N), L length
of the attended axis, F features of a conditioning context.
"""

from collections.abc import Callable, Iterator
from typing import Literal, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.conditioning import (
    IDENTITY,
    NO_NORMS,
    NO_POSITIONS,
    AttentionCondition,
    ConditioningConfig,
    MlpCondition,
    NormCondition,
    NormModulations,
    PositionModulations,
)
from model.initialization import linear
from model.settings import LayerSize

NORM_EPSILON = 1e-3

Axis = Literal["row", "column"]


class PositionEmbedding(nn.Module):
    """Learned embeddings of row and column, summed: (H, 1, D) + (W, D) -> (H, W, D)."""

    def __init__(self, resolution: int, hidden: int) -> None:
        super().__init__()
        self.row = nn.Parameter(torch.empty(resolution, 1, hidden))
        self.column = nn.Parameter(torch.empty(resolution, hidden))
        nn.init.normal_(self.row, std=hidden**-0.5)
        nn.init.normal_(self.column, std=hidden**-0.5)

    def forward(self) -> Tensor:
        """(H, W, D)."""
        return self.row + self.column


class AxialAttention(nn.Module):
    """Self-attention along rows or columns, with a learned relative bias (Ho et al. 2019)."""

    def __init__(self, hidden: int, heads: int, length: int, axis: Axis, masked: bool) -> None:
        super().__init__()
        self.heads, self.length, self.axis, self.masked = heads, length, axis, masked
        self.q, self.k, self.v, self.output = (linear(hidden, hidden, bias=False) for _ in range(4))
        # Indexed by [head, key - query + L - 1]; as published, the last column is never read.
        self.relative_bias = nn.Parameter(torch.zeros(heads, 2 * length))

    def project(self, x: Tensor, modulations: PositionModulations) -> tuple[Tensor, Tensor, Tensor]:
        """(..., D) -> modulated q, k, v, each (..., N, C)."""
        q, k, v = (layer(x).unflatten(-1, (self.heads, -1)) for layer in (self.q, self.k, self.v))
        return modulations.q.apply(q), modulations.k.apply(k), modulations.v.apply(v)

    def bias(self) -> Tensor:
        """Relative bias by head, query and key, -inf where masked: (N, L, L)."""
        position = torch.arange(self.length, device=self.relative_bias.device)
        distance = position[None, :] - position[:, None]  # (query, key)
        bias = self.relative_bias[:, distance + self.length - 1]
        return bias.masked_fill(distance > 0, float("-inf")) if self.masked else bias

    def forward(self, x: Tensor, modulations: PositionModulations) -> Tensor:
        """(B, H, W, D) -> (B, H, W, D); each row (or column) attends to itself alone."""
        # (B, H, W, N, C) -> (B, H, N, W, C) for rows, (B, W, N, H, C) for columns.
        order = (0, 1, 3, 2, 4) if self.axis == "row" else (0, 2, 3, 1, 4)
        back = (0, 1, 3, 2, 4) if self.axis == "row" else (0, 3, 1, 2, 4)
        q, k, v = (part.permute(order) for part in self.project(x, modulations))
        lines = q.shape[:2]
        q, k, v = (part.flatten(0, 1) for part in (q, k, v))
        mixed = functional.scaled_dot_product_attention(q, k, v, self.bias().to(q.dtype)[None])
        return self.output(mixed.unflatten(0, lines).permute(back).flatten(-2))


class Mlp(nn.Module):
    """Two dense layers with a ReLU between them: (..., D) -> (..., D)."""

    def __init__(self, hidden: int, ff: int) -> None:
        super().__init__()
        self.input = linear(hidden, ff)
        self.output = linear(ff, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        return self.output(torch.relu(self.input(x)))


class AxialLayer(nn.Module):
    """Attention along one axis, then a feed-forward, each with a residual and a norm after it."""

    def __init__(
        self,
        size: LayerSize,
        axis: Axis,
        masked: bool = False,
        conditioning: ConditioningConfig | None = None,
        context_features: int = 0,
    ) -> None:
        """conditioning: None for encoders, which have no context. context_features: F."""
        super().__init__()
        hidden = size.hidden
        self.attention = AxialAttention(hidden, size.heads, size.resolution, axis, masked)
        self.attention_norm = nn.LayerNorm(hidden, NORM_EPSILON)
        self.mlp = Mlp(hidden, size.ff)
        self.mlp_norm = nn.LayerNorm(hidden, NORM_EPSILON)
        self.dropout = nn.Dropout(size.dropout)
        self.q_condition: AttentionCondition | None = None
        self.k_condition: AttentionCondition | None = None
        self.v_condition: AttentionCondition | None = None
        self.mlp_condition: MlpCondition | None = None
        self.attention_norm_condition: NormCondition | None = None
        self.mlp_norm_condition: NormCondition | None = None
        if conditioning is not None:
            self._add_conditions(size, conditioning, context_features)

    def _add_conditions(self, size: LayerSize, config: ConditioningConfig, features: int) -> None:
        def attention_condition(wanted: bool) -> AttentionCondition | None:
            if not wanted:
                return None
            scaled, act = config.cond_att_scale, config.cond_att_act
            return AttentionCondition(features, size.hidden, size.heads, scaled, act)

        self.q_condition = attention_condition(config.cond_att_q)
        self.k_condition = attention_condition(config.cond_att_k)
        self.v_condition = attention_condition(config.cond_att_v)
        kind, act = config.cond_mlp, config.cond_mlp_act
        self.mlp_condition = MlpCondition(features, size.hidden, kind, act)
        if config.cond_ln:
            self.attention_norm_condition = NormCondition(size, config)
            self.mlp_norm_condition = NormCondition(size, config)
            # Published: gain and offset of the norm inside of a conditional norm are not trained.
            self.attention_norm.requires_grad_(False)
            self.mlp_norm.requires_grad_(False)

    def modulate_positions(self, context: Tensor) -> PositionModulations:
        """Modulations of attention and feed-forward by their context (B, H, W, F)."""
        parts = (self.q_condition, self.k_condition, self.v_condition, self.mlp_condition)
        return PositionModulations(*(IDENTITY if part is None else part(context) for part in parts))

    def modulate_norms(self, gray_context: Tensor) -> NormModulations:
        """Modulations of the two norms by the gray context of the whole picture, (B, H, W, D)."""
        parts = (self.attention_norm_condition, self.mlp_norm_condition)
        return NormModulations(
            *(IDENTITY if part is None else part(gray_context) for part in parts)
        )

    def forward(
        self,
        x: Tensor,
        positions: PositionModulations = NO_POSITIONS,
        norms: NormModulations = NO_NORMS,
    ) -> Tensor:
        """(B, H, W, D) -> (B, H, W, D)."""
        return self.finish(x, self.attention(x, positions), positions, norms)

    def finish(
        self,
        x: Tensor,
        attended: Tensor,
        positions: PositionModulations,
        norms: NormModulations,
        mlp: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Everything after attention: residual, norm, feed-forward, residual, norm.

        Each position is computed by itself, so x and attended may be (B, H, W, D) or a part of it.
        mlp: a faster equivalent of the layer's own.
        """
        x = norms.attention.apply(self.attention_norm(x + self.dropout(attended)))
        changed = positions.mlp.apply((mlp or self.mlp)(x))
        return norms.mlp.apply(self.mlp_norm(x + self.dropout(changed)))


class AxialLayers(nn.ModuleList):
    """Axial layers in the order in which they run."""

    def __iter__(self) -> Iterator[AxialLayer]:  # narrower than the parent's Iterator[Module]
        return cast(Iterator[AxialLayer], super().__iter__())


def axial_encoder(size: LayerSize, layers: int) -> AxialLayers:
    """The encoder of each stage, without context: pairs of a row and a column layer."""
    axes = get_args(Axis)
    return AxialLayers(AxialLayer(size, axis) for _ in range(layers) for axis in axes)
