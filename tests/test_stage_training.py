"""One worker's part of training: continued to the bit, the best kept, curves written."""

import json
from collections.abc import Callable, Mapping
from functools import cache

import pytest
import safetensors.torch
import torch

from model.training.losses import LossInputs, stage_losses
from model.training.photographs import Photographs
from model.training.trainer import TrainingConfig
from model.weights import Stage, load_stage
from pipeline.errors import UsageError
from pipeline.storage.base import Storage
from pipeline.storage.local import LocalStorage
from pipeline.storage.memory import MemoryStorage
from pipeline.training import worker as training
from pipeline.training.progress import Progress
from pipeline.training.worker import StageSettings, StageTraining, read_history
from support.made_photographs import made_photograph
from support.tiny_models import tiny_color, tiny_core, tiny_spatial

RGB = torch.stack([torch.from_numpy(made_photograph(number, 16)) for number in range(6)])
HELD_OUT = torch.stack([torch.from_numpy(made_photograph(number, 8)) for number in range(6, 9)])
STAGES: dict[str, Stage] = {
    "core": tiny_core(8),
    "color": tiny_color(8),
    "spatial": tiny_spatial(8),
}


def settings(**changes: object) -> StageSettings:
    chosen: dict[str, object] = {"steps": 12, "batch_size": 2, "learning_rate": 3e-3}
    own: dict[str, object] = {"low_resolution": 4, "validate_every": 5}
    for name, value in changes.items():
        (own if name in StageSettings.__dataclass_fields__ else chosen)[name] = value
    return StageSettings(TrainingConfig(**chosen), **own)  # type: ignore[arg-type]


def trained(
    destination: Storage,
    stage: str = "core",
    tell: Callable[[Progress], None] = lambda progress: None,
    held_out: torch.Tensor | None = HELD_OUT,
    **changes: object,
) -> StageTraining:
    photographs = Photographs(RGB, torch.ones(len(RGB)).double())
    run = StageTraining(STAGES[stage], settings(**changes), photographs, held_out, destination)
    run.run(tell)
    return run


@cache
def _files_of_undisturbed(stage: str) -> Mapping[str, bytes]:
    storage = MemoryStorage()
    trained(storage, stage)
    return storage.objects


def undisturbed(stage: str = "core") -> MemoryStorage:
    """What a whole run leaves, in a place that is the caller's."""
    storage = MemoryStorage()
    storage.objects.update(_files_of_undisturbed(stage))
    return storage


class Killed(Exception):
    pass


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "at"), [("core", 4), ("core", 7), ("color", 6), ("spatial", 6)])
def test_a_killed_run_ends_with_the_weights_of_an_undisturbed_one(
    stage: str, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "TELL_SECONDS", 0)
    calm, disturbed = undisturbed(stage), MemoryStorage()

    def kill(progress: Progress) -> None:
        if progress.step == at:
            raise Killed

    with pytest.raises(Killed):
        trained(disturbed, stage, kill, checkpoint_seconds=0)
    told: list[Progress] = []
    trained(disturbed, stage, told.append)
    assert [progress.step for progress in told] == list(range(at + 1, 13))
    name = f"{stage}.safetensors"
    assert calm.read(name) == disturbed.read(name)
    rows = [read_history(each, stage) for each in (calm, disturbed)]
    timeless = [[{**row, "time": 0} for row in each] for each in rows]
    assert timeless[0] == timeless[1] and [row["step"] for row in rows[0]] == [5, 10, 12]
    assert told[-1].validation == rows[0][-1]["validation"] and told[-1].seconds_left == 0


def test_the_same_command_after_the_last_step_does_nothing() -> None:
    storage = undisturbed()
    before = dict(storage.objects)
    told: list[Progress] = []
    trained(storage, tell=told.append)
    assert not told and storage.objects == before


