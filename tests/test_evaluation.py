import math
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from model.color import bin_centers, bins_from_coarse, coarse_from_rgb, gray_from_rgb
from model.evaluation.frechet import Inception, frechet_distance
from model.evaluation.scores import (
    block_means,
    compare,
    explained_variance,
    score_core,
    score_upsampler,
)
from model.training.losses import LossInputs, stage_losses
from support.tiny_models import tiny_color, tiny_core, tiny_spatial


def photographs(count: int, side: int) -> NDArray[np.uint8]:
    return np.random.default_rng(3).integers(0, 256, (count, side, side, 3), np.uint8)


@torch.no_grad()
def test_bits_are_those_of_the_training_loss() -> None:
    core, rgb = tiny_core(8), photographs(3, 8)
    scores = score_core(core, rgb)
    losses = stage_losses(core, torch.from_numpy(rgb))
    assert scores.core_bits.mean() == pytest.approx(float(losses["core"]), rel=1e-5)
    assert scores.parallel_bits.mean() == pytest.approx(float(losses["parallel"]), rel=1e-5)
    for upsampler in (tiny_color(8), tiny_spatial(8)):
        expected = [
            float(
                stage_losses(
                    upsampler,
                    torch.from_numpy(rgb),
                    LossInputs(channel_B=torch.full((3,), channel), low_resolution=4),
                )[upsampler.stage]
            )
            for channel in range(3)
        ]
        bits = score_upsampler(upsampler, rgb, 4)
        assert bits.mean() == pytest.approx(np.mean(expected), rel=1e-5)


def test_a_uniform_core_needs_nine_bits_and_expects_gray() -> None:
    core = tiny_core(8)
    with torch.no_grad():
        core.parallel_head.weight.zero_()
        core.head.weight.zero_()
        core.head.bias.zero_()
    scores = score_core(core, photographs(2, 8))
    np.testing.assert_allclose(scores.core_bits, 9, rtol=1e-6)
    np.testing.assert_allclose(scores.parallel_bits, 9, rtol=1e-6)
    assert np.ptp(scores.expected_rgb, axis=-1).max() == 0  # all channels alike
    upsampler = tiny_color(8)
    with torch.no_grad():
        upsampler.head.weight.zero_()
        upsampler.head.bias.zero_()
    np.testing.assert_allclose(score_upsampler(upsampler, photographs(2, 8), 8), 8, rtol=1e-6)


def test_a_core_that_knows_the_bin_explains_its_color() -> None:
    # One flat photograph; the head's weights make its bin certain at every pixel.
    core = tiny_core(8)
    rgb = np.full((1, 8, 8, 3), (176, 48, 112), np.uint8)  # nearly the center of a bin
    bin_ = int(bins_from_coarse(coarse_from_rgb(torch.from_numpy(rgb)))[0, 0, 0])
    context = core.encode(gray_from_rgb(torch.from_numpy(rgb)))[0].flatten(0, 1)
    with torch.no_grad():
        core.parallel_head.weight.zero_()
        core.parallel_head.weight[bin_] = torch.linalg.lstsq(
            context, torch.full((64, 1), 60.0)
        ).solution[:, 0]
    scores = score_core(core, rgb)
    np.testing.assert_allclose(scores.parallel_bits, 0, atol=1e-3)
    np.testing.assert_allclose(scores.expected_chroma, scores.true_chroma, atol=0.5)
    assert np.abs(scores.expected_rgb.astype(int) - rgb).max() <= 1


def test_explained_variance() -> None:
    truth = np.random.default_rng(0).normal(5, 3, (4, 8, 8, 2))
    mean = truth.mean(axis=(0, 1, 2))
    assert explained_variance(truth, truth) == 1
    assert explained_variance(truth, np.broadcast_to(mean, truth.shape)) == pytest.approx(0)
    assert explained_variance(truth, (truth + mean) / 2) == pytest.approx(0.75)
    assert explained_variance(truth, 2 * mean - truth) == pytest.approx(-3)
    assert math.isnan(explained_variance(np.ones((2, 8, 8, 2)), truth[:2]))


def test_blocks_are_eight_a_side_at_any_resolution() -> None:
    values = np.arange(32 * 32 * 2.0).reshape(1, 32, 32, 2)
    means = block_means(values)
    assert means.shape == (1, 8, 8, 2)
    np.testing.assert_allclose(means[0, 1, 2], values[0, 4:8, 8:12].mean(axis=(0, 1)))


def test_centers_lie_in_their_bins() -> None:
    centers = bin_centers()
    assert torch.equal(bins_from_coarse(coarse_from_rgb(centers)), torch.arange(512))
    assert centers[0].tolist() == [15.5] * 3 and centers[511].tolist() == [239.5] * 3


def test_comparison_with_the_truth() -> None:
    true = photographs(2, 8)
    gray = np.repeat(true.mean(axis=-1, keepdims=True), 3, axis=-1).astype(np.uint8)
    same, other = compare(true, true), compare(true, gray)
    assert same.ciede2000.tolist() == [0, 0] and same.chroma_error.tolist() == [0, 0]
    assert other.ciede2000.min() > 5 and other.chroma_error.min() > 100


def test_frechet_distance_of_gaussians_that_are_known() -> None:
    generator = np.random.default_rng(1)
    plain = generator.normal(size=(4000, 3))
    plain = (plain - plain.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(plain.T)).T)
    assert frechet_distance(plain, plain) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(plain, plain + np.array([1, 2, 2])) == pytest.approx(9)
    # Of N(0, 1) and N(0, diag(s^2)): sum (1 - s)^2; a turn of both changes nothing.
    turn, _ = np.linalg.qr(generator.normal(size=(3, 3)))
    scaled = plain * np.array([1, 3, 0.5])
    assert frechet_distance(plain, scaled) == pytest.approx(4.25)
    assert frechet_distance(plain @ turn, scaled @ turn) == pytest.approx(4.25)
    # Fewer pictures than features: rounding costs half of the digits.
    assert frechet_distance(plain[:2], plain[:2]) == pytest.approx(0, abs=1e-5)
    with pytest.raises(ValueError, match="at least two"):
        frechet_distance(plain[:1], plain)


def test_features_come_from_a_torchscript_file(tmp_path: Path) -> None:
    class Means(torch.nn.Module):
        def forward(self, pictures: torch.Tensor) -> torch.Tensor:
            return pictures.float().mean(dim=(2, 3))

    path = tmp_path / "inception.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.trace(Means(), torch.zeros(1, 3, 4, 4, dtype=torch.uint8)).save(str(path))
    rgb = photographs(20, 4)
    np.testing.assert_allclose(
        Inception(path, "cpu").features(rgb), rgb.mean(axis=(1, 2)), rtol=1e-5
    )
    for bad in (b"", b"not a network"):
        path.write_bytes(bad)
        with pytest.raises(ValueError, match="TorchScript"):
            Inception(path, "cpu")
    with pytest.raises(ValueError, match="TorchScript"):
        Inception(tmp_path / "none", "cpu")
    torch.save({"weight": torch.zeros(3)}, path)
    with pytest.raises(ValueError, match="TorchScript"):
        Inception(path, "cpu")
