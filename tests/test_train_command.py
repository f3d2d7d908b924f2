"""autochrome train: continued to the byte, and what it refuses at the door."""

import sys
from pathlib import Path

import pytest
import torch

from jobs.train import build_request, train
from jobs.training_options import DATA, SIZES, TRAINING
from jobs.training_progress import ProgressLine, describe_end, describe_progress
from model.core import CoreConfig
from model.pic.network import PicConfig
from model.pic.pixelcnn import PixelCnnConfig
from model.training.photographs import Photographs
from model.training.trainer import TrainingConfig
from model.weights import load_stage
from pipeline.storage.base import Storage
from pipeline.storage.local import LocalStorage
from pipeline.storage.memory import MemoryStorage
from pipeline.training import worker
from pipeline.training.photographs import Wanted, read_photographs
from pipeline.training.progress import Progress
from pipeline.training.request import Data, prepare_start
from pipeline.training.worker import StageSettings, StageTraining
from support.commands import refusal, run_command
from support.made_photographs import write_photographs
from support.ports import free_port
from support.tiny_models import write_tiny_weights

# Warnings of Ray at itself.
pytestmark = pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\.")
SMALL = "--hidden 16 --ff 24 --heads 2 --enc 1 --outer 1 --inner 1 --resolution 8".split()
OPTIONS = [
    *SMALL,
    *"--steps 60 --batch-size 2 --held-out 0.3 --validate-every 30 --side 12".split(),
    *"--checkpoint-minutes 0 --threads 1 --device cpu".split(),
]


def arguments(source: Path, out: Path, *options: str) -> list[str]:
    return ["train", "core", str(source), str(out), *options]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_photographs(tmp_path_factory.mktemp("train") / "photos", 12)
    (folder / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return folder


class Stopped(Exception):
    pass


def train_alone(photos: Path, out: Storage, stop_at: int | None = None) -> None:
    """What the command does, by a plain loop without Ray."""
    start, _ = prepare_start("core", {**_sizes(), "resolution": 8}, None, 0)
    sets = [
        read_photographs(str(photos), Wanted(side, split, held_out=0.3))  # type: ignore[arg-type]
        for side, split in ((12, "train"), (8, "validation"))
    ]
    rgb, held_out = (torch.from_numpy(each.rgb) for each in sets)
    settings = StageSettings(TrainingConfig(60, 2), validate_every=30, checkpoint_seconds=0)
    photographs = Photographs(rgb, torch.full((len(rgb),), 1 / len(rgb), dtype=torch.float64))

    def stop(progress: Progress) -> None:
        if progress.step == stop_at:
            raise Stopped

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        StageTraining(start, settings, photographs, held_out, out).run(stop)
    finally:
        torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def continued(
    photos: Path, tmp_path_factory: pytest.TempPathFactory, local_ray: None
) -> tuple[Path, str, str]:
    """OUT of a command that went on from a checkpoint, with what it said."""
    out = tmp_path_factory.mktemp("out") / "weights"
    with pytest.raises(Stopped), pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "TELL_SECONDS", 0)
        train_alone(photos, LocalStorage(str(out)), stop_at=20)
    assert [path.name for path in out.iterdir()] == ["core.checkpoint"]
    result = run_command(*arguments(photos, out, *OPTIONS))
    assert result.exit_code == 0, result.output
    return out, result.stdout, result.stderr


def test_a_command_that_goes_on_ends_with_the_bytes_of_an_undisturbed_loop(
    photos: Path, continued: tuple[Path, str, str]
) -> None:
    """After kill -9: tests/test_train_all.py."""
    undisturbed = MemoryStorage()
    train_alone(photos, undisturbed)
    out, _, _ = continued
    assert (out / "core.safetensors").read_bytes() == undisturbed.read("core.safetensors")
    assert isinstance(load_stage(out / "core.safetensors").config, CoreConfig)


def _sizes() -> dict[str, object]:
    return {
        name.removeprefix("--"): int(value)
        for name, value in zip(SMALL[::2], SMALL[1::2], strict=True)
    }


def test_it_says_what_people_want_to_know(continued: tuple[Path, str, str]) -> None:
    out, said, told = continued
    first, weights, curve = said.splitlines()
    assert first.endswith("held out for validation, 1 skipped (1 corrupt)")
    assert weights.startswith(f"weights  {out}/core.safetensors  (step ")
    assert weights.endswith("bits per pixel)") and f"{out}/core.png" in curve
    assert "(held out core " in told.splitlines()[-1] and "images/s" in told
    assert all(line.startswith("step ") for line in told.splitlines())


def test_other_settings_for_the_same_place_are_refused(
    photos: Path, continued: tuple[Path, str, str]
) -> None:
    result = run_command(*arguments(photos, continued[0], *OPTIONS, "--ff", "32", "--seed", "7"))
    assert result.exit_code == 5
    assert result.output.splitlines()[1:] == [
        "model.ff: was 24, now 32",
        "training.seed: was 0, now 7",
    ]


