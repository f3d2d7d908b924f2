"""Candidates and their ranks: scores by definition, ways to rank, and what a destination keeps."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.colorizer import Colorizer
from model.lab import lab_from_rgb
from model.ranking import compare_with_parallel_head, excess_bits
from model.sampling import sample_core
from pipeline.errors import DestinationMismatch, UsageError
from pipeline.ledger.plan import RUN, Schedule
from pipeline.ledger.ranking import DEFAULTS, RANKINGS, RANKINGS_OF, ranks, refuse_ranking
from pipeline.ledger.results import committed_shards, read_results
from pipeline.ledger.updates import plan_update
from pipeline.run.options import RecipeOptions, Resources
from pipeline.run.request import Job, prepare_job, reopen_job
from pipeline.run.steps import colorize_shard, read_shard, write_shard
from pipeline.storage.base import Storage
from pipeline.storage.memory import MemoryStorage
from support.tiny_models import tiny_core, write_tiny_weights
from support.written_shards import gray_photo, write_gray_photos

Row = dict[str, Any]


# Scores.


def test_scores_are_what_they_are_said_to_be() -> None:
    core = tiny_core(8)
    gray = torch.randint(256, (2, 8, 8), generator=torch.manual_seed(5))
    sample = sample_core(core, gray, [1, 2], 0.7)
    excess = excess_bits(sample.log_prob_BHW, sample.expected_BHW)
    log_prob = torch.log_softmax(core(sample.bins_BHW, gray).double(), dim=-1)
    shares = (log_prob / 0.7).softmax(dim=-1)
    own = log_prob.gather(-1, sample.bins_BHW[..., None])[..., 0]
    expected = ((shares * log_prob).sum(dim=-1) - own).mean(dim=(1, 2)) / np.log(2)
    torch.testing.assert_close(excess, expected.detach(), rtol=0, atol=1e-4)

    context = core.encode(gray)
    distance, more = compare_with_parallel_head(core, context, gray, sample.bins_BHW)
    odds = core.parallel_logits(gray).double().softmax(dim=-1).detach().numpy()
    levels = np.arange(8) * 32 + 15.5
    lab = lab_from_rgb(np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1))
    chroma = lab[..., 1:].reshape(512, 2)
    drawn = chroma[sample.bins_BHW.numpy()]
    far = np.linalg.norm(drawn - odds @ chroma, axis=-1).mean(axis=(1, 2))
    assert distance.detach().numpy() == pytest.approx(far, abs=1e-3)
    vivid = np.linalg.norm(drawn, axis=-1) - odds @ np.linalg.norm(chroma, axis=-1)
    assert more.detach().numpy() == pytest.approx(vivid.mean(axis=(1, 2)), abs=1e-3)


def test_what_is_drawn_has_on_average_the_bits_that_are_expected() -> None:
    core, count = tiny_core(8), 64
    gray = torch.randint(256, (1, 8, 8), generator=torch.manual_seed(6)).repeat(count, 1, 1)
    for temperature in (0.5, 1.0):
        sample = sample_core(core, gray, list(range(count)), temperature)
        excess = excess_bits(sample.log_prob_BHW, sample.expected_BHW)
        assert abs(float(excess.mean())) < 4 * float(excess.std()) / count**0.5
        assert float(excess.std()) > 0
    greedy = sample_core(core, gray[:1], [1], 0)
    assert float(excess_bits(greedy.log_prob_BHW, greedy.expected_BHW)) == 0


# Ways to rank.


def scores(likelihood: float, excess: float | None, distance: float, more: float) -> Row:
    names = ("log_likelihood", "excess_bits", "mean_distance", "chroma_excess")
    return dict(zip(names, (likelihood, excess, distance, more), strict=True))


def test_each_way_has_its_own_first() -> None:
    candidates = [
        scores(-1, -0.9, 9, -4),  # the palest
        scores(-4, 0.01, 8, 5),
        scores(-3, 0.5, 2, -6),
        scores(-5, -0.4, 10, 0.1),
        scores(-9, 2.0, 4, 0.5),
    ]
    first = {way: ranks(columns, candidates).index(1) for way, columns in RANKINGS.items()}
    assert first == {
        "likelihood": 0,
        "typicality": 1,
        "nearness": 2,
        "vividness": 3,
        "balanced": 4,
    }
    assert ranks(["log_likelihood"], candidates) == [1, 3, 2, 4, 5]


def test_equal_candidates_keep_their_order_and_a_missing_score_is_the_worst() -> None:
    same = [scores(-1, 0.5, 3, 2)] * 3
    for columns in RANKINGS.values():
        assert ranks(columns, same) == [1, 2, 3]
        assert ranks(columns, same[:1]) == [1]
    gaps = [scores(-1, None, 3, 2), scores(-1, float("nan"), 3, 2), scores(-1, 0.5, 3, 2)]
    assert ranks(["excess_bits"], gaps) == [2, 3, 1]
    assert ranks(["excess_bits", "mean_distance"], gaps) == [2, 3, 1]


def test_a_way_that_a_model_lacks_is_refused_with_those_that_it_has() -> None:
    for model, ways in RANKINGS_OF.items():
        assert DEFAULTS[model] in ways
        for way in ways:
            refuse_ranking(model, way)
    words = "--rank-by nearness: the model pic can rank by likelihood, typicality$"
    with pytest.raises(UsageError, match=words):
        refuse_ranking("pic", "nearness")


# Destinations.


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_weights(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_gray_photos(tmp_path / "in", 3)


def job_of(source: Path, destination: Storage, weights: Path, **options: object) -> Job:
    asked = RecipeOptions(shard_size=2, candidates=4, **options)  # type: ignore[arg-type]
    return prepare_job(str(source), destination, asked, Resources(str(weights), device="cpu"))


def work(job: Job, most: int = 9, batch_size: int = 8) -> dict[str, bytes]:
    """At most so many shards of what is left to do; all pictures by their names."""
    colorizer, recipe = Colorizer.load(job.resources.weights, batch_size=batch_size), job.run.recipe
    done = committed_shards(job.destination).keys()
    for shard in list(Schedule(job.destination, job.run).open(done))[:most]:
        read = read_shard(shard, job.source, job.sizes)
        colored = colorize_shard(read, colorizer, shard.recipe(recipe), "cpu")
        write_shard(shard.number, colored, job.source, job.destination, job.run)
    images = job.destination.list("images")
    return {each.path: job.destination.read(each.path) for each in images}


def rows_of(job: Job) -> list[Row]:
    tables = read_results(job.destination, job.run)
    return [row for table in tables for row in table.to_pylist()]


def check_ranks(rows: list[Row], way: str) -> None:
    for photo in {row["photo"] for row in rows}:
        own = [row for row in rows if row["photo"] == photo]
        assert [row["rank"] for row in own] == ranks(RANKINGS[way], own)
        assert {row["rank_by"] for row in own} == {way}


@pytest.mark.slow
def test_a_run_ranks_by_what_was_asked_whatever_the_batches(source: Path, tiny: Path) -> None:
    job = job_of(source, MemoryStorage("near"), tiny)
    images, rows = work(job), rows_of(job)
    assert job.run.recipe.rank_by == DEFAULTS["coltran"] == "nearness"
    check_ranks(rows, "nearness")
    assert sorted(images) == [
        f"images/{photo}.rank-{rank}-by-nearness.png" for photo in range(3) for rank in range(1, 5)
    ]
    for row in rows:
        assert row["output_uri"].endswith(f"/{row['photo'][0]}.rank-{row['rank']}-by-nearness.png")
    again = job_of(source, MemoryStorage("again"), tiny)
    assert work(again, batch_size=1) == images
    names = ("excess_bits", "mean_distance", "chroma_excess", "rank")
    for row, same in zip(rows, rows_of(again), strict=True):
        assert [row[name] for name in names] == [same[name] for name in names]

    other = job_of(source, MemoryStorage("likely"), tiny, rank_by="likelihood")
    by_likelihood = work(other)
    check_ranks(rows_of(other), "likelihood")
    assert set(by_likelihood.values()) == set(images.values()), "other names, the same pictures"
    assert [row["rank"] for row in rows] != [row["rank"] for row in rows_of(other)]
    with pytest.raises(DestinationMismatch, match="rank_by: was likelihood, now nearness"):
        job_of(source, other.destination, tiny, rank_by="nearness")
    assert job_of(source, other.destination, tiny).run.recipe.rank_by == "likelihood"


@pytest.mark.slow
def test_a_destination_of_before_goes_on_by_likelihood(source: Path, tiny: Path) -> None:
    destination = MemoryStorage("old")
    job_of(source, destination, tiny)
    content = json.loads(destination.read(RUN))
    del content["rank_by"]
    destination.write(RUN, json.dumps(content).encode())
    first = reopen_job(destination, Resources(str(tiny), device="cpu"))
    work(first, most=1)
    (source / "3.png").write_bytes(gray_photo(3))
    for rank_by in (None, "likelihood"):
        job = job_of(source, destination, tiny, rank_by=rank_by)
        assert job.run.recipe.rank_by is None and job.run.digest == first.run.digest
    with pytest.raises(DestinationMismatch, match="rank_by: was None, now typicality"):
        job_of(source, destination, tiny, rank_by="typicality")
    updated = prepare_job(
        str(source),
        destination,
        RecipeOptions(shard_size=2, candidates=4),
        Resources(str(tiny), device="cpu"),
        update=True,
    )
    assert plan_update(updated.source, destination, updated.run).new == 1
    images = work(updated)
    assert sorted(images) == [
        f"images/{photo}.candidate-{number}.png" for photo in range(4) for number in range(4)
    ]
    check_ranks(rows_of(updated), "likelihood")


def test_what_cannot_rank_is_refused_before_the_first_write(source: Path, tiny: Path) -> None:
    destination, resources = MemoryStorage("none"), Resources(str(tiny), device="cpu")
    for options, words in (
        (RecipeOptions(rank_by="nearness"), "one picture of each photo; --candidates gives more"),
        (RecipeOptions(rank_by="taste", candidates=2), "--rank-by taste: the model coltran can"),
    ):
        with pytest.raises(UsageError, match=words):
            prepare_job(str(source), destination, options, resources)
    assert not destination.objects
    job_of(source, destination, tiny)
    frozen = json.loads(destination.read(RUN)) | {"rank_by": "../../elsewhere"}
    destination.write(RUN, json.dumps(frozen).encode())
    with pytest.raises(UsageError, match="--rank-by ../../elsewhere: the model coltran can"):
        reopen_job(destination, resources)
