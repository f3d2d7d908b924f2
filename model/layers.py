"""Axial layers with optional conditioning (ColTran, section 3 and table 1).

Legend: B batch, H W rows and columns, D features, N heads, C features of a head (D / N),
L length of the attended axis, F features of a conditioning context.

A conditioned layer first turns its context into `Modulation`s (a scale and a shift) and then
applies these to its input. What depends on the context alone can therefore be computed once and
kept, which is what makes cached sampling exact.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Literal, NamedTuple, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

NORM_EPSILON = 1e-3

Axis = Literal["row", "column"]
Activation = Literal["identity", "relu", "sigmoid", "tanh"]
MlpCondition = Literal["affine", "shift"]
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
    """Self-attention along rows or columns, with a learned relative bias (paper, section 3)."""

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


@dataclass(frozen=True, kw_only=True)
class ConditioningConfig:
    """Options of conditioned layers; names and defaults are those of the published code.

    Raises:
        ValueError: a value that an option cannot have.
    """

    cond_mlp: MlpCondition = "affine"
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
            "cond_mlp": get_args(MlpCondition),
            "cond_mlp_act": get_args(Activation),
            "cond_ln_act": get_args(Activation),
            "cond_ln_seq": get_args(NormSequence),
            "cond_ln_sp_ave": get_args(SpatialAverage),
            "cond_att_act": get_args(Activation),
        }
        for field in fields(ConditioningConfig):
            value, allowed = getattr(self, field.name), choices.get(field.name, (True, False))
            if value not in allowed or isinstance(value, bool) != isinstance(allowed[0], bool):
                wanted = ", ".join(str(choice).lower() for choice in allowed)
                raise ValueError(f"{field.name} must be one of {wanted}, not {value!r}")


def check_whole_numbers(**values: object) -> None:
    """Raise ValueError unless each value is a positive whole number."""
    for name, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} must be a positive whole number, not {value!r}")


@dataclass(frozen=True)
class LayerSize:
    """Sizes that all layers of a stack share: D, hidden features of the MLP, N, H = W.

    Raises:
        ValueError: a size that cannot be built, with its name and value.
    """

    hidden: int
    ff: int
    heads: int
    resolution: int
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_whole_numbers(
            **{name: getattr(self, name) for name in ("hidden", "ff", "heads", "resolution")}
        )
        if self.hidden % self.heads:
            raise ValueError(f"hidden {self.hidden} is not divisible by {self.heads} heads")
        if self.resolution < 2:
            raise ValueError(f"resolution must be at least 2, not {self.resolution}")
        if isinstance(self.dropout, bool) or not isinstance(self.dropout, int | float):
            raise ValueError(f"dropout must be a number, not {self.dropout!r}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, not {self.dropout!r}")

    def check_layers(self, **layers: int) -> None:
        """Raise ValueError unless each number of layers is a positive whole number."""
        check_whole_numbers(**layers)


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


class MlpConditioning(nn.Module):
    """Context -> modulation of the feed-forward's output (table 1: conditional MLP)."""

    def __init__(self, features: int, hidden: int, kind: MlpCondition, act: Activation) -> None:
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
        self.mlp_condition: MlpConditioning | None = None
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
        self.mlp_condition = MlpConditioning(features, size.hidden, kind, act)
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


def linear(inputs: int, outputs: int, bias: bool = True) -> nn.Linear:
    """A dense layer initialized as published: Glorot-uniform weights, zero biases."""
    layer = nn.Linear(inputs, outputs, bias=bias)
    nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def fourier_features(values: int, hidden: int) -> Tensor:
    """Initial embeddings, sines and cosines, in which near values are alike: (values, D)."""
    if torch.get_default_device().type == "meta":  # computing there would load PyTorch's compiler
        return torch.empty(values, hidden)
    waves = torch.logspace(-1, 4, -(-hidden // 2), base=2.0)
    angles = 2 * torch.pi * torch.arange(values)[:, None] / values * waves
    return torch.cat((angles.sin(), angles.cos()), dim=1)[:, :hidden] * 0.3


def embedding(symbols: int, hidden: int) -> nn.Embedding:
    """A dense layer without bias on one-hot symbols, as a lookup: (...) -> (..., D)."""
    layer = nn.Embedding(symbols, hidden)
    nn.init.xavier_uniform_(layer.weight)
    return layer
