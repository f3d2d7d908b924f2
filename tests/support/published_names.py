"""Variables as the published code names them, made from the order of construction alone."""

from collections import Counter

import numpy as np

from model.published import AVERAGE

Shapes = dict[str, tuple[int, ...]]
Variables = dict[str, np.ndarray]

SMALL: dict[str, object] = {"hidden": 8, "ff": 12, "heads": 2, "enc": 3, "resolution": 4}
CORE = SMALL | {"outer": 2, "inner": 3}


class Keras:
    """Names and shapes as Keras would give them, written from the order of construction alone.

    scoped: feed-forward layers carry the scope of their Sequential. first: where counters start.
    """

    def __init__(self, config: dict[str, object], scoped: bool, first: int) -> None:
        self.option = dict(cond_mlp="affine", cond_ln=True, cond_ln_sp_ave="learnable")
        self.option |= {f"cond_att_{part}": True for part in ("q", "k", "v", "scale")}
        self.option |= config
        self.hidden, self.ff, self.heads, self.side = (
            int(str(config[name])) for name in ("hidden", "ff", "heads", "resolution")
        )
        self.scoped, self.first = scoped, first
        self.counter: Counter[str] = Counter()
        self.shapes: Shapes = {}

    def named(self, kind: str) -> str:
        count = self.counter[kind] + self.first
        self.counter[kind] += 1
        return f"{kind}_{count}" if count else kind

    def dense(self, path: str, inputs: int, outputs: int, bias: bool = True) -> None:
        self.shapes[f"{path}/kernel"] = (inputs, outputs)
        if bias:
            self.shapes[f"{path}/bias"] = (outputs,)

    def position(self, scope: str) -> None:
        path = f"{scope}/{self.named('position_embed')}/position_embedding"
        self.shapes |= {f"{path}_0": (self.side, 1, self.hidden)}
        self.shapes |= {f"{path}_1": (self.side, self.hidden)}

    def attention(self, path: str, axis: int, context: int = 0) -> None:
        size = self.hidden // self.heads
        for part in "qkv":
            self.shapes[f"{path}/{part}/kernel"] = (self.hidden, self.heads, size)
            if context and self.option[f"cond_att_{part}"]:
                outputs = 2 * size if self.option["cond_att_scale"] else size
                self.shapes[f"{path}/cond_{part}/kernel"] = (context, self.heads, outputs)
        self.shapes[f"{path}/output/kernel"] = (self.heads, size, self.hidden)
        self.shapes[f"{path}/relative_attention_bias_{axis}"] = (self.heads, 2 * self.side)

    def feed_forward(self, scope: str, own_name: str = "") -> None:
        inside = f"{scope}/{own_name or self.named('sequential')}/" if self.scoped else ""
        self.dense(inside + self.named("dense"), self.hidden, self.ff)
        self.dense(inside + self.named("dense"), self.ff, self.hidden)

    def plain_norm(self, path: str) -> None:
        self.shapes |= {f"{path}/gamma": (self.hidden,), f"{path}/beta": (self.hidden,)}

    def norms(self, scope: str, count: int) -> None:
        for _ in range(count):
            if not self.option["cond_ln"]:
                self.plain_norm(f"{scope}/{self.named('layer_normalization')}")
                continue
            path = f"{scope}/{self.named('conditional_layer_norm')}"
            self.plain_norm(f"{path}/normalize")
            if self.option["cond_ln_sp_ave"] == "learnable":
                self.shapes[f"{path}/spatial_average"] = (1, self.side, self.side, 1)
            self.dense(f"{path}/{self.named('dense')}", self.hidden, 2 * self.hidden)

    def encoder(self, scope: str, layers: int) -> None:
        scope = f"{scope}/{self.named('factorized_attention')}"
        self.position(scope)
        for _ in range(4 * layers):
            self.plain_norm(f"{scope}/{self.named('layer_normalization')}")
        for _ in range(layers):
            for axis in (1, 0):
                self.attention(f"{scope}/{self.named('self_attention_nd')}", axis)
                self.feed_forward(scope)

    def condition(self, scope: str, part: str, place: int, context: int) -> None:
        kind = str(self.option["cond_mlp"])
        outputs = self.hidden * (2 if kind == "affine" else 1)
        self.dense(f"{scope}/{kind}_{part}_{place}", context, outputs)

    def core(self) -> Shapes:
        root = self.named("col_tran_core")
        self.dense(f"{root}/{self.named('dense')}", 512, self.hidden, bias=False)
        self.plain_norm(f"{root}/{self.named('layer_normalization')}")
        self.dense(f"{root}/parallel_logits", self.hidden, 512, bias=False)
        self.dense(f"{root}/auto_logits", self.hidden, 512)
        encoder = f"{root}/{self.named('gray_scale_encoder')}"
        self.dense(f"{encoder}/{self.named('dense')}", 256, self.hidden)
        self.encoder(encoder, int(str(self.option["enc"])))
        outer, layers = f"{root}/{self.named('outer_decoder')}", int(str(self.option["outer"]))
        self.position(outer)
        for i in range(layers):
            self.attention(f"{outer}/unmask_row_att_{i}", 1, self.hidden)
            self.feed_forward(outer, f"row_dense_{i}")
            self.attention(f"{outer}/mask_col_att_{i}", 0, self.hidden)
            self.feed_forward(outer, f"col_dense_{i}")
            self.condition(outer, "r", i, self.hidden)
            self.condition(outer, "c", i, self.hidden)
        self.norms(outer, 4 * layers)
        inner, layers = f"{root}/{self.named('inner_decoder')}", int(str(self.option["inner"]))
        self.position(inner)
        for i in range(layers):
            self.attention(f"{inner}/mask_row_att_{i}", 1, 2 * self.hidden)
            self.feed_forward(inner, f"dense_{i}")
            self.condition(inner, "c", i, 2 * self.hidden)
        self.norms(inner, 2 * layers)
        return self.shapes

    def upsampler(self, root: str, symbols: int) -> Shapes:
        root = self.named(root)
        self.dense(f"{root}/{self.named('dense')}", symbols, self.hidden, bias=False)
        self.dense(f"{root}/{self.named('dense')}", 256, self.hidden, bias=False)
        self.dense(f"{root}/{self.named('dense')}", 2 * self.hidden, self.hidden)
        self.dense(f"{root}/{self.named('dense')}", self.hidden, 256)
        self.encoder(root, int(str(self.option["enc"])))
        return self.shapes


def published_shapes(
    stage: str, settings: dict[str, object], scoped: bool = False, first: int = 0
) -> Shapes:
    keras = Keras(settings, scoped, first)
    if stage == "core":
        return keras.core()
    names = {"color": ("color_upsampler", 24), "spatial": ("spatial_upsampler", 768)}
    return keras.upsampler(*names[stage])


def published(
    stage: str, settings: dict[str, object], scoped: bool = False, first: int = 0
) -> Variables:
    """Random variables in 2..3 and, but for what is never trained, other averages; in construction
    order, so that the same model gets the same values in any spelling."""
    random = np.random.default_rng(7)
    variables: Variables = {}
    for name, shape in published_shapes(stage, settings, scoped, first).items():
        variables[name] = random.uniform(2, 3, shape).astype(np.float32)
        if "/normalize/" not in name:
            variables[name + AVERAGE] = random.uniform(2, 3, shape).astype(np.float32)
    return variables
