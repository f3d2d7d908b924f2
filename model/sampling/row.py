"""One row of the core's inner decoder, drawn pixel by pixel: the innermost loop of sampling.

Legend: B batch, W columns, D features, N heads, C features of a head, V = 512 bins.

Everything that does not depend on the row's own pixels is computed before, as modulations; what is
left per pixel are the matrix products of the inner layers and of the head. All rows have the same
shapes, and the host reads no values, so on a GPU a row is recorded once as a CUDA graph and
replayed for all rows of all batches.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from model.conditioning import Modulation, NormModulations, PositionModulations
from model.core import ColTranCore
from model.layers import AxialLayer
from model.sampling.draw import Drawn, draw
from model.sampling.inference import Dense, attend, attend_masked, fuse_projections

# Masked keys add zeros at the end of sums. Leaving them out changes no bit, as long as the vectors
# and blocks in which PyTorch sums are whole.
KEYS_AT_ONCE = 16


class FusedModulation(Modulation):
    """A modulation whose scale and shift, if it has both, are applied in one pass over x."""

    def apply(self, x: Tensor) -> Tensor:
        """As `Modulation.apply`."""
        if self.scale is not None and self.shift is not None:
            return torch.addcmul(self.shift, x, self.scale)
        return super().apply(x)


class StepInputs(NamedTuple):
    """An inner layer's modulations at each pixel of a row.

    qkv: (W, B, 3, N, C); mlp: (W, B, D); those of the norms are the same at all pixels: (B, D).
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
        """A copy in its own memory."""
        return type(self)(
            *(Modulation(*(None if x is None else _copy(x) for x in part)) for part in self)
        )


def _stack(parts: Sequence[Tensor | None], absent: Callable[[Tensor], Tensor]) -> Tensor | None:
    """The parts of q, k and v, each (B, 1, W, N, C), as one contiguous tensor (W, B, 3, N, C)."""
    present = [part for part in parts if part is not None]
    if not present:
        return None
    full = [absent(present[0]) if part is None else part for part in parts]
    return torch.stack([part[:, 0].transpose(0, 1) for part in full], dim=2)


def _copy(x: Tensor) -> Tensor:
    return x.clone(memory_format=torch.contiguous_format)  # no two elements share their memory


class RowInputs(NamedTuple):
    """Everything that differs between rows and batches.

    uniforms_BW: float64 [0, 1). prior_BWV: added to the logits; None without a histogram.
    start_WBD: added to the embedding of the pixel to the left, as the first layer's input. steps:
    one for each inner layer.
    """

    uniforms_BW: Tensor
    prior_BWV: Tensor | None
    start_WBD: Tensor
    steps: Sequence[StepInputs]

    def copy(self) -> Self:
        """A copy in its own memory."""
        prior = None if self.prior_BWV is None else _copy(self.prior_BWV)
        steps = [step.copy() for step in self.steps]
        return type(self)(_copy(self.uniforms_BW), prior, _copy(self.start_WBD), steps)

    def fill(self, given: Self) -> None:
        """Copy the values of all tensors of `given` here. Raises ValueError if shapes differ."""
        for own, new in zip(self._tensors(), given._tensors(), strict=True):
            if own.shape != new.shape:  # copy_ would broadcast
                raise ValueError(f"a row takes {tuple(own.shape)} here, not {tuple(new.shape)}")
            own.copy_(new)

    def _tensors(self) -> Iterator[Tensor]:
        parts = [x for step in self.steps for modulation in step for x in modulation]
        for part in (self.uniforms_BW, self.prior_BWV, self.start_WBD, *parts):
            if part is not None:
                yield part


