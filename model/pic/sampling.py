"""Drawing pictures from a PixelCNN++, value by value, and fast from caches.

`sample_pixels_slow` is the definition: one full forward pass for each pixel. `sample_pixels` keeps
what each convolution was given in the row above and the row being drawn (as in Ramachandran et al.
2017, "Fast Generation for Convolutional Autoregressive Models"): the stream of rows above is
computed once a row, the other one once a pixel, and each only where it is new.

Legend: B batch, H W rows and columns, C channels, D features, F features of a context.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from model.pic.mixture import Mixture, channel_logits, scaled
from model.pic.pixelcnn import Convolution, GatedBlock, PixelCnn, concat_elu, with_ones
from model.sampling.cached import LANES
from model.sampling.draw import draw, draw_uniforms


class PixelSample(NamedTuple):
    """values_BHWC: int64 [0, 255]. log_prob_BHW: float64, nats, of pixels at temperature 1."""

    values_BHWC: Tensor
    log_prob_BHW: Tensor
    entropy_BHW: Tensor


class Window:
    """What a convolution has been given: the rows that it still sees, with its padding."""

    def __init__(self, convolution: Convolution, batch: int, width: int) -> None:
        self.convolution, self.left = convolution, convolution.padding[0]
        rows, columns = convolution.window
        features = convolution.in_features // (rows * columns)
        shape = (batch, rows, self.left + width + convolution.padding[1], features)
        self.kept = convolution.weight.new_zeros(shape)

    def next_row(self) -> None:
        self.kept = functional.pad(self.kept[:, 1:], (0, 0, 0, 0, 0, 1))

    def row(self, x: Tensor) -> Tensor:
        """The convolution at a whole new row: (B, W, in) -> (B, W, out)."""
        self.next_row()
        self.kept[:, -1, self.left : self.left + x.shape[1]] = x
        windows = self.kept.unfold(2, self.convolution.window[1], 1)  # (B, rows, W, in, columns)
        windows = windows.permute(0, 2, 1, 4, 3).flatten(2)
        return functional.linear(windows, self.convolution.weight, self.convolution.bias)

    def pixel(self, x: Tensor, column: int) -> Tensor:
        """The convolution at the next pixel of the newest row: (B, in) -> (B, out)."""
        self.kept[:, -1, self.left + column] = x
        window = self.kept[:, :, column : column + self.convolution.window[1]].flatten(1)
        return functional.linear(window, self.convolution.weight, self.convolution.bias)


class CachedBlock:
    """A gated block with the windows of its two convolutions and its context, projected once."""

    def __init__(self, block: GatedBlock, batch: int, width: int, context: Tensor | None) -> None:
        self.block, self.projected = block, block.project(context)
        self.first, self.second = (
            Window(convolution, batch, width) for convolution in (block.first, block.second)
        )

    def row(self, x: Tensor, short_cut: Tensor | None, row: int) -> Tensor:
        """(B, W, D) -> (B, W, D)."""
        inner = self.block.between(self.first.row(concat_elu(x)), short_cut)
        projected = None if self.projected is None else self.projected[:, row]
        return self.block.finish(x, self.second.row(inner), projected)

    def pixel(self, x: Tensor, short_cut: Tensor | None, row: int, column: int) -> Tensor:
        """(B, D) -> (B, D)."""
        inner = self.block.between(self.first.pixel(concat_elu(x), column), short_cut)
        projected = None if self.projected is None else self.projected[:, row, column]
        return self.block.finish(x, self.second.pixel(inner, column), projected)

    def next_row(self) -> None:
        self.first.next_row()
        self.second.next_row()


class Cache:
    """All that is kept of the pixels that were drawn."""

    def __init__(self, model: PixelCnn, batch: int, context: Tensor | None) -> None:
        self.model, self.width = model, model.config.resolution
        size = (batch, self.width)
        self.rows_above = Window(model.rows_above, *size)
        self.row_above = Window(model.row_above, *size)
        self.left = Window(model.left, *size)
        streams = [model.streams(place) for place in range(len(model.layers))]
        self.down = [CachedBlock(block, *size, context) for block, _ in streams]
        self.right = [CachedBlock(block, *size, context) for _, block in streams]
        self.nothing = model.head.weight.new_zeros(*size, model.config.hidden)

    def start_row(self, row: int, above: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        """What a row takes from the finished one above, (B, W, INPUTS), None for the first row.

        Returns what its pixels start from, (B, W, D), and the features of the stream `down` after
        each block, (B, W, D) each.
        """
        start = down = self.nothing
        if above is not None:
            start, down = self.row_above.row(above), self.rows_above.row(above)
        self.left.next_row()
        for cached in self.right:
            cached.next_row()
        run = self.model.run_down(down, lambda n, x, cut: self.down[n].row(x, cut, row))
        return start, run

    def next_pixel(
        self, place: tuple[int, int], before: Tensor | None, start: Tensor, downs: list[Tensor]
    ) -> Tensor:
        """Parameters of the mixture at (row, column), (B, P).

        before: the pixel to the left, (B, INPUTS), None in the first column.
        """
        row, column = place
        right = start[:, column]
        if before is not None:
            right = right + self.left.pixel(before, column - 1)
        here = [down[:, column] for down in downs]
        right = self.model.run_right(
            right, here, lambda n, x, cut: self.right[n].pixel(x, cut, row, column)
        )
        return self.model.parameters_of(right)


@torch.no_grad()
def sample_pixels(
    model: PixelCnn,
    seeds_B: Sequence[int],
    context: Tensor | None = None,
    temperature: float = 1.0,
) -> PixelSample:
    """Draw one picture for each seed, 0..2^63 - 1, and row of the context (B, H, W, F), if any.

    A picture depends on its seed and context and not on its company. temperature divides the
    logits of each value given those before it; 0 takes the most likely one.

    Raises:
        ValueError: no seed, a wrong number of contexts, or a wrong temperature.
    """
    uniforms = _uniforms(model, seeds_B, context, temperature)
    count, side, channels = len(seeds_B), model.config.resolution, model.config.channels
    lanes = torch.arange(-(-count // LANES) * LANES, device=uniforms.device).clamp(max=count - 1)
    uniforms = uniforms[lanes]
    cache = Cache(model, len(lanes), None if context is None else context[lanes])
    values = uniforms.new_zeros((len(lanes), side, side, channels), dtype=torch.long)
    log_prob, entropy = torch.zeros_like(uniforms[..., 0]), torch.zeros_like(uniforms[..., 0])
    for row in range(side):
        above = with_ones(values[:, row - 1]) if row else None
        start, downs = cache.start_row(row, above)
        for column in range(side):
            before = with_ones(values[:, row, column - 1]) if column else None
            parameters = cache.next_pixel((row, column), before, start, downs)
            place = (slice(None), row, column)
            drawn = draw_pixel(parameters, uniforms[place], temperature)
            values[place], log_prob[place], entropy[place] = drawn
    return PixelSample(values[:count], log_prob[:count], entropy[:count])


@torch.no_grad()
def sample_pixels_slow(
    model: PixelCnn,
    seeds_B: Sequence[int],
    context: Tensor | None = None,
    temperature: float = 1.0,
) -> PixelSample:
    """The same pictures as `sample_pixels`, by one full forward pass for each pixel."""
    uniforms = _uniforms(model, seeds_B, context, temperature)
    values = torch.zeros(uniforms.shape, dtype=torch.long, device=uniforms.device)
    log_prob, entropy = torch.zeros_like(uniforms[..., 0]), torch.zeros_like(uniforms[..., 0])
    for row in range(uniforms.shape[1]):
        for column in range(uniforms.shape[2]):
            place = (slice(None), row, column)
            parameters = model(values, context)[place]
            drawn = draw_pixel(parameters, uniforms[place], temperature)
            values[place], log_prob[place], entropy[place] = drawn
    return PixelSample(values, log_prob, entropy)


def draw_pixel(
    parameters_BP: Tensor, uniforms_BC: Tensor, temperature: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The channels of a pixel one after the other: int64 (B, C), and, at temperature 1, their nats
    and the sum of the entropies, in bits, of each given those before it (B,)."""
    channels = uniforms_BC.shape[1]
    mixture = Mixture.read(parameters_BP, channels)
    weights = torch.log_softmax(mixture.logits, dim=-1)
    values = torch.zeros(uniforms_BC.shape, dtype=torch.long, device=uniforms_BC.device)
    log_prob, entropy = torch.zeros_like(uniforms_BC[:, 0]), torch.zeros_like(uniforms_BC[:, 0])
    for channel in range(channels):
        earlier = scaled(values[:, :channel])
        logits, each = channel_logits(mixture, channel, earlier, weights)
        drawn, drawn_log_prob, bits = draw(logits, uniforms_BC[:, channel], temperature)
        values[:, channel] = drawn
        log_prob += drawn_log_prob
        entropy += bits
        weights = each.gather(-1, drawn[:, None, None].expand(-1, weights.shape[1], 1))[..., 0]
    return values, log_prob, entropy


def _uniforms(
    model: PixelCnn, seeds_B: Sequence[int], context: Tensor | None, temperature: float
) -> Tensor:
    """Numbers in [0, 1) for each value, float64 (B, H, W, C), from each picture's own seed."""
    side, channels = model.config.resolution, model.config.channels
    count = len(seeds_B) if context is None else len(context)
    shape = (count, side, side * channels)
    uniforms = draw_uniforms(model.head.weight.new_empty(shape), seeds_B, temperature)
    return uniforms.unflatten(-1, (side, channels))
