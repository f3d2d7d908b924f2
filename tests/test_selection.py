"""Decisions as a file: what is taken, what is refused, and what is planned because of it."""

import csv
import io
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from pipeline.errors import StorageError, UsageError
from pipeline.ledger.plan import Schedule, Shard
from pipeline.ledger.results import committed_shards
from pipeline.ledger.retries import Redo, plan_retry
from pipeline.ledger.run_file import Run
from pipeline.ledger.selection import (
    COLUMNS,
    MOST_SEED,
    kept_selections,
    parse_selection,
    take_selection,
)
from pipeline.ledger.status import Ledger
from pipeline.storage.base import Skip, Storage, StoredObject, enter_all
from pipeline.storage.memory import MemoryStorage
from support.simulated_runs import commit, planned

HEADER = "photo,candidate,decision,seed\n"
PATHS = some.text(some.sampled_from("aé日\uf7e9 /.,;\"'=\r\n"), min_size=1, max_size=12)


@some.composite
def selections(draw: some.DrawFn) -> list[tuple[str, int | None, str, int | None]]:
    """Lines that do not contradict each other."""
    lines: list[tuple[str, int | None, str, int | None]] = []
    for photo in draw(some.lists(PATHS, unique=True, max_size=6)):
        if draw(some.booleans()):
            candidate = draw(some.none() | some.integers(0, 9))
            lines.append((photo, candidate, "redo", draw(some.integers(0, MOST_SEED))))
        else:
            for candidate in draw(some.sets(some.integers(0, 2**31 - 1), min_size=1, max_size=3)):
                lines.append(
                    (photo, candidate, draw(some.sampled_from(["approve", "reject"])), None)
                )
    return draw(some.permutations(lines))


@settings(max_examples=40)
@given(
    lines=selections(),
    order=some.permutations(COLUMNS),
    dialect=some.sampled_from([("\n", csv.QUOTE_ALL), ("\r\n", csv.QUOTE_MINIMAL)]),
    mark=some.sampled_from(["", "\ufeff"]),
)
def test_what_any_writer_of_csv_writes_comes_back(
    lines: list[tuple[str, int | None, str, int | None]],
    order: list[str],
    dialect: tuple[str, int],
    mark: str,
) -> None:
    file = io.StringIO(newline="")
    ending, quoting = dialect
    writer = csv.DictWriter(file, order, lineterminator=ending, quoting=quoting)  # type: ignore[arg-type]
    writer.writeheader()
    for photo, *others in lines:  # an apostrophe keeps spreadsheets from running a name
        calm = f"'{photo}" if photo[0] in "=+-@'\t\r" else photo
        writer.writerow(dict(zip(COLUMNS, (calm, *others), strict=True)))
    data = (mark + file.getvalue()).encode()
    selection = parse_selection("file.csv", data)
    assert selection.data == data
    found = [(each.photo, each.candidate, each.decision, each.seed) for each in selection.choices]
    assert found == lines


