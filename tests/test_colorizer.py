"""The three stages as one."""

from pathlib import Path

import numpy as np
import pytest
import torch

from model import Colorizer, WeightsError
from model.color import (
    bins_from_coarse,
    coarse_from_bins,
    coarse_from_rgb,
    rgb_from_bins,
    saturate,
)
from model.method import Method
from model.sampling import sample_core
from model.weights import load_stage, stage_path
from support.tiny_models import tiny_color, tiny_core, tiny_spatial, write_tiny_weights


def grays(count: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(3)
    high = generator.integers(0, 256, (count, 16, 16), dtype=np.uint8)
    return high[:, ::2, ::2].copy(), high


def test_stages_are_chained_as_published(tmp_path: Path) -> None:
    folder = write_tiny_weights(tmp_path)
    low, high = grays(1)
    colorized = Colorizer.load(folder).colorize(low, high, [5], temperature=1.0)

    core, color, spatial = (load_stage(stage_path(folder, s)) for s in ("core", "color", "spatial"))
    gray, large = torch.from_numpy(low).long(), torch.from_numpy(high).long()
    sample = sample_core(core, gray, [5])  # type: ignore[arg-type]
    small = color(coarse_from_bins(sample.bins_BHW), gray).argmax(-1)
    blurry = small.repeat_interleave(2, 1).repeat_interleave(2, 2)
    logits = spatial(blurry, large)
    assert np.array_equal(colorized.rgb, logits.argmax(-1).numpy())
    log_likelihood = float(sample.log_prob_BHW.sum())
    assert colorized.log_likelihood[0] == pytest.approx(log_likelihood)
    assert colorized.bits_per_pixel[0] == pytest.approx(-log_likelihood / np.log(2) / 64)
    assert np.array_equal(colorized.entropy, sample.entropy_BHW.numpy())
    most_likely = torch.log_softmax(logits.double(), -1).amax(-1)
    expected = float(-most_likely.mean() / np.log(2))
    assert colorized.spatial_bits_per_dim[0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("two_threads")
def test_company_and_batch_size_do_not_change_a_photograph(tmp_path: Path) -> None:
    folder = write_tiny_weights(tmp_path)
    low, high = grays(5)
    seeds = [9, 8, 7, 6, 5]
    together = Colorizer.load(folder, batch_size=8).colorize(low, high, seeds)
    for batch_size in (1, 2, 5):
        colorizer = Colorizer.load(folder, batch_size=batch_size)
        other = colorizer.colorize(low[::-1], high[::-1], seeds[::-1])
        for name in vars(together):
            assert np.array_equal(getattr(together, name), getattr(other, name)[::-1]), name


def test_stages_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one resolution, not 4 and 8"):
        Colorizer(tiny_core(8), tiny_color(4), tiny_spatial(16))
    with pytest.raises(ValueError, match="12 is not a multiple of 8"):
        Colorizer(tiny_core(8), tiny_color(8), tiny_spatial(12))
    with pytest.raises(ValueError, match="batch size must be at least 1, not 0"):
        Colorizer(tiny_core(8), tiny_color(8), tiny_spatial(16), batch_size=0)
    with pytest.raises(WeightsError, match="no weights file at"):
        Colorizer.load(tmp_path)


def test_wrong_counts_are_refused(tmp_path: Path) -> None:
    colorizer = Colorizer.load(write_tiny_weights(tmp_path))
    low, high = grays(2)
    for arguments in ((low, high[:1], [1, 2]), (low, high, [1]), (low[:0], high[:0], [])):
        with pytest.raises(ValueError, match="as many small and large photographs and seeds"):
            colorizer.colorize(*arguments)


def test_the_guided_upsampler_leaves_out_the_last_stage(tmp_path: Path) -> None:
    folder = write_tiny_weights(tmp_path)
    low, high = grays(2)
    whole = Colorizer.load(folder).colorize(low, high, [5, 6])
    short = Colorizer.load(folder, method=Method(upsampler="guided")).colorize(low, high, [5, 6])
    assert short.rgb.shape == (2, 8, 8, 3) and whole.rgb.shape == (2, 16, 16, 3)
    assert np.array_equal(short.log_likelihood, whole.log_likelihood)
    assert np.array_equal(short.color_bits_per_dim, whole.color_bits_per_dim)
    assert np.isnan(short.spatial_bits_per_dim).all()


def test_a_draft_is_the_parallel_heads_mean_color(tmp_path: Path) -> None:
    folder = write_tiny_weights(tmp_path)
    low, high = grays(3)
    colorizer = Colorizer.load(folder, method=Method(draft=True))
    draft = colorizer.colorize(low, high, [5, 6, 7], temperature=0.5)
    core = load_stage(stage_path(folder, "core"))
    logits = core.parallel_logits(torch.from_numpy(low).long())  # type: ignore[operator]
    centers = rgb_from_bins(torch.arange(512)).numpy() + 16.0
    expected = torch.softmax(logits / 0.5, dim=-1).detach().numpy() @ centers
    assert np.abs(draft.rgb - expected).max() <= 0.51
    gray, bins = (
        torch.from_numpy(low).long(),
        bins_from_coarse(coarse_from_rgb(torch.from_numpy(draft.rgb))),
    )
    log_prob = torch.log_softmax(core(bins, gray).double(), -1).gather(-1, bins[..., None])
    likelihood = log_prob.sum((1, 2, 3)).detach().numpy()
    assert draft.log_likelihood == pytest.approx(likelihood, rel=1e-6), (
        "of the picture that is shown"
    )
    assert np.isnan(draft.color_bits_per_dim).all() and np.isnan(draft.spatial_bits_per_dim).all()
    vivid = Colorizer.load(folder, method=Method(draft=True, saturation=1.5))
    strong = vivid.colorize(low, high, [5, 6, 7], temperature=0.5)
    assert np.array_equal(strong.rgb, saturate(torch.from_numpy(draft.rgb), 1.5).numpy())
    assert (strong.log_likelihood != draft.log_likelihood).any(), "that of what is shown"
    sharp = colorizer.colorize(low, high, [5, 6, 7], temperature=0)
    assert np.array_equal(sharp.rgb, centers[logits.argmax(-1).numpy()])


def test_half_as_many_bits_give_nearly_the_same_likelihoods(tmp_path: Path) -> None:
    folder = write_tiny_weights(tmp_path)
    low, high = grays(5)
    seeds = [1, 2, 3, 4, 5]
    colorizer = Colorizer.load(folder, method=Method("bfloat16"))
    assert colorizer.core.head.weight.dtype == torch.bfloat16
    short, whole = (each.colorize(low, high, seeds) for each in (colorizer, Colorizer.load(folder)))
    assert short.bits_per_pixel.mean() == pytest.approx(whole.bits_per_pixel.mean(), rel=0.02)
    alone = colorizer.colorize(low[3:4], high[3:4], seeds[3:4])
    assert np.array_equal(alone.rgb[0], short.rgb[3])
    assert alone.log_likelihood[0] == short.log_likelihood[3]


def test_unknown_methods_are_refused() -> None:
    with pytest.raises(ValueError, match="precision must be one of float32, bfloat16, not 'int8'"):
        Method(precision="int8")
    with pytest.raises(ValueError, match="upsampler must be one of spatial, guided, not 'none'"):
        Method(upsampler="none")
