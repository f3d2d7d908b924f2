"""Import of published ColTran variables: a table of names, strict both ways.

The published code saves variables under the names that Keras gave them. A layer without a name of
its own has a counter that runs over the whole process (`dense_13`), and depending on the version of
TensorFlow, feed-forward layers are within scopes (`.../sequential_3/dense_13`) or not. Names are
therefore unified first: meaningless scopes are dropped, and a counter becomes the rank of the layer
among those of its kind, in order of construction. Both names above become `feed_forward#11`. The
table is written in unified names.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import count
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from model.core import CoreConfig
from model.upsamplers import ColorUpsamplerConfig
from model.weights import Stage, StageConfig, WeightsError, build_stage

PublishedConfig = CoreConfig | ColorUpsamplerConfig  # SpatialUpsamplerConfig is a subclass

AVERAGE = "/ExponentialMovingAverage"
ROOTS = {"core": "col_tran_core", "color": "color_upsampler", "spatial": "spatial_upsampler"}

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
    plain = {key: key for key in variables if not key.endswith(AVERAGE)}
    averages = {key.removesuffix(AVERAGE): key for key in variables if key.endswith(AVERAGE)}
    if not raw and not averages:
        raise WeightsError("there are no moving averages here; --raw takes the raw variables")
    chosen = plain if raw else plain | averages
    sources = {unified: chosen[key] for unified, key in unify_names(name, chosen).items()}
    table, state = name_table(config), stage.state_dict()
    table = {target: table[target] for target in state}
    _check_names(table, sources, raw)
    keys = {target: sources[each.name] for target, each in table.items() if each.name in sources}
    wrong = []
    for target, key in keys.items():
        shape, found = tuple(state[target].shape), variables[key].shape
        expected = _published_shape(shape, table[target].layout, config.heads)
        if found != expected:
            wrong.append(f"{key} is {found} instead of {expected}")
    _refuse("of a wrong shape", wrong)
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


# --- The table: our names -> unified published names -------------------------------------------

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


# --- Published names -> unified names -----------------------------------------------------------

# The end of a published name, and its group; the first rule that matches applies. N is a counter
# without meaning, C one that is replaced by its rank, and ... the rest, which is kept.
_RULES = (
    ("self_attention_ndC/...", "encoder/self_attention_nd"),
    ("factorized_attentionN/layer_normalizationC/...", "encoder/layer_normalization"),
    ("factorized_attentionN/position_embedN/...", "encoder/position_embed"),
    ("gray_scale_encoderN/denseN/...", "gray_scale_encoder/dense"),
    ("outer_decoderN/position_embedN/...", "outer_decoder/position_embed"),
    ("inner_decoderN/position_embedN/...", "inner_decoder/position_embed"),
    ("outer_decoderN/layer_normalizationC/...", "outer_decoder/layer_normalization"),
    ("inner_decoderN/layer_normalizationC/...", "inner_decoder/layer_normalization"),
    ("outer_decoderN/conditional_layer_normC/...", "outer_decoder/conditional_layer_norm"),
    ("inner_decoderN/conditional_layer_normC/...", "inner_decoder/conditional_layer_norm"),
    ("ROOTN/layer_normalizationN/...", "layer_normalization"),
    ("ROOTN/denseC/...", "dense"),
    ("ROOTN/parallel_logits/...", "parallel_logits"),
    ("ROOTN/auto_logits/...", "auto_logits"),
    # All other Dense layers are feed-forwards, in whatever scope. (Scopes of the inner decoder are
    # called dense_0, dense_1 ... as well; the last part of the name decides.)
    ("denseC/(?P<leaf>kernel|bias)", "feed_forward"),
    ("outer_decoderN/...", "outer_decoder"),
    ("inner_decoderN/...", "inner_decoder"),
)


def unify_names(stage: str, names: Iterable[str]) -> dict[str, str]:
    """Map unified to published names; a name that matches no rule gets the group `unknown`.

    Raises:
        WeightsError: two variables with the same unified name.
    """
    rules = [(_compile(ending, ROOTS[stage]), group) for ending, group in _RULES]
    places = {name: _place(name, rules) for name in names}
    counters: dict[str, set[int]] = defaultdict(set)
    for group, counter, _ in places.values():
        if counter is not None:
            counters[group].add(counter)
    unified: dict[str, str] = {}
    for name, (group, counter, leaf) in places.items():
        rank = "" if counter is None else f"#{sorted(counters[group]).index(counter)}"
        other = unified.setdefault(f"{group}{rank}/{leaf}", name)
        if other != name:
            raise WeightsError(f"variables that cannot be told apart: {other}, {name}")
    return unified


def _compile(ending: str, root: str) -> re.Pattern[str]:
    for short, expression in (
        ("ROOT", root),
        ("N/", r"(?:_\d+)?/"),
        ("C/", r"(?:_(?P<counter>\d+))?/"),
        ("...", "(?P<leaf>.+)"),
    ):
        ending = ending.replace(short, expression)
    return re.compile(f"(?:.*/)?{ending}")


def _place(name: str, rules: list[tuple[re.Pattern[str], str]]) -> tuple[str, int | None, str]:
    """Group, counter if it is to be ranked, and the rest of a published name."""
    for pattern, group in rules:
        if match := pattern.fullmatch(name):
            parts = match.groupdict()
            counter = int(parts["counter"] or 0) if "counter" in parts else None
            # A conditional norm has one projection in its scope: its counter has no meaning.
            return group, counter, re.sub(r"^dense(_\d+)?/", "dense/", parts["leaf"])
    return "unknown", None, name
