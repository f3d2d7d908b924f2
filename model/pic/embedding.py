"""PIC's published embedding of a gray photograph (Royer et al. 2017, section 3, and its code).

Gated blocks like those of PixelCNN++, first at falling resolutions, down to that of the chroma,
then with dilations of 2 and 4.

Legend: B batch, S side of the gray photograph, R side of its chroma, F features.
"""

from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from model.lab import lab_from_rgb
from model.pic.blocks import BlockSize, GatedBlock
from model.pic.convolutions import Convolution

# For each part: features as a multiple of the first part's, gated blocks, and the dilation of each
# block's first convolution.
_PARTS = ((1, 2, 1), (2, 2, 1), (4, 2, 1), (8, 3, 2), (8, 3, 4))
MOST_HALVINGS = 2  # at the beginning of the second and third part


def lightness_table() -> Tensor:
    """L* of each gray value, scaled to -1..1: float32 (256,)."""
    grays = np.arange(256)[:, None].repeat(3, 1)
    return torch.from_numpy(lab_from_rgb(grays)[:, 0]).float() / 50 - 1


def same_size(inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> Convolution:
    """A 3 x 3 convolution with TensorFlow's padding "same": at stride 2, right and below only."""
    padding = (0, 1, 0, 1) if stride == 2 else (dilation,) * 4
    return Convolution(inputs, outputs, (3, 3), padding, stride, dilation)


class GatedEmbedding(nn.Module):
    """Gray photographs -> embedding at the resolution of chroma."""

    lightness: Tensor

    def __init__(self, width: int, outputs: int, halvings: int, dropout: float) -> None:
        """width: features of the first part, published 64. outputs: F. halvings: log2(S / R)."""
        super().__init__()
        self.register_buffer("lightness", lightness_table(), persistent=False)
        stack: list[nn.Module] = []
        inputs = 2  # lightness, and ones
        for number, (times, blocks, dilation) in enumerate(_PARTS):
            features = times * width
            stack.append(same_size(inputs, features, 2 if 0 < number <= halvings else 1))
            size = BlockSize(features, dropout)
            dilated = partial(same_size, dilation=dilation)
            stack += [GatedBlock(dilated, same_size, size) for _ in range(blocks)]
            inputs = features
        self.layers = nn.ModuleList([*stack, same_size(inputs, outputs)])

    def forward(self, gray_BSS: Tensor) -> Tensor:
        """Integers [0, 255] (B, S, S) -> (B, R, R, F)."""
        x = functional.pad(self.lightness[gray_BSS][..., None], (0, 1), value=1.0)
        for layer in self.layers:
            x = layer(x, None, None) if isinstance(layer, GatedBlock) else layer(x)
        return x
