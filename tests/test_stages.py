"""Read, colorize and write of a shard, without Ray: real photographs, a real, tiny model."""

import hashlib
import io
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from model.colorized import Colorized
from model.colorizer import Colorizer
from pipeline.errors import ObjectArchived, ObjectMissing, StorageError, StoreUnavailable
from pipeline.images.masters import read_full
from pipeline.ledger.names import ending_of, former_output_path, output_path
from pipeline.ledger.plan import Photo, Shard
from pipeline.ledger.recipe import Recipe
from pipeline.ledger.results import Result, read_results
from pipeline.ledger.run_file import Plan, Run
from pipeline.ledger.seeds import photo_seed
from pipeline.ledger.shard_report import ShardReport
from pipeline.run.steps import (
    colorize_shard,
    read_shard,
    reading,
    write_shard,
)
from pipeline.run.steps.writing import candidates_at_once
from pipeline.storage.base import Storage
from pipeline.storage.memory import MemoryStorage
from support.tiny_models import tiny_color, tiny_core, tiny_spatial
from support.written_shards import planned

SIZES = (8, 16)
RECIPE = Recipe(source="memory://source", weights={"core": "c0de"}, versions={"autochrome": "1.2"})


@pytest.fixture(scope="module")
def colorizer() -> Colorizer:
    return Colorizer(tiny_core(8), tiny_color(8), tiny_spatial(16), batch_size=2)


@pytest.fixture
def source() -> MemoryStorage:
    return MemoryStorage("source")


@pytest.fixture
def destination() -> MemoryStorage:
    return MemoryStorage("destination")


def picture(seed: int, format: str = "PNG", size: tuple[int, int] = (30, 20)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0]), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format)
    return file.getvalue()


def shard_of(source: Storage, number: int = 0) -> Shard:
    return Shard(number, planned(source))


def run_shard(
    source: Storage,
    destination: Storage,
    colorizer: Colorizer,
    recipe: Recipe = RECIPE,
    shard: Shard | None = None,
) -> tuple[ShardReport, list[dict[str, object]]]:
    """All three stages; the counts and the committed rows."""
    shard = shard or shard_of(source)
    read = read_shard(shard, source, SIZES, recolor=recipe.recolor)
    colored = colorize_shard(read, colorizer, recipe, "cpu")
    run = Run(recipe, Plan(len(shard.photos), 1, len(shard.photos), 1, (), {}), "digest")
    counts = write_shard(shard.number, colored, source, destination, run)
    [table] = read_results(destination, run)
    rows: list[dict[str, object]] = table.to_pylist()
    return counts, rows


def test_a_photo_becomes_a_picture_and_a_row(
    source: MemoryStorage, destination: MemoryStorage, colorizer: Colorizer
) -> None:
    data = picture(1)
    source.write("sub/a.png", data)
    counts, [row] = run_shard(source, destination, colorizer)
    assert counts == ShardReport(photos=1, failed=0)
    written = destination.read("images/sub/a.png")
    rgb = np.asarray(Image.open(io.BytesIO(written)))
    gray = np.asarray(Image.open(io.BytesIO(data))).astype(float)
    assert rgb.shape == (20, 30, 3)
    assert np.abs(rgb @ [0.299, 0.587, 0.114] - gray).max() <= 0.5
    digest = hashlib.sha256(data).hexdigest()
    expected = {
        "photo": "sub/a.png",
        "source_uri": "memory://source/sub/a.png",
        "source_sha256": digest,
        "source_bytes": len(data),
        "width": 30,
        "height": 20,
        "source_mode": "L",
        "source_tone": "gray",
        "shard": 0,
        "attempt": 1,
        "candidate": 0,
        "rank": 1,
        "seed": photo_seed(0, digest, 0),
        "status": "ok",
        "reason": None,
        "error": None,
        "output_uri": "memory://destination/images/sub/a.png",
        "output_sha256": hashlib.sha256(written).hexdigest(),
        "output_bytes": len(written),
        "device": "cpu",
    }
    assert {name: row[name] for name in expected} == expected
    unset = {"reason", "error", "note", "hints_sha256", "palette_sha256", "rank_by"}
    assert {name for name, value in row.items() if value is None} == unset
    pixels = SIZES[0] ** 2
    likelihood = float(str(row["log_likelihood"]))
    assert row["bits_per_pixel"] == pytest.approx(-likelihood / np.log(2) / pixels)


