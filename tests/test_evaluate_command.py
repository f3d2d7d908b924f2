import json
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result

from model.evaluation.frechet import frechet_distance
from model.weights import save_stage, stage_path
from pipeline.evaluation.evaluate import EvaluationSettings, evaluate
from pipeline.evaluation.groups import choose_examples
from pipeline.images.encoding import encode
from pipeline.storage.open_storage import open_storage
from pipeline.training.photographs import Wanted, read_photographs
from support.commands import run_command
from support.made_photographs import made_photograph, write_parquet, write_photographs
from support.tiny_models import tiny_pic

KEYS = """photos core_resolution core_bits_per_pixel parallel_bits_per_pixel chroma_r2
marginal_bits_per_pixel gray_bits_per_pixel neighbor_bits_per_pixel color_bits_per_dim
spatial_bits_per_dim colorfulness_true colorfulness_result ciede2000_mean chroma_rmse seconds
""".split()


def figures(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    assert set(KEYS) <= found.keys()
    return found


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    generator = np.random.default_rng(0)
    for number in range(12):
        rgb = generator.integers(0, 256, (4, 4, 3), np.uint8).repeat(8, 0).repeat(8, 1)
        (folder / f"{number}.png").write_bytes(encode(rgb, "PNG"))
    (folder / "broken.jpg").write_bytes(b"no picture")
    gray = np.full((32, 32, 3), 90, np.uint8)
    (folder / "gray.png").write_bytes(encode(gray, "PNG"))
    return folder


def test_table_and_json(weights: Path, photographs: Path, tmp_path: Path) -> None:
    page, kept = tmp_path / "scores.html", tmp_path / "baselines.safetensors"
    options = ("--baseline", photographs, "--save-baseline", kept, "--html", page)
    result = run_command("evaluate", weights, photographs, *options)
    found = figures(result)
    assert (found["photos"], found["pictures"], found["core_resolution"]) == (12, 12, 8)
    assert 0 < found["neighbor_bits_per_pixel"] and found["gray_bits_per_pixel"] < 9.5
    assert "12 color photographs" in result.stdout and "2 skipped" in result.stdout
    assert f"fitted on {found['baseline_photos']} of the 12 photographs" in result.stderr
    html = page.read_text(encoding="utf-8")
    assert html.count("<img ") == 4 * (12 + 3) and html.count("<polyline") == 4
    assert not re.search(r'(?:src|href)="(?!data:)', html)
    assert kept.stat().st_size > 0
    again = figures(run_command("evaluate", weights, photographs, *options[:2]))
    assert {**again, "seconds": 0} == {**found, "seconds": 0}


def test_pic(photographs: Path, tmp_path: Path) -> None:
    save_stage(tiny_pic(16), stage_path(tmp_path, "pic"))
    page = tmp_path / "scores.html"
    result = run_command(
        "evaluate", tmp_path, photographs, "--model", "pic", "--html", page, "--pictures", 3
    )
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout.splitlines()[-1])
    assert (found["photos"], found["pictures"], found["pic_resolution"]) == (12, 3, 4)
    assert found["pic_bits_per_pixel"] > 8 and found["pic_parallel_bits_per_pixel"] > 8
    assert found["color_bits_per_dim"] is None and found["spatial_bits_per_dim"] is None
    assert found["ciede2000_mean"] > 0 and "core_bits_per_pixel" not in found
    assert "PIC's chroma at 4 x 4 pixels; 3 photographs colorized" in result.stdout
    assert "Core, bits per pixel" not in result.stdout
    assert "PIC, mean" in page.read_text(encoding="utf-8")


def test_without_baselines_of_the_resolution(weights: Path, photographs: Path) -> None:
    result = run_command(
        "evaluate", weights, photographs, "--limit", 3, "--pictures", 1, "--temperature", 0
    )
    found = figures(result)
    assert (found["photos"], found["pictures"], found["temperature"]) == (3, 1, 0)
    assert found["neighbor_bits_per_pixel"] is None
    assert "--baseline SRC" in result.stdout


def test_no_warning_of_baselines_fitted_on_other_photographs(
    weights: Path, photographs: Path, tmp_path: Path
) -> None:
    other = write_photographs(tmp_path / "other", 3)
    result = run_command(
        "evaluate", weights, photographs, "--baseline", other, "--limit", 3, "--pictures", 1
    )
    assert figures(result)["baseline_photos"] == 3
    assert result.stderr == "" and "fitted on" not in result.stdout


