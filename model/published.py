"""Import of published ColTran variables: a table of names, strict both ways.

The table is written in the unified names of `model.published_names`.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from itertools import count
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from model.core import CoreConfig
from model.published_names import ROOTS, unify_names
from model.upsamplers import ColorUpsamplerConfig
from model.weights import Stage, StageConfig, WeightsError, build_stage

PublishedConfig = CoreConfig | ColorUpsamplerConfig  # SpatialUpsamplerConfig is a subclass

AVERAGE = "/ExponentialMovingAverage"

# Shapes of published arrays. "dense" (in, out), "split" (in, heads, out / heads) and "merge"
# (heads, in / heads, out) all become (out, in); "same" stays as it is.
Layout = Literal["same", "dense", "split", "merge"]


class Source(NamedTuple):
    """The published variable of one of our tensors; an optional one may be missing.

    A tensor whose optional variable is missing keeps its initial values.
    """

    name: str
    layout: Layout = "same"
    optional: bool = False


class Imported(NamedTuple):
    """A stage in eval mode, and the variables that it does not need (optimizer slots, counters)."""

    stage: Stage
    dropped: list[str]


def import_stage(
    config: StageConfig, variables: Mapping[str, np.ndarray], raw: bool = False
) -> Imported:
    """Build a stage from published variables: from moving averages, or with `raw` raw values.

    variables: named as `dense_13/kernel` and `dense_13/kernel/ExponentialMovingAverage`.

    Raises:
        WeightsError: variables that belong to another stage, are missing or unexpected, or have a
            wrong shape.
    """
    if not isinstance(config, PublishedConfig):
        raise WeightsError("checkpoints of ColTran's own stages can be imported, and no others")
    stage = build_stage(config)
    name = str(stage.describe()["stage"])
    _check_root(name, variables)
    chosen = _choose_values(variables, raw)
    sources = {unified: chosen[key] for unified, key in unify_names(name, chosen).items()}
    table, state = name_table(config), stage.state_dict()
    table = {target: table[target] for target in state}
    _check_names(table, sources, raw)
    keys = {target: sources[each.name] for target, each in table.items() if each.name in sources}
    shapes = {
        key: _published_shape(tuple(state[target].shape), table[target].layout, config.heads)
        for target, key in keys.items()
    }
    _check_shapes(variables, shapes)
    for target, key in keys.items():
        state[target] = _convert(variables[key], table[target].layout, len(state[target]))
    stage.load_state_dict(state)
    return Imported(stage.eval(), sorted(variables.keys() - sources.values()))


def _check_root(stage: str, names: Iterable[str]) -> None:
    parts = {re.sub(r"_\d+$", "", part) for name in names for part in name.split("/")}
    found = [other for other, root in ROOTS.items() if root in parts]
    if found != [stage]:
        holds = f"variables of stage {' and '.join(found)}" if found else "no ColTran variables"
        raise WeightsError(f"wanted a checkpoint of stage {stage}, this one holds {holds}")


def _choose_values(names: Collection[str], raw: bool) -> dict[str, str]:
    """The name under which each variable's value is taken: its moving average's, or its own."""
    plain = {name: name for name in names if not name.endswith(AVERAGE)}
    averages = {name.removesuffix(AVERAGE): name for name in names if name.endswith(AVERAGE)}
    if raw:
        return plain
    if not averages:
        raise WeightsError("there are no moving averages here; --raw takes the raw variables")
    return plain | averages


def _check_names(table: Mapping[str, Source], sources: Mapping[str, str], raw: bool) -> None:
    """Refuse unknown and missing variables, and trained ones without a moving average."""
    wanted = {source.name: source for source in table.values()}
    _refuse("unexpected", [key for unified, key in sources.items() if unified not in wanted])
    missing = [name for name in wanted if name not in sources and not wanted[name].optional]
    _refuse("missing", [_respell(name, sources) for name in missing])
    if not raw:
        plain = {name: key for name, key in sources.items() if not key.endswith(AVERAGE)}
        trained = [key for name, key in plain.items() if not wanted[name].optional]
        _refuse("without a moving average", trained)


def _check_shapes(
    variables: Mapping[str, np.ndarray], expected: Mapping[str, tuple[int, ...]]
) -> None:
    found = {key: variables[key].shape for key in expected}
    differing = [key for key, shape in expected.items() if found[key] != shape]
    wrong = [f"{key} is {found[key]} instead of {expected[key]}" for key in differing]
    _refuse("of a wrong shape", wrong)


def _refuse(problem: str, names: list[str]) -> None:
    if names:
        rest = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise WeightsError(f"variables {problem}: {', '.join(names[:3])}{rest}")


def _respell(missing: str, sources: Mapping[str, str]) -> str:
    """A missing variable's published name, guessed from another in the same layer or scope."""
    for depth in range(1, missing.count("/") + 1):
        scope, *rest = missing.rsplit("/", depth)
        for unified, key in sources.items():
            if unified.startswith(f"{scope}/") and unified.count("/") == missing.count("/"):
                published = key.removesuffix(AVERAGE).rsplit("/", depth)[0]
                return "/".join([published, *rest])
    return missing


