"""The upsamplers' structure. Agreement with the paper's code: test_golden."""

import pytest
import torch

from model.upsamplers import ChannelUpsampler, SpatialUpsamplerConfig
from support.tiny_models import tiny_color, tiny_spatial


@pytest.mark.parametrize("upsampler", [tiny_color(8), tiny_spatial(8)])
def test_channels_are_three_pictures_of_one_network(upsampler: ChannelUpsampler) -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randint(upsampler.levels, (2, 8, 8, 3), generator=generator)
    gray = torch.randint(256, (2, 8, 8), generator=generator)
    logits = upsampler(values, gray)
    assert logits.shape == (2, 8, 8, 3, 256) and logits.dtype == torch.float32
    for channel in range(3):
        alone = upsampler.channel_logits(values[..., channel], gray, torch.full((2,), channel))
        torch.testing.assert_close(logits[..., channel, :], alone)
    assert not torch.equal(logits[..., 0, :], logits[..., 1, :]), "symbols differ by channel"


def test_wrong_symbols_are_refused() -> None:
    gray = torch.zeros(1, 8, 8, dtype=torch.long)
    with pytest.raises(ValueError, match=r"values must lie in 0..7, not in 8..8"):
        tiny_color(8)(torch.full((1, 8, 8, 3), 8), gray)
    with pytest.raises(ValueError, match=r"values must have shape \(B, 8, 8, 3\)"):
        tiny_spatial(8)(torch.zeros(1, 8, 8, dtype=torch.long), gray)


def test_defaults_are_the_published_model() -> None:
    config = SpatialUpsamplerConfig()
    assert (config.hidden, config.ff, config.heads) == (512, 512, 4)
    assert (config.enc, config.resolution) == (3, 256)