def test_what_cannot_be_read_is_a_row_and_harms_no_other(
    source: MemoryStorage, destination: MemoryStorage, colorizer: Colorizer
) -> None:
    files = {
        "a.png": picture(1),
        "empty.jpg": b"",
        "cut.png": picture(2)[:200],
        "text.jpg": b"this is no picture",
        "z.png": picture(3),
    }
    for name, data in files.items():
        source.write(name, data)
    photos = [*planned(source), Photo("gone.png", 3, name="gone.png")]
    counts, rows = run_shard(source, destination, colorizer, shard=Shard(0, tuple(photos)))
    assert counts == ShardReport(photos=6, failed=4)
    assert {row["photo"]: row["reason"] for row in rows} == {
        "a.png": None,
        "empty.jpg": "corrupt",
        "cut.png": "corrupt",
        "text.jpg": "unsupported",
        "z.png": None,
        "gone.png": "missing",
    }
    for row in rows:
        failed = row["reason"] is not None
        assert row["status"] == ("failed" if failed else "ok")
        assert (row["output_uri"] is None) == (row["rank"] is None) == failed
        assert not failed or (row["error"] and "\n" not in str(row["error"]))
    assert sorted(path for path in destination.objects if path.startswith("images")) == [
        "images/a.png",
        "images/z.png",
    ]


def test_photos_in_color_are_skipped_unless_asked_for(
    source: MemoryStorage, destination: MemoryStorage, colorizer: Colorizer
) -> None:
    color = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(color).save(file, "PNG")
    source.write("a.png", file.getvalue())
    source.write("b.png", picture(2))
    report, rows = run_shard(source, destination, colorizer)
    assert (report.photos, report.failed, report.statuses) == (2, 0, {"skipped": 1, "ok": 1})
    states = [(row["status"], row["reason"], row["source_tone"]) for row in rows]
    assert states == [("skipped", "already_color", "color"), ("ok", None, "gray")]
    assert rows[0]["error"] is rows[0]["output_uri"] is None
    assert not destination.exists("images/a.png")
    again = MemoryStorage("again")
    _, rows = run_shard(source, again, colorizer, replace(RECIPE, recolor=True))
    assert [row["status"] for row in rows] == ["ok", "ok"]
    rgb = np.asarray(Image.open(io.BytesIO(again.read("images/a.png"))))
    luma = np.rint(color @ [0.299, 0.587, 0.114])
    assert np.abs(rgb @ [0.299, 0.587, 0.114] - luma).max() <= 1


def test_pictures_say_how_they_were_made(
    source: MemoryStorage, destination: MemoryStorage, colorizer: Colorizer
) -> None:
    source.write("a.png", picture(1))
    recipe = replace(RECIPE, digital_source_type="compositeSynthetic")
    _, [row] = run_shard(source, destination, colorizer, recipe)
    packet = Image.open(io.BytesIO(destination.read("images/a.png"))).info["xmp"].decode()
    for fact in (row["seed"], row["source_sha256"], "c0de", "1.2"):
        assert f">{fact}<" in packet
    assert "/digitalsourcetype/compositeSynthetic<" in packet


