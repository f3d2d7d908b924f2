"""`benchmarks/gpu.sh` on a CPU with tiny sizes, and its files in parts."""

import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import gpu
import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import torch
from parts import cut_photographs, load_parts, read_squares, save_parts
from PIL import Image

from model.weights import read_config, save_stage, stage_path
from support.tiny_models import tiny_color, tiny_core

ABSENT = ("ray", "click", "boto3", "matplotlib", "tensorboard", "pipeline", "jobs")
MOST_BYTES = 16_000_000
PHASES = """
steps = 20
batch-size = 2
hidden = 99  # that of the weights counts

[[phase]]
name = "encoder"
stage = "core"
encoder-only = true

[[phase]]
name = "whole"
stage = "core"
resolution = 16

[[phase]]
name = "color"
stage = "color"

[[phase]]
name = "left-out"
stage = "spatial"
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """120 small photographs of two sets."""
    random = np.random.default_rng(0)
    rows = []
    for number in range(120):
        file = io.BytesIO()
        Image.fromarray(random.integers(0, 256, (24, 20, 3), np.uint8)).save(file, "PNG")
        split = "val" if number % 10 == 0 else "train"
        rows.append({"image": file.getvalue(), "set": "ab"[number % 4 == 0], "split": split})
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "source.parquet")
    return tmp_path / "source.parquet"


@pytest.fixture
def alone(repository: Path, tmp_path: Path) -> dict[str, str]:
    """An environment in which nothing can be imported that a bare machine has not."""
    folder = tmp_path / "absent"
    for name in ABSENT:
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(f"raise ImportError('{name} is not here')")
    hook = "import sys\nfor name in {}:\n    sys.modules[name] = None\n"
    (folder / "sitecustomize.py").write_text(hook.format(ABSENT))
    path = os.pathsep.join(map(str, (folder, repository, repository / "benchmarks")))
    told = {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    return {**os.environ, **told, "CUDA_VISIBLE_DEVICES": ""}


def lines_of(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def check_complete(lines: list[dict[str, object]]) -> None:
    assert not [line for line in lines if "failed" in line or "left_out" in line]


@pytest.mark.slow
def test_slices_of_figures_run_on_a_bare_machine(alone: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    script = "import gpu, sys\nfor name in 'abc':\n    assert gpu.main([name, *sys.argv[1:]]) == 0"
    command = [sys.executable, "-c", script, str(out), "--tiny", "--batches", "2"]
    done = subprocess.run(command, env=alone, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "test_the_graph_is_the_plain_loop" in (out / "a.txt").read_text()
    speed, numerics = lines_of(out / "b.jsonl"), lines_of(out / "c.jsonl")
    check_complete(speed + numerics)
    found = {(line.get("size"), line.get("dtype"), line["name"]) for line in speed}
    for dtype in ("bfloat16", "float32"):
        names = ("core", "color", "spatial", "all stages")
        assert {("published", dtype, name) for name in names} <= found
    same, _, ours = [line for line in numerics if line["name"] == "logits"][:3]
    assert same["largest_difference"] == 0 and same["argmax_changes"] == 0
    assert same["bits_per_pixel"] == pytest.approx(ours["bits_per_pixel"], abs=1e-4)
    changed = [
        line["changed"] for line in numerics if line["name"] != "logits" and "changed" in line
    ]
    assert changed == [0] * 4
    assert all(file.stat().st_size < MOST_BYTES for file in out.rglob("*"))


@pytest.mark.slow
def test_training_goes_on_from_slice_to_slice(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights, photographs = tmp_path / "weights", tmp_path / "photographs"
    weights.mkdir()
    save_stage(tiny_core(8), stage_path(weights, "core"))
    save_stage(tiny_color(8), stage_path(weights, "color"))
    cut_photographs(source, photographs, 1, 2)
    (tmp_path / "phases.toml").write_text(PHASES)
    tiny = f"--photographs {photographs} --init {weights} --phases {tmp_path}/phases.toml".split()
    tiny += "--longer 0.1 --train-batch 4 --validate-every 1 --device cpu".split()
    first, second = tmp_path / "first", tmp_path / "second"
    assert gpu.main(["d", str(first), *tiny, "--seconds", "0"]) == 0
    assert "to be continued" in capsys.readouterr().out
    assert gpu.main(["d", str(second), *tiny, "--resume", str(first)]) == 0
    assert "all phases are done" in capsys.readouterr().out
    rows = json.loads((second / "d/history.json").read_text())
    phases = [(row["phase"], row["step"]) for row in rows]
    assert phases == [(name, step) for name in ("encoder", "whole", "color") for step in (1, 2)]
    for stage, resolution in (("core", 16), ("color", 8)):
        _, made = read_config(stage_path(second / "d", stage))
        _, before = read_config(stage_path(weights, stage))
        assert made == replace(before, resolution=resolution)
    assert gpu.main(["d", str(second), *tiny, "--high", "32"]) == 2
    assert "other settings" in capsys.readouterr().err


def test_photographs_are_cut_by_row_and_read_together(source: Path, tmp_path: Path) -> None:
    wide = io.BytesIO()
    Image.effect_noise((1024, 1024), 90).convert("RGB").save(wide, "PNG")  # about a megabyte
    table = parquet.read_table(source)
    large = {"image": [wide.getvalue()[: 10**6 // 3]] * 6, "set": ["c"] * 6, "split": ["train"] * 6}
    parquet.write_table(pa.concat_tables([table, pa.table(large)]), source)
    files = cut_photographs(source, tmp_path / "parts", 1, 9)
    assert len(files) == 3 and all(file.stat().st_size < 10**6 for file in files)
    images = [row for file in files for row in parquet.read_table(file)["image"].to_pylist()]
    assert sorted(images) == sorted(parquet.read_table(source)["image"].to_pylist())
    assert len(cut_photographs(source, tmp_path / "fewer", 1, 2)) == 2
    squares = read_squares(tmp_path / "parts", 16, 10)
    assert squares.held_out.shape == (10, 16, 16, 3)
    assert len(squares.train) == len(squares.weights) == 108  # six are cut short
    assert len(squares.weights.unique()) == 2


def test_a_checkpoint_in_parts_comes_back_whole_or_not_at_all(tmp_path: Path) -> None:
    assert load_parts(tmp_path) is None
    for seed in range(2):  # the second replaces the first
        state = {"step": seed, "value": torch.full((1000,), float(seed))}
        save_parts(state, tmp_path, 1500)
    names = sorted(path.name for path in tmp_path.glob("checkpoint-*"))
    assert len(names) > 2 and all((tmp_path / name).stat().st_size <= 1500 for name in names)
    found = load_parts(tmp_path)
    assert found is not None and found["step"] == 1 and bool((found["value"] == 1).all())
    (tmp_path / names[1]).write_bytes(b"other")
    with pytest.raises(ValueError, match="damaged"):
        load_parts(tmp_path)
    (tmp_path / names[1]).unlink()
    with pytest.raises(ValueError, match="lacks"):
        load_parts(tmp_path)
