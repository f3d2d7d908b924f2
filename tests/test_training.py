"""The training loop: it learns, repeats itself to the bit, and continues where it stopped."""

from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import Tensor

from model.core import ColTranCore, CoreConfig
from model.scaling import blur, scale_by_area
from model.training.growth import grow, stretch_relative_bias
from model.training.photographs import Photographs, Share
from model.training.trainer import Trainer, TrainingConfig
from model.upsamplers import ChannelUpsampler
from support.tiny_models import tiny_color, tiny_core, tiny_spatial


def photographs(count: int = 4, side: int = 16) -> Photographs:
    """Smooth random color, so that neighbors agree as in photographs."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randint(256, (count, 4, 4, 3), generator=generator).to(torch.uint8)
    return Photographs(scale_by_area(coarse, side), torch.ones(count).double())


def config(**settings: object) -> TrainingConfig:
    sizes: dict[str, object] = {"steps": 6, "batch_size": 2, "bfloat16": False}
    return TrainingConfig(**sizes | settings)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize(("optimizer", "steps"), [("rmsprop", 110), ("adamw", 100), ("muon", 80)])
def test_two_photographs_are_learned_by_heart(optimizer: str, steps: int) -> None:
    torch.manual_seed(0)
    core = ColTranCore(CoreConfig(hidden=32, ff=64, heads=2, enc=1, outer=1, inner=1, resolution=6))
    settings = config(
        steps=steps, learning_rate=8e-3, optimizer=optimizer, schedule="linear", crop=1.0
    )
    losses = list(Trainer(core, settings).run(photographs(2, side=6)))
    assert losses[0]["core"] > 8
    assert losses[-1]["core"] < 0.3 and losses[-1]["parallel"] < losses[0]["parallel"]


@pytest.mark.parametrize(
    "stage",
    [
        pytest.param(tiny_core(8, dropout=0.1), marks=pytest.mark.slow),
        tiny_color(8),
        tiny_spatial(8),
    ],
)
def test_a_continued_run_repeats_an_undisturbed_one_to_the_bit(
    stage: ColTranCore | ChannelUpsampler, tmp_path: Path
) -> None:
    start = {name: value.clone() for name, value in stage.state_dict().items()}
    settings = config(optimizer="muon", schedule="cosine", warmup=2, seed=4)
    undisturbed = Trainer(stage, settings, low_resolution=4)
    losses = list(undisturbed.run(photographs()))
    wanted = {name: value.clone() for name, value in undisturbed.average.state_dict().items()}

    stage.load_state_dict(start)
    first = Trainer(stage, settings, low_resolution=4)
    before = list(islice(first.run(photographs()), 3))
    torch.save(first.state(), tmp_path / "checkpoint")
    torch.manual_seed(99)  # nothing outside the checkpoint may matter
    stage.load_state_dict(start)
    second = Trainer(stage, settings, low_resolution=4)
    second.restore(torch.load(tmp_path / "checkpoint"))
    after = list(second.run(photographs()))
    assert before + after == losses
    assert all(
        torch.equal(value, wanted[name]) for name, value in second.average.state_dict().items()
    )


def test_the_encoder_can_learn_alone_and_slower() -> None:
    core = tiny_core(8)

    def changed_by(**settings: object) -> set[str]:
        before = {name: value.clone() for name, value in core.state_dict().items()}
        losses = list(Trainer(core, config(**settings)).run(photographs()))
        assert ("core" in losses[0]) == (settings.get("autoregressive_weight") != 0)
        after = core.state_dict()
        return {name for name in after if not torch.equal(after[name], before[name])}

    encoder, decoder = "encoder.layers.0.mlp.input.weight", "head.weight"
    alone = changed_by(autoregressive_weight=0)
    assert encoder in alone and decoder not in alone
    frozen = changed_by(encoder_rate=0)
    assert decoder in frozen and not any(name.startswith("encoder.") for name in frozen)


@dataclass(frozen=True)
class Recorded(Share):
    """A share that keeps what it would send to the other workers: gradients, then losses."""

    sent: list[Tensor] = field(default_factory=list)

    def add_up(self, tensors: list[Tensor]) -> None:
        self.sent.extend(tensor.clone() for tensor in tensors)


@pytest.mark.parametrize("workers", [2, 3])
@pytest.mark.parametrize("stage", [tiny_core(8), tiny_color(8), tiny_spatial(8)])
def test_shares_of_a_batch_add_up_to_its_losses_and_gradients(
    stage: ColTranCore | ChannelUpsampler, workers: int
) -> None:
    start = {name: value.clone() for name, value in stage.state_dict().items()}
    shares = [Recorded(), *(Recorded(rank, workers) for rank in range(workers))]
    for share in shares:
        stage.load_state_dict(start)
        trainer = Trainer(stage, config(batch_size=5), low_resolution=4, share=share)
        next(iter(trainer.run(photographs())))
    whole, *parts = (share.sent for share in shares)
    for expected, *found in zip(whole, *parts, strict=True):
        torch.testing.assert_close(sum(found), expected, rtol=1e-4, atol=1e-6)


def test_crops_are_drawn_by_weight_and_keep_their_share() -> None:
    rgb = torch.stack([torch.full((16, 16, 3), level, dtype=torch.uint8) for level in (10, 20, 30)])
    set_ = Photographs(rgb, torch.tensor([1.0, 0.0, 3.0]))
    batch = set_.crops(4, 0.5, 400, torch.Generator().manual_seed(1))
    levels = batch.flatten(1).float().mean(1)
    assert set(levels.tolist()) == {10.0, 30.0}
    assert 0.68 < float((levels == 30).float().mean()) < 0.82


def test_the_spatial_upsampler_is_given_means_of_blocks() -> None:
    rgb = photographs(1, side=8).rgb
    assert isinstance(rgb, torch.Tensor)
    blurred = blur(rgb, 4)
    mean = rgb[0, 2:4, 4:6].float().mean((0, 1)).round()
    assert blurred.shape == rgb.shape
    assert torch.equal(blurred[0, 2:4, 4:6].float(), mean.expand(2, 2, 3))


@pytest.mark.slow
def test_grown_stages_see_a_constant_picture_as_before() -> None:
    core = tiny_core(8)
    with torch.no_grad():  # position-free, so that growth must change nothing
        for name, parameter in core.named_parameters():
            if "position" in name:
                parameter.zero_()
            if "relative_bias" in name:
                parameter.fill_(0.3)
            if "spatial_average" in name:
                parameter.fill_(1.2)
    grown = grow(core, 16)
    gray = torch.full((1, 8, 8), 120)
    small = core.parallel_logits(gray)[0, 0, 0]
    large = grown.parallel_logits(gray.repeat(1, 2, 2))[0, 5, 9]
    torch.testing.assert_close(small, large)
    assert grown.config.resolution == 16 and grown.config.hidden == core.config.hidden
    built = tiny_core(16).state_dict()
    for name, value in grown.state_dict().items():
        assert value.shape == built[name].shape


def test_relative_biases_keep_their_distances() -> None:
    bias = torch.arange(8.0)[None]  # at distance d: d + 3
    grown = stretch_relative_bias(bias, 2.0)
    distance = torch.arange(-7, 7)
    expected = (distance / 2 + 3).clamp(0)
    torch.testing.assert_close(grown[0, : len(distance)], expected)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"optimizer": "sgd"}, "optimizer must be one of rmsprop, adamw, muon, not 'sgd'"),
        ({"schedule": "step"}, "schedule must be one of"),
        ({"steps": 0}, "steps must be above 0, not 0"),
        ({"learning_rate": float("inf")}, "learning_rate must be finite, not inf"),
        ({"weight_decay": float("nan")}, "weight_decay must be at least 0, not nan"),
        ({"warmup": -1}, "warmup must be at least 0, not -1"),
        ({"average_decay": 1.0}, "average_decay must be at least 0 and below 1, not 1.0"),
        ({"seed": 2**62}, "seed must be between"),
        ({"crop": 0.0}, "crop must be above 0 and at most 1, not 0.0"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        config(**settings)


def test_wrong_photographs_are_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        Photographs(torch.zeros(0, 8, 8, 3, dtype=torch.uint8), torch.ones(0))
    with pytest.raises(ValueError, match=r"uint8 \(S, S, 3\) each, not torch.float32"):
        Photographs(torch.zeros(1, 8, 8, 3), torch.ones(1))


def test_rate_rises_then_falls() -> None:
    rates = [config(steps=10, warmup=4, schedule="linear").rate_at(step) for step in range(10)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0] and rates[4] == 1.0
    assert rates[-1] == pytest.approx(1 / 6)
    assert config(schedule="constant").rate_at(5) == 1.0