def test_sixteen_bits_stay_where_the_format_holds_them(
    source: MemoryStorage, destination: MemoryStorage, colorizer: Colorizer
) -> None:
    gray = np.random.default_rng(0).integers(0, 65536, (20, 30), dtype=np.uint16)
    file = io.BytesIO()
    Image.fromarray(gray).save(file, "TIFF")
    source.write("a.tif", file.getvalue())
    for format, depth in (("auto", np.uint16), ("jp2", np.uint16), ("webp", np.uint8)):
        there = MemoryStorage(format)
        _, [row] = run_shard(source, there, colorizer, replace(RECIPE, format=format))
        [path] = [path for path in there.objects if path.startswith("images")]
        found = read_full(there.read(path)).gray
        assert found.dtype == depth
        expected = gray if depth == np.uint16 else np.rint(gray / 257)
        assert np.abs(found.astype(int) - expected).max() <= 1
        assert row["status"] == "ok"


def test_a_shard_in_which_all_fail_is_committed_too(
    source: MemoryStorage, destination: MemoryStorage, colorizer: Colorizer
) -> None:
    source.write("a.jpg", b"")
    counts, [row] = run_shard(source, destination, colorizer)
    assert counts == ShardReport(photos=1, failed=1)
    assert row["finished_at"] is not None


def test_candidates_differ_and_are_ranked_by_likelihood(
    source: MemoryStorage, destination: MemoryStorage, colorizer: Colorizer
) -> None:
    source.write("a.png", picture(1))
    source.write("b.png", picture(2))
    counts, rows = run_shard(source, destination, colorizer, replace(RECIPE, candidates=3))
    assert counts == ShardReport(photos=2, failed=0)
    assert [(row["photo"], row["candidate"]) for row in rows] == [
        (name, candidate) for name in ("a.png", "b.png") for candidate in range(3)
    ]
    for photo in (rows[:3], rows[3:]):
        ranked = sorted(photo, key=lambda row: int(str(row["rank"])))
        assert [row["rank"] for row in ranked] == [1, 2, 3]
        likelihoods = [float(str(row["log_likelihood"])) for row in ranked]
        assert likelihoods == sorted(likelihoods, reverse=True)
        assert len({row["output_sha256"] for row in photo}) == 3
    assert rows[1]["output_uri"] == "memory://destination/images/a.candidate-1.png"
    assert all(0 < float(str(row["write_seconds"])) < 60 for row in rows), "a time, not an uptime"


@pytest.mark.usefixtures("two_threads")
def test_the_same_photo_gives_the_same_bytes_in_any_company(
    source: MemoryStorage, destination: MemoryStorage, colorizer: Colorizer
) -> None:
    for number in range(5):
        source.write(f"{number}.png", picture(number))
    source.write("copy-of-3.png", picture(3))
    run_shard(source, destination, colorizer)
    alone = MemoryStorage("alone")
    run_shard(source, alone, colorizer, shard=Shard(9, (Photo("3.png", 1),)))
    pictures = [
        destination.read("images/3.png"),
        destination.read("images/copy-of-3.png"),
        alone.read("images/3.png"),
    ]
    assert len(set(pictures)) == 1


def test_small_output_keeps_the_frame_and_the_luminance(
    source: MemoryStorage, destination: MemoryStorage, colorizer: Colorizer
) -> None:
    source.write("large.png", picture(1, size=(600, 300)))
    source.write("small.png", picture(2, size=(30, 20)))
    run_shard(source, destination, colorizer, replace(RECIPE, output_size="256"))
    sizes = [
        Image.open(io.BytesIO(destination.read(f"images/{name}.png"))).size
        for name in ("large", "small")
    ]
    assert sizes == [(256, 128), (30, 20)]


