"""Freezing a run: what is taken for a photo, what is refused, and what a second command finds."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from pipeline.errors import DestinationMismatch, StorageError, UsageError, shown
from pipeline.ledger import planning as module
from pipeline.ledger.choosing import chosen_photos, describe_ignored, suffix_of
from pipeline.ledger.plan import Schedule
from pipeline.ledger.planning import prepare_run
from pipeline.ledger.recipe import Recipe
from pipeline.ledger.retries import Redo, plan_retry
from pipeline.ledger.run_file import RUN, Plan, Run, load_run, open_run
from pipeline.ledger.updates import plan_update
from pipeline.storage.base import Skip, StoredObject, enter_all
from pipeline.storage.local import LocalStorage
from pipeline.storage.memory import MemoryStorage
from support.forbidden import forbid
from support.simulated_runs import as_before

RECIPE = Recipe(
    source="memory://source",
    seed=0,
    temperature=1.0,
    candidates=1,
    output_size="full",
    format="auto",
    weights={"core": "c0", "color": "c1", "spatial": "5"},
    versions={"autochrome": "0.1.0"},
)


def a_source(*names: str) -> MemoryStorage:
    source = MemoryStorage("source")
    for name in names:
        source.write(name, name.encode())
    return source


def shards_of(destination: MemoryStorage, run: Run, done: frozenset[int] = frozenset()) -> object:
    return [
        (shard.number, [photo.path for photo in shard.photos])
        for shard in Schedule(destination, run).open(done)
    ]


def test_listing_and_planning_are_told_as_they_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.ledger.planning.PHOTOS_PER_PART", 2000)
    source = a_source(*(f"{number:04}.jpg" for number in range(2500)))
    destination, told = MemoryStorage("destination"), list[tuple[str, int]]()
    for _ in range(2):  # at the second start there is nothing to plan
        prepare_run(source, destination, RECIPE, 100, on_phase=lambda *phase: told.append(phase))
    assert told == [
        *(("listing", 0), ("listing", 1000), ("listing", 2000), ("planning", 2000)),
        ("planning", 2500),
    ]


@pytest.mark.parametrize(
    ("photos", "size"), [(1, 2), (11, 2), (12, 3), (23, 5), (24, 6), (25, 6), (99, 6)]
)
def test_shards_grow_as_long_as_there_are_enough_of_them(
    photos: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.ledger.plan.FEW_SHARDS", 4)
    names = [f"{number:03}.jpg" for number in range(photos)]
    run = prepare_run(
        a_source(*names), destination := MemoryStorage("out"), RECIPE, 2, largest_shard=6
    )
    assert (run.plan.photos, run.plan.shard_size) == (photos, size)
    planned = [name for _, shard in shards_of(destination, run) for name in shard]  # type: ignore[attr-defined]
    assert planned == names


def test_what_is_added_to_a_run_of_grown_shards_starts_small_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else a few new or failed photos would be one shard, and all actors but one idle."""
    monkeypatch.setattr("pipeline.ledger.plan.FEW_SHARDS", 4)
    names = [f"{number:03}.jpg" for number in range(24)]
    destination = MemoryStorage("out")
    prepare_run(a_source(*names), destination, RECIPE, 2, largest_shard=6)
    run = open_run(destination)
    new = [f"new/{number}.jpg" for number in range(5)]
    plan_update(a_source(*names, *new), destination, run)
    plan_retry(destination, run, lambda schedule: [Redo(name, 1) for name in names[:13]])
    sizes = [(shard.attempt, len(shard.photos)) for shard in Schedule(destination, run).open()]
    assert sizes == [(1, 6)] * 4 + [(1, 2), (1, 2), (1, 1)] + [(2, 3)] * 4 + [(2, 1)]


