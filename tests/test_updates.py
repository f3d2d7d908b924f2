"""Photos that come into a source after it was planned: counted, planned once, told as photos."""

import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import Result
from hypothesis import given, settings
from hypothesis import strategies as some
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from test_names import PHOTOS, all_outputs

import autochrome
from pipeline.errors import DestinationMismatch, StorageError, UsageError
from pipeline.ledger.plan import Schedule, retry_path
from pipeline.ledger.planning import prepare_run
from pipeline.ledger.recipe import Recipe
from pipeline.ledger.results import committed_shards, read_results
from pipeline.ledger.run_file import Run
from pipeline.ledger.status import Ledger
from pipeline.ledger.updates import Changes, compare, plan_update, refuse_other_list
from pipeline.review.pages import write_review
from pipeline.run.options import RecipeOptions, Resources
from pipeline.run.request import prepare_job
from pipeline.run.steps import write_shard
from pipeline.storage.base import Skip, Storage, StoredObject, enter_all
from pipeline.storage.local import LocalStorage
from pipeline.storage.memory import MemoryStorage
from pipeline.storage.open_storage import open_storage
from pipeline.verify import verify
from support.commands import run_command
from support.premis_rules import write_premis
from support.simulated_runs import RECIPE, as_before, commit, planned
from support.written_shards import candidates_of

NAMES = ("000.bmp", "A.jpg", "a.jpg", "b/c.tif", "B/c.tif", "a.bmp", "a.bmp.png", "002.jpg.png")


class Killed(Exception):
    pass


class Interfered(MemoryStorage):
    """A destination at which something happens before a write, which may then be too late."""

    def __init__(
        self, objects: dict[str, bytes], before: Callable[[], object], writes: int
    ) -> None:
        super().__init__("destination")
        self.objects, self._before, self._writes = objects, before, writes

    def write_if_absent(self, path: str, data: bytes) -> bool:
        self._writes -= 1
        if self._writes == 0:
            self._before()
        return super().write_if_absent(path, data)


def kill() -> None:
    raise Killed


def first_attempts(destination: Storage, run: Run) -> list[tuple[str, str | None]]:
    """Photo and name of all that is planned for the first time."""
    shards = [shard for shard in Schedule(destination, run).open() if shard.attempt == 1]
    return [(photo.path, photo.name) for shard in shards for photo in shard.photos]


def work(destination: Storage, run: Run, failing: dict[str, str] | None = None) -> None:
    for shard in Schedule(destination, run).open(committed_shards(destination).keys()):
        assert commit(destination, run, shard, failing)


def status_of(destination: Storage, run: Run) -> tuple[int, int, int, int]:
    """Photos, done, pending, retrying."""
    ledger = Ledger(destination, run)
    ledger.refresh()
    now = ledger.status()
    return now.photos, now.done, now.pending, now.retrying


def test_new_photos_are_told_of_planned_once_and_counted_as_photos() -> None:
    source, destination, run = planned(photos=5, shard_size=2)
    work(destination, run, {"001.jpg": "corrupt"})
    assert compare(source, destination, run) == Changes()
    for name in ("zz.jpg", "000.bmp", "notes.txt", "box/001.jpg"):
        source.write(name, b"x")
    source.write("002.jpg", b"another size")
    source.delete("003.jpg")
    assert compare(source, destination, run) == Changes(new=3, resized=1)
    assert Ledger(destination, run).retry_failed() == 1
    assert plan_update(source, destination, run) == Changes(new=3, resized=1)
    assert plan_update(source, destination, run) == Changes(new=0, resized=1)
    assert compare(source, destination, run) == Changes(new=0, resized=1)
    opened = Schedule(destination, run).open(committed_shards(destination).keys())
    assert [
        (shard.number, shard.attempt, [each.path for each in shard.photos]) for shard in opened
    ] == [
        (3, 2, ["001.jpg"]),
        (4, 1, ["000.bmp", "box/001.jpg"]),
        (5, 1, ["zz.jpg"]),
    ]
    assert status_of(destination, run) == (8, 4, 3, 1)
    assert verify(source, destination, run).pending == 4
    work(destination, run)
    assert status_of(destination, run) == (8, 8, 0, 0)
    photos = [row for table in read_results(destination, run) for row in table["photo"].to_pylist()]
    first = ["000.jpg", "002.jpg", "003.jpg", "004.jpg", "000.bmp", "box/001.jpg", "zz.jpg"]
    assert photos == ["001.jpg", *first]
    assert compare(source, destination, run) == Changes(new=0, resized=1)


