"""What a shard does when memory, decoders or rivals interfere (pipeline/run/steps)."""

import io
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from test_stages import RECIPE, SIZES, picture, run_shard, shard_of

from model.colorized import Colorized
from model.colorizer import Colorizer
from pipeline.cluster.session import ENVIRONMENT
from pipeline.errors import DeviceBroken, DeviceFull, PhotoError
from pipeline.ledger.results import commit_shard, read_results, results_path
from pipeline.ledger.run_file import Plan, Run
from pipeline.ledger.shard_report import ShardReport
from pipeline.run import isolation
from pipeline.run.isolation import call_isolated
from pipeline.run.logs import collect_records
from pipeline.run.steps import colorize_shard, read_shard, write_shard
from pipeline.storage.memory import MemoryStorage
from support.tiny_models import tiny_color, tiny_core, tiny_spatial


class Small(Colorizer):
    """A real colorizer whose memory holds so many photographs, and none that is white."""

    def __init__(self, room: int) -> None:
        super().__init__(tiny_core(8), tiny_color(8), tiny_spatial(16), batch_size=8)
        self.room, self.asked = room, list[int]()

    def colorize(
        self,
        gray_low: NDArray[np.uint8],
        gray_high: NDArray[np.uint8],
        seeds: Sequence[int],
        temperature: float = 1.0,
        hints: NDArray[np.int64] | None = None,
        palette: NDArray[np.float32] | None = None,
    ) -> Colorized:
        self.asked.append(len(gray_low))
        if len(gray_low) > self.room or (gray_high == 255).all(axis=(1, 2)).any():
            raise MemoryError("no room")
        return super().colorize(gray_low, gray_high, seeds, temperature, hints, palette)


def sixteen_photos() -> MemoryStorage:
    source = MemoryStorage("source")
    for number in range(16):
        source.write(f"{number:02}.png", picture(number))
    return source


def white() -> bytes:
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.new("L", (20, 20), 255).save(file, "PNG")
    return file.getvalue()


def test_a_batch_without_room_is_halved_until_it_fits() -> None:
    colorizer = Small(room=4)
    counts, rows = run_shard(sixteen_photos(), MemoryStorage("destination"), colorizer)
    assert counts == ShardReport(photos=16, failed=0)
    assert colorizer.asked == [16, 8, 4, 4, 8, 4, 4]
    calm, expected = run_shard(sixteen_photos(), MemoryStorage("destination"), Small(room=16))
    assert [row["output_sha256"] for row in rows] == [row["output_sha256"] for row in expected]


def test_the_culprit_is_found_by_halving_and_harms_no_other() -> None:
    source, colorizer = sixteen_photos(), Small(room=16)
    source.write("05.png", white())
    counts, rows = run_shard(source, MemoryStorage("destination"), colorizer)
    assert counts == ShardReport(photos=16, failed=1)
    assert [row["photo"] for row in rows if row["reason"] == "out_of_memory"] == ["05.png"]
    assert colorizer.asked == [16, 8, 4, 4, 2, 1, 1, 2, 8]


class SmallGpu(Colorizer):
    """A real colorizer on a GPU that has memory for so many photographs at once."""

    def __init__(self, room: int, error: type[Exception] = torch.OutOfMemoryError) -> None:
        super().__init__(tiny_core(8), tiny_color(8), tiny_spatial(16), batch_size=8)
        self.room, self.error, self.asked = room, error, list[int]()

    def colorize(self, *arguments: Any, **options: Any) -> Colorized:
        self.asked.append(self.batch_size)
        if self.batch_size > self.room:
            raise self.error("CUDA out of memory")
        return super().colorize(*arguments, **options)


def test_a_full_gpu_takes_smaller_batches_for_good() -> None:
    colorizer = SmallGpu(room=2)
    with collect_records() as records:
        counts, rows = run_shard(sixteen_photos(), MemoryStorage("destination"), colorizer)
    assert counts == ShardReport(photos=16, failed=0)
    assert colorizer.asked == [8, 4, 2] and colorizer.batch_size == 2
    assert "batches of 2 photos from here on" in records[-1].getMessage()
    calm, expected = run_shard(sixteen_photos(), MemoryStorage("destination"), Small(room=16))
    assert [row["output_sha256"] for row in rows] == [row["output_sha256"] for row in expected]


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (torch.OutOfMemoryError, DeviceFull),
        (torch.AcceleratorError, DeviceBroken),
        (RuntimeError, PhotoError),
    ],
)
def test_no_photo_fails_for_a_gpu_at_fault(error: type[Exception], wanted: type[Exception]) -> None:
    source, colorizer = sixteen_photos(), SmallGpu(room=0, error=error)
    read = read_shard(shard_of(source), source, SIZES)
    if wanted is PhotoError:  # no fault of a GPU
        colored = colorize_shard(read, colorizer, RECIPE, "a GPU")
        assert {page[0].result.status for page in colored} == {"failed"}
        return
    with pytest.raises(wanted, match="a GPU"):
        colorize_shard(read, colorizer, RECIPE, "a GPU")
    assert colorizer.asked == ([8, 4, 2, 1] if wanted is DeviceFull else [8])


