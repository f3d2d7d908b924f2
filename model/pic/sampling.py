"""Drawing pictures from a PixelCNN++, value by value, with caches.

`sample_pixels_slow` is the definition: one full forward pass per pixel. `sample_pixels` draws the
same pictures with the caches of `model.pic.cache`. The two differ only in the order of sums. In
float32, they may therefore draw different values where a random number falls within about 1e-6 of
the boundary between two; in float64 (`model.double()`) they do not.

Legend: B batch, H W rows and columns, C channels, D features, F features of a context.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from model.pic.cache import Cache
from model.pic.mixture import Mixture, channel_logits, scaled
from model.pic.pixelcnn import PixelCnn
from model.sampling.draw import draw, draw_uniforms
from model.sampling.sampler import LANES


class PixelSample(NamedTuple):
    """Drawn pictures with the scores of each pixel.

    values_BHWC: int64 [0, 255]. log_prob_BHW: float64, nats, of whole pixels at temperature 1.
    entropy_BHW, expected_BHW: float64, as in `CoreSample`, summed over the channels of a pixel.
    """

    values_BHWC: Tensor
    log_prob_BHW: Tensor
    entropy_BHW: Tensor
    expected_BHW: Tensor


@torch.no_grad()
def sample_pixels(
    model: PixelCnn,
    seeds_B: Sequence[int],
    context: Tensor | None = None,
    temperature: float = 1.0,
) -> PixelSample:
    """Draw one picture for each seed.

    seeds_B: 0..2^63 - 1. context: (B, H, W, F), if the model has one. temperature: at least 0; it
    divides the logits of each value given those before it, and 0 takes the most likely value. A
    picture depends on its seed and its context, and not on the rest of its batch.

    Raises:
        ValueError: no seed, a wrong number of contexts, or a temperature below 0.
    """
    uniforms = _uniforms(model, seeds_B, context, temperature)
    count, side, channels = len(seeds_B), model.config.resolution, model.config.channels
    lanes = torch.arange(-(-count // LANES) * LANES, device=uniforms.device).clamp(max=count - 1)
    uniforms = uniforms[lanes]
    cache = Cache(model, len(lanes), None if context is None else context[lanes])
    values = uniforms.new_zeros((len(lanes), side, side, channels), dtype=torch.long)
    log_prob, entropy, expected = (torch.zeros_like(uniforms[..., 0]) for _ in range(3))
    for row in range(side):
        above = model.inputs_of(values[:, row - 1]) if row else None
        start = cache.start_row(row, above)
        for column in range(side):
            before = model.inputs_of(values[:, row, column - 1]) if column else None
            parameters = cache.next_pixel((row, column), before, start)
            place = (slice(None), row, column)
            drawn = draw_pixel(parameters, uniforms[place], temperature)
            values[place], log_prob[place], entropy[place], expected[place] = drawn
    return PixelSample(*(part[:count] for part in (values, log_prob, entropy, expected)))


@torch.no_grad()
def sample_pixels_slow(
    model: PixelCnn,
    seeds_B: Sequence[int],
    context: Tensor | None = None,
    temperature: float = 1.0,
) -> PixelSample:
    """Draw the pictures of `sample_pixels` by one full forward pass per pixel; inputs as there."""
    uniforms = _uniforms(model, seeds_B, context, temperature)
    values = torch.zeros(uniforms.shape, dtype=torch.long, device=uniforms.device)
    log_prob, entropy, expected = (torch.zeros_like(uniforms[..., 0]) for _ in range(3))
    for row in range(uniforms.shape[1]):
        for column in range(uniforms.shape[2]):
            place = (slice(None), row, column)
            parameters = model(values, context)[place]
            drawn = draw_pixel(parameters, uniforms[place], temperature)
            values[place], log_prob[place], entropy[place], expected[place] = drawn
    return PixelSample(values, log_prob, entropy, expected)


def draw_pixel(
    parameters_BP: Tensor, uniforms_BC: Tensor, temperature: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Draw the channels of a pixel one after the other, and score them.

    uniforms_BC: float64 [0, 1). Returns values, int64 [0, 255] (B, C), and log-probability, entropy
    and expected log-probability of the pixel, (B,) each, as in `PixelSample`.
    """
    channels = uniforms_BC.shape[1]
    mixture = Mixture.read(parameters_BP, channels)
    weights = torch.log_softmax(mixture.logits, dim=-1)
    values = torch.zeros(uniforms_BC.shape, dtype=torch.long, device=uniforms_BC.device)
    log_prob, entropy, expected = (torch.zeros_like(uniforms_BC[:, 0]) for _ in range(3))
    for channel in range(channels):
        earlier = scaled(values[:, :channel])
        logits, each = channel_logits(mixture, channel, earlier, weights)
        drawn = draw(logits, uniforms_BC[:, channel], temperature)
        values[:, channel] = drawn.bins
        log_prob += drawn.log_prob
        entropy += drawn.entropy
        expected += drawn.expected
        chosen = drawn.bins[:, None, None].expand(-1, weights.shape[1], 1)
        weights = each.gather(-1, chosen)[..., 0]
    return values, log_prob, entropy, expected


def _uniforms(
    model: PixelCnn, seeds_B: Sequence[int], context: Tensor | None, temperature: float
) -> Tensor:
    """One random number in [0, 1) per value, float64 (B, H, W, C), from each picture's seed."""
    side, channels = model.config.resolution, model.config.channels
    count = len(seeds_B) if context is None else len(context)
    shape = (count, side, side * channels)
    uniforms = draw_uniforms(model.head.weight.new_empty(shape), seeds_B, temperature)
    return uniforms.unflatten(-1, (side, channels))