def test_a_photo_that_was_done_again_since_it_changed_is_not_told_of() -> None:
    source, destination, run = planned(photos=2, shard_size=2)
    work(destination, run, {"001.jpg": "corrupt"})
    source.write("001.jpg", b"a better scan")
    assert compare(source, destination, run) == Changes(resized=1)
    assert Ledger(destination, run).retry_failed() == 1
    assert compare(source, destination, run) == Changes()


def test_page_premis_and_tables_have_the_new_photos(tmp_path: Path) -> None:
    recipe = replace(RECIPE, versions={"autochrome": "1"})
    source, there, run = planned(photos=3, shard_size=2, recipe=recipe)
    source.write("new.jpg", b"x")
    plan_update(source, there, run)
    destination = LocalStorage(str(tmp_path))
    for found in list(there.list()):
        destination.write(found.path, there.read(found.path))
    photos = [photo for photo, _ in first_attempts(destination, run)]
    work(destination, run, dict.fromkeys(photos, "corrupt"))  # so that no picture is missed
    write_review(destination, run)
    script = destination.read("report/data/run.js").decode()
    assert '"planned":4' in script and '["plan photos","4"]' in script
    assert write_premis(destination, read_results(destination, run), run)
    assert destination.read("premis.xml").count(b"<originalName>") == 4
    rows = autochrome.open_results(str(tmp_path)).to_table()
    assert sorted(rows["photo"].to_pylist()) == ["000.jpg", "001.jpg", "002.jpg", "new.jpg"]
    assert set(rows["attempt"].to_pylist()) == {1}


def test_what_two_commands_add_at_once_is_added_once() -> None:
    for rival_photo, writes in (("b.jpg", 1), ("b.jpg", 2), ("0.jpg", 1), (None, 1)):
        source, destination, run = planned(photos=2, shard_size=1)
        assert isinstance(destination, MemoryStorage)
        for number in range(30):
            source.write(f"new/{number:02}.jpg", b"x")

        def rival(
            source: Storage = source,
            destination: Storage = destination,
            run: Run = run,
            photo: str | None = rival_photo,
        ) -> None:
            if photo:
                source.write(photo, b"x")
            plan_update(source, destination, run)

        run = replace(run, plan=replace(run.plan, shards_per_part=10))
        overtaken = Interfered(destination.objects, rival, writes)
        plan_update(source, overtaken, run)
        photos = [photo for photo, _ in first_attempts(destination, run)]
        assert len(photos) == len(set(photos)) == 32 + bool(rival_photo)


def test_an_update_and_a_retry_at_once_do_not_share_shards() -> None:
    source, destination, run = planned(photos=3, shard_size=3)
    assert isinstance(destination, MemoryStorage)
    work(destination, run, {"001.jpg": "corrupt"})
    source.write("new.jpg", b"x")

    def plan_retry() -> None:
        assert Ledger(destination, run).retry_failed() == 1

    def add() -> None:
        assert plan_update(source, destination, run).new == 1

    retry = Interfered(destination.objects, plan_retry, 1)
    assert plan_update(source, retry, run).new == 1
    assert [shard.number for shard in Schedule(destination, run).open()] == [0, 1, 2]
    source.write("newer.jpg", b"x")
    work(destination, run, {"new.jpg": "missing"})
    update = Interfered(destination.objects, add, 1)
    assert Ledger(update, run).retry_failed() == 1
    assert [shard.number for shard in Schedule(destination, run).open()] == [0, 1, 2, 3, 4]


def test_parts_that_were_added_before_a_kill_count_and_the_rest_is_added_later() -> None:
    source, destination, run = planned(photos=1, shard_size=2)
    assert isinstance(destination, MemoryStorage)
    run = replace(run, plan=replace(run.plan, shards_per_part=5))
    for number in range(35):
        source.write(f"new/{number:02}.jpg", b"x")
    with pytest.raises(Killed):
        plan_update(source, Interfered(destination.objects, kill, 3), run)
    assert status_of(destination, run) == (21, 0, 21, 0)
    assert compare(source, destination, run) == Changes(new=15)
    assert plan_update(source, destination, run).new == 15
    assert sorted(photo for photo, _ in first_attempts(destination, run)) == sorted(source.objects)  # type: ignore[attr-defined]


