"""PIC and PixelCNN++ as they were published and trained: presets, sizes, weight norm, the start."""

from pathlib import Path

import pytest
import torch
from test_pic import grays
from test_pixelcnn import pictures, tiny_pixelcnn
from test_training import config, photographs
from torch import nn

from jobs.train import build_job, train
from model.pic.embedding import GatedEmbedding
from model.pic.network import Pic, PicConfig
from model.pic.pixelcnn import PixelCnn, PixelCnnConfig
from model.pic.sampling import sample_pixels, sample_pixels_slow
from model.training.trainer import Trainer, TrainingConfig
from model.training.weight_norm import add_weight_norm, fold_weight_norm, start_from_data
from model.weights import PUBLISHED, build_config, load_stage, outline_stage, save_stage
from pipeline.errors import UsageError
from pipeline.training.request import TrainingJob
from support.commands import refusal
from support.tiny_models import perturb, tiny_core

TINY: dict[str, object] = {"hidden": 8, "embedding": 2, "inner": 2, "mixtures": 2}


def tiny_published(resolution: int = 16, **options: object) -> Pic:
    torch.manual_seed(3)
    sizes = TINY | {"resolution": resolution, "form": "published"} | options
    return perturb(Pic(PicConfig(**sizes)), 0.1)  # type: ignore[arg-type]


def convolution(rows: int, columns: int, inputs: int, outputs: int) -> int:
    return rows * columns * inputs * outputs + outputs


def gated(features: int, beside: int = 0) -> int:
    """Parameters of a published gated block, without the lengths of weight norm."""
    parts = convolution(3, 3, 2 * features, features) + convolution(
        3, 3, 2 * features, 2 * features
    )
    return parts + (convolution(1, 1, 2 * beside, features) if beside else 0)


def test_the_preset_has_the_parameters_of_the_published_code() -> None:
    settings = build_config("pic", PUBLISHED["pic"])
    assert isinstance(settings, PicConfig)
    pic = outline_stage(settings)
    assert isinstance(pic, Pic)
    widths = [2, 64, 128, 256, 512, 512, 160]
    embedding = sum(convolution(3, 3, *pair) for pair in zip(widths, widths[1:], strict=False))
    embedding += 2 * (gated(64) + gated(128) + gated(256)) + 6 * gated(512)
    starts = sum(convolution(rows, columns, 4, 160) for rows, columns in ((2, 3), (1, 3), (2, 1)))
    blocks = 4 * (gated(160, beside=160) + gated(160, beside=320))
    head = convolution(1, 1, 160, 6 * 10)  # published: 8 * 10, as means depend on lightness, too
    found = [
        sum(each.numel() for each in part.parameters()) for part in (pic.encoder, pic.pixelcnn)
    ]
    assert found == [embedding, starts + blocks + head] == [98_883_936, 11_695_900]


def test_the_preset_of_pixelcnn_is_the_published_network() -> None:
    settings = build_config("pixelcnn", PUBLISHED["pixelcnn"])
    assert isinstance(settings, PixelCnnConfig)
    model = outline_stage(settings)
    assert isinstance(model, PixelCnn)
    assert sum(each.numel() for each in model.parameters()) == 53_618_660
    assert len(model.steps) == 3 * 5 + 2 + 5 + 6 + 6 + 2 and settings.dropout == 0.5


@pytest.mark.parametrize("factor", [2, 4])
@torch.no_grad()
def test_its_cached_sampler_is_the_slow_one(factor: int) -> None:
    pic = tiny_published(4 * factor, factor=factor)
    assert isinstance(pic.encoder, GatedEmbedding)
    gray = torch.from_numpy(grays(2, 4 * factor).astype("int64"))
    embedding = pic.encode(gray)
    assert embedding.shape == (2, 4, 4, 8)
    fast, slow = (
        each(pic.pixelcnn, [1, 2], embedding) for each in (sample_pixels, sample_pixels_slow)
    )
    assert torch.equal(fast.values_BHWC, slow.values_BHWC)
    torch.testing.assert_close(
        fast.log_prob_BHW, pic(fast.values_BHWC, gray).double(), rtol=1e-4, atol=1e-3
    )


@torch.no_grad()
def test_chroma_sees_earlier_chroma_and_gray() -> None:
    pic, gray = tiny_published(16), torch.from_numpy(grays(1).astype("int64"))
    chroma = torch.full((1, 4, 4, 2), 128)
    changed, other = chroma.clone(), gray.clone()
    changed[0, 1, 2, 0] = 20
    other[0, 8, 8] = 255 - other[0, 8, 8]
    difference = (pic(changed, gray) - pic(chroma, gray))[0].flatten()
    assert bool((difference[:6] == 0).all()) and bool((difference[7:] != 0).any())
    assert bool((pic(chroma, other) != pic(chroma, gray)).all())