@dataclass(frozen=True)
class InnerStep:
    """An inner layer at one pixel of each picture, or at some pixels of each picture's row.

    On a CPU in float32, both compute identical features for a pixel: the sums of `Dense` do not
    depend on the number of rows, those of `attend_masked` do not depend on the number of queries,
    and everything else is elementwise or within one pixel.
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
        """batch: pictures. rows: the most rows that a matrix product will have."""
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
        """One pixel of each picture, given cached keys and values: (B, D) -> (B, D)."""
        qkv_here, mlp_here = (_pick(each, column) for each in (inputs.qkv, inputs.mlp))
        batch, _, heads, _, features = self.cache.shape
        qkv = qkv_here.apply(self.qkv(x).view(batch, 3, heads, features))
        self.cache[:, :, :, column] = qkv[:, 1:]
        q = qkv[:, 0, :, None]
        if q.device.type == "cpu" and q.dtype == torch.float32:
            seen = -(-(column + 1) // KEYS_AT_ONCE) * KEYS_AT_ONCE
            keys, values = self.cache[:, :, :, :seen].unbind(1)
            mixed = attend_masked(q, keys, values, self.bias[:, column, None, :seen])
        else:
            keys, values = self.cache[:, :, :, : column + 1].unbind(1)
            mixed = attend(q, keys, values, self.bias[:, column, None, : column + 1])
        return self._finish(x, mixed.reshape(batch, -1), mlp_here, inputs)

    def run_window(self, x: Tensor, start: int, inputs: StepInputs) -> Tensor:
        """Some pixels of a row of each picture at once, from column `start` on.

        (P, B, D) -> (P, B, D).
        """
        count, (batch, _, heads, _, features) = len(x), self.cache.shape
        places = slice(start, start + count)
        qkv_here, mlp_here = (_pick(each, places) for each in (inputs.qkv, inputs.mlp))
        qkv = qkv_here.apply(self.qkv(x.flatten(0, 1)).view(count, batch, 3, heads, features))
        qkv = qkv.permute(1, 2, 3, 0, 4)  # (B, 3, N, P, C)
        self.cache[:, :, :, places] = qkv[:, 1:]
        keys, values = self.cache.unbind(1)
        on_cpu = x.device.type == "cpu"
        mixed = (attend_masked if on_cpu else attend)(qkv[:, 0], keys, values, self.bias[:, places])
        mixed = mixed.permute(2, 0, 1, 3).reshape(count, batch, -1)
        return self._finish(x, mixed, mlp_here, inputs)

    def _finish(self, x: Tensor, mixed: Tensor, mlp: Modulation, inputs: StepInputs) -> Tensor:
        norms = NormModulations(
            FusedModulation(*inputs.attention_norm), FusedModulation(*inputs.mlp_norm)
        )
        positions = PositionModulations(mlp=mlp)
        attended = self.output(mixed.flatten(0, -2)).view(x.shape)
        return self.layer.finish(x, attended, positions, norms, self._mlp)

    def _mlp(self, x: Tensor) -> Tensor:
        return self.mlp_output(self.mlp_input(x.flatten(0, -2), "relu")).view(x.shape)


def _pick(modulation: Modulation, place: Any) -> FusedModulation:
    return FusedModulation(*(None if part is None else part[place] for part in modulation))


class Recorded:
    """Work on the inputs of a row that runs again and again with tensors of the same shapes.

    Inputs are copied into its own buffers, and results are copies, so rows and batches are
    independent of each other. On a GPU, launching a row's 3,000 small kernels would take longer
    than running them, so the first call records them on these buffers, and each call replays the
    recording. The core's weights must not be changed or moved meanwhile.
    """

    def __init__(self, work: Callable[[RowInputs], Drawn]) -> None:
        self._work = work
        self._buffers: RowInputs | None = None
        self._run: Callable[[], Drawn] | None = None

    def take(self, given: RowInputs) -> None:
        """Copy the inputs. Raises ValueError if one has another shape than before."""
        if self._buffers is None:
            with torch.inference_mode(False), torch.no_grad():  # both modes can write to these
                self._buffers = given.copy()
        self._buffers.fill(given)

    def run(self) -> Drawn:
        """Do the work on the inputs that were taken last."""
        assert self._buffers is not None
        if self._run is None:
            run, device = partial(self._work, self._buffers), self._buffers.start_WBD.device
            self._run = record(run, device) if device.type == "cuda" else run
        return Drawn(*(part.clone() for part in self._run()))


class RowRunner:
    """Draws one row of each picture of a batch, at one temperature; to be called for every row."""

    def __init__(self, core: ColTranCore, batch: int, temperature: float) -> None:
        self._core, self._temperature = core, temperature
        with torch.inference_mode(False), torch.no_grad():  # buffers that both modes can write to
            self._steps = [InnerStep.of(layer, batch, batch) for layer in core.inner.layers]
            self._head = Dense(core.head.weight, core.head.bias, batch)
        self._draw = Recorded(self._draw_row)

    @torch.no_grad()
    def __call__(self, given: RowInputs) -> Drawn:
        """Draw a row, (B, W) each. Raises ValueError if an input has another shape than before."""
        self._draw.take(given)
        return self._draw.run()

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
    """Record the work as a CUDA graph, whose inputs and results keep their memory."""
    with torch.cuda.device(device):
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # libraries initialize themselves, which cannot be recorded
            draw_row()
        torch.cuda.current_stream().wait_stream(stream)
        # Other threads of the process may use CUDA meanwhile; this is neither recorded nor an
        # error.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            drawn = draw_row()

    def replay() -> Drawn:
        graph.replay()
        return drawn

    return replay