def test_a_limit_is_of_all_photos() -> None:
    recipe = replace(RECIPE, limit=4)
    source, destination, run = planned(photos=3, shard_size=2, recipe=recipe)
    for name in ("0.jpg", "1.jpg", "x.jpg"):
        source.write(name, b"x")
    assert compare(source, destination, run) == Changes(new=1)
    assert plan_update(source, destination, run).new == 1
    assert status_of(destination, run)[0] == 4
    assert compare(source, destination, run) == Changes()
    assert plan_update(source, destination, run) == Changes()


def test_patterns_are_those_of_the_run() -> None:
    recipe = replace(RECIPE, include=("*.jpg",), exclude=("tmp/*",))
    source, destination, run = planned(photos=1, shard_size=2, recipe=recipe)
    for name in ("a.jpg", "b.png", "tmp/c.jpg", ".d.jpg"):
        source.write(name, b"x")
    assert plan_update(source, destination, run) == Changes(new=1)


def test_the_photos_of_a_manifest_are_fixed() -> None:
    begun = replace(RECIPE, manifest="digest")
    source, destination, run = planned(photos=2, shard_size=2, recipe=begun)
    source.write("new.jpg", b"x")
    assert compare(source, destination, run) is None
    assert plan_update(source, destination, run) == Changes()
    refuse_other_list(destination, begun, begun)
    for was, now in ((begun, RECIPE), (RECIPE, begun), (begun, replace(begun, manifest="other"))):
        with pytest.raises(DestinationMismatch, match="a destination of its own$") as caught:
            refuse_other_list(destination, was, now)
        assert "\n" not in str(caught.value)


class Unordered(MemoryStorage):
    """A store that lists as it likes, and something twice."""

    def list(self, folder: str = "", skip: Skip = enter_all) -> Iterator[StoredObject]:
        found = [*super().list(folder, skip)]
        return iter([*found[::-1], *found[:2]])


def test_a_store_that_does_not_list_in_order_is_compared_all_the_same() -> None:
    _, destination, run = planned(photos=4, shard_size=2)
    source = Unordered("source")
    for name in ("000.jpg", "002.jpg", "aa.jpg", "b.jpg", "000.bmp"):
        source.write(name, b"x")
    assert compare(source, destination, run) is None, "not cheap"
    assert plan_update(source, destination, run).new == 3
    assert Counter(photo for photo, _ in first_attempts(destination, run)).most_common(1)[0][1] == 1
    assert status_of(destination, run)[0] == 7


def test_a_comparison_that_takes_too_long_is_given_up() -> None:
    source, destination, run = planned(photos=4, shard_size=2)
    assert compare(source, destination, run, seconds=0.0) is None
    assert compare(source, destination, run, seconds=600.0) == Changes()


def test_a_source_that_is_gone_adds_nothing_and_is_one_line(tmp_path: Path) -> None:
    _, destination, run = planned(photos=1, shard_size=1)
    before = dict(destination.objects)  # type: ignore[attr-defined]
    with pytest.raises(StorageError, match="does not exist"):
        plan_update(LocalStorage(str(tmp_path / "gone")), destination, run)
    assert destination.objects == before  # type: ignore[attr-defined]


def test_a_destination_of_an_older_version_gets_names_for_new_photos_alone() -> None:
    source, destination, _ = planned(photos=2, shard_size=2)
    run = as_before(destination, "name")
    for name in ("000.jpg.png", "000.JPG", "001"):
        source.write(name, b"x")
    assert plan_update(source, destination, run).new == 3
    names = dict(first_attempts(destination, run))
    assert names["000.jpg"] is None and names["001.jpg"] is None
    new = [names[photo] for photo in ("000.jpg.png", "000.JPG", "001")]
    old = all_outputs("000.jpg", 1, False) | all_outputs("001.jpg", 1, False)
    for decided in new:
        assert decided and not all_outputs(decided, 1, False) & old


