"""Drawing rows of single photographs by exact forecasts (Wiggers and Hoogeboom, ICML 2020).

Legend: W columns, P pixels of a window, D features, V = 512 bins.

The random number of each pixel is fixed beforehand, so its bin is a function of the pixels before
it. Guess a row, and draw all its pixels at once as if the guess were right. The results are correct
up to and including the first pixel that differs from the guess; the results after it are the next
guess. Each pass settles at least one pixel, about five on average. `RowRunner` needs one pass per
pixel, and would fill eight lanes with one photograph.
"""

import torch
from torch import Tensor

from model.core import ColTranCore
from model.sampling.draw import Drawn, draw, draw_bins
from model.sampling.inference import Dense, packs
from model.sampling.row import InnerStep, RowInputs

# Windows start at multiples of this, so that matrix products have few different shapes.
BLOCK = 8


def can_forecast(core: ColTranCore) -> bool:
    """Whether the sums of matrix products are independent of their number of rows.

    oneDNN's always are. The outer decoder's are in float32, if each thread has at least four rows;
    in bfloat16, one sum in thousands is not.
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
        core, x = self._core, given.start_WBD[start:, 0]
        left = core.pixel_embedding(bins_W[max(start - 1, 0) : -1])
        x = left + x if start else torch.cat((x[:1], left + x[1:]))
        for step, inputs in zip(self._steps, given.steps, strict=True):
            x = step.run_window(x, start, inputs)
        logits = self._head(core.norm(x)).float()
        return logits if given.prior_BWV is None else logits + given.prior_BWV[0, start:]