def test_a_source_on_s3(weights: Path, bucket: str, tmp_path: Path) -> None:
    photographs = write_photographs(tmp_path / "photographs", 3)
    storage = open_storage(f"s3://{bucket}/archive")
    for path in photographs.iterdir():
        storage.write(f"photographs/{path.name}", path.read_bytes())
    local = figures(run_command("evaluate", weights, photographs, "--pictures", 1))
    result = run_command("evaluate", weights, f"s3://{bucket}/archive/photographs", "--pictures", 1)
    assert {**figures(result), "seconds": 0} == {**local, "seconds": 0}
    assert f"3 color photographs of s3://{bucket}/archive/photographs" in result.stdout


def test_each_step_is_told_with_its_own_number_of_photographs(
    weights: Path, photographs: Path
) -> None:
    told: list[tuple[str, int, int]] = []
    settings = EvaluationSettings(weights, limit=5, pictures=3, batch_size=2, device="cpu")
    evaluate(str(photographs), settings, lambda *news: told.append(news), print)
    core = [("step 1 of 2, core", done, 5) for done in (0, 2, 4, 5)]
    assert told == core + [("step 2 of 2, pictures", done, 3) for done in (0, 2, 3)]


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """Stands in for Inception: its features are the means of the channels."""

    class Means(torch.nn.Module):
        def forward(self, pictures: torch.Tensor) -> torch.Tensor:
            return pictures.float().mean(dim=(2, 3))

    path = tmp_path / "network.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.trace(Means(), torch.zeros(1, 3, 4, 4, dtype=torch.uint8)).save(str(path))
    return path


@pytest.mark.slow
def test_fid_by_a_network_of_the_user(weights: Path, photographs: Path, network: Path) -> None:
    result = run_command("evaluate", weights, photographs, "--inception", network)
    found = figures(result)
    assert (found["fid_same_photos"], found["fid_other_photos"]) == (12, 6)
    assert found["fid_same"] > 0 and found["fid_other"] > found["fid_other_of_truth"] > 0
    assert "biased upward" in result.stdout and "center crops" in result.stdout
    found = figures(
        run_command("evaluate", weights, photographs, "--inception", network, "--pictures", 3)
    )
    assert (found["fid_same_photos"], found["fid_other_photos"]) == (3, 3)
    few = run_command("evaluate", weights, photographs, "--inception", network, "--limit", 3)
    assert few.exit_code == 2 and "FID needs at least 4 photographs" in few.stderr


@pytest.mark.slow
def test_fid_of_other_photographs_takes_centers_and_that_of_the_same_whole_frames(
    weights: Path, network: Path, tmp_path: Path
) -> None:
    # The edges of one set are white; its centers are the other set.
    plain, framed = write_photographs(tmp_path / "plain", 8), tmp_path / "framed"
    framed.mkdir()
    for number in range(8):
        wide = np.pad(made_photograph(number), ((0, 0), (24, 24), (0, 0)), constant_values=255)
        (framed / f"{number:03d}.png").write_bytes(encode(wide, "PNG"))
    # Without chance, so that the files' digests, and the seeds with them, do not matter.
    options = ("--inception", network, "--temperature", 0)
    crops, whole = (
        figures(run_command("evaluate", weights, each, *options)) for each in (framed, plain)
    )
    for name in ("fid_other", "fid_other_of_truth"):
        assert crops[name] == pytest.approx(whole[name])
    assert crops["fid_same"] != pytest.approx(whole["fid_same"], rel=0.01)
    truth = read_photographs(str(plain), Wanted(16)).rgb.mean(axis=(1, 2))
    expected = frechet_distance(truth[:4], truth[4:])
    assert whole["fid_other_of_truth"] == pytest.approx(expected, rel=1e-3)


@pytest.mark.slow
def test_refusals_are_one_line(weights: Path, photographs: Path, tmp_path: Path) -> None:
    network = tmp_path / "network.pt"
    network.write_bytes(b"no network")
    for arguments, words in (
        ((tmp_path / "none", photographs), "no weights file"),
        ((weights, tmp_path / "none"), "does not exist"),
        ((weights, photographs, "--inception", network), "TorchScript"),
        ((weights, photographs, "--save-baseline", network), "--baseline"),
        ((weights, photographs, "--split-column", "split"), "no Parquet file"),
        ((weights, photographs, photographs), "one SRC"),
        ((), "one SRC"),
    ):
        result = run_command("evaluate", *arguments)
        assert result.exit_code == 2
        assert words in result.stderr and "Traceback" not in result.stderr


