"""The caches of the PixelCNN++ sampler: inputs of each convolution at the pixels drawn so far.

Each convolution keeps its inputs in the rows above that it sees, and in the row being drawn
(Ramachandran et al. 2017, "Fast Generation for Convolutional Autoregressive Models"). The stream of
rows above is computed once per row, the other one once per pixel. With strides, an activation of a
coarser level belongs to several pixels and is computed only for the first of them.

Legend: B batch, H W rows and columns, D features, F features of a context, P parameters.
"""

import torch
from torch import Tensor
from torch.nn import functional

from model.pic.blocks import GatedBlock
from model.pic.convolutions import Convolution, Doubling, concat_elu
from model.pic.pixelcnn import PixelCnn


class Window:
    """The inputs of a convolution, with padding, in the rows that its window still covers."""

    def __init__(self, convolution: Convolution, batch: int, width: int) -> None:
        self.convolution, self.left = convolution, convolution.padding[0]
        rows, columns = convolution.window
        features = convolution.in_features // (rows * columns)
        shape = (batch, rows, self.left + width + convolution.padding[1], features)
        self.kept = convolution.weight.new_zeros(shape)

    def next_row(self) -> None:
        """Drop the oldest row, and begin a new one with zeros."""
        self.kept = functional.pad(self.kept[:, 1:], (0, 0, 0, 0, 0, 1))

    def see_row(self, x: Tensor) -> None:
        """Keep a whole new row, (B, W, in)."""
        self.next_row()
        self.kept[:, -1, self.left : self.left + x.shape[1]] = x

    def row(self, x: Tensor) -> Tensor:
        """Convolve a whole new row: (B, W, in) -> (B, W / stride, out)."""
        self.see_row(x)
        columns, stride = self.convolution.window[1], self.convolution.stride
        windows = self.kept.unfold(2, columns, stride)  # (B, rows, W / stride, in, columns)
        windows = windows.permute(0, 2, 1, 4, 3).flatten(2)
        return functional.linear(windows, self.convolution.weight, self.convolution.bias)

    def see_pixel(self, x: Tensor, column: int) -> None:
        """Keep the next pixel of the newest row, (B, in)."""
        self.kept[:, -1, self.left + column] = x

    def pixel(self, x: Tensor, column: int) -> Tensor:
        """Convolve at the next pixel of the newest row: (B, in) -> (B, out)."""
        self.see_pixel(x, column)
        window = self.kept[:, :, column : column + self.convolution.window[1]].flatten(1)
        return functional.linear(window, self.convolution.weight, self.convolution.bias)


class CachedBlock:
    """A gated block: windows of its two convolutions, and its projected context."""

    def __init__(self, block: GatedBlock, batch: int, width: int, context: Tensor | None) -> None:
        self.block, self.projected = block, block.project(context)
        self.context = context if block.joined else None
        self.first, self.second = (
            Window(convolution, batch, width) for convolution in (block.first, block.second)
        )

    def row(self, x: Tensor, short_cut: Tensor | None, row: int) -> Tensor:
        """(B, W, D) -> (B, W, D)."""
        context = None if self.context is None else self.context[:, row]
        joined = self.block.join_context(short_cut, context)
        inner = self.block.between(self.first.row(concat_elu(x)), joined)
        projected = None if self.projected is None else self.projected[:, row]
        return self.block.finish(x, self.second.row(inner), projected)

    def pixel(self, x: Tensor, short_cut: Tensor | None, row: int, column: int) -> Tensor:
        """(B, D) -> (B, D)."""
        context = None if self.context is None else self.context[:, row, column]
        joined = self.block.join_context(short_cut, context)
        inner = self.block.between(self.first.pixel(concat_elu(x), column), joined)
        projected = None if self.projected is None else self.projected[:, row, column]
        return self.block.finish(x, self.second.pixel(inner, column), projected)

    def next_row(self) -> None:
        """Begin a new row in both windows."""
        self.first.next_row()
        self.second.next_row()


class CachedHalving:
    """A convolution of stride 2, called at every position; it has results at even ones only.

    At odd ones it returns its input, which no step reads.
    """

    def __init__(self, convolution: Convolution, batch: int, width: int) -> None:
        self.window = Window(convolution, batch, width)

    def row(self, x: Tensor, short_cut: Tensor | None, row: int) -> Tensor:
        """(B, W, D) -> (B, W / 2, D) in even rows."""
        if row % 2 == 0:
            return self.window.row(x)
        self.window.see_row(x)
        return x

    def pixel(self, x: Tensor, short_cut: Tensor | None, row: int, column: int) -> Tensor:
        """(B, D) -> (B, D) in even rows and columns."""
        if row % 2 == 0 and column % 2 == 0:
            return self.window.pixel(x, column)
        self.window.see_pixel(x, column)
        return x

    def next_row(self) -> None:
        """Begin a new row in its window."""
        self.window.next_row()