class Elsewhere(MemoryStorage):
    """A store in which reading or writing a path can be made to do something else."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.on_read: dict[str, Callable[[], bytes]] = {}
        self.on_write: dict[str, Exception] = {}

    def read(self, path: str, most: int | None = None) -> bytes:
        return self.on_read.get(path, lambda: super(Elsewhere, self).read(path))()

    def write(self, path: str, data: bytes) -> None:
        if path in self.on_write:
            raise self.on_write[path]
        super().write(path, data)


def raising(error: Exception) -> Callable[[], bytes]:
    def read() -> bytes:
        raise error

    return read


def taking_turns(*answers: bytes | Exception) -> Callable[[], bytes]:
    turns: Iterator[bytes | Exception] = iter(answers)

    def read() -> bytes:
        answer = next(turns)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return read


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ((picture(1), picture(2)), "changed"),
        ((picture(1), ObjectMissing("gone")), "missing"),
        ((StorageError("cannot read a.png: Permission denied"),), "unreadable"),
        ((ObjectArchived("a.png is in cold storage"),), "archived"),
        ((MemoryError(),), "out_of_memory"),
        ((RuntimeError("what\never"),), "internal"),
    ],
)
def test_sources_that_change_or_fail_while_we_work(
    colorizer: Colorizer, answers: tuple[bytes | Exception, ...], reason: str
) -> None:
    source, destination = Elsewhere("source"), MemoryStorage("destination")
    source.write("a.png", picture(1))
    source.write("b.png", picture(2))
    source.on_read["a.png"] = taking_turns(*answers)
    counts, [row, other] = run_shard(source, destination, colorizer)
    assert counts == ShardReport(photos=2, failed=1)
    assert (row["status"], row["reason"], row["output_uri"]) == ("failed", reason, None)
    assert other["status"] == "ok"
    assert not destination.exists("images/a.png")


def test_a_picture_that_cannot_be_written_is_a_row(
    source: MemoryStorage, colorizer: Colorizer
) -> None:
    destination = Elsewhere("destination")
    source.write("a.png", picture(1))
    source.write("b.png", picture(2))
    destination.on_write["images/a.png"] = StorageError("cannot write it: File name too long")
    counts, [row, other] = run_shard(source, destination, colorizer)
    assert counts == ShardReport(photos=2, failed=1)
    assert (row["reason"], row["error"]) == ("write_error", "cannot write it: File name too long")
    assert row["source_sha256"] and row["log_likelihood"] is not None
    assert other["status"] == "ok"


def test_a_store_out_of_reach_commits_nothing(source: MemoryStorage, colorizer: Colorizer) -> None:
    destination, broken = Elsewhere("destination"), Elsewhere("broken")
    for store in (source, broken):
        store.write("a.png", picture(1))
    destination.on_write["images/a.png"] = StoreUnavailable("disk full")
    with pytest.raises(StoreUnavailable, match="disk full"):
        run_shard(source, destination, colorizer)
    broken.on_read["a.png"] = raising(StoreUnavailable("no connection"))
    with pytest.raises(StoreUnavailable, match="no connection"):
        run_shard(broken, destination, colorizer)
    assert not destination.objects


class Choosy(Colorizer):
    """A real colorizer that cannot bear photographs of a certain brightness."""

    def __init__(self, error: Exception) -> None:
        super().__init__(tiny_core(8), tiny_color(8), tiny_spatial(16), batch_size=2)
        self.error = error

    def colorize(
        self,
        gray_low: NDArray[np.uint8],
        gray_high: NDArray[np.uint8],
        seeds: Sequence[int],
        temperature: float = 1.0,
        hints: NDArray[np.int64] | None = None,
        palette: NDArray[np.float32] | None = None,
    ) -> Colorized:
        if (gray_high == 255).all(axis=(1, 2)).any():
            raise self.error
        return super().colorize(gray_low, gray_high, seeds, temperature, hints, palette)


@pytest.mark.parametrize(
    ("error", "reason"),
    [(RuntimeError("kernel"), "internal"), (MemoryError("8 GB"), "out_of_memory")],
)
def test_a_photo_that_the_model_fails_on_is_found_and_harms_no_other(
    source: MemoryStorage, destination: MemoryStorage, error: Exception, reason: str
) -> None:
    white = io.BytesIO()
    Image.new("L", (20, 20), 255).save(white, "PNG")
    source.write("a.png", picture(1))
    source.write("b.png", white.getvalue())
    source.write("c.png", picture(3))
    counts, rows = run_shard(source, destination, Choosy(error))
    assert counts == ShardReport(photos=3, failed=1)
    assert [row["reason"] for row in rows] == [None, reason, None]
    assert str(error) in str(rows[1]["error"])


def test_seeds_depend_on_run_content_and_candidate_and_fit_63_bits() -> None:
    seeds = {
        photo_seed(run, digest, candidate)
        for run in range(5)
        for digest in ("aa", "bb")
        for candidate in range(5)
    }
    assert len(seeds) == 50
    assert all(0 <= seed < 2**63 for seed in seeds)
    text = hashlib.sha256(b"7:abc:2").digest()
    assert photo_seed(7, "abc", 2) == int.from_bytes(text[:8], "big") >> 1


@pytest.mark.parametrize(
    ("photo", "suffix", "candidate", "path"),
    [
        ("a/b.jpg", "jpg", None, "images/a/b.jpg"),
        ("b.JPEG", "jpg", None, "images/b.JPEG"),
        ("b.tiff", "tif", None, "images/b.tiff"),
        ("b.jpg", "png", None, "images/b.jpg.png"),
        ("noend", "jpg", None, "images/noend.jpg"),
        ("b.jpg", "jpg", (4, None, 2, 1), "images/b.candidate-2.jpg"),
        ("b.gif", "png", (4, None, 0, 1), "images/b.gif.candidate-0.png"),
        ("b.jpg", "jpg", (4, "nearness", 2, 1), "images/b.rank-1-by-nearness.jpg"),
        ("b.gif", "png", (10, "likelihood", 0, 3), "images/b.gif.rank-03-by-likelihood.png"),
        ("a.b/c", "png", None, "images/a.b/c.png"),
        ("v1.2", "png", None, "images/v1.2.png"),
    ],
)
def test_output_names(
    photo: str, suffix: str, candidate: tuple[int, str | None, int, int] | None, path: str
) -> None:
    which = ending_of(*candidate) if candidate else ""
    assert output_path(photo, suffix, which) == path


def test_large_pictures_are_finished_one_by_one() -> None:
    def at_once(side: int | None) -> int:
        return candidates_at_once(Result("a", "/a", 0, 1, width=side, height=side))

    assert [at_once(side) for side in (None, 5000, 7000, 22_000)] == [4, 4, 2, 1]


def test_no_two_photos_share_an_output_name_in_a_plan_without_names() -> None:
    source = MemoryStorage()
    names = ["a", "a.jpg", "a.jpg.png", "a.png", "a.tif", "a.tif.png", "A.png", "a.jpg.jpg"]
    for name in names:
        source.write(name, b"x")
    for suffix in ("jpg", "png", "tif", "webp"):
        for candidate in (None, 0):
            outputs = {former_output_path(name, suffix, candidate, source) for name in names}
            assert len(outputs) == len(names)


@pytest.mark.parametrize("module", ["pipeline.run.steps", "pipeline.colorize"])
def test_workers_need_no_torch_to_read_and_write(repository: Path, module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules or 'ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=repository).returncode == 0


def test_a_file_is_too_large_by_what_the_store_has_not_by_what_a_list_says(
    monkeypatch: pytest.MonkeyPatch,
    source: MemoryStorage,
    destination: MemoryStorage,
    colorizer: Colorizer,
) -> None:
    source.write("a.png", picture(1))
    source.write("b.png", picture(2) + b"\0" * 10_000)
    monkeypatch.setattr(reading, "MAX_BYTES", 10_000)
    photos = (Photo("a.png", 2**40, name="a.png"), Photo("b.png", 1, name="b.png"))
    _, rows = run_shard(source, destination, colorizer, shard=Shard(0, photos))
    assert [row["reason"] for row in rows] == [None, "too_large"]
