"""The comparison of small systems (benchmarks/systems.py): trained alike, and scored alike."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import systems
import torch
from click.testing import CliRunner
from torch import Tensor

import small_systems
from model.color import gray_from_rgb
from model.core import ColTranCore, CoreConfig
from model.pic.network import Pic, PicConfig
from model.pic.pixelcnn import PixelCnnConfig
from model.training.photographs import Photographs
from model.training.trainer import trunk_of
from model.weights import StageConfig
from pipeline.training.request import pretrained_trunk
from small_systems import RESOLUTION, SEEN, SIDE, SYSTEMS, as_seen, new_stage, train
from support.made_photographs import made_photograph, made_png, write_parquet
from support.tiny_models import perturb
from system_colors import draw, in_symbols, put_on_luma, score_colors, variance_of_mean

TRUNKED = {"PIC": "PIC + trunk", "core": "core + trunk", "core + table": "core + table + trunk"}


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same systems with the fewest features, and tables of a few photographs."""
    monkeypatch.setattr("model.training.photographs.HISTOGRAM_PHOTOS", 256)
    for name, config in list(SYSTEMS.items()):
        monkeypatch.setitem(SYSTEMS, name, smaller(config))


def smaller(config: StageConfig) -> StageConfig:
    if isinstance(config, CoreConfig):
        return replace(config, hidden=8, ff=8, heads=2, enc=1)
    if isinstance(config, PicConfig):
        return replace(config, hidden=8, enc=1, inner=1, mixtures=2)
    assert isinstance(config, PixelCnnConfig)
    return replace(config, hidden=8, inner=1)


def truth(count: int, side: int = SEEN) -> Tensor:
    return torch.from_numpy(np.stack([made_photograph(number, side) for number in range(count)]))


def some_photographs() -> Photographs:
    return Photographs(truth(4, SIDE), torch.ones(4))


def test_a_trunk_is_all_that_the_systems_with_one_have_more() -> None:
    for plain, trunked in TRUNKED.items():
        assert asdict(SYSTEMS[trunked]) | {"trunk": "none"} == asdict(SYSTEMS[plain])
        assert trunk_of(new_stage(plain)) is None


@pytest.mark.parametrize("name", ["PIC + trunk", "core + table + trunk"])
def test_the_trunk_stays_as_its_package_has_it(name: str) -> None:
    before = new_stage(name)
    trained, facts = train(name, some_photographs(), images=4, batch=2)
    trunk = trunk_of(trained)
    assert trunk is not None
    given = pretrained_trunk("efficientnet_lite0").state_dict()
    assert all(torch.equal(value, given[key]) for key, value in trunk.state_dict().items())
    head = "parallel_head.weight"
    assert not torch.equal(trained.state_dict()[head], before.state_dict()[head])
    assert facts["parallel"] > 0


def test_all_systems_learn_from_the_same_crops(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, list[Tensor]] = {}
    for name in SYSTEMS:
        crops = seen.setdefault(name, [])

        def keep(stage: torch.nn.Module, rgb: Tensor, crops: list[Tensor] = crops) -> Tensor:
            crops.append(rgb)
            return as_seen(stage, rgb)

        monkeypatch.setattr(small_systems, "as_seen", keep)
        train(name, some_photographs(), images=4, batch=2)
    first, *others = (torch.stack(crops) for crops in seen.values())
    assert first.shape == (2, 2, SEEN, SEEN, 3)
    assert not torch.equal(*first)
    assert all(torch.equal(first, other) for other in others)


def test_a_mean_of_few_draws_is_corrected_for_their_noise() -> None:
    noise = np.random.default_rng(0)
    mean = noise.normal(size=(500, 8, 8, 2))
    draws = mean + noise.normal(size=(4, *mean.shape))
    of_few, of_all = variance_of_mean(mean, draws)
    assert of_few == pytest.approx(0.75, abs=0.01)  # a quarter of the variance, which is 1
    assert of_all == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("name", ["PIC", "PIC + trunk", "core + table + trunk"])
