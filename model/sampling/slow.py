"""The slow, obvious sampler: the definition that the cached one is proved against.

The published sampler hands the conditional layer norm only the row being drawn. Ours give it the
whole gray context, as training does, so that the log-probabilities are those of the picture that is
returned.

Legend: B batch, H W rows and columns, V = 512 bins.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from model.core import ColTranCore
from model.encoder import NO_EXTRAS, Extras
from model.sampling.draw import CoreSample, draw, draw_uniforms


@torch.no_grad()
def sample_core_slow(
    core: ColTranCore,
    gray_BHW: Tensor,
    seeds_B: Sequence[int],
    temperature: float = 1.0,
    extras: Extras = NO_EXTRAS,
) -> CoreSample:
    """The same picture as `sample_core`, by one full forward pass for each pixel."""
    uniforms = draw_uniforms(gray_BHW, seeds_B, temperature)
    bins, log_prob = torch.zeros_like(gray_BHW, dtype=torch.long), torch.empty_like(uniforms)
    entropy = torch.empty_like(uniforms, dtype=torch.float32)
    for row in range(gray_BHW.shape[1]):
        for column in range(gray_BHW.shape[2]):
            logits = core(bins, gray_BHW, extras)[:, row, column]
            drawn, drawn_log_prob, bits = draw(logits, uniforms[:, row, column], temperature)
            bins[:, row, column], log_prob[:, row, column] = drawn, drawn_log_prob
            entropy[:, row, column] = bits
    return CoreSample(bins, log_prob, entropy)
