"""The operators of a run outside of Ray (pipeline/run/operators.py)."""

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from model.colorized import Colorized
from model.weights import file_digests
from pipeline.cluster.pools import Pools
from pipeline.errors import (
    DestinationGone,
    DestinationMismatch,
    DeviceFull,
    StorageError,
    UsageError,
)
from pipeline.ledger.plan import Schedule, Shard
from pipeline.ledger.seeds import photo_seed
from pipeline.run.operators import ColorizeActor, Row, pack, read_row, warm_up, write_row
from pipeline.run.options import RecipeOptions, Resources
from pipeline.run.request import Job, prepare_job
from pipeline.run.steps import Candidate, read_shard
from pipeline.storage.local import LocalStorage
from pipeline.storage.memory import MemoryStorage
from pipeline.storage.s3 import S3Storage

SMALL_SHARDS = RecipeOptions(shard_size=2)


@pytest.fixture
def job(tmp_path: Path, weights: Path) -> Job:
    """A run of four photographs in two shards."""
    for code in (40, 90, 140, 190):
        Image.new("L", (20, 20), code).save(tmp_path / f"{code}.png")
    resources = Resources(str(weights), device="cpu")
    return prepare_job(str(tmp_path), MemoryStorage("out"), SMALL_SHARDS, resources)


def shards(job: Job) -> list[Shard]:
    return list(Schedule(job.destination, job.run).open())


def candidates(row: Row) -> list[Candidate]:
    _, photos = pickle.loads(row["work"])
    return [candidate for photo in photos for candidate in photo]


def drawn(candidate: Candidate) -> bytes:
    assert candidate.rgb is not None, candidate.result.error
    return candidate.rgb.tobytes()


@pytest.mark.usefixtures("two_threads")
def test_an_actor_called_from_two_threads_colorizes_one_shard_at_a_time_on_one_core(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    actor = ColorizeActor(job)
    rows = [read_row(pack(shard), job, isolated=False) for shard in shards(job)]
    alone = [[drawn(each) for each in candidates(actor(row))] for row in rows]
    inside, most, cores, colorize = [0], [0], set[int](), actor.colorizer.colorize

    def watched(*arguments: object) -> Colorized:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        cores.add(torch.get_num_threads())
        threading.Event().wait(0.05)  # for the other thread to come in, if it can
        try:
            return colorize(*arguments)  # type: ignore[arg-type]
        finally:
            inside[0] -= 1

    monkeypatch.setattr(actor.colorizer, "colorize", watched)
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(actor, rows))
    assert most == [1] and cores == {1}
    assert [[drawn(each) for each in candidates(row)] for row in both] == alone


def test_an_actor_with_a_broken_gpu_ends_and_one_with_a_full_gpu_says_so(
    job: Job, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    actor, row = ColorizeActor(job), read_row(pack(shards(job)[0]), job, isolated=False)
    ended = list[int]()
    monkeypatch.setattr("os._exit", ended.append)

    def broken(*arguments: object) -> Colorized:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    def full(*arguments: object) -> Colorized:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(actor.colorizer, "colorize", broken)
    actor(row)
    assert ended == [1] and "illegal memory access" in capsys.readouterr().err
    monkeypatch.setattr(actor.colorizer, "colorize", full)
    written = write_row(actor(row), job, Pools(1, 1, 1, 1, 1, 0), isolated=False)
    report, trouble, records = pickle.loads(written["ended"])
    assert report.photos == 0 and isinstance(trouble, DeviceFull) and records
    assert not list(job.destination.list("results"))


def test_a_photo_to_be_redone_is_drawn_with_the_seed_given(job: Job) -> None:
    actor, shard = ColorizeActor(job), shards(job)[0]
    seeds = []
    for seed in (None, 7):
        again = replace(shard, seed=seed)
        row = actor(pack(again, read_shard(again, job.source, job.sizes)))
        candidate = candidates(row)[0]
        seeds.append(candidate.result.seed)
    digest = str(candidate.result.source_sha256)
    assert seeds == [photo_seed(0, digest, 0), photo_seed(7, digest, 0)]


def test_a_node_has_the_weights_of_a_bucket_before_an_actor_asks(
    bucket: str, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "node"))
    for file in weights.iterdir():
        S3Storage(bucket).write(f"weights/{file.name}", file.read_bytes())
    warm_up(f"s3://{bucket}/weights", "coltran", file_digests(weights))
    kept = {path.name for path in (tmp_path / "node").rglob("*.safetensors")}
    assert kept == {"core.safetensors", "color.safetensors", "spatial.safetensors"}


def test_only_a_run_that_has_no_plan_yet_begins(job: Job, tmp_path: Path) -> None:
    begun: list[str] = []
    for destination in (job.destination, MemoryStorage("new")):
        prepare_job(
            *(str(tmp_path), destination, SMALL_SHARDS, job.resources),
            lambda device, _: begun.append(device),
        )
    assert begun == ["cpu"], "nothing is brought up for what may be done already"


