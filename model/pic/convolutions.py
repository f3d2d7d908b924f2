"""Causal convolutions of PixelCNN++, which see finished pixels only, and those between its levels.

Salimans et al. 2017, section 2.3; windows and paddings are those of the published code.

Legend: B batch, H W rows and columns, D features. Channels come last.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class Convolution(nn.Linear):
    """A convolution, channels last, with its weights as a matrix (out, rows * columns * in).

    The matrix can be applied to a single window, and optimizers for matrices can train it.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        window: tuple[int, int],
        padding: tuple[int, int, int, int],
        stride: int = 1,
        dilation: int = 1,
    ) -> None:
        """window: rows, columns. padding: left, right, above, below."""
        super().__init__(window[0] * window[1] * inputs, outputs)
        self.window, self.padding, self.stride, self.dilation = window, padding, stride, dilation
        nn.init.xavier_uniform_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, in) -> (B, H / stride, W / stride, out)."""
        kernel = self.weight.unflatten(1, (*self.window, -1)).permute(0, 3, 1, 2)
        planes = functional.pad(x, (0, 0, *self.padding)).permute(0, 3, 1, 2)
        result = functional.conv2d(planes, kernel, self.bias, self.stride, 0, self.dilation)
        return result.permute(0, 2, 3, 1)


class Doubling(nn.Linear):
    """A transposed convolution of stride 2: each position becomes two rows of two columns.

    Its weights are a matrix (out, rows * columns * in), too. left: how many columns of the result
    are cut off at the left, which centers the window.
    """

    def __init__(self, inputs: int, outputs: int, window: tuple[int, int], left: int) -> None:
        super().__init__(window[0] * window[1] * inputs, outputs)
        self.window, self.left = window, left
        nn.init.xavier_uniform_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, in) -> (B, 2 H, 2 W, out)."""
        height, width = 2 * x.shape[1], 2 * x.shape[2]
        kernel = self.weight.unflatten(1, (*self.window, -1)).permute(3, 0, 1, 2)
        planes = x.permute(0, 3, 1, 2)
        result = functional.conv_transpose2d(planes, kernel, self.bias, 2, output_padding=1)
        return result[:, :, :height, self.left : self.left + width].permute(0, 2, 3, 1)


def down_shifted(
    inputs: int, outputs: int, window: tuple[int, int] = (2, 3), stride: int = 1
) -> Convolution:
    """Sees its own row and rows above, equally far to the left and to the right."""
    rows, columns = window
    padding = (columns // 2, columns // 2, rows - 1, 0)
    return Convolution(inputs, outputs, window, padding, stride)


def down_right_shifted(
    inputs: int, outputs: int, window: tuple[int, int] = (2, 2), stride: int = 1
) -> Convolution:
    """Sees its own position, those to the left of it, and those above these."""
    rows, columns = window
    return Convolution(inputs, outputs, window, (columns - 1, 0, rows - 1, 0), stride)


def down_doubling(features: int) -> Doubling:
    """Doubling for the stream of rows above: an odd column sees its coarse column and the next."""
    return Doubling(features, features, (2, 3), left=1)


def down_right_doubling(features: int) -> Doubling:
    """Doubling for the stream of pixels to the left: each position sees its own coarse one only."""
    return Doubling(features, features, (2, 2), left=0)


def concat_elu(x: Tensor) -> Tensor:
    """ELU of x and of -x, concatenated: (..., D) -> (..., 2 D)."""
    return functional.elu(torch.cat((x, -x), dim=-1))


def shift_down(x: Tensor) -> Tensor:
    """Row i becomes row i + 1, and the first row zeros: (B, H, W, D)."""
    return functional.pad(x, (0, 0, 0, 0, 1, 0))[:, :-1]


def shift_right(x: Tensor) -> Tensor:
    """Column j becomes column j + 1, and the first column zeros: (B, H, W, D)."""
    return functional.pad(x, (0, 0, 1, 0))[:, :, :-1]
