"""Agreement with tensors that the published code computed, through the import of its checkpoints.

The tolerances are those that the golden set states for float32 on a CPU.
"""

import math
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from model import ColorUpsampler, ColTranCore, SpatialUpsampler, load_stage
from model.color import bins_from_coarse, coarse_from_rgb, gray_from_rgb, rgb_from_bins
from model.sampling import CoreSample, sample_core
from support.commands import run_command

Arrays = dict[str, Tensor]


@pytest.fixture(scope="module")
def weights(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden checkpoints as weights files of ours, made by the command."""
    if find_spec("tensorflow") is None:
        pytest.skip("reading checkpoints needs the extra [import]")
    folder = tmp_path_factory.mktemp("weights")
    for stage in ("core", "color", "spatial"):
        source = golden / stage
        arguments = ["--stage", stage, "--config", str(source / "config.json")]
        files = [str(source / "tf_checkpoint"), str(folder / f"{stage}.safetensors")]
        result = run_command("convert", *arguments, *files)
        assert result.exit_code == 0, result.output
    return folder


def read(golden: Path, stage: str) -> Arrays:
    with np.load(golden / stage / "io.npz") as arrays:
        return {name: torch.from_numpy(np.asarray(arrays[name])) for name in arrays}


def bits(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean bits of each picture: logits (B, ..., V), targets (B, ...)."""
    nats = cross_entropy(logits.flatten(0, -2), targets.long().flatten(), reduction="none")
    return nats.double().view(len(logits), -1).mean(dim=1) / math.log(2)


def worst(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max())


@pytest.fixture(scope="module")
def core(weights: Path) -> ColTranCore:
    core = load_stage(weights / "core.safetensors")
    assert isinstance(core, ColTranCore)
    return core


@pytest.fixture(scope="module")
def arrays(golden: Path) -> Arrays:
    arrays = read(golden, "core")
    return arrays | {
        "gray": arrays["gray64"][..., 0].long(),
        "bins": arrays["coarse_bins"].long(),
    }


def test_symbols(arrays: Arrays) -> None:
    assert torch.equal(gray_from_rgb(arrays["rgb64"]), arrays["gray"])
    assert torch.equal(bins_from_coarse(coarse_from_rgb(arrays["rgb64"])), arrays["bins"])


@pytest.mark.slow
def test_teacher_forced(core: ColTranCore, arrays: Arrays) -> None:
    logits = core(arrays["bins"], arrays["gray"])
    assert worst(logits[:, arrays["rows"]], arrays["logits_rows"]) <= 2e-4
    log_prob = logits.log_softmax(-1).gather(-1, arrays["bins"][..., None])[..., 0]
    assert worst(log_prob, arrays["target_log_prob"]) <= 2e-4
    assert float((log_prob - arrays["target_log_prob"]).abs().mean()) <= 2e-5
    likelihood = log_prob.double().sum(dim=(1, 2))
    # 4096 pixels, each within 2e-5 on average.
    assert worst(likelihood, arrays["image_log_likelihood_nats"]) <= 4096 * 2e-5
    assert worst(bits(logits, arrays["bins"]).mean(), arrays["loss_bits"]) <= 2e-5


def test_parallel_head(core: ColTranCore, arrays: Arrays) -> None:
    logits = core.parallel_logits(arrays["gray"])
    assert worst(logits[:, arrays["rows"]], arrays["encoder_logits_rows"]) <= 1e-4
    assert worst(bits(logits, arrays["bins"]).mean(), arrays["encoder_loss_bits"]) <= 2e-5
    assert torch.equal(rgb_from_bins(logits.argmax(dim=-1)), arrays["parallel_rgb"].long())


@pytest.fixture(scope="module")
def sample(core: ColTranCore, arrays: Arrays) -> CoreSample:
    return sample_core(core, arrays["gray"], [0, 1], temperature=0)


@pytest.mark.slow
def test_argmax_sample(sample: CoreSample, arrays: Arrays) -> None:
    assert torch.equal(sample.bins_BHW, arrays["sample_argmax_bins"].long())
    rgb = rgb_from_bins(sample.bins_BHW)
    assert torch.equal(rgb, arrays["sample_argmax_rgb"].long())
    # The closest runner-up is 1.4e-4 nats away; the sampler must be well inside of that.
    assert worst(sample.log_prob_BHW, arrays["sample_argmax_prob"].log()) <= 5e-5


@pytest.mark.slow
def test_argmax_sample_is_what_one_forward_pass_a_pixel_would_draw(
    core: ColTranCore, sample: CoreSample, arrays: Arrays
) -> None:
    """By causality: where each bin is the most likely one given the bins before it, drawing
    pixel by pixel cannot draw another. So 8192 forward passes need not be made."""
    logits = core(sample.bins_BHW, arrays["gray"])
    assert torch.equal(logits.argmax(dim=-1), sample.bins_BHW)
    forced = logits.log_softmax(-1).gather(-1, sample.bins_BHW[..., None])[..., 0]
    assert worst(sample.log_prob_BHW, forced) <= 5e-5


def test_raw_variables_are_others(
    core: ColTranCore, arrays: Arrays, golden: Path, tmp_path: Path
) -> None:
    source, out = golden / "core", tmp_path / "raw.safetensors"
    arguments = ["--stage", "core", "--raw", "--config", str(source / "config.json")]
    arguments += [str(source / "tf_checkpoint" / "model-1"), str(out)]
    result = run_command("convert", *arguments)
    assert result.exit_code == 0, result.output
    raw = load_stage(out)
    assert isinstance(raw, ColTranCore)
    assert (
        worst(raw(arrays["bins"], arrays["gray"])[:, arrays["rows"]], arrays["logits_rows"]) > 1e-2
    )
    assert raw.state_dict().keys() == core.state_dict().keys()


def test_color_upsampler(weights: Path, golden: Path) -> None:
    color, arrays = load_stage(weights / "color.safetensors"), read(golden, "color")
    assert isinstance(color, ColorUpsampler)
    logits = color(arrays["coarse_rgb_3bit"], arrays["gray64"][..., 0])
    assert worst(logits[:, arrays["rows"]], arrays["logits_rows"]) <= 1e-4
    assert torch.equal(logits.argmax(dim=-1), arrays["argmax_rgb"].long())
    assert worst(bits(logits, arrays["rgb64"]).mean(), arrays["loss_bits"]) <= 2e-5


@pytest.mark.slow
def test_spatial_upsampler(weights: Path, golden: Path) -> None:
    spatial, arrays = load_stage(weights / "spatial.safetensors"), read(golden, "spatial")
    assert isinstance(spatial, SpatialUpsampler)
    step = int(arrays["logits_col_step"])
    for photo in range(2):  # one at a time: a picture's logits are 200 MB
        one = slice(photo, photo + 1)
        logits = spatial(arrays["low_res_up"][one], arrays["gray256"][one, ..., 0])
        expected = arrays["logits_rows"][one]
        assert worst(logits[:, arrays["rows"]][:, :, ::step], expected) <= 1e-4
        assert torch.equal(logits.argmax(dim=-1), arrays["argmax_rgb"][one].long())
        assert worst(bits(logits, arrays["rgb256"][one]), arrays["loss_bits"][one]) <= 2e-5
