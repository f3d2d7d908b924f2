"""Lists of photographs instead of a listing: formats, what is refused, what comes twice."""

import resource
import tempfile
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as some

from pipeline.errors import StorageError, UsageError
from pipeline.ledger import planning
from pipeline.ledger import seen as module
from pipeline.ledger.manifest import Manifest
from pipeline.ledger.plan import Schedule
from pipeline.ledger.planning import prepare_run
from pipeline.ledger.seen import Seen
from pipeline.storage.base import Storage
from pipeline.storage.local import LocalStorage
from pipeline.storage.memory import MemoryStorage
from pipeline.storage.s3 import S3Storage
from support.forbidden import forbid
from support.simulated_runs import RECIPE

BUCKET = S3Storage("archive", "scans")


def listed(manifest: Path | str, source: Storage) -> tuple[list[tuple[str, int]], Counter[str]]:
    ignored: Counter[str] = Counter()
    photos = Manifest(str(manifest)).photos(source, ignored)
    return [(photo.path, photo.size) for photo in photos], ignored


def write_csv(folder: Path, text: str) -> Path:
    path = folder / "list.csv"
    path.write_text(text, encoding="utf-8")
    return path


def write_parquet(path: Path, **columns: Sequence[object]) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def test_a_csv_file_lists_uris_and_paths(tmp_path: Path) -> None:
    source = LocalStorage(str(tmp_path / "in"))
    text = f'uri,size,note\nb/ä 1.jpg,12,x\n{source.uri}/a.tif,,"1,2"\n./c//d.png,x,\nb/ä 1.jpg,,\n'
    photos, ignored = listed(write_csv(tmp_path, text), source)
    assert photos == [("b/ä 1.jpg", 12), ("a.tif", 0), ("c/d.png", 0)]
    assert ignored == {"repeated": 1}


def test_a_parquet_file_lists_uris(tmp_path: Path) -> None:
    uris = [f"s3://archive/scans/{number}.jpg" for number in range(3)]
    path = write_parquet(tmp_path / "list.parquet", uri=uris, size=[1, 2, None])
    assert listed(path, BUCKET)[0] == [("0.jpg", 1), ("1.jpg", 2), ("2.jpg", 0)]


def test_an_inventory_lists_current_objects(tmp_path: Path) -> None:
    folder = tmp_path / "inventory"
    folder.mkdir()
    (folder / "manifest.json").write_text("{}")
    write_parquet(
        folder / "1.parquet",
        bucket=["archive"] * 5,
        key=["scans/a.jpg", "scans/a.jpg", "scans/gone.jpg", "scans/sub/", "scans/c.jpg/"],
        size=[5, 4, None, 0, 6],
        is_latest=[True, False, True, True, True],
        is_delete_marker=[False, False, True, False, False],
    )
    write_parquet(folder / "2.parquet", bucket=["archive"], key=["scans/b 1.jpg"], size=[7])
    assert listed(folder, BUCKET)[0] == [("a.jpg", 5), ("c.jpg/", 6), ("b 1.jpg", 7)]


@pytest.mark.parametrize(
    "uri",
    ["s3://other/a.jpg", "", "s3://archive/scan"],
)
def test_what_is_not_in_the_source_is_refused_with_its_row(uri: str, tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "list.parquet", uri=["ok.jpg", uri])
    with pytest.raises(UsageError, match=r"list.parquet, row 2: .* is not in s3://archive/scans"):
        listed(path, BUCKET)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'uri\n"a.jpg\nb.jpg\nc.jpg\n', "unexpected end of data"),  # all one name, else
        (b"uri,uri\na.jpg,b.jpg\n", "several columns 'uri'"),
        (b'uri\n"http://a\nb"\n', r"row 1: http://a\\nb is not in memory://source"),
        (b"uri\n,\n", "row 1: an empty uri is not in memory://source"),
        (f"uri\nx://{'y' * 10_000}\n".encode(), "row 1: x://y"),
        ("uri\na.jpg\n".encode("utf-16"), "not a CSV file in UTF-8"),
        (b"uri;size\na.jpg;1\n", "no column 'uri' in its first line"),
        (pa.Table.from_arrays([["a.jpg"], ["b.jpg"]], ["uri", "uri"]), "several columns 'uri'"),
        (pa.table({"uri": [None]}), "row 1: an empty uri is not in memory://source"),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused_in_one_line(
    content: bytes | pa.Table, words: str, tmp_path: Path
) -> None:
    path = tmp_path / ("list.csv" if isinstance(content, bytes) else "list.parquet")
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        pq.write_table(content, path)
    with pytest.raises(UsageError, match=words) as caught:
        list(Manifest(str(path)).photos(MemoryStorage("source"), Counter()))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


