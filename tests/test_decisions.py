"""Which way to rank agrees with decisions: counted by hand on rows that are made up."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.evaluation.decisions import judged_pages, score_decisions, wilson
from pipeline.ledger.plan import Schedule
from pipeline.ledger.planning import prepare_run
from pipeline.ledger.results import Result, commit_shard, committed_shards
from pipeline.ledger.run_file import Run
from pipeline.ledger.seeds import photo_seed
from pipeline.ledger.selection import parse_selection, take_selection
from pipeline.storage.base import Storage
from pipeline.storage.local import LocalStorage
from pipeline.storage.memory import MemoryStorage
from support.commands import run_command
from support.simulated_runs import RECIPE

HEADER = "photo,candidate,decision,seed\n"
NEAR = (3.0, 1.0, 2.0)  # distance from the mean of each candidate; 1 is the nearest


def planned(destination: Storage, photos: int, rank_by: str | None = None) -> Run:
    source = MemoryStorage("source")
    for number in range(photos):
        source.write(f"{number:02}.jpg", b"1")
    recipe = replace(RECIPE, candidates=3, rank_by=rank_by)
    return prepare_run(source, destination, recipe, 4)


def commit_open(destination: Storage, run: Run, distances: tuple[float, ...] = NEAR) -> None:
    """All that is open: three candidates, of which the first is the likeliest."""
    for shard in Schedule(destination, run).open(committed_shards(destination).keys()):
        recipe, rows = shard.recipe(run.recipe), []
        for photo in shard.photos:
            for candidate, distance in enumerate(distances):
                row = Result(photo.path, f"memory://source/{photo.path}", shard.number, 1, "5ha")
                row = replace(row, attempt=shard.attempt, candidate=candidate, rank=candidate + 1)
                row = replace(row, seed=photo_seed(recipe.seed, "5ha", candidate))
                row = replace(row, log_likelihood=-10.0 * (candidate + 1), mean_distance=distance)
                rows.append(replace(row, excess_bits=0.5 - candidate / 4, chroma_excess=1.0))
        assert commit_shard(destination, shard.number, rows, run.digest)


def decide(destination: Storage, run: Run, *lines: str) -> None:
    text = HEADER + "".join(f"{line}\n" for line in lines)
    take_selection(destination, run, parse_selection("s.csv", text.encode()))


def test_the_interval_is_wilsons() -> None:
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 5) == pytest.approx((0, 0.4345), abs=1e-4)
    assert wilson(5, 5)[1] == 1


def test_ways_are_counted_on_the_pages_that_tell() -> None:
    destination = MemoryStorage("out")
    run = planned(destination, 24)
    commit_open(destination, run)
    approved = [f"{number:02}.jpg,1,approve," for number in range(18)]
    rejected = ["18.jpg,0,reject,", "19.jpg,1,reject,"]
    silent = [f"20.jpg,{each},reject," for each in range(3)]
    decide(destination, run, *approved, *rejected, *silent, "21.jpg,,redo,7")
    found = score_decisions(destination, run)
    assert (found.approved, found.rejected, found.redone) == (18, 5, 1)
    assert found.rank_by == "likelihood"
    near, likely = (found.ways[way].agreed for way in ("nearness", "likelihood"))
    assert (near.hits, near.count) == (19, 20) and (likely.hits, likely.count) == (1, 20)
    assert (near.least, near.most) == wilson(19, 20)
    assert near.chance == pytest.approx((18 / 3 + 2 * 2 / 3) / 20)
    gain = found.ways["nearness"].gain
    assert gain and gain[0] == pytest.approx(18 / 20) and 0.5 < gain[1] < gain[0] < gain[2] <= 1
    assert found.ways["likelihood"].gain == (0.0, 0.0, 0.0)
    assert found.better == "nearness", "balanced has no better one: all are as vivid"
    # 18 approved ones are at 1; rejected ones at 3, 1, 3, 1 and 2, and the redone ones at 3, 1, 2.
    apart = found.ways["nearness"].apart
    assert apart and apart.count == 18 * 8 and apart.hits == 18 * (5 + 3 / 2)
    assert apart.least is not None and apart.most is not None and apart.share is not None
    assert apart.least < apart.share < apart.most <= 1
    assert found.ways["balanced"].apart is None
    assert score_decisions(destination, run) == found, "the bootstrap has a seed of its own"


def test_what_was_redone_was_judged_before_and_its_new_pictures_after() -> None:
    destination = MemoryStorage("out")
    run = planned(destination, 2)
    commit_open(destination, run)
    decide(destination, run, "00.jpg,,redo,7", "01.jpg,0,approve,")
    commit_open(destination, run, distances=(1.0, 2.0, 30.0))
    decide(destination, run, "00.jpg,0,approve,", "01.jpg,2,approve,")
    before, after, other = judged_pages(destination, run)
    assert before.redone and not before.approved and not before.wanted
    assert {row["mean_distance"] for row in before.rows.values()} == set(NEAR)
    assert after.approved == {0} and not after.redone
    assert [row["mean_distance"] for row in after.rows.values()] == [1.0, 2.0, 30.0]
    assert other.approved == {2}, "of the approvals of two files, the later one counts"
    found = score_decisions(destination, run)
    assert (found.ways["nearness"].agreed.hits, found.ways["nearness"].agreed.count) == (1, 2)
    assert found.better is None, "two pages tell nothing"


def test_scores_that_rows_of_before_lack_are_not_counted() -> None:
    destination = MemoryStorage("out")
    run = planned(destination, 1)
    [shard] = Schedule(destination, run).open()
    row = Result("00.jpg", "memory://source/00.jpg", 0, 1, "5ha", seed=1)
    rows = [replace(row, candidate=k, rank=k + 1, log_likelihood=-1.0 - k) for k in range(3)]
    commit_shard(destination, shard.number, rows, run.digest)
    decide(destination, run, "00.jpg,0,approve,")
    found = score_decisions(destination, run)
    assert found.ways["likelihood"].agreed.count == 1
    assert found.ways["nearness"].agreed.share is None and found.ways["nearness"].gain is None


def test_the_command_tells_it_to_people_and_programs(tmp_path: Path) -> None:
    destination = LocalStorage(str(tmp_path))
    run = planned(destination, 20, rank_by="likelihood")
    commit_open(destination, run)
    nothing = run_command("evaluate", "--decisions", tmp_path)
    assert nothing.exit_code == 2 and "has no decisions" in nothing.output
    decide(destination, run, *(f"{number:02}.jpg,1,approve," for number in range(20)))
    told = run_command("evaluate", "--decisions", tmp_path)
    assert told.exit_code == 0, told.output
    *table, last = told.output.splitlines()
    line = next(line for line in table if line.startswith("nearness"))
    assert line.split()[1:7] == ["1.00", "0.84", "to", "1.00", "0.33", "20"]
    assert "nearness agrees better than likelihood, by 100 points of 100" in told.output
    found = json.loads(last)["decisions"]
    assert found["better"] == "nearness" and found["ways"]["nearness"]["agreed"]["hits"] == 20
    both = run_command("evaluate", "photographs", "--decisions", tmp_path)
    assert both.exit_code == 2 and "stands alone" in both.output


def test_a_destination_without_a_run_has_no_decisions(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no decisions"):
        score_decisions(MemoryStorage("out"), planned(MemoryStorage("out"), 1))
    result = run_command("evaluate", "--decisions", tmp_path)
    assert result.exit_code == 2 and "holds no run of Autochrome" in result.output
