"""PixelCNN++ with strides: golden outputs, causal, its cached sampler is the slow one."""

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from test_pixelcnn import SEEDS, pictures, tiny_pixelcnn

from model.pic.pixelcnn import PixelCnn, PixelCnnConfig
from model.pic.published import import_port, published_loss, published_parameters
from model.pic.sampling import sample_pixels, sample_pixels_slow
from model.pic.steps import steps_of
from model.weights import HEADER, load_stage, save_stage

GOLDEN = Path(__file__).parents[2] / "shared" / "golden" / "pixelcnn"
needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="no ../shared/golden/pixelcnn here")


@needs_golden
@torch.no_grad()
def test_the_golden_outputs() -> None:
    model = import_port(safetensors.torch.load_file(GOLDEN / "weights.safetensors"), 16)
    with np.load(GOLDEN / "io.npz") as outputs:
        rgb = torch.from_numpy(outputs["rgb"]).long()
        expected, losses = (torch.from_numpy(outputs[name]) for name in ("parameters", "loss_nats"))
    sizes = json.loads((GOLDEN / "config.json").read_text())
    assert model.config == PixelCnnConfig(
        hidden=sizes["filters"],
        inner=sizes["resnet_blocks"],
        levels=3,
        mixtures=sizes["mixture"],
        resolution=sizes["side"],
    )
    parameters = model(rgb)
    published = published_parameters(parameters, 3).permute(0, 3, 1, 2)
    torch.testing.assert_close(published, expected, rtol=0, atol=2e-5)
    torch.testing.assert_close(published_loss(parameters, rgb), losses, rtol=0, atol=1e-3)
    # Ours is exact; what remains is the published loss's rounding: here 2e-3 of 4,888 nats.
    exact = -model.log_likelihood(rgb).double().sum(dim=(1, 2))
    torch.testing.assert_close(exact, losses, rtol=1e-6, atol=0)


@needs_golden
@pytest.mark.slow
def test_the_golden_model_is_drawn_from_caches_as_it_is_slowly() -> None:
    model = import_port(safetensors.torch.load_file(GOLDEN / "weights.safetensors"), 16)
    fast, slow = (each(model, [5, 6]) for each in (sample_pixels, sample_pixels_slow))
    assert torch.equal(fast.values_BHWC, slow.values_BHWC)
    torch.testing.assert_close(fast.log_prob_BHW, slow.log_prob_BHW, rtol=0, atol=1e-4)


def test_the_way_back_takes_what_the_way_down_left() -> None:
    # Two levels of one block: 0 block, 1 halving, 2 block; 3 block, 4 doubling, 5 and 6 blocks.
    steps = steps_of(2, 1)
    assert [(each.source, each.level) for each in steps] == [
        *[(0, 0), (0, 1), (1, 1), (1, 1), (1, 0), (0, 0), (0, 0)]
    ]
    assert [each.short_cut for each in steps] == [None, None, None, 2, None, 1, 0]
    assert [each.clock for each in steps] == [0, 0, 1, 1, 0, 0, 0]
    published = [each.short_cut for each in steps_of(3, 5) if each.short_cut is not None]
    assert len(published) == 5 + 6 + 6 and sorted(published) == list(range(17))


@pytest.mark.parametrize(("row", "column"), [(0, 0), (3, 2), (4, 4), (5, 7), (7, 6)])
@torch.no_grad()
def test_a_pixel_sees_what_is_above_and_left_of_it_alone(row: int, column: int) -> None:
    model, values = tiny_pixelcnn(8, levels=3), pictures(1, 8, 3)
    changed = values.clone()
    changed[0, row, column] = 255 - changed[0, row, column]
    difference = (model(changed) - model(values)).abs().amax(dim=-1)[0].flatten()
    place = row * 8 + column
    assert bool((difference[: place + 1] == 0).all())
    assert bool((difference[place + 1 :] > 0).all()), "all that come after it must see it"


def test_every_parameter_learns() -> None:
    model = tiny_pixelcnn(8, levels=3, inner=1)
    model.losses(pictures(2, 8, 3))["pixelcnn"].backward()
    still = [name for name, each in model.named_parameters() if not each.grad.any()]  # type: ignore[union-attr]
    assert not still


def test_dropout_is_of_training_alone() -> None:
    model, values = tiny_pixelcnn(4, levels=2, dropout=0.5), pictures(1, 4, 3)
    assert torch.equal(model(values), model(values))
    model.train()
    assert not torch.equal(model(values), model(values))


@pytest.mark.parametrize(
    ("levels", "inner", "side", "channels", "temperature"),
    [(2, 1, 4, 3, 0.7), (3, 2, 8, 3, 1.0), (3, 1, 4, 1, 0), (2, 2, 6, 2, 1.0)],
)
def test_cached_equals_slow_value_by_value(
    levels: int, inner: int, side: int, channels: int, temperature: float
) -> None:
    model = tiny_pixelcnn(side, levels=levels, inner=inner, channels=channels)
    fast, slow = (
        each(model, SEEDS[:2], None, temperature) for each in (sample_pixels, sample_pixels_slow)
    )
    assert torch.equal(fast.values_BHWC, slow.values_BHWC)
    torch.testing.assert_close(fast.log_prob_BHW, slow.log_prob_BHW, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("levels", [1, 3])
def test_in_float64_the_order_of_sums_decides_nothing(levels: int) -> None:
    model = tiny_pixelcnn(4, levels=levels, inner=1).double()
    fast, slow = (each(model, list(range(8))) for each in (sample_pixels, sample_pixels_slow))
    assert torch.equal(fast.values_BHWC, slow.values_BHWC)
    torch.testing.assert_close(fast.log_prob_BHW, slow.log_prob_BHW, rtol=0, atol=1e-10)


def test_a_picture_does_not_depend_on_its_company() -> None:
    model = tiny_pixelcnn(4, levels=3, inner=1)
    together = sample_pixels(model, list(range(11)))
    for places in ([4], [10, 4], list(range(10, -1, -1))):
        apart = sample_pixels(model, places)
        assert torch.equal(apart.values_BHWC, together.values_BHWC[places])
        assert torch.equal(apart.log_prob_BHW, together.log_prob_BHW[places])


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="resolution 6 cannot be halved 2 times, as 3 levels need"):
        PixelCnnConfig(levels=3, resolution=6)
    with pytest.raises(ValueError, match="resolution 32 cannot be halved 99 times"):
        PixelCnnConfig(levels=100)
    with pytest.raises(ValueError, match="a context needs a network of one level, not 2"):
        PixelCnn(PixelCnnConfig(levels=2), 8)


def test_files_from_before_there_were_levels_still_load(tmp_path: Path) -> None:
    model, path = tiny_pixelcnn(5), tmp_path / "pixelcnn.safetensors"
    save_stage(model, path)
    with safetensors.safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()[HEADER])
    del header["levels"]
    metadata = {HEADER: json.dumps(header)}
    path.write_bytes(safetensors.torch.save(dict(model.state_dict()), metadata=metadata))
    assert "layers.3.right.second.weight" in model.state_dict(), "the old name of a block"
    loaded = load_stage(path)
    assert isinstance(loaded, PixelCnn) and loaded.config == model.config
    assert torch.equal(loaded(pictures(1, 5, 3)), model(pictures(1, 5, 3)))
