import json
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from tiny_models import write_tiny_weights

from jobs.main import main
from pipeline.imaging import encode

KEYS = """photos core_resolution core_bits_per_pixel parallel_bits_per_pixel chroma_r2
marginal_bits_per_pixel gray_bits_per_pixel neighbor_bits_per_pixel color_bits_per_dim
spatial_bits_per_dim colorfulness_true colorfulness_result ciede2000_mean chroma_rmse seconds
""".split()


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["evaluate", *map(str, arguments)])


def figures(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    assert set(KEYS) <= found.keys()
    return found


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_weights(tmp_path_factory.mktemp("weights"))


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
    result = run(weights, photographs, *options)
    found = figures(result)
    assert (found["photos"], found["pictures"], found["core_resolution"]) == (12, 12, 8)
    assert 0 < found["neighbor_bits_per_pixel"] and found["gray_bits_per_pixel"] < 9.5
    assert "12 color photographs" in result.stdout and "2 skipped" in result.stdout
    html = page.read_text(encoding="utf-8")
    assert html.count("<img ") == 4 * 12 and html.count("<polyline") == 4
    assert not re.search(r'(?:src|href)="(?!data:)', html)
    assert kept.stat().st_size > 0
    again = figures(run(weights, photographs, *options[:2]))
    assert {**again, "seconds": 0} == {**found, "seconds": 0}


def test_without_baselines_of_the_resolution(weights: Path, photographs: Path) -> None:
    result = run(weights, photographs, "--limit", 3, "--pictures", 1, "--temperature", 0)
    found = figures(result)
    assert (found["photos"], found["pictures"], found["temperature"]) == (3, 1, 0)
    assert found["neighbor_bits_per_pixel"] is None
    assert "--baseline SRC" in result.stdout


def test_fid_by_a_network_of_the_user(weights: Path, photographs: Path, tmp_path: Path) -> None:
    class Means(torch.nn.Module):
        def forward(self, pictures: torch.Tensor) -> torch.Tensor:
            return pictures.float().mean(dim=(2, 3))

    network = tmp_path / "network.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.trace(Means(), torch.zeros(1, 3, 4, 4, dtype=torch.uint8)).save(str(network))
    result = run(weights, photographs, "--inception", network)
    found = figures(result)
    assert (found["fid_same_photos"], found["fid_other_photos"]) == (12, 6)
    assert found["fid_same"] > 0 and found["fid_other"] > found["fid_other_of_truth"] > 0
    assert "biased upward" in result.stdout


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
        ((), "Missing argument"),
    ):
        result = run(*arguments)
        assert result.exit_code == 2
        assert words in result.stderr and "Traceback" not in result.stderr


def test_default_weights_on_real_photographs(shared: Path, repository: Path) -> None:
    if not (repository / "model" / "weights" / "core.safetensors").is_file():
        pytest.skip("no default weights")
    source = shared / "photos" / "train64.parquet"
    options = ("--split", "validation", "--split-column", "split", "--limit", 8, "--pictures", 1)
    found = figures(run(source, *options))
    assert found["core_bits_per_pixel"] < found["neighbor_bits_per_pixel"]
    assert found["parallel_bits_per_pixel"] < found["gray_bits_per_pixel"]
    assert found["gray_bits_per_pixel"] < found["marginal_bits_per_pixel"]
