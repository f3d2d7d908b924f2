"""One row of the core's inner decoder, drawn pixel by pixel: the loop that all else waits for.

Legend: B batch, W columns, D features, N heads, C features of a head, V = 512 bins.

Whatever does not depend on the row's own pixels comes in as modulations that are ready to be
applied; what is left of a pixel are the products of the inner layers and of the head. The shapes of
a row are always the same, and the host never looks at a value, so on a GPU a row is recorded once
as a CUDA graph and replayed for all rows of all batches.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from model.core import ColTranCore
from model.layers import AxialLayer, Modulation, NormModulations, PositionModulations
from model.sampling.draw import Drawn, draw
from model.sampling.inference import Dense, attend, attend_masked, fuse_projections


class OnePass(Modulation):
    """A modulation that is applied in one pass over x where it has both parts."""

    def apply(self, x: Tensor) -> Tensor:
        if self.scale is not None and self.shift is not None:
            return torch.addcmul(self.shift, x, self.scale)
        return super().apply(x)


class StepInputs(NamedTuple):
    """What an inner layer takes from its context at each pixel of a row.

    qkv: (W, B, 3, N, C); mlp: (W, B, D); the norms, the same at all pixels: (B, D).
    """

    qkv: Modulation
    mlp: Modulation
    attention_norm: Modulation
    mlp_norm: Modulation

    @classmethod
    def of(cls, positions: PositionModulations, norms: NormModulations) -> Self:
        """positions: of one row, each (B, 1, W, N, C) or (B, 1, W, D). norms: each (B, 1, 1, D)."""
        parts = (positions.q, positions.k, positions.v)
        scale = _stack([part.scale for part in parts], torch.ones_like)
        shift = _stack([part.shift for part in parts], torch.zeros_like)
        by_column = [x if x is None else x[:, 0].transpose(0, 1) for x in positions.mlp]
        flat = [Modulation(*(x if x is None else x[:, 0, 0] for x in part)) for part in norms]
        return cls(Modulation(scale, shift), Modulation(*by_column), *flat)

    def copy(self) -> Self:
        """The same in memory of its own."""
        return type(self)(
            *(Modulation(*(None if x is None else _copy(x) for x in part)) for part in self)
        )


def _stack(parts: Sequence[Tensor | None], absent: Callable[[Tensor], Tensor]) -> Tensor | None:
    """q's, k's and v's part as one, (W, B, 3, N, C), the last three side by side in memory."""
    present = [part for part in parts if part is not None]
    if not present:
        return None
    full = [absent(present[0]) if part is None else part for part in parts]
    return torch.stack([part[:, 0].transpose(0, 1) for part in full], dim=2)


def _copy(x: Tensor) -> Tensor:
    return x.clone(memory_format=torch.contiguous_format)  # no two elements share their memory


class RowInputs(NamedTuple):
    """All that changes from row to row and from batch to batch.

    uniforms_BW: float64 [0, 1). prior_BWV: what is added to the logits, None without a histogram.
    start_WBD: what is added to each shifted pixel. steps: of each inner layer.
    """

    uniforms_BW: Tensor
    prior_BWV: Tensor | None
    start_WBD: Tensor
    steps: Sequence[StepInputs]

    def copy(self) -> Self:
        """The same in memory of its own."""
        prior = None if self.prior_BWV is None else _copy(self.prior_BWV)
        steps = [step.copy() for step in self.steps]
        return type(self)(_copy(self.uniforms_BW), prior, _copy(self.start_WBD), steps)

    def fill(self, given: Self) -> None:
        """Overwrite each tensor with the one in its place. Raises ValueError for another shape."""
        for own, new in zip(self._tensors(), given._tensors(), strict=True):
            if own.shape != new.shape:  # it would be stretched
                raise ValueError(f"a row takes {tuple(own.shape)} here, not {tuple(new.shape)}")
            own.copy_(new)

    def _tensors(self) -> Iterator[Tensor]:
        parts = [x for step in self.steps for modulation in step for x in modulation]
        for part in (self.uniforms_BW, self.prior_BWV, self.start_WBD, *parts):
            if part is not None:
                yield part


