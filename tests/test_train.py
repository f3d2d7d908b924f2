"""Training on a real Ray: several workers, deaths of workers, errors that reach the user."""

import dataclasses
import os
import queue
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from model.core import ColTranCore
from model.training.photographs import Photographs
from model.training.trainer import TrainingConfig
from pipeline.errors import EngineError, UsageError
from pipeline.images.encoding import encode
from pipeline.storage.local import LocalStorage
from pipeline.storage.memory import MemoryStorage
from pipeline.training.photographs import Wanted, read_photographs
from pipeline.training.progress import Progress
from pipeline.training.ray_train import Resources, follow, train
from pipeline.training.request import Data, TrainingJob
from pipeline.training.stored import StoredSource
from pipeline.training.worker import StageSettings, StageTraining, read_history
from support.made_photographs import made_photograph, made_png, write_parquet, write_photographs
from support.tiny_models import tiny_core

# Warnings of Ray at itself.
pytestmark = pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\.")


@pytest.fixture(scope="module", autouse=True)
def ray(local_ray: None) -> None:
    """Workers that cannot import test files get what is of this one by value."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])


class Deadly(LocalStorage):
    """A folder whose writer dies by SIGKILL when it writes that checkpoint of each life."""

    def __init__(self, folder: str, checkpoint: int, lives: int) -> None:
        super().__init__(folder)
        self.checkpoint, self.lives, self.written = checkpoint, lives, 0

    def write(self, path: str, data: bytes) -> None:
        if path == "core.checkpoint":
            self.written += 1
            lost = list(Path(self.uri).glob("lost-*"))
            if self.written == self.checkpoint and len(lost) < self.lives:
                (Path(self.uri) / f"lost-{len(lost)}").touch()
                os.kill(os.getpid(), signal.SIGKILL)
        super().write(path, data)


def job(source: Path, destination: Any, **changes: Any) -> TrainingJob:
    chosen: dict[str, Any] = {"steps": 12, "batch_size": 6, "optimizer": "adamw"}
    training = TrainingConfig(**chosen | changes)
    settings = StageSettings(training, 4, validate_every=4, checkpoint_seconds=0)
    data = Data(side=12, held_out=0.3)
    return TrainingJob("core", double_core(), settings, data, str(source), destination, None)


def double_core() -> ColTranCore:
    """A core in float64. Some gradients are zero but for rounding (those of the keys' biases), and
    AdamW makes full steps of them in float32: then another processor, or a sum in another order,
    ends 2e-4 elsewhere after twelve steps. In float64 they are below its epsilon.
    """
    return tiny_core(8).double()


def run(job: TrainingJob, **resources: Any) -> list[Progress]:
    told: list[Progress] = []
    train(job, Resources(**{"device": "cpu"} | resources), lambda line: None, told.append)
    return told


def test_two_workers_one_of_which_dies_end_as_one_worker_would(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = write_photographs(tmp_path / "photos", 16)
    two = job(source, Deadly(str(tmp_path / "out"), checkpoint=6, lives=1))
    (tmp_path / "out").mkdir()
    run(two, workers=(2, 2))
    assert (tmp_path / "out/lost-0").exists()
    assert capfd.readouterr() == ("", "")  # Ray has kept its words for its files

    train_set = read_photographs(str(source), Wanted(12, "train", held_out=0.3))
    validation_set = read_photographs(str(source), Wanted(8, "validation", held_out=0.3))
    rgb, held_out = (torch.from_numpy(each.rgb) for each in (train_set, validation_set))
    photographs = Photographs(rgb, torch.ones(len(rgb)).double())
    alone = MemoryStorage()
    StageTraining(double_core(), two.settings, photographs, held_out, alone).run(lambda _: None)
    rows, expected = read_history(two.destination, "core"), read_history(alone, "core")
    assert [row["step"] for row in rows] == [4, 8, 12]
    for row, wanted in zip(rows, expected, strict=True):
        assert row["train"] == pytest.approx(wanted["train"], rel=1e-6)
        assert row["validation"] == pytest.approx(wanted["validation"], rel=1e-6)


def test_an_emphasis_that_is_refused_is_not_frozen(tmp_path: Path) -> None:
    images = [made_png(number) for number in range(9)]
    source = write_parquet(tmp_path / "set.parquet", images, set=["sea"] * 9)
    given = job(source, LocalStorage(str(tmp_path / "out")))
    data = Data(side=12, balance="set", emphasis="see=3", validation_photos=0)
    with pytest.raises(UsageError, match="'see': no photograph is in that group; the groups are s"):
        run(dataclasses.replace(given, data=data))
    assert not (tmp_path / "out").exists()


def test_workers_that_keep_dying_end_the_run(tmp_path: Path) -> None:
    source = write_photographs(tmp_path / "photos", 16)
    storage = Deadly(str(tmp_path / "out"), checkpoint=1, lives=99)
    (tmp_path / "out").mkdir()
    with pytest.raises(EngineError, match="training stopped: .*; the same command again") as error:
        run(job(source, storage), workers=(1, 2), max_failures=0)
    assert "\n" not in str(error.value)


def test_what_workers_say_comes_in_order_and_an_error_of_ours_as_itself() -> None:
    news: queue.Queue[Any] = queue.Queue()

    class Trainer:
        def fit(self) -> None:
            for said in (1, 2, UsageError("training diverged")):
                news.put(said)

    told: list[Any] = []
    with pytest.raises(UsageError, match="training diverged"):
        follow(Trainer(), news, told.append)
    assert told == [1, 2]


def test_ray_reads_the_same_photographs(tmp_path: Path) -> None:
    images = [made_png(number) for number in range(11)] + [b"damaged"]
    for source in (
        write_parquet(tmp_path / "set.parquet", images),
        write_photographs(tmp_path / "photos", 5),
    ):
        serial = read_photographs(str(source), Wanted(8, limit=9))
        stored = StoredSource(str(source))
        parallel = stored.read(Wanted(8, limit=9))
        assert stored.read(Wanted(8, limit=9)) is parallel  # decoded once for several phases
        assert serial.names == parallel.names and serial.skipped == parallel.skipped
        assert serial.digests == parallel.digests and serial.groups == parallel.groups
        squares = parallel.rgb.open()
        assert len(squares) == len(parallel) and (serial.rgb == squares.copy().numpy()).all()
        assert all((squares[n].numpy() == rgb).all() for n, rgb in enumerate(serial.rgb))


def test_workers_of_one_machine_share_the_memory_of_the_photographs(tmp_path: Path) -> None:
    source = write_photographs(tmp_path / "photos", 5)
    ends_black = made_photograph(5)
    ends_black[-8:] = 0
    (source / "ends_black.png").write_bytes(encode(ends_black, "PNG"))
    # Smaller objects are no part of the store: they travel with what refers to them.
    stored = StoredSource(str(source)).read(Wanted(192))
    assert len(stored) == len(stored.rgb) == 6
    first, again = stored.rgb.open(), stored.rgb.open()
    assert [first[n].data_ptr() for n in range(6)] == [again[n].data_ptr() for n in range(6)], (
        "the store's own memory, not a copy"
    )
    assert (first.copy().numpy() == read_photographs(str(source), Wanted(192)).rgb).all()


def test_damage_that_ray_meets_is_told_as_ours(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "set.parquet", [made_png(number) for number in range(6)])
    data = bytearray(path.read_bytes())
    data[4:2000] = bytes(1996)
    path.write_bytes(data)
    with pytest.raises(UsageError, match="set.parquet is damaged: "):
        StoredSource(str(path)).read(Wanted(8))


def test_what_can_never_work_is_refused(tmp_path: Path) -> None:
    tiny = job(tmp_path, LocalStorage(str(tmp_path / "out")))
    with pytest.raises(UsageError, match="--batch-size 6 cannot be shared among 7 workers"):
        run(tiny, workers=(1, 7))
    source = write_photographs(tmp_path / "photos", 2)
    none_held_out = dataclasses.replace(tiny, source=str(source), data=Data(side=8, held_out=0.0))
    with pytest.raises(UsageError, match="no color photograph of the split 'validation'.*--held"):
        run(none_held_out)
