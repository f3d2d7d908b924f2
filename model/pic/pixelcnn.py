"""PixelCNN++: pictures value by value, by convolutions that see finished pixels only.

Salimans, Karpathy, Chen and Kingma, "PixelCNN++: Improving the PixelCNN with Discretized Logistic
Mixture Likelihood and Other Modifications", ICLR 2017.

Legend: B batch, H W rows and columns, C channels, D features, F features of a context, K components
of the mixture, P parameters of a pixel's mixture, V = 256 values of a channel.

Two streams: `down` knows all rows above a pixel, `right` knows these and the pixels left of it. As
published: gated residual blocks, short-cuts from the first half of the blocks to the second, the
published nonlinearity (concat ELU). Unlike it: no strides, so that every activation belongs to one
pixel and can be kept for the next ones; and no weight normalization.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.color import check_symbols
from model.layers import linear
from model.pic.mixture import Mixture, log_prob, parameters_of_mixture, scaled

LN2 = 0.6931471805599453
MOST_CHANNELS = 3
# Of the first convolutions: values, ones, and zeros up to four. Products of six numbers a row, as
# two windows of two values and ones would be, differ in the last bit from row to row (x86-64).
INPUTS = MOST_CHANNELS + 1

# Runs block number `place` on x with a short-cut, in all places at once or in the next one.
Run = Callable[[int, Tensor, Tensor | None], Tensor]


@dataclass(frozen=True, kw_only=True)
class PixelCnnConfig:
    """Sizes; `inner` blocks before the middle and as many after it. hidden: published 160.

    Raises:
        ValueError: a setting that cannot be built, with its name and value.
    """

    hidden: int = 160
    inner: int = 6
    mixtures: int = 10
    channels: int = 3
    resolution: int = 32
    dropout: float = 0.0

    def __post_init__(self) -> None:
        whole = ("hidden", "inner", "mixtures", "channels", "resolution")
        check_whole(**{name: getattr(self, name) for name in whole})
        check_dropout(self.dropout)
        if self.channels > MOST_CHANNELS:
            raise ValueError(f"channels must be at most {MOST_CHANNELS}, not {self.channels}")


def check_whole(**values: object) -> None:
    """Refuse what is not a positive whole number."""
    for name, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} must be a positive whole number, not {value!r}")


def check_dropout(value: object) -> None:
    """Refuse what is no share below 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise ValueError(f"dropout must be at least 0 and below 1, not {value!r}")