@pytest.mark.parametrize(
    ("options", "size"),
    [({}, 9), ({"shard_size": 2}, 2), ({"pages": "all"}, 4), ({"candidates": 6}, 5)],
)
def test_shards_grow_with_the_archive_unless_their_size_is_given(
    options: dict[str, Any],
    size: int,
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for number in range(9):
        Image.new("L", (20, 20), 40 + number).save(tmp_path / f"{number}.png")
    resources = Resources(str(weights), device="cpu")
    asked = str(tmp_path), MemoryStorage("out"), RecipeOptions(**options), resources
    few = 1 if options.get("pages") else options.get("shard_size", 4)
    assert prepare_job(*asked).run.plan.shard_size == few
    monkeypatch.setattr("pipeline.ledger.plan.FEW_SHARDS", 1)
    asked = str(tmp_path), MemoryStorage("large"), RecipeOptions(**options), resources
    assert prepare_job(*asked).run.plan.shard_size == size


def test_a_destination_goes_on_by_the_method_that_it_was_begun_with(
    weights: Path, tmp_path: Path
) -> None:
    Image.new("L", (20, 20), 40).save(tmp_path / "a.png")

    def recipe(destination: MemoryStorage, **given: Any) -> tuple[bool, float, float]:
        options, resources = RecipeOptions(**given), Resources(str(weights), device="cpu")
        found = prepare_job(str(tmp_path), destination, options, resources).run.recipe
        return found.draft, found.temperature, found.saturation

    assert recipe(MemoryStorage("new")) == (True, 1.0, 1.7)
    assert recipe(MemoryStorage("several"), candidates=2) == (False, 0.7, 1.0)
    assert recipe(MemoryStorage("guided"), upsampler="guided") == (False, 0.7, 1.0)
    drawn = MemoryStorage("drawn")
    assert recipe(drawn, method="sample", temperature=0.9) == (False, 0.9, 1.0)
    assert recipe(drawn) == (False, 0.9, 1.0), "as before"
    pale = MemoryStorage("pale")
    assert recipe(pale, saturation=1.0) == recipe(pale) == (True, 1.0, 1.0), "as before"
    with pytest.raises(DestinationMismatch, match="saturation: was 1.0, now 2.0"):
        recipe(pale, saturation=2.0)
    new, by_other = MemoryStorage("new"), MemoryStorage("new")
    recipe(by_other, saturation=0.5)

    def begin_meanwhile(device: str, digests: object) -> None:
        new.objects |= by_other.objects

    joined = prepare_job(
        *(str(tmp_path), new, RecipeOptions(), Resources(str(weights), device="cpu")),
        begin_meanwhile,
    )
    assert joined.run.recipe.saturation == 0.5 and joined.begun, "as decided by the other"
    mean = MemoryStorage("mean")
    assert recipe(mean) == recipe(mean) == (True, 1.0, 1.7)
    with pytest.raises(DestinationMismatch, match="candidates: was 1, now 2"):
        recipe(mean, candidates=2)
    with pytest.raises(UsageError, match="--method mean has one picture of a photo, not 2"):
        recipe(mean, candidates=2, method="mean")


def test_nothing_is_written_to_a_destination_that_has_vanished(
    job: Job, tmp_path_factory: pytest.TempPathFactory
) -> None:
    out = tmp_path_factory.mktemp("mounts") / "out"
    job = prepare_job(job.run.recipe.source, LocalStorage(str(out)), SMALL_SHARDS, job.resources)
    actor = ColorizeActor(job)
    row = actor(read_row(pack(shards(job)[0]), job, isolated=False))
    pools = Pools(1, 1, 1, 1, 1, 0)
    out.rename(out.parent / "unmounted")
    for remains in ((), ("out",)):  # deleted, or with the bare folder that it was mounted on
        for name in remains:
            (out.parent / name).mkdir()
        _, trouble, _ = pickle.loads(write_row(row, job, pools, isolated=False)["ended"])
        assert isinstance(trouble, DestinationGone)
        assert "has no run.json any more" in str(trouble) and "\n" not in str(trouble)
        assert {path.name for path in out.parent.iterdir()} == {"unmounted", *remains}
    assert not list(out.iterdir())
    out.rmdir()
    (out.parent / "unmounted").rename(out)
    report, trouble, _ = pickle.loads(write_row(row, job, pools, isolated=False)["ended"])
    assert trouble is None and report.photos == 2 and list(out.glob("results/*"))


@pytest.mark.parametrize(
    ("in_the_way", "words"),
    [("results", "results is not a folder"), ("results/shard-000000.parquet", "is a folder, not")],
)
def test_a_shard_that_cannot_be_committed_says_why(
    job: Job, tmp_path_factory: pytest.TempPathFactory, in_the_way: str, words: str
) -> None:
    out = tmp_path_factory.mktemp("out")
    job = prepare_job(job.run.recipe.source, LocalStorage(str(out)), SMALL_SHARDS, job.resources)
    if in_the_way == "results":
        (out / in_the_way).write_bytes(b"of somebody else")
    else:
        (out / in_the_way).mkdir(parents=True)
    row = ColorizeActor(job)(read_row(pack(shards(job)[0]), job, isolated=False))
    written = write_row(row, job, Pools(1, 1, 1, 1, 1, 0), isolated=False)
    _, trouble, _ = pickle.loads(written["ended"])
    assert isinstance(trouble, StorageError) and words in str(trouble)
