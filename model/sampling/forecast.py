"""Drawing rows of single photographs by exact forecasts (Wiggers and Hoogeboom, ICML 2020).

Legend: B batch, W columns, P pixels of a window, D features, V = 512 bins.

The random number of each pixel is fixed beforehand, so its bin is a function of the pixels before
it. Guess a row, and draw all its pixels at once as if the guess were right. The results are correct
up to and including the first pixel that differs from the guess; the results after it are the next
guess. Each pass settles at least one pixel, about five on average. `RowRunner` needs one pass per
pixel, and would fill eight lanes with one photograph.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from model.core import ColTranCore
from model.sampling.draw import Drawn, draw, draw_bins
from model.sampling.inference import Dense, packs
from model.sampling.row import InnerStep, Recorded, RowInputs

# Windows start at multiples of this, so that matrix products have few different shapes.
BLOCK = 8


def can_forecast(core: ColTranCore) -> bool:
    """Whether the sums of matrix products are independent of their number of rows.

    Those of `Dense` always are. The outer decoder's are in float32, if each thread has at least
    four rows; in bfloat16, one sum in thousands is not.
    """
    width, weight = core.config.resolution, core.head.weight
    exact = packs(weight) and weight.dtype == torch.float32
    return exact and width % BLOCK == 0 and width >= 4 * torch.get_num_threads()


class RowForecaster:
    """Draws a row of one picture, identical to that of `RowRunner`, in fewer passes; on CPUs."""

    def __init__(self, core: ColTranCore, temperature: float) -> None:
        width = core.config.resolution
        self._core, self._temperature = core, temperature
        with torch.inference_mode(False), torch.no_grad():  # buffers that both modes can write to
            self._steps = [InnerStep.of(layer, 1, width) for layer in core.inner.layers]
            self._head = Dense(core.head.weight, core.head.bias, width)
            self._guess_W = torch.zeros(width, dtype=torch.long)

    @torch.no_grad()
    def __call__(self, given: RowInputs) -> Drawn:
        """Draw a row, (1, W) each. The first guess is the row drawn last, usually the one above."""
        bins, width = self._guess_W, len(self._guess_W)
        uniforms, logits = given.uniforms_BW[0], list[Tensor]()
        settled = 0
        while settled < width:
            start = settled - settled % BLOCK
            of_window = self._logits(bins, start, given)
            drawn = draw_bins(of_window, uniforms[start:], self._temperature)
            wrong = (drawn[settled - start :] != bins[settled:]).nonzero()
            last = settled + int(wrong[0]) + 1 if len(wrong) else width
            bins[settled:] = drawn[settled - start :]
            logits.append(of_window[settled - start : last - start])
            settled = last
        row = draw(torch.cat(logits), uniforms, self._temperature)
        return Drawn(*(part[None] for part in row))

    def _logits(self, bins_W: Tensor, start: int, given: RowInputs) -> Tensor:
        """Logits (P, V) of the pixels from column `start` on, given the bins of a guess."""
        logits = window_logits(self._core, self._steps, self._head, bins_W[:, None], start, given)
        return logits[:, 0]


class BatchForecaster:
    """Draws a row of all pictures of a batch by passes over whole rows; meant for GPUs.

    There a pass over a row takes about as long as one over a pixel, as launches decide. All passes
    have the same shapes, so that the pixels to the right, which attention masks, and the guess for
    them change nothing: the row has settled when it draws itself. A pass is recorded as
    `RowRunner` records a row, but after each the host reads whether the row has settled.
    """

    def __init__(self, core: ColTranCore, batch: int, temperature: float) -> None:
        width = core.config.resolution
        self._core, self._temperature = core, temperature
        with torch.inference_mode(False), torch.no_grad():  # buffers that both modes can write to
            self._steps = [InnerStep.of(layer, batch, batch * width) for layer in core.inner.layers]
            self._head = Dense(core.head.weight, core.head.bias, batch * width)
            self._guess_BW = core.head.weight.new_zeros((batch, width), dtype=torch.long)
        self._pass = Recorded(self._draw_all)

    @torch.no_grad()
    def __call__(self, given: RowInputs) -> Drawn:
        """Draw a row, (B, W) each. The first guess is the row drawn last, usually the one above.

        Raises:
            ValueError: an input has another shape than before.
            RuntimeError: the device gives other sums each time.
        """
        self._pass.take(given)
        for _ in range(self._guess_BW.shape[1] + 1):  # each pass settles at least one pixel
            drawn = self._pass.run()
            if torch.equal(drawn.bins, self._guess_BW):
                return drawn
            self._guess_BW.copy_(drawn.bins)
        raise RuntimeError("a row did not settle: the sums of this device cannot be repeated")

    def _draw_all(self, given: RowInputs) -> Drawn:
        """All pixels of a row, each as if the guess for those to its left were right."""
        logits = window_logits(self._core, self._steps, self._head, self._guess_BW.T, 0, given)
        logits_BWV = logits.transpose(0, 1)
        flat = draw(logits_BWV.flatten(0, 1), given.uniforms_BW.flatten(), self._temperature)
        return Drawn(*(part.view(self._guess_BW.shape) for part in flat))


def window_logits(
    core: ColTranCore,
    steps: Sequence[InnerStep],
    head: Dense,
    bins_WB: Tensor,
    start: int,
    given: RowInputs,
) -> Tensor:
    """Logits (P, B, V) of the pixels from column `start` on, given the bins of a guess."""
    x = given.start_WBD[start:]
    left = core.pixel_embedding(bins_WB[max(start - 1, 0) : -1])
    x = left + x if start else torch.cat((x[:1], left + x[1:]))
    for step, inputs in zip(steps, given.steps, strict=True):
        x = step.run_window(x, start, inputs)
    logits = head(core.norm(x).flatten(0, 1)).float().view(*x.shape[:2], -1)
    return logits if given.prior_BWV is None else logits + given.prior_BWV.transpose(0, 1)[start:]