@settings(max_examples=60)
@given(PHOTOS, some.data())
def test_names_of_added_photos_are_unlike_all_others(
    photos: list[str], data: some.DataObject
) -> None:
    """Whichever photos come first, and in however many updates the others do."""
    recipe = replace(
        RECIPE,
        candidates=data.draw(some.sampled_from([1, 2])),
        pages=data.draw(some.sampled_from(["first", "all"])),
    )
    source, destination = MemoryStorage("source"), MemoryStorage("destination")
    rounds = [data.draw(some.integers(0, 2)) for _ in photos]
    run: Run | None = None
    for number in range(3):
        for photo, when in zip(photos, rounds, strict=True):
            if when == number:
                source.write(photo, b"x")
        if run is not None:
            plan_update(source, destination, run)
        elif source.objects:
            try:
                run = prepare_run(source, destination, recipe, 2)
            except UsageError:  # nothing that is taken for a photograph
                continue
    if run is None:
        return
    taken: set[str] = set()
    rows = first_attempts(destination, run)
    assert len({photo for photo, _ in rows}) == len(rows)
    for _, name in rows:
        assert name
        outputs = all_outputs(name, recipe.candidates, recipe.pages == "all")
        assert not outputs & taken
        taken |= outputs


class AnyUpdates(RuleBasedStateMachine):
    """Photos come and go, commands add them, die, and meet each other: each is planned once."""

    @initialize(photos=some.integers(1, 5), shard_size=some.integers(1, 3))
    def plan(self, photos: int, shard_size: int) -> None:
        self.source, self.destination, self.run_ = planned(photos, shard_size)
        self.run_ = replace(self.run_, plan=replace(self.run_.plan, shards_per_part=1))
        self.names = dict(first_attempts(self.destination, self.run_))

    @rule(name=some.sampled_from(NAMES))
    def come(self, name: str) -> None:
        self.source.write(name, b"x")

    @rule(name=some.sampled_from(NAMES))
    def go(self, name: str) -> None:
        self.source.delete(name)

    @rule()
    def update(self) -> None:
        expected = {found.path for found in self.source.list()} - self.names.keys()
        assert compare(self.source, self.destination, self.run_) == Changes(new=len(expected))
        assert plan_update(self.source, self.destination, self.run_).new == len(expected)
        assert compare(self.source, self.destination, self.run_) == Changes()

    @rule(writes=some.integers(1, 3))
    def die_while_updating(self, writes: int) -> None:
        place = Interfered(self.destination.objects, kill, writes)  # type: ignore[attr-defined]
        try:
            plan_update(self.source, place, self.run_)
        except Killed:
            pass

    @rule(writes=some.integers(1, 3), name=some.none() | some.sampled_from(NAMES))
    def meet(self, writes: int, name: str | None) -> None:
        """Another command updates in between, which may see one more photo."""

        def rival() -> None:
            if name:
                self.source.write(name, b"x")
            plan_update(self.source, self.destination, self.run_)

        place = Interfered(self.destination.objects, rival, writes)  # type: ignore[attr-defined]
        plan_update(self.source, place, self.run_)

    @rule()
    def work(self) -> None:
        work(self.destination, self.run_, {"000.jpg": "corrupt", "A.jpg": "missing"})

    @rule()
    def retry(self) -> None:
        Ledger(self.destination, self.run_).retry_failed()

    @invariant()
    def each_photo_is_planned_once_and_keeps_its_name(self) -> None:
        if not hasattr(self, "names"):
            return
        rows = first_attempts(self.destination, self.run_)
        now = dict(rows)
        assert len(now) == len(rows) and now.items() >= self.names.items()
        self.names = now
        outputs = [all_outputs(str(name), 1, False) for name in now.values()]
        assert sum(map(len, outputs)) == len(set().union(*outputs))
        shards = [shard.number for shard in Schedule(self.destination, self.run_).open()]
        assert shards == list(range(len(shards)))
        photos, done, pending, _ = status_of(self.destination, self.run_)
        assert photos == len(now) and done + pending <= photos
        tables = list(read_results(self.destination, self.run_, ["photo"]))
        results = pa.concat_tables(tables)["photo"].to_pylist() if tables else []
        assert len(results) == len(set(results)) == photos - pending