def test_photos_are_listed_once_in_order_and_the_rest_is_counted() -> None:
    source = a_source(
        *("b.TIF", "a/2.jpg", "a/1.jpeg", "noend", "a/readme.txt", "x.txt", ".hid.jpg"),
        *(".git/a.jpg", "d.xyz.png", "movie.mov"),
    )
    destination = MemoryStorage("destination")
    run = prepare_run(source, destination, RECIPE, shard_size=2)
    digest = hashlib.sha256(destination.objects["plan/part-00000.parquet"]).hexdigest()
    ignored = {".mov": 1, ".txt": 2, "hidden": 1, "hidden folder": 1}
    assert run.plan == Plan(5, 3, 2, 50_000, (digest,), ignored)
    assert shards_of(destination, run) == [
        (0, ["a/1.jpeg", "a/2.jpg"]),
        (1, ["b.TIF", "d.xyz.png"]),
        (2, ["noend"]),
    ]
    assert shards_of(destination, run, frozenset({0, 2})) == [(1, ["b.TIF", "d.xyz.png"])]
    assert describe_ignored(run.plan.ignored) == (
        "5 other files ignored (2 .txt, 1 .mov, 1 hidden, 1 hidden folder)"
    )


def test_run_json_tells_everything() -> None:
    destination = MemoryStorage("destination")
    prepare_run(a_source("a.jpg"), destination, RECIPE, shard_size=8)
    content = json.loads(destination.read("run.json"))
    assert content["source"] == "memory://source"
    assert content["weights"] == RECIPE.weights
    assert content["plan"]["photos"] == 1


def test_the_frozen_plan_wins_over_a_changed_source_and_another_shard_size() -> None:
    source, destination = a_source("a.jpg", "b.jpg"), MemoryStorage("destination")
    first = prepare_run(source, destination, RECIPE, shard_size=1)
    files = dict(destination.objects)
    source.write("c.jpg", b"later")
    assert prepare_run(source, destination, RECIPE, shard_size=5) == first
    assert destination.objects == files


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"seed": 7}, "seed: was 0, now 7"),
        ({"temperature": 0.5}, "temperature: was 1.0, now 0.5"),
        ({"candidates": 2}, "candidates: was 1, now 2"),
        ({"format": "png"}, "format: was auto, now png"),
        ({"output_size": "256"}, "output_size: was full, now 256"),
        ({"source": "s3://b"}, "source: was memory://source, now s3://b"),
        ({"weights": RECIPE.weights | {"core": "new"}}, "weights.core: was c0, now new"),
        ({"versions": {}}, "versions.autochrome: was 0.1.0, now absent"),
    ],
)
def test_another_setting_is_refused_with_the_difference(
    change: dict[str, object], line: str
) -> None:
    source, destination = a_source("a.jpg"), MemoryStorage("destination")
    prepare_run(source, destination, RECIPE, shard_size=1)
    with pytest.raises(DestinationMismatch) as caught:
        prepare_run(source, destination, replace(RECIPE, **change), shard_size=1)  # type: ignore[arg-type]
    head, *lines = str(caught.value).splitlines()
    assert lines == [line]
    assert head == "memory://destination belongs to a run with other settings"


def test_no_photo_is_one_line_and_leaves_nothing_behind() -> None:
    destination = MemoryStorage("destination")
    with pytest.raises(UsageError, match=r"no photograph in .*; 1 other file ignored \(1 .txt\)$"):
        prepare_run(a_source("a.txt"), destination, RECIPE, shard_size=1)
    assert not destination.objects


def test_places_inside_each_other_are_refused(tmp_path: Path) -> None:
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "in" / "sub")
    outer, inner = LocalStorage(str(tmp_path / "in")), LocalStorage(str(tmp_path / "link" / "out"))
    for source, destination in ((outer, inner), (inner, outer), (outer, outer)):
        with pytest.raises(UsageError, match="must not lie inside each other"):
            prepare_run(source, destination, RECIPE, shard_size=1)
    assert not list(inner.list("plan"))


def test_a_destination_with_pictures_of_others_is_refused() -> None:
    destination = MemoryStorage("destination")
    destination.write("images/mine.jpg", b"precious")
    with pytest.raises(UsageError, match="holds images/mine.jpg and no run.json"):
        prepare_run(a_source("mine.jpg"), destination, RECIPE, shard_size=1)