def _published_shape(shape: tuple[int, ...], layout: Layout, heads: int) -> tuple[int, ...]:
    if layout == "same":
        return shape
    outputs, inputs = shape
    shapes = {
        "dense": (inputs, outputs),
        "split": (inputs, heads, outputs // heads),
        "merge": (heads, inputs // heads, outputs),
    }
    return shapes[layout]


def _convert(published: np.ndarray, layout: Layout, outputs: int) -> Tensor:
    value = torch.from_numpy(np.array(published, dtype=np.float32))
    return value if layout == "same" else value.reshape(-1, outputs).T


_CORE = {
    "encoder.embedding.weight": Source("gray_scale_encoder/dense/kernel"),
    "encoder.embedding_bias": Source("gray_scale_encoder/dense/bias"),
    "parallel_head.weight": Source("parallel_logits/kernel", "dense"),
    "pixel_embedding.weight": Source("dense#0/kernel"),
    "norm.weight": Source("layer_normalization/gamma"),
    "norm.bias": Source("layer_normalization/beta"),
    "head.weight": Source("auto_logits/kernel", "dense"),
    "head.bias": Source("auto_logits/bias"),
}

_UPSAMPLER = {
    "channel_embedding.weight": Source("dense#0/kernel"),
    "gray_embedding.weight": Source("dense#1/kernel"),
    "input.weight": Source("dense#2/kernel", "dense"),
    "input.bias": Source("dense#2/bias"),
    "head.weight": Source("dense#3/kernel", "dense"),
    "head.bias": Source("dense#3/bias"),
}

_POSITION = {
    "position.row": Source("{stack}/position_embed/position_embedding_0"),
    "position.column": Source("{stack}/position_embed/position_embedding_1"),
}

_LAYER = {
    "attention.q.weight": Source("{attention}/q/kernel", "split"),
    "attention.k.weight": Source("{attention}/k/kernel", "split"),
    "attention.v.weight": Source("{attention}/v/kernel", "split"),
    "attention.output.weight": Source("{attention}/output/kernel", "merge"),
    "attention.relative_bias": Source("{attention}/relative_attention_bias_{axis}"),
    "mlp.input.weight": Source("{mlp_input}/kernel", "dense"),
    "mlp.input.bias": Source("{mlp_input}/bias"),
    "mlp.output.weight": Source("{mlp_output}/kernel", "dense"),
    "mlp.output.bias": Source("{mlp_output}/bias"),
    "q_condition.projection.weight": Source("{attention}/cond_q/kernel", "split"),
    "k_condition.projection.weight": Source("{attention}/cond_k/kernel", "split"),
    "v_condition.projection.weight": Source("{attention}/cond_v/kernel", "split"),
    "mlp_condition.projection.weight": Source("{mlp_condition}/kernel", "dense"),
    "mlp_condition.projection.bias": Source("{mlp_condition}/bias"),
}
_NORM = {".weight": Source("{norm}/gamma"), ".bias": Source("{norm}/beta")}
_CONDITIONAL_NORM = {
    # The norm inside is not trained: it has no average, and not all versions save it.
    ".weight": Source("{norm}/normalize/gamma", optional=True),
    ".bias": Source("{norm}/normalize/beta", optional=True),
    "_condition.spatial_average": Source("{norm}/spatial_average"),
    "_condition.projection.weight": Source("{norm}/dense/kernel", "dense"),
    "_condition.projection.bias": Source("{norm}/dense/bias"),
}


class _Layer(NamedTuple):
    """One published attention layer and the projection that conditions its feed-forward."""

    attention: str
    axis: int  # 1 along rows, 0 along columns
    condition: str = ""


class _Stack(NamedTuple):
    ours: str
    published: str
    norm: str
    layers: list[_Layer]


def name_table(config: PublishedConfig) -> dict[str, Source]:
    """The published variable of every tensor that a stage of this configuration can have."""
    table = dict(_CORE if isinstance(config, CoreConfig) else _UPSAMPLER)
    feed_forwards = count()
    for stack in _stacks(config):
        table |= _fill(_POSITION, stack.ours, stack=stack.published)
        for place, layer in enumerate(stack.layers):
            ours = f"{stack.ours}layers.{place}."
            table |= _fill(
                _LAYER,
                ours,
                attention=f"{stack.published}/{layer.attention}",
                axis=layer.axis,
                mlp_input=f"feed_forward#{next(feed_forwards)}",
                mlp_output=f"feed_forward#{next(feed_forwards)}",
                mlp_condition=f"{stack.published}/{layer.condition}",
            )
            norms = _CONDITIONAL_NORM if stack.norm == "conditional_layer_norm" else _NORM
            for rank, own in enumerate(("attention_norm", "mlp_norm"), start=2 * place):
                table |= _fill(norms, ours + own, norm=f"{stack.published}/{stack.norm}#{rank}")
    return table


def _fill(template: Mapping[str, Source], ours: str, **names: object) -> dict[str, Source]:
    return {
        ours + key: source._replace(name=source.name.format(**names))
        for key, source in template.items()
    }


def _stacks(config: PublishedConfig) -> list[_Stack]:
    """The stacks of a stage, in the order in which Keras constructs their feed-forwards."""
    attention = [_Layer(f"self_attention_nd#{i}", axis=1 - i % 2) for i in range(2 * config.enc)]
    if not isinstance(config, CoreConfig):
        return [_Stack("", "encoder", "layer_normalization", attention)]
    outer, kind = [], config.cond_mlp
    for i in range(config.outer):
        outer.append(_Layer(f"unmask_row_att_{i}", 1, f"{kind}_r_{i}"))
        outer.append(_Layer(f"mask_col_att_{i}", 0, f"{kind}_c_{i}"))
    inner = [_Layer(f"mask_row_att_{i}", 1, f"{kind}_c_{i}") for i in range(config.inner)]
    norm = "conditional_layer_norm" if config.cond_ln else "layer_normalization"
    return [
        _Stack("encoder.", "encoder", "layer_normalization", attention),
        _Stack("outer.", "outer_decoder", norm, outer),
        _Stack("inner.", "inner_decoder", norm, inner),
    ]
