"""Sources that are files: what is taken, where results may go, and what is refused."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.ledger.plan import Schedule
from pipeline.ledger.planning import prepare_run, refuse_overlap
from pipeline.ledger.recipe import Recipe
from pipeline.ledger.sources import listing_of, named_files, split_source, split_sources
from pipeline.ledger.updates import Changes, compare
from pipeline.storage.memory import MemoryStorage
from pipeline.storage.open_storage import open_storage


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.tif", "b [1].jpg", "box/c*.jpg", "box/d.jpg", "notes.txt", "scans.zip"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def taken(place: str, include: tuple[str, ...]) -> list[str]:
    source = open_storage(place)
    recipe = Recipe(source=source.uri, include=include, weights={}, versions={})
    destination = MemoryStorage("out")
    run = prepare_run(source, destination, recipe, 8)
    assert compare(source, destination, run) == Changes()
    return [photo.path for shard in Schedule(destination, run).open() for photo in shard.photos]


def test_one_file_and_several_are_sources(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert split_source("a.tif", ()) == (str(folder), ("a.tif",))
    assert taken(*split_sources(["a.tif"], ())) == ["a.tif"]
    assert taken(*split_sources(["b [1].jpg"], ())) == ["b [1].jpg"]
    assert taken(*split_sources(["box/c*.jpg"], ())) == ["c*.jpg"]
    several = ["box/d.jpg", "./a.tif", str(folder / "box" / "c*.jpg"), "a.tif"]
    place, include = split_sources(several, ())
    assert place == str(folder) and include == ("a.tif", "box/c[*].jpg", "box/d.jpg")
    assert taken(place, include) == ["a.tif", "box/c*.jpg", "box/d.jpg"]
    with pytest.raises(UsageError, match="^notes.txt is not a photograph: .txt files are"):
        split_sources(["notes.txt"], ())


def test_what_is_no_list_of_files_is_one_line(folder: Path) -> None:
    for names, words in (
        (["a.tif", "scans.zip"], "scans.zip is an archive"),
        (["a.tif", "box"], "box is a folder: a run takes one folder, or several files"),
        (["a.tif", "*.jpg"], "is a pattern: a run takes one pattern, or several files"),
        (["a.tif", "gone.tif"], "gone.tif does not exist"),
    ):
        with pytest.raises(UsageError, match=words.replace("*", r"\*")) as caught:
            split_sources([str(folder / name) for name in names], ())
        assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="a run takes one kind"):
        split_sources([str(folder / "a.tif"), "s3://bucket/b.tif"], ())
    with pytest.raises(UsageError, match="several buckets"):
        split_sources(["s3://one/a.tif", "s3://other/a.tif"], ())
    with pytest.raises(UsageError, match="it needs no --include 'x'"):
        split_source(str(folder / "a.tif"), ("x",))


def test_results_may_lie_beside_files_but_files_not_among_results(folder: Path) -> None:
    source = open_storage(str(folder))
    (folder / "link.tif").symlink_to(folder / "box" / "d.jpg")
    refuse_overlap(source, open_storage(str(folder / "out")), ("a.tif",))
    refuse_overlap(source, open_storage(str(folder / "box")), ("a.tif",))
    for place, include in (
        ("out", ()),
        ("out", ("*.tif",)),
        (".", ("a.tif",)),
        ("box", ("a.tif", "box/d.jpg")),
        ("box", ("link.tif",)),
        ("a.tif", ("a.tif",)),
    ):
        with pytest.raises(UsageError, match="must not lie inside each other"):
            refuse_overlap(source, open_storage(str(folder / place)), include)


@pytest.mark.parametrize(
    ("include", "files"),
    [
        ((), None),
        (("a.jpg", "*.tif"), None),
        (("a[12].jpg",), None),
        (("b.jpg", "a.jpg", "b.jpg"), ["a.jpg", "b.jpg"]),
        (("a[[]1].jpg", "[*][?]"), ["*?", "a[1].jpg"]),
    ],
)
def test_patterns_without_a_wildcard_are_files(
    include: tuple[str, ...], files: list[str] | None
) -> None:
    assert named_files(include) == files


def test_files_that_are_named_and_gone_are_counted() -> None:
    source, ignored = MemoryStorage("source"), Counter[str]()
    source.write("a.jpg", b"xyz")
    listing = listing_of(source, ("a.jpg", "gone.jpg"))
    assert listing
    assert [(found.path, found.size) for found in listing(ignored)] == [("a.jpg", 3)]
    assert ignored == {"not there": 1}
    recipe = Recipe(source="memory://source", include=("a.jpg",), weights={}, versions={})
    run = prepare_run(source, MemoryStorage("out"), recipe, 8)
    assert run.plan.photos == 1
    with pytest.raises(UsageError, match=r"no photograph in .*\(1 not there\)"):
        prepare_run(source, MemoryStorage("out"), replace(recipe, include=("gone.jpg",)), 8)


def test_objects_of_a_bucket_are_sources(bucket: str) -> None:
    storage = open_storage(f"s3://{bucket}")
    for name in ("in/a.tif", "in/box/b.jpg", "in/c.jpg", "in/d.jpg/e.jpg"):
        storage.write(name, b"x")
    assert taken(*split_source(f"s3://{bucket}/in/a.tif", ())) == ["a.tif"]
    both = [f"s3://{bucket}/in/box/b.jpg", f"s3://{bucket}/in/c.jpg"]
    assert split_sources(both, ()) == (f"s3://{bucket}/in", ("box/b.jpg", "c.jpg"))
    assert taken(*split_sources(both, ())) == ["box/b.jpg", "c.jpg"]
    assert taken(*split_source(f"s3://{bucket}/in/d.jpg", ())) == ["e.jpg"], "a prefix"
    with pytest.raises(UsageError, match="gone.jpg does not exist"):
        split_sources([*both, f"s3://{bucket}/in/gone.jpg"], ())