def test_weights_come_back_and_a_trunk_takes_the_embeddings_place(tmp_path: Path) -> None:
    pic = tiny_published(16)
    save_stage(pic, tmp_path / "pic.safetensors")
    loaded = load_stage(tmp_path / "pic.safetensors")
    assert loaded.config == pic.config
    looking = PicConfig(form="published", trunk="efficientnet_lite0", resolution=64)
    seeing = outline_stage(looking)
    assert isinstance(seeing, Pic)
    assert not isinstance(seeing.encoder, GatedEmbedding) and seeing.encoder.photo is not None
    assert seeing.pixelcnn.streams(0)[0].joined


def test_weight_norm_changes_nothing_until_it_learns() -> None:
    model, values = tiny_pixelcnn(4, levels=2, inner=1), pictures(2, 4, 3)
    plain = fold_weight_norm(model)
    add_weight_norm(model)
    torch.testing.assert_close(model(values), plain(values))
    assert set(fold_weight_norm(model).state_dict()) == set(plain.state_dict())
    assert any("original1" in name for name, _ in model.named_parameters())


@pytest.mark.parametrize("normal", [True, False])
@torch.no_grad()
def test_the_start_depends_on_data(normal: bool) -> None:
    model, values = tiny_pixelcnn(8, levels=2, inner=1), pictures(8, 8, 3)
    if normal:
        add_weight_norm(model)
    start_from_data(model, lambda: model(values))
    seen = {}

    def look(name: str) -> None:
        module = model.get_submodule(name)
        module.register_forward_hook(lambda _, inputs, output: seen.update({name: output}))

    names = ("left", "layers.1.down", "layers.3.right.second", "layers.4.right", "head")
    assert isinstance(model.layers[4], nn.Module)
    for name in names:
        look(name)
    model(values)
    for name in names:
        rows = seen[name].flatten(0, -2)
        wanted = 0.1 if name.endswith("second") else 1.0
        assert rows.mean(dim=0).abs().max() < 1e-3, name
        assert rows.std(dim=0, correction=0).sub(wanted).abs().max() < 1e-2, name


def test_training_with_weight_norm_leaves_plain_weights(tmp_path: Path) -> None:
    model = PixelCnn(PixelCnnConfig(hidden=8, inner=1, levels=2, mixtures=2, resolution=8))
    plain = set(model.state_dict())
    trainer = Trainer(model, config(steps=2, optimizer="adamw", weight_norm=True, data_init=True))
    losses = [each["pixelcnn"] for each in trainer.run(photographs(side=8))]
    assert len(losses) == 2 and all(0 < each < 20 for each in losses)
    assert set(trainer.weights().state_dict()) == plain
    save_stage(trainer.weights(), tmp_path / "pixelcnn.safetensors")  # type: ignore[arg-type]
    loaded = load_stage(tmp_path / "pixelcnn.safetensors")
    torch.testing.assert_close(loaded(pictures(1, 8, 3)), trainer.average.eval()(pictures(1, 8, 3)))


def test_impossible_wishes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="weight_norm leaves muon no matrices"):
        TrainingConfig(1, 1, optimizer="muon", weight_norm=True)
    with pytest.raises(ValueError, match="weight norm is of pic and pixelcnn, not of ColTranCore"):
        Trainer(tiny_core(), config(weight_norm=True))
    with pytest.raises(ValueError, match="form must be one of small, published, not 'large'"):
        PicConfig(form="large")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="factor must be at most 4 in the published form, not 8"):
        PicConfig(form="published", factor=8)
    words = ("train", "core", tmp_path, tmp_path / "out", "--data-init")
    assert refusal(*words) == "--data-init is for pic and pixelcnn, not for core"


def job_of(*words: str) -> TrainingJob:
    """What a training command asks for, without its work."""
    options = dict(train.make_context("train", list(words)).params)
    stage, source, out = (options.pop(name) for name in ("stage", "source", "out"))
    return build_job(stage, source, out, options)


def test_what_is_given_beside_a_preset_counts_first(tmp_path: Path) -> None:
    words = ["pixelcnn", str(tmp_path / "in"), str(tmp_path / "out"), "--preset", "published"]
    job = job_of(*words, "--hidden", "8", "--resolution", "8", "--inner", "1")
    assert job.start.config == PixelCnnConfig(
        hidden=8, inner=1, levels=3, mixtures=10, resolution=8, dropout=0.5
    )
    save_stage(job.start, tmp_path / "pixelcnn.safetensors")
    again = [*words[:3], "--init", str(tmp_path / "pixelcnn.safetensors")]
    assert job_of(*again).start.config == job.start.config
    with pytest.raises(UsageError, match="--data-init is for fresh weights, not for those of --in"):
        job_of(*again, "--data-init")