AnyUpdates.TestCase.settings = settings(max_examples=25, stateful_step_count=12, deadline=None)
TestAnyUpdates = AnyUpdates.TestCase


def test_commands_that_update_a_bucket_at_once_add_each_photo_once(bucket: str) -> None:
    source, destination = (open_storage(f"s3://{bucket}/{name}") for name in ("in", "out"))
    for number in range(3):
        source.write(f"{number}.jpg", b"x")
    recipe = Recipe(source=source.uri, weights={}, versions={})
    run = prepare_run(source, destination, recipe, 2)
    for name in ("0.bmp", "a/1.jpg", "2.JPG"):
        source.write(name, b"x")
    with ThreadPoolExecutor(4) as pool:
        places = [open_storage(destination.uri) for _ in range(4)]
        list(pool.map(lambda place: plan_update(source, place, run), places))
    rows = first_attempts(destination, run)
    assert sorted(photo for photo, _ in rows) == [
        *("0.bmp", "0.jpg", "1.jpg", "2.JPG", "2.jpg", "a/1.jpg"),
    ]
    assert len({str(name).lower() for _, name in rows}) == 6
    assert plan_update(source, destination, run) == Changes()
    assert destination.exists(retry_path(1)) and not destination.exists(retry_path(2))


def test_the_same_command_says_how_many_photos_came(
    tmp_path: Path, repository: Path, weights: Path
) -> None:
    """All is done already, so that nothing is colorized here."""
    source, out = tmp_path / "in", tmp_path / "out"
    cat = (repository / "examples/photos/animals/cat.jpg").read_bytes()
    source.mkdir()
    (source / "a.jpg").write_bytes(cat)
    place = open_storage(str(out))
    resources = Resources(str(weights), device="cpu")
    job = prepare_job(str(source), place, RecipeOptions(), resources)

    def work() -> None:
        for shard in Schedule(place, job.run).open(committed_shards(place).keys()):
            colored = candidates_of(job.run.recipe, job.source, shard)
            write_shard(shard.number, colored, job.source, place, job.run)

    work()

    def run(*arguments: object) -> Result:
        command = ("colorize", source, out, "--weights", weights, "--device", "cpu", *arguments)
        return run_command(*command)

    quiet = run()
    assert quiet.exit_code == 0 and "--update" not in quiet.output
    assert "no new photo to add" in run("--update").stdout
    (source / "b.jpg").write_bytes(cat)
    (source / "c.jpg").write_bytes(cat)
    told = run()
    assert told.exit_code == 0, told.output
    assert "2 photos of the source are not in the plan: --update adds them" in told.stdout
    assert json.loads(run("--log-format", "json").stdout)["unplanned"] == 2
    dry = run("--dry-run")
    assert "1 done in" in dry.stdout and ", 0 to do" in dry.stdout and "--update adds" in dry.stdout
    assert ", 2 to do" in run("--dry-run", "--update").stdout
    plan_update(job.source, place, job.run)
    work()
    (source / "a.jpg").write_bytes(cat + b"\0")
    last = run()
    assert re.match(r"3 of 3 photos colorized.*\n1 photo has changed in size", last.stdout)
    manifest = tmp_path / "list.csv"
    manifest.write_text("uri\na.jpg\n")
    other = run("--update", "--manifest", manifest)
    assert other.exit_code == 5 and len(other.stderr.splitlines()) == 1
    assert "was planned without a manifest" in other.stderr


def test_large_updates_have_parts_that_are_read_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Streams of parts, not parts, are compared at once."""
    from pipeline.ledger import updates

    source, destination, run = planned(photos=1, shard_size=2)
    run = replace(run, plan=replace(run.plan, shards_per_part=1))
    for number in range(9):
        source.write(f"b/{number}.jpg", b"x")
    plan_update(source, destination, run)
    source.write("a.jpg", b"x")
    plan_update(source, destination, run)
    schedule = Schedule(destination, run)
    streams = updates._ordered(schedule, schedule.planned_files())
    assert [len(stream) for stream in streams] == [6, 1]
    paths = [path for path, _ in itertools.chain(*(updates._photos(schedule, s) for s in streams))]
    assert sorted(paths) == sorted(source.objects)  # type: ignore[attr-defined]
