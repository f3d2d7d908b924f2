"""Conditional layers: scale and shift attention, MLP and norms by a context (ColTran, table 1).

Each condition turns its context into `Modulation`s, a scale and a shift, which a layer then applies
to its own values. What depends on the context alone can therefore be computed once and kept; this
makes cached sampling exact.

Legend: B batch, H W rows and columns, D features, N heads, C features of a head (D / N), F features
of a context.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from model.initialization import linear
from model.settings import LayerSize, check_choice

Activation = Literal["identity", "relu", "sigmoid", "tanh"]
MlpModulation = Literal["affine", "shift"]
NormSequence = Literal["sc", "cs"]
SpatialAverage = Literal["learnable", "mean"]

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda x: x,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
}


class Modulation(NamedTuple):
    """x -> x * scale + shift; None stands for a scale of 1 or a shift of 0."""

    scale: Tensor | None = None
    shift: Tensor | None = None

    def apply(self, x: Tensor) -> Tensor:
        """Modulate x, which broadcasts with scale and shift."""
        if self.scale is not None:
            x = x * self.scale
        return x if self.shift is None else x + self.shift


IDENTITY = Modulation()


class PositionModulations(NamedTuple):
    """A layer's modulations at each position: q, k, v (B, H, W, N, C), and mlp (B, H, W, D)."""

    q: Modulation = IDENTITY
    k: Modulation = IDENTITY
    v: Modulation = IDENTITY
    mlp: Modulation = IDENTITY


class NormModulations(NamedTuple):
    """The modulations of a layer's two norms, from the whole gray context: each (B, 1, 1, D)."""

    attention: Modulation = IDENTITY
    mlp: Modulation = IDENTITY


NO_POSITIONS, NO_NORMS = PositionModulations(), NormModulations()


@dataclass(frozen=True, kw_only=True)
class ConditioningConfig:
    """Options of conditioned layers; names and defaults are those of the published code.

    Raises:
        ValueError: a value that an option cannot have.
    """

    cond_mlp: MlpModulation = "affine"
    cond_mlp_act: Activation = "identity"
    cond_ln: bool = True
    cond_ln_act: Activation = "identity"
    cond_ln_seq: NormSequence = "sc"
    cond_ln_sp_ave: SpatialAverage = "learnable"
    cond_att_q: bool = True
    cond_att_k: bool = True
    cond_att_v: bool = True
    cond_att_scale: bool = True
    cond_att_act: Activation = "identity"

    def __post_init__(self) -> None:
        choices = {
            "cond_mlp": get_args(MlpModulation),
            "cond_mlp_act": get_args(Activation),
            "cond_ln_act": get_args(Activation),
            "cond_ln_seq": get_args(NormSequence),
            "cond_ln_sp_ave": get_args(SpatialAverage),
            "cond_att_act": get_args(Activation),
        }
        for field in fields(ConditioningConfig):
            check_choice(self, field.name, choices.get(field.name, (True, False)))


class AttentionCondition(nn.Module):
    """Context -> modulation of q, k or v (table 1: conditional self-attention)."""

    def __init__(
        self, features: int, hidden: int, heads: int, scaled: bool, act: Activation
    ) -> None:
        super().__init__()
        self.heads, self.scaled, self.act = heads, scaled, ACTIVATIONS[act]
        self.projection = linear(features, 2 * hidden if scaled else hidden, bias=False)

    def forward(self, context: Tensor) -> Modulation:
        """(B, H, W, F) -> (B, H, W, N, C)."""
        projected = self.projection(context).unflatten(-1, (self.heads, -1))
        if not self.scaled:
            return Modulation(shift=projected)  # the published code has no activation here
        scale, shift = projected.chunk(2, dim=-1)
        return Modulation(self.act(scale), self.act(shift))


class MlpCondition(nn.Module):
    """Context -> modulation of the feed-forward's output (table 1: conditional MLP)."""

    def __init__(self, features: int, hidden: int, kind: MlpModulation, act: Activation) -> None:
        super().__init__()
        self.affine, self.act = kind == "affine", ACTIVATIONS[act]
        self.projection = linear(features, 2 * hidden if self.affine else hidden)
        if self.affine:
            nn.init.ones_(self.projection.bias[hidden:])  # initially no modulation

    def forward(self, context: Tensor) -> Modulation:
        """(B, H, W, F) -> (B, H, W, D)."""
        projected = self.projection(context)
        if not self.affine:
            return Modulation(shift=projected)  # the published code has no activation here
        shift, scale = projected.chunk(2, dim=-1)  # published: here the shift comes first
        return Modulation(self.act(scale), self.act(shift))


class NormCondition(nn.Module):
    """Whole gray context -> modulation of a norm (table 1: conditional layer norm)."""

    def __init__(self, size: LayerSize, config: ConditioningConfig) -> None:
        super().__init__()
        self.project_first, self.act = config.cond_ln_seq == "cs", ACTIVATIONS[config.cond_ln_act]
        self.projection = linear(size.hidden, 2 * size.hidden)
        nn.init.ones_(self.projection.bias[: size.hidden])  # initially a scale of 1
        self.spatial_average: nn.Parameter | None = None
        if config.cond_ln_sp_ave == "learnable":
            shape = (1, size.resolution, size.resolution, 1)
            self.spatial_average = nn.Parameter(torch.ones(shape))

    def average(self, context: Tensor) -> Tensor:
        """Weighted sum, divided by H * W as published: (B, H, W, D) -> (B, 1, 1, D)."""
        weighted = context if self.spatial_average is None else self.spatial_average * context
        return weighted.mean(dim=(1, 2), keepdim=True)

    def forward(self, gray_context: Tensor) -> Modulation:
        """(B, H, W, D) -> (B, 1, 1, D)."""
        if self.project_first:
            projected = self.average(self.projection(gray_context))
        else:
            projected = self.projection(self.average(gray_context))
        scale, shift = projected.chunk(2, dim=-1)
        return Modulation(self.act(scale), self.act(shift))
