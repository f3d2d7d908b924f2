"""PixelCNN++: an autoregressive model of pictures, by convolutions that see finished pixels only.

Salimans, Karpathy, Chen and Kingma, "PixelCNN++: Improving the PixelCNN with Discretized Logistic
Mixture Likelihood and Other Modifications", ICLR 2017.

Legend: B batch, H W rows and columns, C channels, D features, F features of a context, K components
of the mixture, P parameters of a pixel's mixture, V = 256 values of a channel.

There are two streams: `down` sees all rows above a pixel; `right` sees these, and the pixels to its
left. Blocks are gated and residual, with concat ELU, and those of the way down have short-cuts to
those of the way back (section 2.4). With `levels` 3, as published, strided convolutions halve the
picture twice on the way down, and transposed ones double it on the way back (section 2.3). With
`levels` 1 there are no strides, so that each activation belongs to one pixel.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.color import check_symbols
from model.initialization import linear
from model.pic.blocks import BlockSize, GatedBlock
from model.pic.convolutions import (
    Convolution,
    Doubling,
    down_doubling,
    down_right_doubling,
    down_right_shifted,
    down_shifted,
    shift_down,
    shift_right,
)
from model.pic.mixture import Mixture, log_prob, parameters_of_mixture, scaled
from model.pic.steps import Step, steps_of
from model.settings import check_dropout, check_whole_numbers

MOST_CHANNELS = 3
# Input channels of the first convolutions: values, ones, and zeros up to four. Without the zeros,
# two channels would make rows of six numbers, whose products differ in the last bit by row
# (x86-64).
INPUTS = MOST_CHANNELS + 1

# Runs step number `place` on x and a short-cut, at all pixels at once or at the next one.
Run = Callable[[int, Tensor, Tensor | None], Tensor]


@dataclass(frozen=True, kw_only=True)
class PixelCnnConfig:
    """Sizes of a PixelCNN++; published are hidden 160, inner 5 and levels 3.

    hidden: D. inner: blocks per level on the way down, and on the way back; there, all levels but
    the coarsest have one more, whose short-cut is what the level began with. levels: 1, or more
    with strides between them. mixtures: K. channels: C, 1 to 3. resolution: H and W. dropout: share
    of features that training drops.

    Raises:
        ValueError: a setting that cannot be built, with its name and value.
    """

    hidden: int = 160
    inner: int = 6
    levels: int = 1
    mixtures: int = 10
    channels: int = 3
    resolution: int = 32
    dropout: float = 0.0

    def __post_init__(self) -> None:
        whole = ("hidden", "inner", "levels", "mixtures", "channels", "resolution")
        check_whole_numbers(self, *whole)
        check_dropout(self)
        if self.channels > MOST_CHANNELS:
            raise ValueError(f"channels must be at most {MOST_CHANNELS}, not {self.channels}")
        if self.levels > self.resolution.bit_length() or self.resolution % 2 ** (self.levels - 1):
            raise ValueError(
                f"resolution {self.resolution} cannot be halved {self.levels - 1} times, as"
                f" {self.levels} levels need"
            )


StepModule = GatedBlock | Convolution | Doubling


class TwoStreams(nn.Module):
    """One step in both streams; a block of `right` has that of `down` as a short-cut, too."""

    def __init__(self, step: Step, config: PixelCnnConfig, context: int, one_way: bool) -> None:
        super().__init__()
        hidden = config.hidden
        self.down: StepModule
        self.right: StepModule
        if step.level > step.source:
            self.down = down_shifted(hidden, hidden, stride=2)
            self.right = down_right_shifted(hidden, hidden, stride=2)
        elif step.level < step.source:
            self.down, self.right = down_doubling(hidden), down_right_doubling(hidden)
        else:
            before = 0 if step.short_cut is None else hidden
            down = BlockSize(hidden, config.dropout, before, context, one_way)
            right = down._replace(short_cut=hidden + before)
            kinds = (down_shifted, down_right_shifted)
            if one_way:
                kinds = (
                    partial(down_shifted, window=(3, 3)),
                    partial(down_right_shifted, window=(3, 3)),
                )
            self.down = GatedBlock(kinds[0], kinds[0], down)
            self.right = GatedBlock(kinds[1], kinds[1], right)


class PixelCnn(nn.Module):
    """Values of finished pixels, and a context if there is one -> a mixture for each pixel."""

    stage: ClassVar[str] = "pixelcnn"

    def __init__(
        self, config: PixelCnnConfig, context_features: int = 0, one_way: bool = False
    ) -> None:
        """context_features: F, 0 without a context.

        one_way: the form of PIC's published code, `inner` blocks of 3 x 3 windows and no way back;
        the context is part of their short-cuts.

        Raises:
            ValueError: a context together with several levels.
        """
        super().__init__()
        if context_features and config.levels > 1:
            raise ValueError(f"a context needs a network of one level, not {config.levels}")
        self.config, self.context_features = config, context_features
        inputs, hidden = INPUTS, config.hidden
        way_down = [Step(0, 0)] * config.inner
        self.steps = way_down if one_way else steps_of(config.levels, config.inner)
        self.rows_above = down_shifted(inputs, hidden)
        self.row_above = down_shifted(inputs, hidden, (1, 3))
        self.left = down_right_shifted(inputs, hidden, (2, 1))
        self.layers = nn.ModuleList(
            TwoStreams(each, config, context_features, one_way) for each in self.steps
        )
        self.head = mixture_head(hidden, config.channels, config.mixtures)

    def streams(self, place: int) -> tuple[StepModule, StepModule]:
        """The modules `down` and `right` of a step."""
        layer = self.layers[place]
        assert isinstance(layer, TwoStreams)
        return layer.down, layer.right

    def forward(self, values_BHWC: Tensor, context: Tensor | None = None) -> Tensor:
        """Parameters of the mixture of each pixel, (B, H, W, P), as `model.pic.mixture` reads them.

        values_BHWC: integers [0, 255]; the result at (i, j) depends on those above row i, and on
        those left of column j in row i. context: (B, H, W, F), all of which it may depend on.

        Raises:
            ValueError: values of a wrong type, shape or range.
        """
        sides = (self.config.resolution,) * 2
        check_symbols("values", values_BHWC, 256, (*sides, self.config.channels))
        pixels = self.inputs_of(values_BHWC)
        down = shift_down(self.rows_above(pixels))
        right = shift_down(self.row_above(pixels)) + shift_right(self.left(pixels))

        def run_in(stream: int) -> Run:
            def run(place: int, x: Tensor, short_cut: Tensor | None) -> Tensor:
                module = self.streams(place)[stream]
                block = isinstance(module, GatedBlock)
                return module(x, short_cut, context) if block else module(x)

            return run

        every = range(len(self.steps))
        downs, rights = ([start] * (len(every) + 1) for start in (down, right))
        self.run_down(downs, run_in(0), every)
        self.run_right(rights, lambda place: downs[place], run_in(1), every)
        return self.parameters_of(rights[-1])

    def run_down(self, features: list[Tensor], run: Run, places: Iterable[int]) -> None:
        """Run steps `places` of the stream of rows above.

        features[0]: its input. features[n + 1] is set to the result of step n.
        """
        for place in places:
            short_cut = self.steps[place].short_cut
            before = None if short_cut is None else features[short_cut]
            features[place + 1] = run(place, features[place], before)

    def run_right(
        self,
        features: list[Tensor],
        down: Callable[[int], Tensor],
        run: Run,
        places: Iterable[int],
    ) -> None:
        """Run steps of the stream of pixels to the left; down(n): features[n] of the other one."""
        for place in places:
            source, level, short_cut = self.steps[place]
            joined = None
            if source == level:
                above = down(place + 1)
                before = None if short_cut is None else features[short_cut]
                joined = above if before is None else torch.cat((above, before), dim=-1)
            features[place + 1] = run(place, features[place], joined)

    def inputs_of(self, values: Tensor) -> Tensor:
        """Values 0..255 (..., C) -> (..., INPUTS), in the dtype of the weights."""
        return with_ones(values).to(self.head.weight.dtype)

    def parameters_of(self, right: Tensor) -> Tensor:
        """(..., D) -> parameters of mixtures (..., P), float64 if the weights are, else float32."""
        parameters = self.head(functional.elu(right))
        return parameters if parameters.dtype == torch.float64 else parameters.float()

    def losses(self, rgb_BHW3: Tensor) -> dict[str, Tensor]:
        """Mean bits per channel value (bits per dim) of pictures, integers [0, 255]."""
        nats = -self.log_likelihood(rgb_BHW3)
        return {self.stage: nats.mean() / (math.log(2) * self.config.channels)}

    def log_likelihood(self, values_BHWC: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-likelihood, nats of each whole pixel, (B, H, W); inputs as in `forward`."""
        mixture = Mixture.read(self(values_BHWC, context), self.config.channels)
        return log_prob(mixture, values_BHWC)

    def describe(self) -> dict[str, object]:
        """Stage and configuration, for the header of a weights file."""
        return {"stage": self.stage, **asdict(self.config)}


def mixture_head(features: int, channels: int, mixtures: int) -> nn.Linear:
    """Features -> parameters of a mixture, which starts broad, with its components apart."""
    head = linear(features, parameters_of_mixture(channels, mixtures))
    with torch.no_grad():
        head.weight.mul_(0.3)
        mixture = Mixture.read(head.bias, channels)  # views of the bias
        nn.init.normal_(mixture.means, std=0.3)
        nn.init.constant_(mixture.log_scales, -2.0)
    return head


def with_ones(values: Tensor) -> Tensor:
    """Values 0..255 (..., C) -> -1..1 (..., INPUTS); the ones tell pixels from padding."""
    ones = functional.pad(scaled(values), (0, 1), value=1.0)
    return functional.pad(ones, (0, INPUTS - ones.shape[-1]))