@pytest.mark.parametrize("size", ["\u00b2", "9" * 30, "9" * 5000, "-1", "1e3", "nan", "", "12"])
def test_whatever_size_a_row_tells_its_photo_can_be_planned(size: str, tmp_path: Path) -> None:
    source, destination = MemoryStorage("source"), MemoryStorage("out")
    manifest = Manifest(str(write_csv(tmp_path, f"uri,size\na.jpg,{size}\n")))
    run = prepare_run(source, destination, RECIPE, 8, partial(manifest.photos, source))
    [shard] = Schedule(destination, run).open()
    assert [photo.size for photo in shard.photos] == [12 if size == "12" else 0]


def test_what_is_no_manifest_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.parquet").write_bytes(b"no")
    (tmp_path / "latin.csv").write_bytes("uri\nä.jpg".encode("latin-1"))
    (tmp_path / "empty").mkdir()
    write_csv(tmp_path, "name\na.jpg\n")
    write_parquet(tmp_path / "other.parquet", name=["a"])
    (tmp_path / "notes.txt").write_bytes(b"no")
    refusals = {
        "notes.txt": "notes.txt is neither .csv nor .parquet",
        "text.parquet": "is not a Parquet file",
        "latin.csv": "is not a CSV file in UTF-8",
        "empty": "neither Parquet nor CSV",
        "list.csv": "no column 'uri' in its first line",
        "other.parquet": "no column 'uri'; its columns are name",
    }
    for name, words in refusals.items():
        with pytest.raises(UsageError, match=words):
            listed(tmp_path / name, BUCKET)
    for name in ("gone.csv", "gone"):
        with pytest.raises(StorageError, match="gone"):
            listed(tmp_path / name, BUCKET)


def test_a_manifest_in_a_bucket_is_read(bucket: str, tmp_path: Path) -> None:
    store = S3Storage(bucket)
    store.write("lists/a.csv", b"uri\nx.jpg\n")
    store.write(
        "lists/b.parquet", write_parquet(tmp_path / "b.parquet", uri=["y.jpg"]).read_bytes()
    )
    assert listed(f"s3://{bucket}/lists/a.csv", BUCKET)[0] == [("x.jpg", 0)]
    assert listed(f"s3://{bucket}/lists/b.parquet", BUCKET)[0] == [("y.jpg", 0)]
    assert listed(f"s3://{bucket}/lists", BUCKET)[0] == [("y.jpg", 0)]


def test_the_digest_is_that_of_the_content(tmp_path: Path) -> None:
    first = Manifest(str(write_csv(tmp_path, "uri\na.jpg\n"))).digest()
    assert Manifest(str(tmp_path / "list.csv")).digest() == first
    assert Manifest(str(write_csv(tmp_path, "uri\nb.jpg\n"))).digest() != first


def test_a_plan_follows_the_manifest_and_counts_what_it_leaves_out(tmp_path: Path) -> None:
    source, destination = MemoryStorage("source"), MemoryStorage("destination")
    uris = ["z.jpg", "a.jpg", "readme.txt", ".x/a.jpg", "a.jpg"]
    manifest = Manifest(str(write_parquet(tmp_path / "list.parquet", uri=uris)))
    run = prepare_run(
        source, destination, RECIPE, 5, lambda ignored: manifest.photos(source, ignored)
    )
    [shard] = Schedule(destination, run).open()
    assert [photo.path for photo in shard.photos] == ["z.jpg", "a.jpg"]
    assert run.plan.ignored == {".txt": 1, "hidden": 1, "repeated": 1}