@pytest.mark.parametrize(
    ("stage", "options", "words"),
    [
        ("core", "--heads 3", "3"),
        ("core", "--steps 0", "steps must be above 0, not 0"),
        ("color", "--encoder-only", "--encoder-only is for core and pic"),
        ("color", "--inner 2", "unknown setting of color: 'inner'"),
        ("spatial", "--resolution 100", "--low-resolution 64 does not divide the resolution 100"),
        ("core", "--workers 3-2", "'3-2' is neither a number of workers nor a range like 2-8"),
        ("core", "--workers 0", "'0' is neither"),
        ("core", "--batch-size 2 --workers 4", "--batch-size 2 cannot be shared among 4 workers"),
        ("core", "--init nowhere", "nowhere"),
        ("nothing", "", "'nothing' is not one of 'core', 'color', 'spatial'"),
        ("pixelcnn", "--encoder-only", "pixelcnn has no decoder"),
        ("pic", "--factor 3", "unknown setting of pic: 'ff', 'heads'"),
        ("core", "--encoder-attention cross", "'cross' is not one of"),
        ("color", "--unconditional", "unknown setting of color: 'unconditional'"),
    ],
)
def test_impossible_wishes_are_refused(
    photos: Path, tmp_path: Path, stage: str, options: str, words: str
) -> None:
    small = SMALL[:6] if stage != "core" else SMALL
    given = [] if "resolution" in options else ["--resolution", "8"]
    out = str(tmp_path / "out")
    result = run_command("train", stage, photos, out, *small, *given, *options.split())
    assert result.exit_code == 2 and not isinstance(result.exception, TypeError)
    assert words in result.output.strip().splitlines()[-1]


def test_init_tells_sizes_and_must_fit(photos: Path, tmp_path: Path) -> None:
    weights = str(write_tiny_weights(tmp_path / "weights"))
    words = ["train", "core", str(photos), str(tmp_path / "out"), "--init", weights]
    assert "has hidden 16, so it cannot become 32" in refusal(*words, "--hidden", "32")


def test_an_empty_set_is_refused_before_ray_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{free_port()}")  # where none answers
    (tmp_path / "empty").mkdir()
    line = refusal(*arguments(tmp_path / "empty", tmp_path / "out", *OPTIONS))
    assert line.startswith("no color photograph of the split 'train' among 0")
    assert not (tmp_path / "out").exists()


def test_every_setting_has_its_option_with_the_same_default() -> None:
    expected = {
        name: field.default
        for kind in (TrainingConfig, Data)
        for name, field in kind.__dataclass_fields__.items()
        if name not in ("steps", "batch_size", "side")
    }
    found = {name.replace("-", "_"): default for name, _, default, _ in TRAINING + DATA}
    assert {name: found[name] for name in expected} == expected
    assert found.keys() - expected.keys() == {"steps", "batch_size", "side"}
    core = [name for name in CoreConfig.__dataclass_fields__ if not name.startswith("cond_")]
    sizes = {name.replace("-", "_") for name, *_ in SIZES}
    assert sizes == set(core) - {"skip"} | {"factor", "levels"}
    others = [*PicConfig.__dataclass_fields__, *PixelCnnConfig.__dataclass_fields__]
    assert set(others) - sizes == {"mixtures", "channels", "form", "embedding"}, "--preset"


def test_progress_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    bits, held_out = {"parallel": 3.2104, "core": 2.1}, {"core": 2.2, "parallel": 3.3}
    at = Progress(1200, 20_000, bits, held_out, 34.21, 700.0)
    assert describe_progress("core", at) == (
        "step 1,200 of 20,000, core 2.100 parallel 3.210 bits per pixel"
        " (held out core 2.200 parallel 3.300), 34.2 images/s, 12 min left"
    )
    tell = ProgressLine("spatial", sys.stderr)
    tell(Progress(9, 10, {"spatial": 4.5}, {}, 1.0, 1.0))
    tell(Progress(4, 10, {"spatial": 4.6}, {}, 1.0, 6.0))
    tell(Progress(10, 10, {"spatial": 4.4}, {}, 1.0, 0.0))
    assert capsys.readouterr().err.splitlines() == [
        "step 9 of 10, spatial 4.500 bits per channel value, 1.0 images/s, 1 s left",
        "workers were lost; going on from an earlier checkpoint",
        "step 10 of 10, spatial 4.400 bits per channel value, 1.0 images/s",
    ]
    row = {"step": 10, "train": {"color": 5.0}, "validation": {}}
    assert "(step 10, train: color 5.000 bits per channel value)" in describe_end(
        "color", row, "s3://b"
    )


def test_every_command_of_the_documents_is_understood(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (repository / "docs" / "training.md").read_text(encoding="utf-8")
    commands = [line.split() for line in text.splitlines() if line.startswith("autochrome train ")]
    monkeypatch.chdir(tmp_path)
    Path("model/weights").mkdir(parents=True)
    assert len(commands) == 3
    for words in commands:
        with train.make_context("train", words[2:]) as context:
            request = build_request(context.params["stage"], context.params)
            assert request.settings.training.steps <= 5000