class CachedDoubling:
    """A transposed convolution with the newest coarse row, each pixel of which becomes four."""

    def __init__(self, doubling: Doubling, batch: int, width: int) -> None:
        self.bias = doubling.bias
        weight = doubling.weight.unflatten(1, (*doubling.window, -1))  # (out, rows, columns, in)
        # Zeros up to a multiple of eight: with six or ten numbers per row, the last bits of
        # products may depend on the row (x86-64), and so a picture on its batch.
        self.zeros = (0, -weight.shape[-1] % 8)
        self.weight = functional.pad(weight, self.zeros)
        self.coarse = weight.new_zeros(batch, width // 2, self.weight.shape[-1])

    def row(self, x: Tensor, short_cut: Tensor | None, row: int) -> Tensor:
        """The newest coarse row (B, W / 2, D) -> (B, W, D)."""
        weight, x = self.weight[:, row % 2], functional.pad(x, self.zeros)
        # Column 2 j sees coarse column j; column 2 j + 1 sees coarse columns j and j + 1.
        after = functional.pad(x[:, 1:], (0, 0, 0, 1))
        middle = torch.cat((x, after), dim=-1), weight[:, (2, 0)].flatten(1)
        even = functional.linear(x, weight[:, 1], self.bias)
        odd = functional.linear(*middle, self.bias)
        return torch.stack((even, odd), dim=2).flatten(1, 2)

    def pixel(self, x: Tensor, short_cut: Tensor | None, row: int, column: int) -> Tensor:
        """x: the newest coarse pixel, (B, D), new in even rows and columns -> (B, D)."""
        if row % 2 == 0 and column % 2 == 0:
            self.coarse[:, column // 2] = functional.pad(x, self.zeros)
        weight = self.weight[:, row % 2, column % 2]
        return functional.linear(self.coarse[:, column // 2], weight, self.bias)

    def next_row(self) -> None:
        """Nothing to do: new coarse pixels overwrite the old ones."""


CachedStep = CachedBlock | CachedHalving | CachedDoubling


class Cache:
    """The caches of all steps of a network, and which steps run at which pixel.

    A step of level n runs only in rows and columns that are multiples of 2 ** n. Elsewhere its last
    features are kept, and a step from this level to a finer one reads them again.
    """

    def __init__(self, model: PixelCnn, batch: int, context: Tensor | None) -> None:
        self.model, self.width = model, model.config.resolution
        size = (batch, self.width)
        self.rows_above = Window(model.rows_above, *size)
        self.row_above = Window(model.row_above, *size)
        self.left = Window(model.left, *size)
        self.down, self.right = (
            [self._cached(place, stream, batch, context) for place in range(len(model.steps))]
            for stream in (0, 1)
        )
        self.nothing = model.head.weight.new_zeros(*size, model.config.hidden)
        levels = range(model.config.levels)
        # By level n: the steps that run where levels 0 .. n do.
        self.ticking = [
            [place for place, step in enumerate(model.steps) if step.clock <= level]
            for level in levels
        ]
        self.downs = [self.nothing] * (len(model.steps) + 1)
        self.rights = [self.nothing[:, 0]] * (len(model.steps) + 1)

    def _cached(self, place: int, stream: int, batch: int, context: Tensor | None) -> CachedStep:
        module, width = self.model.streams(place)[stream], self.width >> self.clock(place)
        if isinstance(module, GatedBlock):
            return CachedBlock(module, batch, width, context)
        kind = CachedDoubling if isinstance(module, Doubling) else CachedHalving
        return kind(module, batch, width)  # type: ignore[arg-type]

    def clock(self, place: int) -> int:
        """The level at whose positions a step runs."""
        return self.model.steps[place].clock

    def _ticking(self, *place: int) -> list[int]:
        """The steps that run in a row, or at a row and column."""
        together, most = 0, len(self.ticking) - 1
        for each in place:
            together |= each
        level = most if together == 0 else min(most, (together & -together).bit_length() - 1)
        return self.ticking[level]

    def start_row(self, row: int, above: Tensor | None) -> Tensor:
        """Begin a row: run the stream `down` for all of it.

        above: the finished row above, (B, W, INPUTS); None for the first row. Returns that row's
        part of the input of the stream `right`, (B, W, D).
        """
        start = down = self.nothing
        if above is not None:
            start, down = self.row_above.row(above), self.rows_above.row(above)
        self.left.next_row()
        places = self._ticking(row)
        for place in places:
            self.right[place].next_row()
        self.downs[0] = down
        self.model.run_down(
            self.downs, lambda n, x, cut: self.down[n].row(x, cut, row >> self.clock(n)), places
        )
        return start

    def next_pixel(self, place: tuple[int, int], before: Tensor | None, start: Tensor) -> Tensor:
        """Parameters of the mixture at place = (row, column), (B, P).

        before: the pixel to the left, (B, INPUTS); None in the first column. start: of `start_row`.
        """
        row, column = place
        self.rights[0] = start[:, column]
        if before is not None:
            self.rights[0] = start[:, column] + self.left.pixel(before, column - 1)

        def down(number: int) -> Tensor:
            return self.downs[number][:, column >> self.clock(number - 1)]

        def run(number: int, x: Tensor, short_cut: Tensor | None) -> Tensor:
            clock = self.clock(number)
            return self.right[number].pixel(x, short_cut, row >> clock, column >> clock)

        self.model.run_right(self.rights, down, run, self._ticking(row, column))
        return self.model.parameters_of(self.rights[-1])
