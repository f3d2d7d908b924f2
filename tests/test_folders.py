"""Folders are layers: what each may import, read from the source without running it.

`python tests/test_folders.py` prints how many rooms, floors, arrows and circles there are.
"""

import ast
import sys
from functools import cache
from pathlib import Path

import pytest

LAYERS = ("model", "pipeline", "jobs")  # an arrow points to the left, never to the right
# The rooms of each layer, from the ground up: a package, or a module beside the packages. Each may
# import from those before it.
ROOMS = {
    "model": (
        "color", "lab", "likelihood", "scaling", "method", "settings", "initialization",
        "conditioning", "layers", "trunk", "criss_cross", "encoder", "core", "draft", "ranking",
        "upsamplers", "colorized", "sampling", "pic", "weights", "published_names", "published",
        "training", "evaluation", "colorizer", "systems",
    ),
    "pipeline": (
        "errors", "deadline", "user_folders", "parquet", "storage", "metadata", "images", "ledger",
        "weights", "cluster", "provenance", "review", "delivery", "training", "run", "evaluation",
        "single", "verification", "verify", "colorize",
    ),
}  # fmt: skip
MODEL_NEEDS = {"torch", "numpy", "safetensors"}
# One door for each system outside.
DOORS = {
    "boto3": {"pipeline/storage/s3.py"},
    "botocore": {"pipeline/storage/s3.py"},
    "PIL": {
        f"pipeline/images/{name}.py"
        for name in ("masters", "decoding", "frames", "pictures", "pngs")
    },
    "c2pa": {"pipeline/provenance/c2pa.py"},
    "cryptography": {"pipeline/provenance/certificates.py"},
    "imagecodecs": {
        f"pipeline/images/{name}.py"
        for name in (
            *("avif", "codecs", "jpeg2000", "jpegs", "piece_contents", "pieces", "profiles"),
            "tiff_samples",
        )
    },
    "tifffile": {"pipeline/images/tiff_samples.py", "pipeline/images/tiffs.py"},
    "ray": {
        "pipeline/cluster/session.py",
        "pipeline/cluster/submission.py",
        "pipeline/run/engine_errors.py",
        "pipeline/run/metrics.py",
        "pipeline/run/warming.py",
        "pipeline/run/wave.py",
        "pipeline/training/ray_train.py",
        "pipeline/training/stored.py",
    },
    "matplotlib": {"pipeline/training/learning_curve.py"},
    "tensorboard": {"pipeline/training/learning_curve.py"},
    "tensorflow": {"pipeline/weights/tensorflow_checkpoint.py"},
}


def sources(repository: Path, folder: str) -> list[Path]:
    return sorted((repository / folder).rglob("*.py"))


@cache  # each file is asked about by a dozen tests
def imports(path: Path) -> tuple[str, ...]:
    """Absolute names of all imported modules, those inside of functions included."""
    found = list[str]()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{path}: relative import"
            found.append(node.module)
    return tuple(found)


def packages(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)}


def room_of(module: str) -> str | None:
    """`pipeline.images.codecs` -> images; None for a layer itself."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else None


def arrows(repository: Path, layer: str) -> set[tuple[str, str]]:
    """(room, room that it imports), within a layer."""
    found = set()
    for path in sources(repository, layer):
        relative = path.relative_to(repository / layer)
        room = relative.parts[0].removesuffix(".py")
        for name in imports(path):
            other = room_of(name) if name.split(".")[0] == layer else None
            if room != "__init__" and other not in (None, room):
                found.add((room, str(other)))
    return found


def floors(graph: dict[str, set[str]]) -> tuple[int, set[str]]:
    """The longest chain of imports, and all that are in a circle or above one."""
    height, left = 0, dict(graph)
    while free := {name for name, needs in left.items() if not needs & left.keys()}:
        height += 1
        left = {name: needs for name, needs in left.items() if name not in free}
    return height, set(left)


def describe(repository: Path, layer: str) -> str:
    """`model: 18 rooms, 8 floors, 47 arrows, no circle`."""
    found = arrows(repository, layer)
    rooms = {room for arrow in found for room in arrow} | set(ROOMS[layer])
    height, circle = floors({room: {b for a, b in found if a == room} for room in rooms})
    circles = f"a circle below or in {', '.join(sorted(circle))}" if circle else "no circle"
    return f"{layer}: {len(rooms)} rooms, {height} floors, {len(found)} arrows, {circles}"


@pytest.mark.parametrize("layer", LAYERS)
def test_arrows_point_one_way(repository: Path, layer: str) -> None:
    above = set(LAYERS[LAYERS.index(layer) + 1 :])
    files = sources(repository, layer)
    assert files
    for path in files:
        assert not packages(path) & above, f"{path} imports {packages(path) & above}"


@pytest.mark.parametrize("layer", ROOMS)
def test_rooms_import_from_the_floors_below_them(repository: Path, layer: str) -> None:
    order = ROOMS[layer]
    there = {
        path.name.removesuffix(".py")
        for path in (repository / layer).iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert there - {"__init__"} == set(order), "each room has its place in the order"
    upward = {
        (room, other)
        for room, other in arrows(repository, layer)
        if order.index(other) >= order.index(room)
    }
    assert not upward


@pytest.mark.parametrize("layer", ROOMS)
def test_modules_of_a_room_do_not_import_in_circles(repository: Path, layer: str) -> None:
    graph = {}
    for path in sources(repository, layer):
        module = path.relative_to(repository).with_suffix("").as_posix().replace("/", ".")
        graph[module.removesuffix(".__init__")] = {
            name for name in imports(path) if name.startswith(f"{layer}.")
        }
    _, circle = floors(graph)
    assert not circle, "these import each other"


def test_floors_and_circles_are_found() -> None:
    chain = {"attic": {"ground", "middle"}, "middle": {"ground"}, "ground": set[str]()}
    assert floors(chain) == (3, set())
    assert floors(chain | {"ground": {"middle"}}) == (0, {"attic", "middle", "ground"})
    assert floors(chain | {"one": {"two"}, "two": {"one"}}) == (3, {"one", "two"})


def test_every_room_says_what_it_is(repository: Path) -> None:
    for layer in ROOMS:
        for path in (repository / layer).rglob("__init__.py"):
            words = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
            assert words and len(words) > 60, path


def test_model_needs_nothing_but_torch_numpy_and_safetensors(repository: Path) -> None:
    for path in sources(repository, "model"):
        outside = packages(path) - sys.stdlib_module_names - {"model"}
        assert outside <= MODEL_NEEDS, f"{path} imports {outside - MODEL_NEEDS}"


@pytest.mark.slow
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


if __name__ == "__main__":
    for each in ROOMS:
        print(describe(Path(__file__).resolve().parents[1], each))