def test_a_destination_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for place in ("file", "file/below"):
        with pytest.raises(StorageError, match=r"^cannot \w+ .*file is not a folder$"):
            prepare_run(
                a_source("a.jpg"), LocalStorage(str(tmp_path / place)), RECIPE, shard_size=1
            )


def test_an_interrupted_start_is_finished_or_explained() -> None:
    source, destination = a_source("a.jpg", "b.jpg"), MemoryStorage("destination")
    run = prepare_run(source, destination, RECIPE, shard_size=1)
    del destination.objects["run.json"]
    assert prepare_run(source, destination, RECIPE, shard_size=1) == run
    del destination.objects["run.json"]
    source.write("c.jpg", b"x")
    with pytest.raises(UsageError, match="interrupted start .* remove plan/"):
        prepare_run(source, destination, RECIPE, shard_size=1)


def test_of_two_commands_that_start_at_once_one_plan_counts() -> None:
    source, destination = a_source("a.jpg"), MemoryStorage("destination")

    def be_overtaken() -> None:
        prepare_run(source, destination, replace(RECIPE, seed=5), shard_size=1)

    with pytest.raises(DestinationMismatch, match="seed: was 5, now 0"):
        prepare_run(source, destination, RECIPE, shard_size=1, on_plan=be_overtaken)


class Overtaken(MemoryStorage):
    """A destination in which another command does a photo between a look for run.json and a
    listing."""

    def list(self, folder: str = "", skip: Skip = enter_all) -> Iterator[StoredObject]:
        if not self.exists(RUN):
            other = MemoryStorage("destination")
            prepare_run(a_source("a.jpg"), other, RECIPE, shard_size=1)
            self.objects |= {**other.objects, "images/a.jpg": b"", "results/0.parquet": b""}
        return super().list(folder, skip)


def test_a_run_that_begins_while_its_destination_is_looked_through_is_joined() -> None:
    destination = Overtaken("destination")
    assert prepare_run(a_source("a.jpg"), destination, RECIPE, shard_size=1).recipe == RECIPE


def test_a_run_that_begins_while_another_is_planned_is_joined() -> None:
    """Even if it has other shards, as on another device."""

    class Late(MemoryStorage):
        def list(self, folder: str = "", skip: Skip = enter_all) -> Iterator[StoredObject]:
            prepare_run(a_source("a.jpg"), destination, RECIPE, shard_size=7)
            return super().list(folder, skip)

    source, destination = Late("source"), MemoryStorage("destination")
    source.objects = a_source("a.jpg", "new.jpg").objects
    assert prepare_run(source, destination, RECIPE, shard_size=1).plan.shard_size == 7


def test_long_plans_have_several_parts_and_whole_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PHOTOS_PER_PART", 10)
    source, destination = (
        a_source(*(f"{number:03}.jpg" for number in range(32))),
        MemoryStorage("d"),
    )
    run = prepare_run(source, destination, RECIPE, shard_size=4)
    plan = run.plan
    assert (len(plan.digests), plan.shards, plan.photos) == (4, 8, 32)
    shards = list(Schedule(destination, run).open())
    assert [shard.number for shard in shards] == list(range(8))
    assert [len(shard.photos) for shard in shards] == [4] * 8
    assert [photo.path for shard in shards for photo in shard.photos] == sorted(source.objects)


@pytest.mark.parametrize("damage", [b"", b"[]", b"{}", b"null", b'{"format_version": "2"}'])
def test_a_damaged_run_json_is_one_line(damage: bytes) -> None:
    destination = MemoryStorage("destination")
    destination.write("run.json", damage)
    with pytest.raises(StorageError, match="run.json is not a run of Autochrome") as caught:
        load_run(destination)
    assert "\n" not in str(caught.value)


def test_a_damaged_plan_is_one_line() -> None:
    destination = MemoryStorage("destination")
    run = prepare_run(a_source("a.jpg"), destination, RECIPE, shard_size=1)
    destination.write("plan/part-00000.parquet", b"PAR1 no more")
    with pytest.raises(
        StorageError, match="part-00000.parquet is not what run.json was written for"
    ) as caught:
        list(Schedule(destination, run).open())
    assert "\n" not in str(caught.value)