@dataclass(frozen=True)
class InnerStep:
    """An inner layer at one pixel of each picture, or at some pixels of one picture's row.

    Both ways give a pixel the same features to the bit, on a CPU in float32: oneDNN's sums do not
    depend on the number of rows, those of `attend_masked` not on the number of queries, and all
    else is done feature by feature or within one pixel.
    """

    layer: AxialLayer
    qkv: Dense
    output: Dense
    mlp_input: Dense
    mlp_output: Dense
    bias: Tensor  # (N, L, L)
    cache: Tensor  # keys and values, (B, 2, N, L, C)

    @classmethod
    def of(cls, layer: AxialLayer, batch: int, rows: int) -> Self:
        """rows: of its products, at most."""
        attention, mlp = layer.attention, layer.mlp
        weight = fuse_projections(layer)
        heads, length = attention.heads, attention.length
        return cls(
            layer,
            Dense(weight, None, rows),
            Dense(attention.output.weight, None, rows),
            Dense(mlp.input.weight, mlp.input.bias, rows),
            Dense(mlp.output.weight, mlp.output.bias, rows),
            attention.bias().to(weight.dtype),
            weight.new_zeros(batch, 2, heads, length, weight.shape[1] // heads),
        )

    def __call__(self, x: Tensor, column: int, inputs: StepInputs) -> Tensor:
        """One pixel of each picture, (B, D) -> (B, D), on the keys and values of those before."""
        qkv_here, mlp_here = (_pick(each, column) for each in (inputs.qkv, inputs.mlp))
        batch, _, heads, _, features = self.cache.shape
        qkv = qkv_here.apply(self.qkv(x).view(batch, 3, heads, features))
        self.cache[:, :, :, column] = qkv[:, 1:]
        q = qkv[:, 0, :, None]
        if q.device.type == "cpu" and q.dtype == torch.float32:
            keys, values = self.cache.unbind(1)
            mixed = attend_masked(q, keys, values, self.bias[:, column, None])
        else:
            keys, values = self.cache[:, :, :, : column + 1].unbind(1)
            mixed = attend(q, keys, values, self.bias[:, column, None, : column + 1])
        return self._finish(x, mixed.reshape(batch, -1), mlp_here, inputs)

    def run_window(self, x: Tensor, start: int, inputs: StepInputs) -> Tensor:
        """Pixels of one picture from column `start` on, (P, D) -> (P, D), all at once."""
        places = slice(start, start + len(x))
        qkv_here, mlp_here = (_pick(each, (places, 0)) for each in (inputs.qkv, inputs.mlp))
        _, _, heads, _, features = self.cache.shape
        qkv = qkv_here.apply(self.qkv(x).view(-1, 3, heads, features)).permute(1, 2, 0, 3)
        self.cache[0, :, :, places] = qkv[1:]
        keys, values = self.cache.unbind(1)
        mixed = attend_masked(qkv[0, None], keys, values, self.bias[:, places])
        return self._finish(x, mixed[0].transpose(0, 1).reshape(len(x), -1), mlp_here, inputs)

    def _finish(self, x: Tensor, mixed: Tensor, mlp: Modulation, inputs: StepInputs) -> Tensor:
        norms = NormModulations(OnePass(*inputs.attention_norm), OnePass(*inputs.mlp_norm))
        positions = PositionModulations(mlp=mlp)
        return self.layer.finish(x, self.output(mixed), positions, norms, self._mlp)

    def _mlp(self, x: Tensor) -> Tensor:
        return self.mlp_output(self.mlp_input(x, "relu"))


def _pick(modulation: Modulation, place: Any) -> OnePass:
    return OnePass(*(None if part is None else part[place] for part in modulation))


class RowRunner:
    """Draws one row of each of a number of pictures, any number of times, at one temperature.

    What it is given is copied into buffers of its own, and what it returns is a copy, so no row or
    batch sees another. On a GPU, which takes longer to be told about a row's 3,000 small kernels
    than to run them, the first row is recorded on these buffers, and all rows are replays. The
    core's weights must stay what and where they are meanwhile.
    """

    def __init__(self, core: ColTranCore, batch: int, temperature: float) -> None:
        self._core, self._temperature = core, temperature
        with torch.inference_mode(False), torch.no_grad():  # buffers that both modes can write to
            self._steps = [InnerStep.of(layer, batch, batch) for layer in core.inner.layers]
            self._head = Dense(core.head.weight, core.head.bias, batch)
        self._buffers: RowInputs | None = None
        self._draw: Callable[[], Drawn] | None = None

    @torch.no_grad()
    def __call__(self, given: RowInputs) -> Drawn:
        """Draw a row: (B, W) each. Raises ValueError where inputs come or go between rows."""
        if self._buffers is None:
            with torch.inference_mode(False), torch.no_grad():
                self._buffers = given.copy()
        self._buffers.fill(given)
        if self._draw is None:
            draw_row, device = partial(self._draw_row, self._buffers), given.start_WBD.device
            self._draw = record(draw_row, device) if device.type == "cuda" else draw_row
        return Drawn(*(part.clone() for part in self._draw()))

    def _draw_row(self, given: RowInputs) -> Drawn:
        core, pixels = self._core, list[Drawn]()
        x = given.start_WBD[0]
        for column in range(len(given.start_WBD)):
            if column:
                x = core.pixel_embedding(pixels[-1].bins) + given.start_WBD[column]
            for step, inputs in zip(self._steps, given.steps, strict=True):
                x = step(x, column, inputs)
            logits = self._head(core.norm(x)).float()
            if given.prior_BWV is not None:
                logits = logits + given.prior_BWV[:, column]
            pixels.append(draw(logits, given.uniforms_BW[:, column], self._temperature))
        return Drawn(*(torch.stack(parts, dim=1) for parts in zip(*pixels, strict=True)))


def record(draw_row: Callable[[], Drawn], device: torch.device) -> Callable[[], Drawn]:
    """The same work as one CUDA graph, whose inputs and results stay where they are."""
    with torch.cuda.device(device):
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # libraries set themselves up, outside of the recording
            draw_row()
        torch.cuda.current_stream().wait_stream(stream)
        # What other threads of the process do meanwhile is no part of it, and no fault.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            drawn = draw_row()

    def replay() -> Drawn:
        graph.replay()
        return drawn

    return replay