@pytest.mark.slow
def test_the_best_average_is_kept(tmp_path: object) -> None:
    storage = LocalStorage(str(tmp_path))
    # A rate that first helps and then destroys.
    trained(storage, steps=40, learning_rate=0.05, average_decay=0.5, validate_every=2)
    rows = read_history(storage, "core")
    loss = [0.99 * row["validation"]["core"] + 0.01 * row["validation"]["parallel"] for row in rows]
    kept = [index for index, row in enumerate(rows) if row["kept"]]
    assert kept == [i for i in range(len(loss)) if loss[i] < min([99.0, *loss[:i]])]
    assert len(kept) < len(rows)
    model = load_stage(f"{tmp_path}/core.safetensors")
    with torch.no_grad():
        bits = stage_losses(model, HELD_OUT)
    assert float(bits["core"]) == pytest.approx(rows[kept[-1]]["validation"]["core"], rel=1e-5)


def test_upsamplers_are_validated_on_all_channels() -> None:
    run = trained(MemoryStorage(), "color", steps=1)
    with torch.no_grad():
        channels = (torch.full((3,), channel) for channel in range(3))
        every = [
            stage_losses(run.trainer.average, HELD_OUT, LossInputs(channel_B=each))["color"]
            for each in channels
        ]
    assert run.validate(HELD_OUT)["color"] == pytest.approx(float(sum(every)) / 3, rel=1e-5)


def test_the_encoder_alone_has_no_autoregressive_bits() -> None:
    storage = MemoryStorage()
    trained(storage, autoregressive_weight=0.0, parallel_weight=1.0)
    assert all(set(row["validation"]) == {"parallel"} for row in read_history(storage, "core"))


def test_without_validation_the_last_average_is_kept() -> None:
    storage = MemoryStorage()
    run = trained(storage, held_out=None)
    assert all(row["kept"] and not row["validation"] for row in read_history(storage, "core"))
    written = safetensors.torch.load(storage.read("core.safetensors"))
    for name, value in run.trainer.average.state_dict().items():
        assert torch.equal(written[name], value)


def test_half_halves_the_file() -> None:
    storage = MemoryStorage()
    trained(storage, half=True)
    written = safetensors.torch.load(storage.read("core.safetensors"))
    assert {value.dtype for value in written.values()} == {torch.bfloat16}


def test_divergence_is_told_with_its_step() -> None:
    with pytest.raises(UsageError, match=r"diverged at step \d+ \(.*; a lower --learning-rate"):
        trained(MemoryStorage(), learning_rate=1e6, steps=100, clip_norm=1e9)


def test_a_damaged_or_foreign_checkpoint_is_refused() -> None:
    storage = MemoryStorage()
    storage.write("core.checkpoint", b"PK nothing")
    with pytest.raises(UsageError, match=r"memory://memory/core.checkpoint cannot be continued"):
        trained(storage)
    storage.write("core.checkpoint", undisturbed("color").read("color.checkpoint"))
    with pytest.raises(UsageError, match="cannot be continued"):
        trained(storage)


def test_curve_and_event_files_hold_every_validation() -> None:
    from tensorboard.compat.proto.event_pb2 import Event

    storage = undisturbed()
    assert storage.read("core.png").startswith(b"\x89PNG")
    rows = json.loads(storage.read("core.history.json"))
    files = sorted(path for path in storage.objects if path.startswith("tensorboard/core/"))
    assert len(files) == len(rows) == 3
    for path, row in zip(files, rows, strict=True):
        data = storage.read(path)
        length = int.from_bytes(data[:8], "little")  # record: length, CRC, data, CRC
        event = Event.FromString(data[12 + length + 4 + 12 : -4])
        found = {value.tag: value.simple_value for value in event.summary.value}
        assert event.step == row["step"]
        assert found["core/validation"] == pytest.approx(row["validation"]["core"])
        assert set(found) == {
            f"{n}/{k}" for n in ("core", "parallel") for k in ("train", "validation")
        }


def test_the_given_model_stays_as_it_is() -> None:
    before = {name: value.clone() for name, value in STAGES["core"].state_dict().items()}
    trained(MemoryStorage())
    for name, value in STAGES["core"].state_dict().items():
        assert torch.equal(value, before[name])
