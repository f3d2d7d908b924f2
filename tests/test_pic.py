"""PIC: causal, cached as slow, learns by heart, and colorizes as ColTran does."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from test_training import config, photographs

from model import WeightsError
from model.lab import lab_from_rgb, rgb_from_lab
from model.pic.colorizer import PicColorizer, put_chroma_on
from model.pic.network import Pic, PicConfig, chroma_from_rgb
from model.pic.pixelcnn import PixelCnn, PixelCnnConfig
from model.pic.sampling import sample_pixels, sample_pixels_slow
from model.systems import load_colorizer
from model.training.growth import grow
from model.training.trainer import Trainer
from model.weights import WEIGHTS, load_stage, save_stage, stage_path
from pipeline.storage.memory import MemoryStorage
from pipeline.training import worker as training
from pipeline.training.progress import Progress
from pipeline.training.worker import StageSettings, StageTraining, read_history
from support.tiny_models import tiny_core, tiny_pic


def grays(count: int, side: int = 16) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (count, side, side), dtype=np.uint8)


@torch.no_grad()
def test_the_cached_sampler_is_the_slow_one_and_its_likelihood_that_of_training() -> None:
    pic = tiny_pic(16)
    gray = torch.from_numpy(grays(2).astype(np.int64))
    embedding = pic.encode(gray)
    assert embedding.shape == (2, 4, 4, 8)
    fast = sample_pixels(pic.pixelcnn, [1, 2], embedding, 0.8)
    slow = sample_pixels_slow(pic.pixelcnn, [1, 2], embedding, 0.8)
    assert torch.equal(fast.values_BHWC, slow.values_BHWC)
    torch.testing.assert_close(fast.expected_BHW, slow.expected_BHW, rtol=0, atol=1e-4)
    nats = pic(fast.values_BHWC, gray).double()
    torch.testing.assert_close(fast.log_prob_BHW, nats, rtol=0, atol=1e-4)


def test_chroma_sees_earlier_chroma_and_all_of_gray() -> None:
    pic = tiny_pic(16)
    gray = torch.from_numpy(grays(1).astype(np.int64))
    chroma = torch.full((1, 4, 4, 2), 128)
    changed = chroma.clone()
    changed[0, 1, 2, 0] = 20
    difference = (pic(changed, gray) - pic(chroma, gray))[0].flatten()
    assert bool((difference[: 1 * 4 + 2] == 0).all()) and bool((difference[6:] != 0).all())
    other = gray.clone()
    other[0, 15, 15] = 255 - other[0, 15, 15]
    assert bool((pic(chroma, other) != pic(chroma, gray)).all())
    assert bool((pic.encode(other) != pic.encode(gray)).any(-1).all())


@pytest.mark.slow
def test_two_photographs_are_learned_by_heart() -> None:
    torch.manual_seed(0)
    pic = Pic(PicConfig(hidden=16, enc=1, inner=1, mixtures=2, resolution=8, factor=2))
    settings = config(steps=90, learning_rate=2e-2, optimizer="muon", schedule="linear", crop=1.0)
    trainer = Trainer(pic, settings)
    losses = list(trainer.run(photographs(2, side=8)))
    assert losses[0]["pic"] > 14 and losses[-1]["pic"] < 8
    unseen = photographs(6, side=8).rgb
    assert isinstance(unseen, torch.Tensor)
    with torch.no_grad():
        others = pic.losses(unseen[2:])
    assert float(others["pic"]) > losses[-1]["pic"] + 3
    assert losses[-1]["parallel"] < losses[0]["parallel"]
    alone = list(Trainer(pic, config(autoregressive_weight=0.0)).run(photographs(2, side=8)))
    assert set(alone[0]) == {"parallel"}


def test_chroma_of_blocks_comes_back_on_the_full_lightness() -> None:
    rgb = torch.tensor([[130, 90, 100], [90, 100, 140]], dtype=torch.uint8)
    large = rgb[None, :, None].repeat_interleave(4, 1).expand(1, 8, 8, 3)
    chroma = chroma_from_rgb(large, 4)
    assert chroma.shape == (1, 2, 2, 2)
    expected = np.rint(lab_from_rgb(rgb.numpy())[:, 1:]) + 128
    assert np.array_equal(chroma[0, :, 0].numpy(), expected)
    gray = np.full((8, 8), 100, np.uint8)
    lab = lab_from_rgb(put_chroma_on(gray, chroma[0].double().numpy() - 128))
    assert np.allclose(lab[0, :, 1:], expected[0] - 128, atol=1.5)
    assert np.allclose(lab[..., 0], lab_from_rgb([100, 100, 100])[0], atol=1)


def test_lab_is_turned_back() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (200, 3))
    assert np.allclose(rgb_from_lab(lab_from_rgb(rgb)), rgb, atol=1e-6)
    assert np.array_equal(rgb_from_lab([50, 120, -120]).clip(0, 255), rgb_from_lab([50, 120, -120]))


def test_weights_come_back_and_grow(tmp_path: Path) -> None:
    pic = tiny_pic(16)
    save_stage(pic, stage_path(tmp_path, "pic"))
    loaded = load_stage(stage_path(tmp_path, "pic"))
    assert isinstance(loaded, Pic) and loaded.config == pic.config
    for name, value in pic.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
    larger = grow(pic, 32)
    assert larger.encode(torch.zeros(1, 32, 32, dtype=torch.long)).shape == (1, 8, 8, 8)


def test_a_photograph_gets_its_picture_in_any_company(tmp_path: Path) -> None:
    save_stage(tiny_pic(16), stage_path(tmp_path, "pic"))
    high, seeds = grays(5), [9, 8, 7, 6, 5]
    low = high[:, ::4, ::4]
    colorizer = load_colorizer("pic", tmp_path)
    assert isinstance(colorizer, PicColorizer)
    assert (colorizer.low_resolution, colorizer.high_resolution) == (4, 16)
    together = colorizer.colorize(low, high, seeds, 0.7)
    assert together.rgb.shape == (5, 16, 16, 3) and together.rgb.dtype == np.uint8
    bits = -together.log_likelihood / np.log(2) / 16
    assert np.allclose(together.bits_per_pixel, bits)
    assert np.isnan(together.color_bits_per_dim).all()
    assert np.isnan(together.spatial_bits_per_dim).all()
    for batch_size in (1, 2):
        other = load_colorizer("pic", tmp_path, batch_size=batch_size)
        apart = other.colorize(low[::-1], high[::-1], seeds[::-1], 0.7)
        assert np.array_equal(apart.rgb[::-1], together.rgb)
        assert np.array_equal(apart.log_likelihood[::-1], together.log_likelihood)
        assert np.array_equal(apart.excess_bits[::-1], together.excess_bits)
    assert np.isfinite(together.excess_bits).all() and np.isnan(together.mean_distance).all()


def test_the_default_weights_know_some_color() -> None:
    files = list(WEIGHTS.glob("*.safetensors"))
    assert sum(file.stat().st_size for file in files) < 24 * 2**20
    colorizer = load_colorizer("pic", WEIGHTS)
    side = colorizer.high_resolution
    ramp = np.linspace(230, 40, side).astype(np.uint8)[:, None].repeat(side, 1)[None]
    colored = colorizer.colorize(ramp[:, ::4, ::4], ramp, [1], temperature=0)
    assert colored.bits_per_pixel[0] < 8, "smooth chroma is likely"


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="unknown model 'pixcolor'; the models are coltran, pic"):
        load_colorizer("pixcolor", tmp_path)
    with pytest.raises(WeightsError, match="no weights file at .*pic.safetensors"):
        load_colorizer("pic", tmp_path)
    save_stage(tiny_core(8), stage_path(tmp_path, "pic"))
    with pytest.raises(WeightsError, match="must hold the stage pic, not ColTranCore"):
        load_colorizer("pic", tmp_path)
    with pytest.raises(ValueError, match="as many small and large photographs and seeds"):
        PicColorizer(tiny_pic(16)).colorize(grays(1, 4), grays(2), [1, 2])
    with pytest.raises(ValueError, match="factor must be a power of two .*, not 3 with"):
        PicConfig(factor=3)
    with pytest.raises(ValueError, match="hidden must be a multiple of 8, not 12"):
        PicConfig(hidden=12)


def test_photographs_of_one_color_have_one_chroma() -> None:
    rgb = torch.full((1, 8, 8, 3), 77, dtype=torch.uint8)
    assert bool((chroma_from_rgb(rgb, 2) == 128).all())


@pytest.mark.parametrize("stage", ["pic", "pixelcnn"])
def test_a_killed_training_ends_with_the_weights_of_an_undisturbed_one(stage: str) -> None:
    sizes = PixelCnnConfig(hidden=8, inner=1, mixtures=2, resolution=8)
    model = tiny_pic(8, 2) if stage == "pic" else PixelCnn(sizes)
    settings = StageSettings(config(steps=4, optimizer="muon"), 4, 2, checkpoint_seconds=0)
    undisturbed, disturbed = MemoryStorage(), MemoryStorage()
    held_out = photographs(3, side=8).rgb
    assert isinstance(held_out, torch.Tensor)

    def train(destination: MemoryStorage, tell: Callable[[Progress], None]) -> None:
        StageTraining(model, settings, photographs(), held_out, destination).run(tell)

    def kill(progress: Progress) -> None:
        raise KeyboardInterrupt

    train(undisturbed, lambda progress: None)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training, "TELL_SECONDS", 0)
        train(disturbed, kill)
    train(disturbed, lambda progress: None)
    name = f"{stage}.safetensors"
    assert undisturbed.read(name) == disturbed.read(name)
    row = read_history(disturbed, stage)[-1]
    assert set(row["validation"]) == ({"pic", "parallel"} if stage == "pic" else {"pixelcnn"})
    assert disturbed.read(f"{stage}.png").startswith(b"\x89PNG")
