"""Names of published ColTran variables, unified: the same for every process that saved them.

The published code saves variables under the names that Keras gave them. A layer without a name of
its own has a counter that runs over the whole process (`dense_13`). Depending on the version of
TensorFlow, feed-forward layers are within scopes (`.../sequential_3/dense_13`) or not. Unified
names drop the scopes that mean nothing, and a counter becomes the rank of the layer among those of
its kind, in order of construction: both names above become `feed_forward#11`.
"""

import re
from collections import defaultdict
from collections.abc import Iterable

from model.weights import WeightsError

ROOTS = {"core": "col_tran_core", "color": "color_upsampler", "spatial": "spatial_upsampler"}

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