@settings(max_examples=60)
@given(
    some.binary() | some.text().map(str.encode) | some.text().map(lambda t: (HEADER + t).encode())
)
def test_whatever_else_is_told_by_line(data: bytes) -> None:
    try:
        parse_selection("file.csv", data)
    except UsageError as error:
        assert str(error).startswith("file.csv, line ") and "\n" not in str(error)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "line 1: the file is empty"),
        ("photo;candidate;decision;seed\n", "line 1: columns 'photo;candidate;decision;seed'"),
        ("photo,candidate,decision,seed,hints,hints\n", "line 1: columns"),
        ("photo,candidate,decision,seed,color\n", "line 1: columns"),
        (
            HEADER + "a.jpg,0,maybe,\n",
            "line 2: decision 'maybe' is not one of approve, reject, redo",
        ),
        (HEADER + "\na.jpg,0,Approve,\n", "line 3: decision 'Approve'"),
        (HEADER + "a.jpg,x,approve,\n", "line 2: candidate 'x' is not a whole number"),
        (HEADER + "a.jpg,,reject,\n", "line 2: candidate '' is not a whole number"),
        (HEADER + "a.jpg,,redo,\n", "line 2: seed '' is not a whole number"),
        (HEADER + f"a.jpg,,redo,{2**63}\n", f"line 2: seed '{2**63}' is not a whole number"),
        (HEADER + "a.jpg,,redo,-1\n", "line 2: seed '-1'"),
        (HEADER + "a.jpg,0,reject,5\n", "line 2: seed '5' belongs to no reject"),
        (HEADER + "a.jpg,0,approve\n", "line 2: 3 values, not 4: 'a.jpg,0,approve'"),
        (HEADER + ",0,approve,\n", "line 2: photo '' is not a path"),
        (HEADER + '"a\nb",0,approve,\na.jpg,0,no,\n', "line 4: decision 'no'"),
        (HEADER + 'a.jpg,0,approve,\n"a.jpg,0', "line 3: no CSV"),
        (HEADER + "a,0,approve,\na,0,reject,\n", "line 3: 'a' is decided in line 2 already"),
        (HEADER + "a,0,approve,\na,,redo,1\n", "line 3: 'a' is decided in line 2 already"),
        (HEADER + "a,,redo,1\na,1,reject,\n", "line 3: 'a' is decided in line 2 already"),
    ],
)
def test_a_wrong_line_is_named_with_its_value(text: str, words: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_selection("my.csv", text.encode())
    assert str(raised.value).startswith("my.csv, ") and words in str(raised.value)


def test_what_is_no_utf_8_is_named_by_line() -> None:
    with pytest.raises(UsageError, match=r"my.csv, line 2: b'\\xe9' is not UTF-8"):
        parse_selection("my.csv", HEADER.encode() + b"caf\xe9.jpg,0,approve,\n")


def done(photos: int = 5, failing: dict[str, str] | None = None) -> tuple[Storage, Run]:
    _, destination, run = planned(photos, shard_size=2)
    for shard in Schedule(destination, run).open():
        commit(destination, run, shard, failing)
    return destination, run


def take(destination: Storage, run: Run, lines: str) -> int:
    return take_selection(destination, run, parse_selection("my.csv", (HEADER + lines).encode()))


def waiting(destination: Storage, run: Run) -> list[Shard]:
    return list(Schedule(destination, run).open(committed_shards(destination).keys()))


def facts(shard: Shard) -> tuple[int, list[str], int, int | None]:
    return shard.number, [photo.path for photo in shard.photos], shard.attempt, shard.seed


def test_redo_plans_another_attempt_with_the_seed_given() -> None:
    destination, run = done(failing={"004.jpg": "missing"})
    lines = "003.jpg,,redo,9\n000.jpg,0,redo,9\n004.jpg,,redo,8\n001.jpg,0,approve,\n"
    assert take(destination, run, lines) == 3
    shards = waiting(destination, run)
    expected = [(3, ["004.jpg"], 2, 8), (4, ["000.jpg", "003.jpg"], 2, 9)]
    assert list(map(facts, shards)) == expected
    assert [shard.recipe(run.recipe).seed for shard in shards] == [8, 9]
    ledger = Ledger(destination, run)
    ledger.refresh()
    status = ledger.status()
    assert (status.done, status.failed, status.retrying) == (4, {"missing": 1}, 3)
    for shard in shards:
        commit(destination, run, shard, {"003.jpg": "timeout"})
    ledger.refresh()
    status = ledger.status()
    assert (status.done, status.failed, status.complete) == (4, {"timeout": 1}, True)

    assert ledger.retry_failed() == 1
    assert list(map(facts, waiting(destination, run))) == [(5, ["003.jpg"], 3, 9)], "keeps its seed"


def test_the_same_command_again_plans_nothing_more() -> None:
    destination, run = done()
    lines = "000.jpg,,redo,9\n001.jpg,0,reject,\n002.jpg,,redo,0\n"
    assert take(destination, run, lines) == 1, "a photo with the run's own seed is what it is"
    assert take(destination, run, lines) == 0
    with pytest.raises(UsageError, match="line 2: photo '000.jpg' waits for attempt 2"):
        take(destination, run, "000.jpg,,redo,10\n")
    for shard in waiting(destination, run):
        commit(destination, run, shard)
    assert take(destination, run, lines) == 0
    assert take(destination, run, "000.jpg,,redo,10\n") == 1
    kept = [(number, selection.data) for number, selection in kept_selections(destination)]
    assert kept == [
        (1, (HEADER + lines).encode()),
        (2, (HEADER + "000.jpg,,redo,10\n").encode()),
    ]


def test_a_repair_paints_with_the_last_seed() -> None:
    destination, run = done()
    take(destination, run, "000.jpg,,redo,9\n")
    for shard in waiting(destination, run):
        commit(destination, run, shard)
    assert plan_retry(destination, run, lambda _: [Redo("000.jpg", 1), Redo("001.jpg", 1)])
    assert [facts(shard)[1:] for shard in waiting(destination, run)] == [
        (["001.jpg"], 2, None),
        (["000.jpg"], 3, 9),
    ]


def test_an_attempt_that_another_command_makes_meanwhile_keeps_its_number() -> None:
    class Overtaken(MemoryStorage):
        """Another command does a photo again after its results were read."""

        def list(self, folder: str = "", skip: Skip = enter_all) -> Iterator[StoredObject]:
            looks.append(folder)
            if folder == "plan" and looks.count("plan") == 2:
                before = MemoryStorage("destination")
                before.objects = self.objects
                take(before, run, "000.jpg,,redo,5\n")
                for shard in waiting(before, run):
                    commit(before, run, shard)
            return super().list(folder, skip)

    looks: list[str] = []
    done_there, run = done()
    assert isinstance(done_there, MemoryStorage)
    destination = Overtaken("destination")
    destination.objects = done_there.objects
    assert take(destination, run, "000.jpg,,redo,9\n") == 1
    assert [facts(shard)[1:] for shard in waiting(destination, run)] == [(["000.jpg"], 3, 9)]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("nowhere.jpg,0,approve,", "photo 'nowhere.jpg' has no result in memory://destination"),
        ("000.jpg,1,approve,", "candidate 1 of photo '000.jpg' has no result"),
    ],
)
def test_what_has_no_result_is_refused_and_nothing_is_planned(line: str, words: str) -> None:
    destination, run = done()
    with pytest.raises(UsageError, match=f"my.csv, line 3: {words}"):
        take(destination, run, f"001.jpg,,redo,5\n{line}\n")
    assert not waiting(destination, run) and not list(kept_selections(destination))


def test_a_kept_file_that_was_changed_is_told() -> None:
    destination, run = done()
    take(destination, run, "000.jpg,0,approve,\n")
    destination.write("selections/selection-00001.csv", b"nonsense")
    with pytest.raises(StorageError, match="selection-00001.csv, line 1: .*was changed"):
        list(kept_selections(destination))