class Convolution(nn.Linear):
    """A convolution, channels last, whose weights are the matrix of one window.

    (out, rows * columns * in): so it can be applied to one window alone, and learn as matrices do.
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
        """padding: left, right, above, below."""
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


def down_shifted(inputs: int, outputs: int, window: tuple[int, int] = (2, 3)) -> Convolution:
    """Sees its own row and those above, as far to the left as to the right."""
    rows, columns = window
    return Convolution(inputs, outputs, window, (columns // 2, columns // 2, rows - 1, 0))


def down_right_shifted(inputs: int, outputs: int, window: tuple[int, int] = (2, 2)) -> Convolution:
    """Sees its own place, what is above and what is left of both."""
    rows, columns = window
    return Convolution(inputs, outputs, window, (columns - 1, 0, rows - 1, 0))


def concat_elu(x: Tensor) -> Tensor:
    """(..., D) -> (..., 2 D)."""
    return functional.elu(torch.cat((x, -x), dim=-1))


class GatedBlock(nn.Module):
    """Two convolutions with a short-cut after the first, a context and a gate after the second."""

    def __init__(
        self, convolution: Callable[[int, int], Convolution], size: PixelCnnConfig, *inputs: int
    ) -> None:
        """inputs: features of the short-cut and of the context; 0 where there is none."""
        super().__init__()
        hidden, (short_cut, context) = size.hidden, inputs
        self.first = convolution(2 * hidden, hidden)
        self.short_cut = linear(2 * short_cut, hidden) if short_cut else None
        self.dropout = nn.Dropout(size.dropout)
        self.second = convolution(2 * hidden, 2 * hidden)
        self.context = linear(context, 2 * hidden, bias=False) if context else None

    def project(self, context: Tensor | None) -> Tensor | None:
        """What the gate takes from the context, (..., F) -> (..., 2 D)."""
        return None if self.context is None or context is None else self.context(context)

    def between(self, convolved: Tensor, short_cut: Tensor | None) -> Tensor:
        """From the first convolution to the second, place by place: (..., D) -> (..., 2 D)."""
        if self.short_cut is not None and short_cut is not None:
            convolved = convolved + self.short_cut(concat_elu(short_cut))
        return self.dropout(concat_elu(convolved))

    def finish(self, x: Tensor, convolved: Tensor, projected: Tensor | None) -> Tensor:
        """All after the second convolution, place by place: (..., D)."""
        if projected is not None:
            convolved = convolved + projected
        value, gate = convolved.chunk(2, dim=-1)
        return x + value * torch.sigmoid(gate)

    def forward(self, x: Tensor, short_cut: Tensor | None, context: Tensor | None) -> Tensor:
        """(B, H, W, D), (B, H, W, short-cut) and (B, H, W, F) -> (B, H, W, D)."""
        inner = self.between(self.first(concat_elu(x)), short_cut)
        return self.finish(x, self.second(inner), self.project(context))


class TwoStreams(nn.Module):
    """A block of each stream; `right` has the other stream as a short-cut."""

    def __init__(self, size: PixelCnnConfig, second_half: bool, context: int) -> None:
        super().__init__()
        hidden = size.hidden
        self.down = GatedBlock(down_shifted, size, hidden if second_half else 0, context)
        short_cut = 2 * hidden if second_half else hidden
        self.right = GatedBlock(down_right_shifted, size, short_cut, context)


class PixelCnn(nn.Module):
    """Values of finished pixels, and perhaps a context -> a mixture for each pixel."""

    stage: ClassVar[str] = "pixelcnn"

    def __init__(self, config: PixelCnnConfig, context_features: int = 0) -> None:
        super().__init__()
        self.config, self.context_features = config, context_features
        inputs, hidden = INPUTS, config.hidden
        self.rows_above = down_shifted(inputs, hidden)
        self.row_above = down_shifted(inputs, hidden, (1, 3))
        self.left = down_right_shifted(inputs, hidden, (2, 1))
        self.layers = nn.ModuleList(
            TwoStreams(config, place >= config.inner, context_features)
            for place in range(2 * config.inner)
        )
        self.head = mixture_head(hidden, config.channels, config.mixtures)

    def streams(self, place: int) -> tuple[GatedBlock, GatedBlock]:
        """The blocks `down` and `right` of a layer."""
        layer = self.layers[place]
        assert isinstance(layer, TwoStreams)
        return layer.down, layer.right

    def forward(self, values_BHWC: Tensor, context: Tensor | None = None) -> Tensor:
        """Parameters of the mixture of each pixel, (B, H, W, P), as `model.pic.mixture` reads them.

        values_BHWC: integers [0, 255]; pixel (i, j) sees those above row i and left of it in row
        i. context: (B, H, W, F), seen whole.

        Raises:
            ValueError: values of a wrong type, shape or range.
        """
        sides = (self.config.resolution,) * 2
        check_symbols("values", values_BHWC, 256, (*sides, self.config.channels))
        pixels = with_ones(values_BHWC)
        down = shift_down(self.rows_above(pixels))
        right = shift_down(self.row_above(pixels)) + shift_right(self.left(pixels))
        downs = self.run_down(down, lambda n, x, cut: self.streams(n)[0](x, cut, context))
        right = self.run_right(right, downs, lambda n, x, cut: self.streams(n)[1](x, cut, context))
        return self.parameters_of(right)

    def run_down(self, x: Tensor, run: Run) -> list[Tensor]:
        """The stream of rows above: its features after each block."""
        kept, results = [x], []
        for place in range(len(self.layers)):
            x = run(place, x, self._short_cut(place, kept))
            kept.append(x)
            results.append(x)
        return results

    def run_right(self, x: Tensor, downs: list[Tensor], run: Run) -> Tensor:
        """The stream of pixels to the left, given the other one's features."""
        kept = [x]
        for place, down in enumerate(downs):
            before = self._short_cut(place, kept)
            x = run(place, x, down if before is None else torch.cat((down, before), dim=-1))
            kept.append(x)
        return x

    def _short_cut(self, place: int, kept: list[Tensor]) -> Tensor | None:
        """Block n after the middle has the features that block n before it was given."""
        half = self.config.inner
        return None if place < half else kept[2 * half - 1 - place]

    def parameters_of(self, right: Tensor) -> Tensor:
        """(..., D) -> (..., P) float32."""
        return self.head(functional.elu(right)).float()

    def losses(self, rgb_BHW3: Tensor) -> dict[str, Tensor]:
        """Mean bits per channel value (bits per dim) of pictures, integers [0, 255]."""
        nats = -self.log_likelihood(rgb_BHW3)
        return {self.stage: nats.mean() / (LN2 * self.config.channels)}

    def log_likelihood(self, values_BHWC: Tensor, context: Tensor | None = None) -> Tensor:
        """Nats of each pixel, all its channels together: float32 (B, H, W)."""
        mixture = Mixture.read(self(values_BHWC, context), self.config.channels)
        return log_prob(mixture, values_BHWC)

    def describe(self) -> dict[str, object]:
        """What a weights file carries in its header."""
        return {"stage": self.stage, **asdict(self.config)}


def mixture_head(features: int, channels: int, mixtures: int) -> nn.Linear:
    """Features -> parameters of a mixture that starts broad, with its components apart."""
    head = linear(features, parameters_of_mixture(channels, mixtures))
    with torch.no_grad():
        head.weight.mul_(0.3)
        mixture = Mixture.read(head.bias, channels)  # views of the bias
        nn.init.normal_(mixture.means, std=0.3)
        nn.init.constant_(mixture.log_scales, -2.0)
    return head


def with_ones(values: Tensor) -> Tensor:
    """Values 0..255 (..., C) -> (..., INPUTS) in -1..1; ones tell the picture from its edge."""
    ones = functional.pad(scaled(values), (0, 1), value=1.0)
    return functional.pad(ones, (0, INPUTS - ones.shape[-1]))


def shift_down(x: Tensor) -> Tensor:
    """Row i becomes row i + 1, the first is zeros: (B, H, W, D)."""
    return functional.pad(x, (0, 0, 0, 0, 1, 0))[:, :-1]


def shift_right(x: Tensor) -> Tensor:
    """Column j becomes column j + 1, the first is zeros: (B, H, W, D)."""
    return functional.pad(x, (0, 0, 1, 0))[:, :, :-1]
