"""A destination is damaged in every way we know; verify names it, and repair undoes it."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from pipeline.errors import ObjectArchived, StorageError
from pipeline.ledger.plan import Schedule, Shard
from pipeline.ledger.results import Result, commit_shard, committed_shards
from pipeline.ledger.run_file import Run, load_run
from pipeline.ledger.status import Ledger
from pipeline.ledger.updates import plan_update
from pipeline.review.previews import map_path, script_path, sheet_path
from pipeline.storage.base import Skip, StoredObject, enter_all
from pipeline.storage.memory import MemoryStorage
from pipeline.verification.findings import Findings
from pipeline.verify import prune, repair, verify
from support.simulated_runs import RECIPE, planned
from support.written_shards import planned as photos_of

Place = tuple[MemoryStorage, MemoryStorage, Run]


def rows_of(shard: Shard, source: MemoryStorage, destination: MemoryStorage) -> list[Result]:
    """Write pictures for the photos of a shard, two candidates each; 001.jpg fails."""
    rows = []
    for photo in shard.photos:
        digest = hashlib.sha256(source.read(photo.path)).hexdigest()
        row = Result(
            photo.path,
            source.uri_of(photo.path),
            shard.number,
            photo.size,
            digest,
            attempt=shard.attempt,
            finished_at=datetime.now(UTC),
        )
        if photo.path == "001.jpg" and shard.attempt == 1:
            rows.append(replace(row, status="failed", reason="corrupt"))
            continue
        for candidate in (0, 1):
            path = f"images/{photo.path.removesuffix('.jpg')}.candidate-{candidate}.jpg"
            data = f"{photo.path} {candidate}".encode()
            destination.write(path, data)
            rows.append(
                replace(
                    row,
                    candidate=candidate,
                    output_uri=destination.uri_of(path),
                    output_sha256=hashlib.sha256(data).hexdigest(),
                )
            )
    return rows


def work(source: MemoryStorage, destination: MemoryStorage, run: Run) -> None:
    """Do whatever is open."""
    done = committed_shards(destination).keys()
    for shard in list(Schedule(destination, run).open(done)):
        commit_shard(destination, shard.number, rows_of(shard, source, destination), run.digest)


@pytest.fixture
def place() -> Place:
    source, destination, run = planned(5, 2, replace(RECIPE, candidates=2))
    assert isinstance(source, MemoryStorage) and isinstance(destination, MemoryStorage)
    work(source, destination, run)
    return source, destination, run


def kinds(findings: Findings) -> list[tuple[str, str]]:
    return sorted((problem.kind, problem.path) for problem in findings.problems)


def test_nothing_is_wrong(place: Place) -> None:
    told: list[tuple[int, int]] = []
    findings = verify(*place, on_progress=lambda done, photos: told.append((done, photos)))
    assert not findings.problems and not findings.pending and not findings.redo
    assert (findings.photos, findings.images, findings.sources) == (5, 8, 5)
    assert told == [(2, 5), (4, 5), (5, 5)]


def test_a_moved_destination_is_as_good(place: Place) -> None:
    source, destination, run = place
    moved = MemoryStorage("images/elsewhere")
    moved.objects = destination.objects
    assert not verify(source, moved, run).problems


def lose_image(source: MemoryStorage, destination: MemoryStorage) -> None:
    destination.delete("images/003.candidate-1.jpg")


def damage_image(source: MemoryStorage, destination: MemoryStorage) -> None:
    destination.write("images/003.candidate-1.jpg", b"003.jpg 2")


def change_source(source: MemoryStorage, destination: MemoryStorage) -> None:
    source.write("003.jpg", b"another scan")


def damage_results(source: MemoryStorage, destination: MemoryStorage) -> None:
    destination.write("results/shard-000001.parquet", b"PAR1")


def take_results_of_another_run(source: MemoryStorage, destination: MemoryStorage) -> None:
    other = "results/shard-000001.parquet"
    shard = Shard(
        1, tuple(found for found in photos_of(source) if found.path in ("002.jpg", "003.jpg"))
    )
    rows = rows_of(shard, source, destination)
    destination.delete(other)
    commit_shard(destination, 1, rows, "another")


def repeat_a_row(source: MemoryStorage, destination: MemoryStorage) -> None:
    rewrite(source, destination, lambda rows: [*rows, rows[-1]])


def lose_a_row(source: MemoryStorage, destination: MemoryStorage) -> None:
    rewrite(source, destination, lambda rows: rows[:-1])
    destination.delete("images/003.candidate-1.jpg")


def rewrite(
    source: MemoryStorage,
    destination: MemoryStorage,
    change: Callable[[list[Result]], list[Result]],
) -> None:
    run = load_run(destination)
    assert run
    shard = next(each for each in Schedule(destination, run).open() if each.number == 1)
    destination.delete("results/shard-000001.parquet")
    rows = change(rows_of(shard, source, destination))
    commit_shard(destination, 1, rows, run.digest)


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (lose_image, [("missing_image", "images/003.candidate-1.jpg")]),
        (damage_image, [("damaged_image", "images/003.candidate-1.jpg")]),
        (change_source, [("changed_source", "003.jpg")]),
        (damage_results, [("damaged_results", "results/shard-000001.parquet")]),
        (take_results_of_another_run, [("damaged_results", "results/shard-000001.parquet")]),
        (repeat_a_row, [("incomplete", "003.jpg")]),
        (lose_a_row, [("incomplete", "003.jpg")]),
    ],
)
def test_damage_is_named_and_repaired(
    damage: Callable[[MemoryStorage, MemoryStorage], None],
    found: list[tuple[str, str]],
    place: Place,
) -> None:
    source, destination, run = place
    damage(source, destination)
    findings = verify(*place)
    problems = [problem for problem in kinds(findings) if problem[0] != "orphan"]
    assert problems == found
    repair(destination, run, findings)
    repair(destination, run, findings)  # planned once
    work(source, destination, run)
    after = verify(*place)
    assert not after.problems and not after.pending
    assert len(Schedule(destination, run).retries) <= 1


def test_a_source_that_is_gone_is_named(place: Place) -> None:
    source, destination, run = place
    source.delete("003.jpg")
    findings = verify(*place)
    assert kinds(findings) == [("missing_source", "003.jpg")]
    assert repair(destination, run, findings) == 0


def test_results_of_photos_and_shards_that_nobody_planned_are_named(place: Place) -> None:
    source, destination, run = place
    rewrite(source, destination, lambda rows: [*rows, replace(rows[0], photo="x.jpg")])
    commit_shard(destination, 7, [], run.digest)
    assert kinds(verify(*place)) == [
        ("unplanned", "results/shard-000007.parquet"),
        ("unplanned", "x.jpg"),
    ]


def test_orphans_are_named_and_deleted(place: Place) -> None:
    source, destination, run = place
    partial = f".{'0' * 32}.partial"
    orphans = ["images/old.jpg", f"images/{partial}", f"results/{partial}", "plan/notes.txt"]
    orphans += [partial, f".autochrome-probe-{'0' * 32}"]
    for path in [*orphans, "read me.txt", "other/images.jpg", f"other/{partial}"]:
        destination.write(path, b"x")
    before = dict(destination.objects)
    findings = verify(*place)
    assert kinds(findings) == sorted(("orphan", path) for path in orphans)
    assert destination.objects == before, "verify only reads"
    assert prune(destination, findings) == 6
    assert destination.objects == {
        path: data for path, data in before.items() if path not in orphans
    }


@pytest.mark.parametrize("damage", [damage_results, take_results_of_another_run])
def test_pictures_whose_results_are_damaged_are_no_orphans(
    damage: Callable[[MemoryStorage, MemoryStorage], None], place: Place
) -> None:
    source, destination, run = place
    damage(source, destination)
    destination.write("images/old.jpg", b"x")
    findings = verify(*place)
    assert findings.unknown_shards == 1 and not findings.of_kind("orphan")
    before = dict(destination.objects)
    prune(destination, findings)
    assert destination.objects == before
    repair(destination, run, findings)
    work(source, destination, run)
    assert kinds(verify(*place)) == [("orphan", "images/old.jpg")]


def test_files_of_a_command_that_begins_meanwhile_are_no_orphans(place: Place) -> None:
    source, destination, run = place

    def begin(done: int, photos: int) -> None:
        source.write("new.jpg", b"new")
        plan_update(source, destination, run)
        destination.write("images/new.candidate-0.jpg", b"not committed yet")

    findings = verify(*place, on_progress=begin)
    assert not findings.problems and findings.unknown_shards == 1
    prune(destination, findings)
    assert destination.exists("images/new.candidate-0.jpg")


def test_what_is_planned_and_done_as_a_verification_begins_was_planned(place: Place) -> None:
    source, destination, run = place

    class Overtaken(MemoryStorage):
        """Another command adds a photo, and does it, between any two looks."""

        def list(self, folder: str = "", skip: Skip = enter_all) -> Iterator[StoredObject]:
            yield from list(super().list(folder, skip))
            if folder in ("plan", "results"):
                source.write(f"new{len(source.objects)}.jpg", b"new")
                plan_update(source, destination, run)
                work(source, destination, run)

    busy = Overtaken("destination")
    busy.objects = destination.objects
    findings = verify(source, busy, run)
    assert not findings.problems and not findings.stale


def test_what_a_command_writes_at_this_moment_is_no_orphan(place: Place) -> None:
    source, destination, run = place
    under_way = [f"report/.{'0' * 32}.partial", f".autochrome-probe-{'0' * 32}"]
    left = f"report/.{'1' * 32}.partial"

    class Busy(MemoryStorage):
        def list(self, folder: str = "", skip: Skip = enter_all) -> Iterator[StoredObject]:
            there = under_way if not folder else []
            self.objects |= dict.fromkeys([left, *there], b"x")
            yield from list(super().list(folder, skip))
            for path in there:
                del self.objects[path]

    busy = Busy("destination")
    busy.objects = destination.objects
    assert kinds(verify(source, busy, run)) == [("orphan", left)]


@pytest.mark.parametrize("damage", [damage_results, damage_image])
def test_what_another_command_repairs_meanwhile_is_left_alone(
    damage: Callable[[MemoryStorage, MemoryStorage], None], place: Place
) -> None:
    source, destination, run = place
    damage(source, destination)
    findings = verify(*place)
    repair(destination, run, verify(*place))
    work(source, destination, run)
    before = dict(destination.objects)
    assert repair(destination, run, findings) == 0 and destination.objects == before


def test_a_sample_does_not_end_at_a_picture_that_may_not_be_looked_at(place: Place) -> None:
    source, destination, run = place

    class Refusing(MemoryStorage):
        def exists(self, path: str) -> bool:
            if path == "images/003.candidate-1.jpg":
                raise StorageError("cannot read it: Permission denied")
            return super().exists(path)

    refusing = Refusing("destination")
    refusing.objects = destination.objects
    findings = verify(source, refusing, run, share=1e-9)
    assert kinds(findings) == [("unreadable", "images/003.candidate-1.jpg")]


@pytest.mark.parametrize(
    "path", ["results/shard-000001.parquet", "images/003.candidate-1.jpg", "003.jpg"]
)
def test_what_cannot_be_read_is_neither_deleted_nor_done_again(path: str, place: Place) -> None:
    source, destination, run = place

    class Archiving(MemoryStorage):
        def read(self, path: str, most: int | None = None) -> bytes:
            if path == refused:
                raise ObjectArchived(f"{path} is in cold storage")
            return super().read(path, most)

    refused, cold, masters = path, Archiving("destination"), Archiving("source")
    cold.objects, masters.objects = destination.objects, source.objects
    findings = verify(masters, cold, run)
    assert kinds(findings) == [("unreadable", path)]
    before = dict(destination.objects)
    assert repair(cold, run, findings) == 0
    assert prune(cold, findings) == 0 and destination.objects == before


def test_previews_that_only_older_attempts_had_are_deleted_and_no_problem(place: Place) -> None:
    source, destination, run = place
    rewrite(source, destination, lambda rows: [replace(row, preview=15) for row in rows])
    sheets = [
        path_of(1, sheet) for sheet in (0, 1) for path_of in (sheet_path, map_path, script_path)
    ]
    for path in [*sheets, "report/previews/notes.txt"]:
        destination.write(path, b"x")
    findings = verify(*place)
    assert not findings.problems and sorted(findings.stale) == sorted(sheets[3:])
    assert prune(destination, findings) == 0
    assert not verify(*place).stale
    assert all(destination.exists(path) for path in [*sheets[:3], "report/previews/notes.txt"])


def test_while_photos_are_pending_there_are_no_orphans(place: Place) -> None:
    source, destination, run = place
    destination.delete("results/shard-000002.parquet")
    findings = verify(*place)
    assert not findings.problems and findings.pending == 1


def test_a_sample_reads_less_and_still_misses_no_missing_image(place: Place) -> None:
    source, destination, run = place
    lose_image(source, destination)
    damage_image_path = "images/000.candidate-0.jpg"
    destination.write(damage_image_path, b"damaged")
    findings = verify(*place, share=1e-9)
    assert kinds(findings) == [("missing_image", "images/003.candidate-1.jpg")]
    assert findings.images == findings.sources == 0


def test_after_a_retry_only_the_last_attempt_counts(place: Place) -> None:
    source, destination, run = place
    assert Ledger(destination, run).retry_failed() == 1
    waiting = verify(*place)
    assert waiting.pending == 1 and not waiting.of_kind("orphan")
    work(source, destination, run)
    findings = verify(*place)
    assert not findings.problems
    assert (findings.images, findings.photos) == (10, 6)
