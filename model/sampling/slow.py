"""The slow, obvious sampler: the definition that the cached one is tested against.

The published sampler gives the conditional layer norm only the row being drawn. Ours give it the
whole gray context, as training does, so that the log-probabilities are those of the returned
picture.

Legend: B batch, H W rows and columns, V = 512 bins.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from model.core import ColTranCore
from model.sampling.draw import CoreSample, draw, draw_uniforms


@torch.no_grad()
def sample_core_slow(
    core: ColTranCore,
    gray_BHW: Tensor,
    seeds_B: Sequence[int],
    temperature: float = 1.0,
    high_BSS: Tensor | None = None,
    hints_BHW: Tensor | None = None,
    palette_BV: Tensor | None = None,
) -> CoreSample:
    """Draw the pictures of `sample_core` by one full forward pass per pixel; inputs as there."""
    uniforms = draw_uniforms(gray_BHW, seeds_B, temperature)
    bins, log_prob = torch.zeros_like(gray_BHW, dtype=torch.long), torch.empty_like(uniforms)
    entropy = torch.empty_like(uniforms, dtype=torch.float32)
    expected = torch.empty_like(uniforms)
    for row in range(gray_BHW.shape[1]):
        for column in range(gray_BHW.shape[2]):
            logits = core(bins, gray_BHW, high_BSS, hints_BHW, palette_BV)[:, row, column]
            place = (slice(None), row, column)
            drawn = draw(logits, uniforms[place], temperature)
            bins[place], log_prob[place], entropy[place], expected[place] = drawn
    return CoreSample(bins, log_prob, entropy, expected)