@given(some.lists(some.sampled_from("abcdefgh"), max_size=12))
def test_each_photo_is_told_once_whatever_the_order_of_the_list(keys: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write_parquet(Path(folder, "list.parquet"), uri=pa.array(keys, pa.string()))
        manifest, source = Manifest(str(path)), MemoryStorage("source")
        for _ in range(2):  # the second time it knows of the order
            ignored = Counter[str]()
            photos = [photo.path for photo in manifest.photos(source, ignored)]
            assert photos == list(dict.fromkeys(keys))
            assert ignored.total() == len(keys) - len(photos)


def test_a_plan_that_began_in_order_goes_on_where_a_manifest_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "PHOTOS_PER_PART", 2)
    source, destination = MemoryStorage("source"), MemoryStorage("destination")
    uris = ["b/1.jpg", "b/1.jpg", "b/2.jpg", "c/1.jpg", "B/1.jpg", "b/1.JPG", "b/2.jpg"]
    manifest = Manifest(str(write_parquet(tmp_path / "list.parquet", uri=uris)))
    run = prepare_run(
        source, destination, RECIPE, 2, lambda ignored: manifest.photos(source, ignored)
    )
    photos = [photo for shard in Schedule(destination, run).open() for photo in shard.photos]
    assert [photo.path for photo in photos] == list(dict.fromkeys(uris))
    assert [photo.name == photo.path for photo in photos] == [True, True, True, False, False]
    assert run.plan.ignored == {"repeated": 2} and len(run.plan.digests) == 3


def test_seen_knows_what_has_come() -> None:
    seen = Seen()
    assert [seen.add(text) for text in ("a", "b", "a", "", "b")] == [True, True, False, True, False]
    assert "a" in seen and "c" not in seen


def test_seen_knows_what_is_on_disk_and_what_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_IN_MEMORY", 10)
    monkeypatch.setattr(module, "_FILTER_BYTES", 4)  # so that it errs often
    there, known, random = Seen(), set[str](), Random(0)
    for _ in range(300):
        text, other = (str(random.randrange(200)) for _ in range(2))
        assert there.add(text) == (text not in known)
        known.add(text)
        assert text in there and (other in there) == (other in known)


def test_a_full_disk_is_told_where_too_many_names_come() -> None:
    seen, (soft, hard) = Seen(), resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.raises(StorageError, match="cannot write: .*disk.*TMPDIR"):
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, hard))
            for number in range(10**6):
                seen.add(str(number))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_part_of_a_list_that_cannot_be_read_is_not_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_parquet(tmp_path / name / "list.parquet", uri=[f"{name}.jpg"])
    assert len(listed(tmp_path, LocalStorage(str(tmp_path / "in")))[0]) == 2
    forbid(monkeypatch, tmp_path / "b")
    with pytest.raises(UsageError, match="unreadable folder b"):
        Manifest(str(tmp_path))


def test_keys_of_objects_are_named_exactly(tmp_path: Path) -> None:
    source = MemoryStorage("source")
    keys = ["a//b.jpg", "a/b.jpg", "./a/b.jpg", "../b.jpg", "/a/b.jpg", "b.jpg ", "a/../b.jpg"]
    path = write_parquet(tmp_path / "list.parquet", uri=keys)
    ignored = Counter[str]()
    assert [each.path for each in Manifest(str(path)).photos(source, ignored)] == keys
    assert not ignored


def test_a_path_that_leaves_a_folder_is_one_row_not_the_end(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    source = LocalStorage(str(tmp_path / "in"))
    path = write_parquet(tmp_path / "list.parquet", uri=["../b.jpg", "./a.jpg", "c//d.jpg"])
    found = [each.path for each in Manifest(str(path)).photos(source, Counter())]
    assert found == ["../b.jpg", "a.jpg", "c/d.jpg"]
    with pytest.raises(StorageError, match="cannot be the name of a file"):
        source.read("../b.jpg")
