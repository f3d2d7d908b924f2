"""Private names of libraries: CONTRIBUTING.md lists and justifies all that our code uses."""

import ast
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import pytest

FOLDERS = ("model", "pipeline", "jobs")
DOCUMENTED = {"_replace", "_exit"}  # of named tuples, of os
UNDOCUMENTED = {"PIL.Image.OPEN", "Image.OPEN", "Image.SAVE"}  # private, if not by their spelling
LIBRARIES = ("ray", "torch", "botocore", "boto3", "PIL", "pyarrow", "numpy", "tifffile", "click")
ROW = re.compile(r"\| `([^`]+)` \| `([^`]+\.py)` \| (.+) \|")


def nodes_of(code: str) -> list[ast.AST]:
    return list(ast.walk(ast.parse(code)))


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def own_names(nodes: Iterable[ast.AST]) -> set[str]:
    """Private names that our code itself gives to functions, classes, variables and attributes."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.id if isinstance(node, ast.Name) else node.attr)
    return {name for name in found if is_private(name)}


def foreign_names(nodes: Iterable[ast.AST], own: set[str]) -> Iterator[str]:
    """Private names of others in a module, and classes that are known by the text of their name."""
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            private = [alias.name for alias in node.names if is_private(alias.name)]
            if any(map(is_private, node.module.split("."))):
                yield node.module
            elif node.module.split(".")[0] not in FOLDERS:
                yield from (f"{node.module}.{name}" for name in private)
        elif isinstance(node, ast.Import):
            yield from (a.name for a in node.names if any(map(is_private, a.name.split("."))))
        elif isinstance(node, ast.Attribute):
            text = ast.unparse(node)
            if text in UNDOCUMENTED or (is_private(node.attr) and node.attr not in own):
                yield text
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            private = [each.arg for each in node.keywords if each.arg and is_private(each.arg)]
            yield from (f"{called}({name})" for name in private)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            parts = node.value.split(".")  # of a module, a logger
            if parts[0] in LIBRARIES and any(map(is_private, parts)):
                yield node.value
        elif isinstance(node, ast.Compare) and re.search(
            r"(type\(.+\)|__class__)\.__(qual)?name__", ast.unparse(node)
        ):
            yield ast.unparse(node)


def names_in(repository: Path) -> set[tuple[str, str]]:
    """(name, file)."""
    files = [path for folder in FOLDERS for path in (repository / folder).rglob("*.py")]
    files.append(repository / "autochrome.py")
    modules = {path: nodes_of(path.read_text(encoding="utf-8")) for path in files}
    own = own_names(chain.from_iterable(modules.values())) | DOCUMENTED
    return {
        (name, path.relative_to(repository).as_posix())
        for path, nodes in modules.items()
        for name in foreign_names(nodes, own)
    }


def test_private_names_of_others_are_those_of_the_list(repository: Path) -> None:
    text = (repository / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text.split("## Private names of others")[1].split("\n## ")[0]
    rows = ROW.findall(section)
    assert {(name, path) for name, path, _ in rows} == names_in(repository)
    assert all(len(reason) > 20 for *_, reason in rows)


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("from ray._private.state import state", "ray._private.state"),
        ("import ray.data._internal.plan", "ray.data._internal.plan"),
        ("from torch import _foreach_add_", "torch._foreach_add_"),
        ("torch._foreach_add_(a, b)", "torch._foreach_add_"),
        ("torch.ops.mkldnn._linear_pointwise(x)", "torch.ops.mkldnn._linear_pointwise"),
        ("logging.getLogger('ray._private.worker')", "ray._private.worker"),
        ("type(error).__name__ == 'RayError'", "type(error).__name__ == 'RayError'"),
        ("accept = Image.OPEN['PNG']", "Image.OPEN"),
        ("image._getexif()", "image._getexif"),
        ("ray.init(_temp_dir=folder)", "ray.init(_temp_dir)"),
    ],
)
def test_private_names_are_found(code: str, name: str) -> None:
    assert list(foreign_names(nodes_of(code), {"_ours"})) == [name]


@pytest.mark.parametrize(
    "code",
    ["x = self._ours", "x.__class__", "row._replace(a=1)", "f'{type(error).__name__}: {error}'"],
)
def test_names_of_our_own_and_public_ones_are_not(code: str) -> None:
    assert not list(foreign_names(nodes_of(code), {"_ours"} | DOCUMENTED))
