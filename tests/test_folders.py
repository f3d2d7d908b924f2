"""A folder is a layer: what each may import, read from the source without running it."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

LAYERS = ("model", "pipeline", "jobs")  # an arrow points to the left, never to the right
MODEL_NEEDS = {"torch", "numpy", "safetensors"}
# One door for each system outside.
DOORS = {
    "boto3": {"pipeline/s3.py"},
    "botocore": {"pipeline/s3.py"},
    "PIL": {"pipeline/imaging.py"},
    "c2pa": {"pipeline/credentials.py"},
    "cryptography": {"pipeline/credentials.py"},
    "imagecodecs": {"pipeline/codecs.py"},
    "tifffile": {"pipeline/codecs.py"},
    "ray": {
        f"pipeline/{name}.py"
        for name in ("cluster", "colorize", "metrics", "photographs", "submission", "train")
    },
    "matplotlib": {"pipeline/learning_curve.py"},
    "tensorboard": {"pipeline/learning_curve.py"},
    "tensorflow": {"pipeline/tensorflow_checkpoint.py"},
}


def sources(repository: Path, folder: str) -> list[Path]:
    return sorted((repository / folder).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Absolute names of all imported modules, those inside of functions included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{path}: relative import"
            yield node.module


def packages(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)}


@pytest.mark.parametrize("layer", LAYERS)
def test_arrows_point_one_way(repository: Path, layer: str) -> None:
    above = set(LAYERS[LAYERS.index(layer) + 1 :])
    files = sources(repository, layer)
    assert files
    for path in files:
        assert not packages(path) & above, f"{path} imports {packages(path) & above}"


def test_model_needs_nothing_but_torch_numpy_and_safetensors(repository: Path) -> None:
    for path in sources(repository, "model"):
        outside = packages(path) - sys.stdlib_module_names - {"model"}
        assert outside <= MODEL_NEEDS, f"{path} imports {outside - MODEL_NEEDS}"


@pytest.mark.parametrize("package", DOORS)
def test_every_outside_system_has_one_door(repository: Path, package: str) -> None:
    users = {
        path.relative_to(repository).as_posix()
        for layer in LAYERS
        for path in sources(repository, layer)
        if package in packages(path)
    }
    assert users <= DOORS[package]


def test_tests_and_benchmarks_are_not_imported(repository: Path) -> None:
    for layer in LAYERS:
        for path in sources(repository, layer):
            assert not packages(path) & {"tests", "benchmarks"}