@pytest.mark.slow
def test_default_weights_on_real_photographs(shared: Path, repository: Path) -> None:
    if not (repository / "model" / "weights" / "core.safetensors").is_file():
        pytest.skip("no default weights")
    source = shared / "photos" / "train144.parquet"
    options = ("--split", "validation", "--split-column", "split", "--limit", 8, "--pictures", 1)
    found = figures(run_command("evaluate", source, *options))
    assert found["core_bits_per_pixel"] < found["neighbor_bits_per_pixel"]
    assert found["parallel_bits_per_pixel"] < found["gray_bits_per_pixel"]
    assert found["gray_bits_per_pixel"] < found["marginal_bits_per_pixel"]


@pytest.fixture(scope="module")
def of_two_sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four photographs of a warm set, three of a cold one, one of none."""
    random, images = np.random.default_rng(7), []
    for number in range(8):
        rgb = random.integers(60, 120, (4, 4, 3), np.uint8).repeat(8, 0).repeat(8, 1)
        rgb[..., 0 if number < 4 else 2] += 100
        images.append(encode(rgb, "PNG"))
    sets = ["warm"] * 4 + ["cold"] * 3 + [""]
    return write_parquet(tmp_path_factory.mktemp("sets") / "photos.parquet", images, set=sets)


def test_figures_for_each_group(weights: Path, of_two_sets: Path, tmp_path: Path) -> None:
    page = tmp_path / "scores.html"
    result = run_command("evaluate", weights, of_two_sets, "--by", "set", "--html", page)
    found = figures(result)
    groups = found["groups"]
    assert {name: each["photos"] for name, each in groups.items()} == {
        "warm": 4, "cold": 3, "(none)": 1
    }  # fmt: skip
    for figure in ("core_bits_per_pixel", "ciede2000_mean", "a_shift", "b_shift"):
        weighted = sum(each["photos"] * each[figure] for each in groups.values()) / 8
        assert weighted == pytest.approx(found[figure]), "all together are the whole"
    # The tiny model knows nothing: it misses the red of the one and the blue of the other.
    assert groups["warm"]["b_shift"] < groups["cold"]["b_shift"] - 20
    assert groups["warm"]["a_shift"] != groups["cold"]["a_shift"]
    lines = result.stdout.splitlines()
    [head] = [line for line in lines if "CIEDE2000  " in line and "R2" in line]
    assert len(head.split()) == 12
    assert [line.split()[1] for line in lines if line.startswith("warm ")] == ["4"]
    html = page.read_text(encoding="utf-8")
    assert html.count("<tr>") == 4 and "<th>cold</th>" in html
    for words in ("warm, best: ", "warm, median: ", "cold, worst: ", "(none), worst: "):
        assert html.count(words) == 1, words


def test_groups_of_which_no_picture_was_made(weights: Path, of_two_sets: Path) -> None:
    result = run_command("evaluate", weights, of_two_sets, "--by", "set", "--pictures", 1)
    groups = figures(result)["groups"]
    assert sorted(each["pictures"] for each in groups.values()) == [0, 0, 1]
    assert sorted(each["ciede2000_mean"] is None for each in groups.values()) == [False, True, True]
    assert "groups" not in figures(run_command("evaluate", weights, of_two_sets, "--pictures", 1))


def test_a_column_that_is_not_there(weights: Path, of_two_sets: Path, photographs: Path) -> None:
    for source, words in ((of_two_sets, "maker"), (photographs, "no Parquet file")):
        result = run_command("evaluate", weights, source, "--by", "maker")
        assert result.exit_code == 2 and words in result.stderr


def test_best_median_and_worst_are_chosen_by_the_difference() -> None:
    differences = np.array([5.0, 1.0, 9.0, 3.0, 2.0, 8.0])
    alone = dict(choose_examples([""] * 6, differences))
    assert alone == {"best": 1, "median": 3, "worst": 2}
    grouped = dict(choose_examples(["b", "a", "b", "b", "a", "c"], differences))
    assert {grouped[f"b, {name}"] for name in ("best", "median", "worst")} == {3, 0, 2}
    assert [place for words, place in grouped.items() if words.startswith("c, ")] == [5]
    assert [place for words, place in grouped.items() if words.startswith("a, ")] == [1, 4]