def call_dying(victim: bytes) -> Callable[..., Any]:
    """Calls in a process of its own, which dies over one file."""

    def call(function: Callable[..., Any], *arguments: Any) -> Any:
        if arguments[0] == victim:
            return call_isolated(os._exit, 7)
        return call_isolated(function, *arguments)

    return call


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["read", "write"])
def test_a_photo_that_kills_its_process_is_a_row(stage: str) -> None:
    source, destination = MemoryStorage("source"), MemoryStorage("destination")
    for number in range(3):
        source.write(f"{number}.png", picture(number))
    dying = call_dying(picture(1))
    shard, run = shard_of(source), Run(RECIPE, Plan(3, 1, 3, 1, (), {}), "digest")
    read = read_shard(shard, source, SIZES, dying if stage == "read" else call_isolated)
    colored = colorize_shard(read, Small(room=16), RECIPE, "cpu")
    call = dying if stage == "write" else call_isolated
    assert write_shard(0, colored, source, destination, run, call).failed == 1
    calm = MemoryStorage("destination")
    _, rows = run_shard(source, calm, Small(room=16))
    images = {path for path in calm.objects if path.startswith("images/")} - {"images/1.png"}
    assert len(images) == 2
    assert all(destination.objects[path] == calm.objects[path] for path in images)
    assert "images/1.png" not in destination.objects


def test_where_another_worker_was_first_nothing_is_written() -> None:
    source, destination = sixteen_photos(), MemoryStorage("destination")
    run = Run(RECIPE, Plan(16, 1, 16, 1, (), {}), "digest")
    read = read_shard(shard_of(source), source, SIZES)
    colored = colorize_shard(read, Small(room=16), RECIPE, "cpu")
    commit_shard(destination, 0, [], "digest")
    assert write_shard(0, colored, source, destination, run) == ShardReport(16, 0)
    assert list(destination.objects) == [results_path(0)]


def test_photos_that_fail_move_no_other_on_the_sheets() -> None:
    """Two commands may do a shard at once, and one may meet faults that the other does not."""
    recipe, cells = replace(RECIPE, candidates=2), []
    run = Run(recipe, Plan(16, 1, 16, 1, (), {}), "digest")
    faults: tuple[tuple[list[str], ...], ...] = ([], [], []), (["02.png"], ["05.png"], ["07.png"])
    for lost_before, lost_between, hard in faults:
        source, destination = sixteen_photos(), MemoryStorage("destination")
        shard = shard_of(source)
        for path in hard:
            source.write(path, white())
        for path in lost_before:
            source.delete(path)
        read = read_shard(shard, source, SIZES)
        for path in lost_between:
            source.delete(path)
        colored = colorize_shard(read, Small(room=32), recipe, "cpu")
        write_shard(0, colored, source, destination, run)
        [table] = read_results(destination, run)
        ok = [row for row in table.to_pylist() if row["status"] == "ok"]
        cells.append({(row["photo"], row["candidate"]): row["preview"] for row in ok})
    calm, faulty = cells
    assert len(calm) == 32 and len(faulty) == 26
    assert faulty == {key: calm[key] for key in faulty}


@pytest.mark.slow
def test_a_photo_that_needs_more_memory_than_there_is_harms_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, destination = MemoryStorage("source"), MemoryStorage("destination")
    for number in range(3):
        source.write(f"{number}.png", picture(number))
    source.write("hog.png", gray_png(16_000))
    monkeypatch.setattr(isolation, "free_memory", lambda: 2**27)
    shard, run = shard_of(source), Run(RECIPE, Plan(4, 1, 4, 1, (), {}), "digest")
    start = time.monotonic()
    read = read_shard(shard, source, SIZES, call_isolated)
    colored = colorize_shard(read, Small(room=16), RECIPE, "cpu")
    report = write_shard(0, colored, source, destination, run, call_isolated)
    assert time.monotonic() - start < 120
    assert (report.photos, report.failed, report.reasons) == (4, 1, {"out_of_memory": 1})
    assert sum(path.startswith("images/") for path in destination.objects) == 3


def gray_png(side: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (side, side), 90).save(file, "PNG", compress_level=1)
    return file.getvalue()


def test_ray_does_not_repeat_for_ever_what_took_all_memory() -> None:
    assert 0 <= int(ENVIRONMENT["RAY_task_oom_retries"]) <= 3
