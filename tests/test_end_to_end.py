"""The whole command on a real Ray, with real photographs and a real, tiny model."""

import hashlib
import io
import os
import re
import shutil
import signal
import sys
import threading
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
from click.testing import Result
from PIL import Image

from model.weights import file_digests, save_stage, stage_path
from pipeline.errors import StoreUnavailable
from pipeline.ledger.results import committed_shards, read_results
from pipeline.ledger.run_file import open_run
from pipeline.storage.base import Storage
from pipeline.storage.local import LocalStorage
from pipeline.storage.open_storage import open_storage
from pipeline.storage.s3 import S3Storage
from support.commands import run_command
from support.premis_rules import SPACE, breaches
from support.tiny_models import tiny_pic

pytestmark = [
    pytest.mark.usefixtures("local_ray"),
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\."),  # of Ray at itself
]
KINDS = (("jpg", "JPEG"), ("png", "PNG"), ("tif", "TIFF"), ("webp", "WEBP"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """The example photographs and some more, nested, with odd names, none of them writable."""
    folder = tmp_path_factory.mktemp("photos") / "masters"
    shutil.copytree(repository / "examples" / "photos", folder)
    random = np.random.default_rng(0)
    (folder / "deep er" / "ünd #1").mkdir(parents=True)
    for number in range(8):
        suffix, format = KINDS[number % 4]
        pixels = random.integers(0, 256, (40 + number, 64), dtype=np.uint8)
        name = f"100% {number}.{suffix}"
        Image.fromarray(pixels).save(folder / "deep er" / "ünd #1" / name, format)
    (folder / "broken.jpg").write_bytes(b"no photograph")
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(0o444)
    return folder


def run(source: object, destination: object, weights: Path, *options: object) -> Result:
    """Pictures are drawn, unless options say otherwise: that puts seeds and batches to the test.

    By one actor: each start of another costs 3 CPU seconds, and what several do to a run is shown
    by tests of clusters and of kills.
    """
    drawn = () if {"--draft", "--model"} & set(options) else ("--method", "sample")
    given = ("colorize", source, destination, "--weights", weights, "--actors", 1)
    return run_command(*given, *drawn, *options)


def rows_of(destination: Storage) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = pa.concat_tables(
        read_results(destination, open_run(destination))
    ).to_pylist()
    return rows


def images_of(destination: Storage) -> dict[str, bytes]:
    return {each.path: destination.read(each.path) for each in destination.list("images")}


def state_of(folder: Path) -> dict[str, tuple[int, int, str]]:
    return {
        str(path): (
            path.stat().st_mtime_ns,
            path.stat().st_mode,
            hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def undisturbed(
    photos: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory
) -> LocalStorage:
    """A run that nothing happened to, and what it leaves."""
    destination = tmp_path_factory.mktemp("undisturbed") / "out"
    before = state_of(photos)
    result = run(photos, destination, weights, "--shard-size", 4)
    assert state_of(photos) == before, "masters are only ever read"
    assert result.exit_code == 3, result.output
    [log] = re.findall(r"^causes   (\S+)$", result.stdout, re.MULTILINE)
    text = Path(log).read_text()
    assert "WARNING broken.jpg: unsupported: " in text and "in read_small" in text
    first, *others = result.stdout.splitlines()
    assert re.fullmatch(r"16 of 17 photos colorized in \d+ (s|min), [\d.]+ photos/s", first)
    assert [line for line in result.stderr.splitlines() if " of 17 photos" not in line] == [
        *("listing", "planning", "starting workers", "loading weights", "coloring"),
        "writing the report",
    ]
    assert others == [
        "1 failed: 1 unsupported",
        "  broken.jpg: unsupported: not a picture in a format that Autochrome reads",
        "1 other file ignored (1 .md)",
        f"causes   {log}",
        f"masters  {photos}",
        f"images   {destination}/images",
        f"results  {destination}/results",
        f"report   {destination}/report/index.html",
    ]
    return LocalStorage(str(destination))


def test_every_photo_has_a_row_and_a_picture_of_its_size(
    photos: Path, undisturbed: LocalStorage
) -> None:
    rows = {str(row["photo"]): row for row in rows_of(undisturbed)}
    masters = {str(path.relative_to(photos)) for path in photos.rglob("*") if path.is_file()}
    assert set(rows) == masters - {"SOURCES.md"}
    images = images_of(undisturbed)
    assert {row["output_uri"] for row in rows.values() if row["status"] == "ok"} == {
        undisturbed.uri_of(path) for path in images
    }
    for path, data in images.items():
        with (
            Image.open(io.BytesIO(data)) as picture,
            Image.open(photos / path.removeprefix("images/")) as master,
        ):
            assert picture.size == master.size
            assert picture.format == master.format
            assert picture.mode == "RGB"
    assert b"review" in undisturbed.read("report/index.html")
    assert b"broken.jpg" in undisturbed.read("report/data/rows-00000.js")
    record = ElementTree.fromstring(undisturbed.read("premis.xml"))
    assert breaches(record) == [] and len(record.findall(f"{SPACE}event")) == len(rows)


def test_again_does_nothing_and_other_settings_are_refused(
    photos: Path, weights: Path, undisturbed: LocalStorage
) -> None:
    before = state_of(Path(undisturbed.uri) / "images") | state_of(
        Path(undisturbed.uri) / "results"
    )
    again = run(photos, undisturbed.uri, weights, "--batch-size", 3, "--shard-size", 9)
    assert again.exit_code == 3
    assert again.stdout.splitlines()[0].startswith("16 of 17 photos colorized in ")
    other = run(photos, undisturbed.uri, weights, "--seed", 1, "--format", "png")
    assert other.exit_code == 5
    assert other.stderr.splitlines()[-3:] == [
        f"autochrome: {undisturbed.uri} belongs to a run with other settings",
        "format: was auto, now png",
        "seed: was 0, now 1",
    ]
    after = state_of(Path(undisturbed.uri) / "images") | state_of(Path(undisturbed.uri) / "results")
    assert after == before


def test_pic_in_the_same_pipeline(photos: Path, tmp_path: Path, weights: Path) -> None:
    folder, out = tmp_path / "weights", tmp_path / "out"
    folder.mkdir()
    save_stage(tiny_pic(16), stage_path(folder, "pic"))
    options = ("--model", "pic", "--candidates", 2, "--exclude", "[bd]*")
    result = run(photos, out, folder, *options)
    assert result.exit_code == 0, result.output
    found = open_run(LocalStorage(str(out)))
    assert (found.recipe.model, found.recipe.weights) == ("pic", file_digests(folder, ["pic"]))
    rows = rows_of(LocalStorage(str(out)))
    assert len(rows) == 16 and {row["rank"] for row in rows} == {1, 2}
    for row in rows:
        assert row["status"] == "ok" and row["color_bits_per_dim"] is None
        assert row["spatial_bits_per_dim"] is None
        nats, bits = row["log_likelihood"], row["bits_per_pixel"]
        assert isinstance(nats, float) and bits == pytest.approx(-nats / np.log(2) / 16)
    other = run(photos, out, weights, "--candidates", 2, "--exclude", "[bd]*")
    assert other.exit_code == 5 and "model: was pic, now coltran" in other.stderr
    save_stage(tiny_pic(32), stage_path(folder, "pic"))
    resumed = run_command("resume", out, "--weights", folder)
    assert resumed.exit_code == 5 and "weights.pic: was" in resumed.stderr


def test_same_seed_same_bytes_at_any_shard_and_batch_size_through_s3_too(
    photos: Path,
    weights: Path,
    undisturbed: LocalStorage,
    bucket: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipeline.cluster.pools.SHARDS_PER_WAVE", (4, 4))  # of six
    source = S3Storage(bucket, "masters")
    for path in photos.rglob("*"):
        if path.is_file():
            source.write(str(path.relative_to(photos)), path.read_bytes())
    out = f"s3://{bucket}/out"
    result = run(source.uri, out, weights, "--shard-size", 3, "--batch-size", 2)
    assert result.exit_code == 3, result.output
    assert result.stdout.splitlines()[-1] == f"report   {out}/report/index.html"
    destination = open_storage(out)
    assert images_of(destination) == images_of(undisturbed)
    kept = ("photo", "source_sha256", "seed", "status", "output_sha256", "log_likelihood")
    [here, there] = (
        sorted(str([row[name] for name in kept]) for row in rows_of(place))
        for place in (undisturbed, destination)
    )
    assert here == there


@pytest.fixture(scope="module")
def stopped(
    photos: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Result, Result, LocalStorage]:
    """What a run with another seed, and by the faster ways, said that stopped for its failures, and
    again when it had gone on to its end; and what it has left."""
    place = tmp_path_factory.mktemp("stopped")
    shutil.copytree(photos / "animals", place / "in")
    for number in range(12):
        (place / "in" / f"a{number:02}.jpg").write_bytes(b"broken")
    fast = ("--upsampler", "guided", "--precision", "bfloat16")
    given = (place / "in", place / "out", weights, "--shard-size", 2, "--seed", 1, *fast)
    first, second = (run(*given, "--max-failed", most) for most in ("10%", "12"))
    return first, second, LocalStorage(str(place / "out"))


def test_another_seed_gives_other_pictures(
    undisturbed: LocalStorage, stopped: tuple[Result, Result, LocalStorage]
) -> None:
    _, _, out = stopped
    for row in rows_of(out):
        if row["status"] == "ok":
            assert row["spatial_bits_per_dim"] is None and row["color_bits_per_dim"] is not None
    images = images_of(out)
    assert len(images) == 2
    first = images_of(undisturbed)
    for path, data in images.items():
        assert data != first[path.replace("images/", "images/animals/")]


def test_more_failures_than_allowed_stop_the_run_which_can_go_on(
    stopped: tuple[Result, Result, LocalStorage],
) -> None:
    first, second, out = stopped
    assert first.exit_code == 4
    assert (
        "photos failed: --max-failed 10% was given; the same command again goes on" in first.stderr
    )
    assert second.exit_code == 3, second.output
    rows = rows_of(out)
    assert sorted(str(row["status"]) for row in rows) == ["failed"] * 12 + ["ok"] * 2
    assert all((row["log_likelihood"] is None) == (row["status"] == "failed") for row in rows)


class Deadly(LocalStorage):
    """A folder in which one photo ends the process that reads it, as a missed deadline does."""

    def read(self, path: str, most: int | None = None) -> bytes:
        if path == "poison.jpg":
            os.kill(os.getpid(), signal.SIGALRM)
        return super().read(path)


class Full(LocalStorage):
    """A folder on a disk without space for pictures."""

    def write(self, path: str, data: bytes) -> None:
        raise StoreUnavailable(f"cannot write {self.uri_of(path)}: No space left on device")


def test_a_full_disk_and_a_deadly_photo_leave_what_can_be_done_later(
    weights: Path, tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    shutil.copytree(repository / "examples" / "photos" / "animals", source)
    shutil.copy(source / "cat.jpg", source / "poison.jpg")
    from ray.cloudpickle import register_pickle_by_value  # when quiet_ray has set the scene

    kinds: dict[Path, type[LocalStorage]] = {source: LocalStorage, out: Full}
    for module in ("run.request", "storage.lease"):
        monkeypatch.setattr(
            f"pipeline.{module}.open_storage", lambda uri, **_: kinds[Path(uri)](uri)
        )
    register_pickle_by_value(sys.modules[__name__])  # so that workers know these classes

    result = run(source, out, weights, "--shard-size", 1)
    assert result.exit_code == 2, result.output
    line = result.stderr.splitlines()[-1]
    assert "No space left on device; the same command again goes on from here" in line
    assert not committed_shards(LocalStorage(str(out)))

    kinds.update({source: Deadly, out: LocalStorage})
    result = run(source, out, weights)
    assert result.exit_code == 3, result.output
    assert result.stdout.startswith("2 of 3 photos colorized in ")
    assert "\n1 not done: the same command tries them again" in result.stdout
    assert "larm" not in result.output

    kinds[source] = LocalStorage
    assert run(source, out, weights).exit_code == 0
    assert len(rows_of(LocalStorage(str(out)))) == len(images_of(LocalStorage(str(out)))) == 3


def test_a_destination_that_vanishes_ends_the_run_and_is_written_to_no_more(
    photos: Path, weights: Path, tmp_path: Path, repository: Path
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for number in range(24):
        shutil.copy(photos / "animals" / "cat.jpg", source / f"{number}.jpg")
    ended = threading.Event()

    def unmount() -> None:
        while not list(out.glob("results/*")) and not ended.wait(0.02):
            pass
        out.rename(tmp_path / "unmounted")
        out.mkdir()

    unmounting = threading.Thread(target=unmount)
    unmounting.start()
    options = ("--shard-size", 1, "--draft")
    result = run(source, out, weights, *options)
    ended.set()
    unmounting.join()
    assert result.exit_code == 2, result.output
    assert (
        f"autochrome: {out} has no run.json any more: it was deleted, or is not mounted"
        in result.stderr.splitlines()[-1]
    )
    assert not list(out.iterdir())
    out.rmdir()
    (tmp_path / "unmounted").rename(out)
    assert run(source, out, weights, *options).exit_code == 0
    assert len(rows_of(LocalStorage(str(out)))) == 24


def test_awkward_files_each_get_one_row_and_stop_nothing(
    shared: Path, weights: Path, tmp_path: Path
) -> None:
    awkward = shared / "photos" / "awkward"
    if not awkward.is_dir():
        pytest.skip("no shared/photos/awkward folder beside the checkout")
    before = state_of(awkward)
    giant = "giant-image.jpg"  # 280 megapixels, which take a while
    options = ("--shard-size", 16, "--draft", "--recolor", "--pages", "all", "--exclude", giant)
    result = run(awkward, tmp_path / "out", weights, *options)
    assert result.exit_code == 3, result.output
    assert state_of(awkward) == before
    every = rows_of(LocalStorage(str(tmp_path / "out")))
    rows = {str(row["photo"]): row for row in every if row["page"] == 1}
    for photo, row in rows.items():
        pages = [each["page"] for each in every if each["photo"] == photo]
        assert pages == list(range(1, (row["pages"] or 1) + 1)), photo  # type: ignore[operator]
    index = pyarrow.csv.read_csv(awkward / "index.csv").to_pylist()
    index = [entry for entry in index if entry["file"] != giant]
    assert len(rows) == len(index) < len(every)
    for entry in index:
        row = rows[entry["file"]]
        allowed = {"accept": {"ok"}, "reject": {"failed"}}.get(entry["expect"], {"ok", "failed"})
        assert row["status"] in allowed, (entry, row["error"])
        assert row["reason"] != "internal", row["error"]