def test_pictures_are_drawn_by_their_seeds(name: str) -> None:
    stage = perturb(new_stage(name), 0.1)
    one, other = (draw(stage, truth(2), seeds, 1.0) for seeds in ([1, 2], [2, 1]))
    assert one.rgb.shape == (2, RESOLUTION, RESOLUTION, 3)
    assert one.chroma.shape == (2, RESOLUTION, RESOLUTION, 2)
    assert not np.array_equal(one.rgb, other.rgb)
    assert np.array_equal(one.rgb, draw(stage, truth(2), [1, 2], 1.0).rgb)


def test_a_system_is_shown_the_gray_alone() -> None:
    stage = perturb(new_stage("core + trunk"), 0.1)
    color = torch.full((1, SEEN, SEEN, 3), 100, dtype=torch.uint8)
    color[..., 0], color[..., 1] = 200, 50
    gray = gray_from_rgb(color).to(torch.uint8)[..., None].expand(-1, -1, -1, 3) + 1
    assert torch.equal(gray_from_rgb(gray), gray_from_rgb(color))  # which rounds down
    assert np.array_equal(draw(stage, color, [0], 1.0).rgb, draw(stage, gray, [0], 1.0).rgb)


def test_color_is_put_on_the_luma_of_the_truth() -> None:
    true = truth(1, RESOLUTION).numpy()
    put = put_on_luma(true, np.full_like(true, 77))
    luma = np.rint(true @ np.array([0.299, 0.587, 0.114]))
    assert np.array_equal(put, luma[..., None].repeat(3, -1))
    # Half a code of the rounded luma moves all channels; green bears what two rounded ones leave.
    most = (0.5 + 0.299 / 2 + 0.114 / 2) / 0.587 + 0.5 + 0.5
    assert np.abs(put_on_luma(true, true).astype(int) - true).max() <= most


@pytest.mark.parametrize(("name", "kind"), [("PIC", Pic), ("core + table", ColTranCore)])
def test_scores_of_a_system(name: str, kind: type) -> None:
    stage, rgb = perturb(new_stage(name), 0.1), truth(3)
    assert isinstance(stage, ColTranCore | Pic)
    assert isinstance(stage, kind)
    scores = score_colors(stage, rgb, draws=2, temperature=1.0)
    assert scores["symbols_ciede2000"] < scores["gray_ciede2000"]
    assert scores["best_ciede2000"] < scores["drawn_ciede2000"]
    assert scores["drawn_r2"] > scores["drawn_r2_of_few"]
    assert in_symbols(stage, rgb).rgb.shape == (3, RESOLUTION, RESOLUTION, 3)


@pytest.mark.slow
def test_the_command_trains_what_is_missing_and_scores_all(tmp_path: Path) -> None:
    images = [made_png(number, SEEN) for number in range(8)]
    columns = {"split": ["train", "val"] * 4, "set": ["a", "b"] * 4}
    source = write_parquet(tmp_path / "photographs.parquet", images, **columns)
    arguments = [str(source), str(tmp_path / "out"), "--split-column", "split", "--images", "4"]
    arguments += ["--batch", "2", "--draws", "2", "--system", "core + trunk"]
    arguments += ["--system", "PixelCNN++"]
    first = CliRunner().invoke(systems.main, [*arguments, "--train-only"])
    assert first.exit_code == 0, first.output
    weights = tmp_path / "out" / "core + trunk.safetensors"
    written = weights.stat().st_mtime_ns
    second = CliRunner().invoke(systems.main, arguments)
    assert second.exit_code == 0, second.output
    assert weights.stat().st_mtime_ns == written
    facts = json.loads(second.output.splitlines()[-1])
    assert facts["held_out"] == 4
    assert facts["systems"]["core + trunk"]["bits_per_pixel"] > 0
    assert facts["systems"]["PixelCNN++"]["cached_against_slow"] > 0