@given(
    photos=some.integers(1, 50),
    shard_size=some.integers(1, 60),
    data=some.data(),
)
def test_photos_in_shards_are_counted_from_their_numbers(
    photos: int, shard_size: int, data: some.DataObject
) -> None:
    shards = -(-photos // shard_size)
    plan = Plan(photos, shards, shard_size, 1, (), {})
    chosen = data.draw(some.sets(some.integers(0, shards - 1)))
    expected = sum(number // shard_size in chosen for number in range(photos))
    assert plan.photos_in(chosen) == expected


def test_names_of_results_are_decided_in_the_plan() -> None:
    source, destination = a_source("a.bmp", "a.bmp.png", "b.png", "A.bmp"), MemoryStorage("to")
    run = prepare_run(source, destination, RECIPE, 2)
    names = {
        photo.path: photo.name
        for shard in Schedule(destination, run).open()
        for photo in shard.photos
    }
    assert names["b.png"] == "b.png" and len({str(name).lower() for name in names.values()}) == 4
    assert all(name for name in names.values())
    assert plan_retry(destination, run, lambda _: [Redo("a.bmp.png", 1, None, "a~1.png")])
    *_, retry = Schedule(destination, run).open()
    assert [photo.name for photo in retry.photos] == ["a~1.png"]


def test_a_plan_of_an_older_version_has_no_names() -> None:
    source, destination = a_source("a.bmp", "a.bmp.png"), MemoryStorage("to")
    prepare_run(source, destination, RECIPE, 2)
    again = as_before(destination, "name")
    [shard] = Schedule(destination, again).open()
    assert [photo.name for photo in shard.photos] == [None, None]
    assert plan_retry(destination, again, lambda _: [Redo("a.bmp", 1)])
    *_, retry = Schedule(destination, again).open()
    assert [photo.name for photo in retry.photos] == [None]


def test_what_systems_leave_beside_photographs_is_none() -> None:
    names = (
        "a.jpg",
        "@eaDir/a.jpg",
        "b/.DS_Store",
        "SHA256SUMS",
        "Thumbs.db",
        "b/md5sums",
        "c/IMG",
    )
    destination = MemoryStorage("destination")
    run = prepare_run(a_source(*names), destination, RECIPE, 8)
    [shard] = Schedule(destination, run).open()
    assert [photo.path for photo in shard.photos] == ["a.jpg", "c/IMG"]
    assert run.plan.ignored == {"folder of the system": 1, "hidden": 1, "of the system": 3}


def test_no_folder_is_entered_in_which_nothing_can_be_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered = (".", "b", "b/scans", "private stock")
    passed_by = (
        *("private", "b/secret", "b/secret/deep", ".snapshot", "b/.snapshot", "b/@eaDir"),
        *("lost+found", "b/scans/tmp1", "[x]"),
    )
    for folder in (*entered, *passed_by):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / "a.jpg").write_bytes(b"x")
    scan, seen = os.scandir, list[str]()

    def noted(place: str) -> object:
        seen.append(os.path.relpath(place, tmp_path))
        return scan(place)

    exclude = ("private/*", "*/secret/*", "b/scans/tmp*", "[[]x]/*", "b/scans/a.[jt]*", "*.tif")
    source, destination = LocalStorage(str(tmp_path)), MemoryStorage("destination")
    monkeypatch.setattr(os, "scandir", noted)
    recipe = replace(RECIPE, source=source.uri, exclude=exclude)
    run = prepare_run(source, destination, recipe, 8)
    assert sorted(seen) == sorted(entered)
    [shard] = Schedule(destination, run).open()
    assert [photo.path for photo in shard.photos] == ["a.jpg", "b/a.jpg", "private stock/a.jpg"]
    assert run.plan.ignored == {
        "excluded folder": 4,
        "filtered": 1,
        "folder of the system": 2,
        "hidden folder": 2,
    }


@given(
    some.lists(some.text("ab/*?[]!", min_size=1, max_size=6), max_size=3),
    some.lists(some.text("ab/", min_size=1, max_size=6), min_size=1, max_size=8),
)
def test_a_plan_is_the_same_as_if_all_folders_were_entered(
    exclude: list[str], names: list[str]
) -> None:
    recipe = replace(RECIPE, exclude=tuple(exclude))
    source = a_source("kept", *(f"{name}.jpg" for name in names))
    whole = chosen_photos(source, recipe, lambda _: source.list(), Counter())
    assert list(chosen_photos(source, recipe, None, Counter())) == list(whole)


@given(some.text("ab./ \0", max_size=8))
def test_suffixes_are_those_of_paths(path: str) -> None:
    assert suffix_of(path) == PurePosixPath(path).suffix


def test_keys_that_are_no_file_paths_are_planned_as_they_are() -> None:
    source, destination = MemoryStorage("source"), MemoryStorage("destination")
    keys = ["../b.jpg", "./b.jpg", "/b.jpg", "a//b.jpg", "a/b.jpg", "b.jpg "]
    for key in keys:
        source.write(key, b"x")
    run = prepare_run(source, destination, RECIPE, 8)
    [shard] = Schedule(destination, run).open()
    assert [photo.path for photo in shard.photos] == sorted(keys)
    assert len({photo.name for photo in shard.photos}) == len(keys)


def test_unreadable_folders_and_links_that_leave_are_named_and_passed_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("in/a.jpg", "in/lost/b.jpg", "out/c.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "in" / "away").symlink_to(tmp_path / "out")
    (tmp_path / "in" / "d.jpg").symlink_to(tmp_path / "out" / "c.jpg")
    (tmp_path / "in" / "e.jpg").symlink_to(tmp_path / "in" / "a.jpg")
    forbid(monkeypatch, tmp_path / "in" / "lost")
    destination = MemoryStorage("destination")
    source = LocalStorage(str(tmp_path / "in"), follow_links=False)
    run = prepare_run(source, destination, replace(RECIPE, source=source.uri), 8)
    [shard] = Schedule(destination, run).open()
    assert [photo.path for photo in shard.photos] == ["a.jpg", "e.jpg"]
    assert run.plan.ignored == {"link out of the source": 2, "unreadable folder lost": 1}
    assert len(list(LocalStorage(str(tmp_path / "in")).list())) == 5


@pytest.mark.parametrize("other", ["thesis.docx", "images/a.jpg", "deep/er/x.txt"])
def test_a_destination_with_files_of_others_is_refused(other: str) -> None:
    destination = MemoryStorage("destination")
    destination.write(other, b"x")
    with pytest.raises(UsageError, match="choose an empty one"):
        prepare_run(a_source("a.jpg"), destination, RECIPE, 8)


def test_names_are_shown_without_commands_to_a_terminal() -> None:
    assert shown("a\x1b[2Jb\tc\u202ed") == "a\\x1b[2Jb\\tc\\u202ed" and shown("Häfen") == "Häfen"


JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=8),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=8), inner),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(some.data())
def test_whatever_run_json_holds_the_user_sees_one_line(data: some.DataObject) -> None:
    destination = MemoryStorage("destination")
    prepare_run(a_source("a.jpg"), destination, RECIPE, 8)
    content = json.loads(destination.read(RUN))
    where = content if data.draw(some.booleans()) else content["plan"]
    where[data.draw(some.sampled_from(sorted(where)))] = data.draw(JSON)
    destination.write(RUN, json.dumps(content).encode())
    try:
        run = load_run(destination)
    except StorageError as error:
        assert "\n" not in str(error)
    else:
        assert run is not None and run.plan.photos_in({0}) >= 0


@given(some.binary(max_size=80) | some.text(max_size=80).map(str.encode))
def test_whatever_bytes_run_json_has_the_user_sees_one_line(data: bytes) -> None:
    destination = MemoryStorage("destination")
    destination.write(RUN, data)
    with pytest.raises(StorageError, match="is not a run of Autochrome") as caught:
        load_run(destination)
    assert "\n" not in str(caught.value)
