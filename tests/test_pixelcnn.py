"""PixelCNN++: its mixture is a distribution, it is causal, its cached sampler is the slow one."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.pic.blocks import GatedBlock
from model.pic.mixture import Mixture, channel_logits, log_mass, log_prob, scaled
from model.pic.pixelcnn import PixelCnn, PixelCnnConfig
from model.pic.sampling import draw_pixel, sample_pixels, sample_pixels_slow
from model.training.photographs import Photographs
from model.training.trainer import Trainer, TrainingConfig
from support.tiny_models import perturb

SEEDS = [3, 2**63 - 1, 11]


def tiny_pixelcnn(resolution: int = 5, context: int = 0, **options: object) -> PixelCnn:
    torch.manual_seed(3)
    sizes: dict[str, object] = {"hidden": 6, "inner": 2, "mixtures": 3, "resolution": resolution}
    return perturb(PixelCnn(PixelCnnConfig(**sizes | options), context), 0.1)  # type: ignore[arg-type]


def pictures(count: int, side: int, channels: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(4)
    return torch.randint(256, (count, side, side, channels), generator=generator)


def a_context(count: int, side: int, features: int) -> torch.Tensor | None:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(count, side, side, features, generator=generator) if features else None


@given(st.floats(-3, 3), st.floats(-9, 3))
@settings(max_examples=30)
def test_a_discretized_logistic_sums_to_one(mean: float, log_scale: float) -> None:
    values = torch.arange(256)
    place = torch.tensor([mean, log_scale], dtype=torch.float64)
    mass = log_mass(values, place[0], place[1].clamp(min=-7))
    assert bool(mass.isfinite().all())
    assert float(mass.exp().sum()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_the_mixture_of_every_channel_sums_to_one_over_all_256_values(channels: int) -> None:
    model, generator = tiny_pixelcnn(2, channels=channels), torch.Generator().manual_seed(6)
    parameters = torch.randn(7, model.head.out_features, generator=generator) * 2
    mixture, values = Mixture.read(parameters, channels), pictures(7, 1, channels)[:, 0, 0]
    weights, total = torch.log_softmax(mixture.logits, -1), torch.zeros(7)
    for channel in range(channels):
        logits, each = channel_logits(mixture, channel, scaled(values[:, :channel]), weights)
        # Given the values before it, whose log-probability is `total`.
        torch.testing.assert_close(torch.logsumexp(logits, -1), total, rtol=1e-4, atol=1e-5)
        total = logits.gather(-1, values[:, channel, None])[:, 0]
        weights = each[torch.arange(7), :, values[:, channel]]
    torch.testing.assert_close(total, log_prob(mixture, values), rtol=1e-4, atol=1e-5)


def test_channels_depend_on_those_before_them_linearly() -> None:
    mixture = Mixture.read(torch.arange(10.0) / 10, 3)  # one component
    earlier = torch.tensor([0.5, -0.25])
    mean, _ = mixture.component(2, earlier)
    first, second = torch.tensor([0.8, 0.9]).tanh()
    assert float(mean) == pytest.approx(0.3 + 0.5 * float(first) - 0.25 * float(second))
    assert float(mixture.component(1, earlier[:1])[0]) == pytest.approx(
        0.2 + 0.5 * float(torch.tensor(0.7).tanh())
    )


def test_every_window_ends_where_it_may() -> None:
    model, x = tiny_pixelcnn(5), torch.randn(1, 5, 5, 4).requires_grad_()
    down, right = model.streams(0)
    assert isinstance(down, GatedBlock) and isinstance(right, GatedBlock)
    wide = torch.randn(1, 5, 5, 12).requires_grad_()
    parts = [(model.rows_above, x, (2, 3)), (model.row_above, x, (1, 3)), (model.left, x, (2, 1))]
    parts += [(each, wide, (2, 3)) for each in (down.first, down.second)]
    parts += [(each, wide, (2, 2)) for each in (right.first, right.second)]
    for convolution, inputs, (rows, columns) in parts:
        [gradient] = torch.autograd.grad(convolution(inputs)[0, 3, 2].sum(), inputs)
        seen = (gradient[0] != 0).any(-1)
        expected = torch.zeros(5, 5, dtype=torch.bool)
        first = 1 if columns == 3 else 2 - (columns - 1)
        expected[4 - rows : 4, first : first + columns] = True
        assert torch.equal(seen, expected)


@pytest.mark.parametrize("context", [0, 4])
def test_a_pixel_sees_what_is_above_and_left_of_it_alone(context: int) -> None:
    model, values = tiny_pixelcnn(6, context), pictures(1, 6, 3)
    seen = a_context(1, 6, context)
    before = model(values, seen)
    row, column = 2, 3
    changed = values.clone()
    changed[0, row, column] = 255 - changed[0, row, column]
    difference = (model(changed, seen) - before).abs().amax(dim=-1)[0]
    assert bool((difference.flatten()[: row * 6 + column + 1] == 0).all())
    assert bool((difference[row, column + 1 :] > 0).all()), "the rest of the row must see it"
    assert bool((difference[row + 1 :] > 0).all()), "all rows below must see it"


def test_every_pixel_sees_the_context_of_its_own_place() -> None:
    model, seen = tiny_pixelcnn(5, 4), a_context(1, 5, 4)
    assert seen is not None
    seen.requires_grad_()
    [gradient] = torch.autograd.grad(model(pictures(1, 5, 3), seen)[0, 2, 2].sum(), seen)
    assert bool((gradient[0, :3, 2] != 0).any(-1).all())


@pytest.mark.parametrize("temperature", [0, 0.7, 1.0])
@pytest.mark.parametrize(("channels", "context"), [(3, 0), (2, 4)])
@pytest.mark.usefixtures("two_threads")
def test_cached_equals_slow_value_by_value(channels: int, context: int, temperature: float) -> None:
    model, seen = tiny_pixelcnn(5, context, channels=channels), a_context(3, 5, context)
    fast = sample_pixels(model, SEEDS, seen, temperature)
    slow = sample_pixels_slow(model, SEEDS, seen, temperature)
    assert torch.equal(fast.values_BHWC, slow.values_BHWC)
    assert len(fast.values_BHWC.unique()) > 5
    torch.testing.assert_close(fast.log_prob_BHW, slow.log_prob_BHW, rtol=0, atol=1e-4)
    expected = model.log_likelihood(fast.values_BHWC, seen).double()
    torch.testing.assert_close(fast.log_prob_BHW, expected, rtol=0, atol=1e-4)


def test_a_picture_does_not_depend_on_its_company() -> None:
    model = tiny_pixelcnn(4)
    together = sample_pixels(model, list(range(11)))
    for places in ([4], [10, 4], list(range(10, -1, -1))):
        apart = sample_pixels(model, places)
        assert torch.equal(apart.values_BHWC, together.values_BHWC[places])
        assert torch.equal(apart.log_prob_BHW, together.log_prob_BHW[places])


def test_drawn_pixels_follow_the_mixture() -> None:
    # Two components whose channels agree: dark and dark, or light and light.
    parameters = torch.tensor([0.0, 0.0, -0.5, 0.5, -0.5, 0.5, -4.0, -4.0, -4.0, -4.0, 0.0, 0.0])
    uniforms = torch.rand(500, 2, generator=torch.manual_seed(0), dtype=torch.float64)
    values, _, _, _ = draw_pixel(parameters.expand(500, -1), uniforms, 1.0)
    light = values > 127
    assert torch.equal(light[:, 0], light[:, 1])
    assert 0.4 < float(light[:, 0].float().mean()) < 0.6


@pytest.mark.slow
def test_two_photographs_are_learned_by_heart() -> None:
    torch.manual_seed(0)
    model = PixelCnn(PixelCnnConfig(hidden=32, inner=1, mixtures=3, resolution=4))
    coarse = torch.randint(256, (2, 4, 4, 3), generator=torch.manual_seed(1)).to(torch.uint8)
    photographs = Photographs(coarse, torch.ones(2).double())
    settings = TrainingConfig(
        90, 2, learning_rate=2e-2, optimizer="muon", schedule="linear", crop=1.0
    )
    losses = [each["pixelcnn"] for each in Trainer(model, settings).run(photographs)]
    assert losses[0] > 8 and losses[-1] < 5.5, "noise costs 8 bits, but for who knows it"


@pytest.mark.parametrize("settings", [{"hidden": 0}, {"mixtures": True}, {"dropout": 1.0}])
def test_impossible_settings_are_refused(settings: dict[str, object]) -> None:
    name, value = next(iter(settings.items()))
    with pytest.raises(ValueError, match=f"{name} must be .*, not {value}"):
        PixelCnnConfig(**settings)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"values must have shape \(B, 5, 5, 3\)"):
        tiny_pixelcnn()(pictures(1, 4, 3))
