"""What `make dist` builds, installed into an environment that does not know the checkout.

Nothing is fetched: the environment sees the packages of this one, but none of what makes a checkout
importable here (links of an editable installation are not followed from where they are named).
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

pytestmark = pytest.mark.slow
LEFT_OUT = (".git", ".venv", "out", "build", "dist", "*.egg-info", "__pycache__", ".*_cache")


@pytest.fixture(scope="module")
def dist(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a wheel and the source distribution that it was built from."""
    pytest.importorskip("build")
    folder = tmp_path_factory.mktemp("dist")
    copy = folder / "copy"  # building leaves folders where it works
    shutil.copytree(repository, copy, ignore=shutil.ignore_patterns(*LEFT_OUT))
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(copy)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=600)
    shutil.rmtree(copy)
    return folder


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (found,) = dist.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with Autochrome from its wheel."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    run(
        *(sys.executable, "-m", "pip", "--python", python, "install"),
        *("--no-deps", "--no-index", "--quiet", "--disable-pip-version-check", wheel),
    )
    (packages,) = folder.glob("lib/python*/site-packages")
    others = packages / "others.pth"
    others.write_text(f"{sysconfig.get_path('purelib')}\n", encoding="utf-8")
    return python


def run(*command: object, folder: Path | None = None) -> str:
    """What a command prints; it must succeed, and has no path but that of its environment."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,  # busy machines
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def of_the_program(repository: Path) -> Iterator[str]:
    """Files of the packages: code, weights, and the page."""
    yield "autochrome.py"
    for package in ("jobs", "model", "pipeline"):
        for path in (repository / package).rglob("*"):
            if path.is_file() and path.suffix != ".pyc":
                yield path.relative_to(repository).as_posix()


def test_the_wheel_holds_code_weights_and_the_page(repository: Path, wheel: Path) -> None:
    files = set(of_the_program(repository))
    assert {"model/weights/core.safetensors", "pipeline/review/page/page.html"} <= files
    with zipfile.ZipFile(wheel) as opened:
        packed = {name for name in opened.namelist() if ".dist-info/" not in name}
        licenses = {name for name in opened.namelist() if "/licenses/" in name}
    assert packed == files
    assert {Path(name).name for name in licenses} == {"LICENSE", "NOTICE"}


def test_the_source_distribution_is_the_checkout(repository: Path, dist: Path) -> None:
    (archive,) = dist.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        packed = {name.partition("/")[2] for name in opened.getnames()}
    listed = ["git", "-C", str(repository), "ls-files"]
    tracked = subprocess.run(listed, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("not in a checkout of git")
    there = {name for name in tracked.stdout.splitlines() if (repository / name).exists()}
    assert there - packed == {".gitignore"}


def test_it_runs_where_the_checkout_is_unknown(
    repository: Path, installed: Path, tmp_path: Path
) -> None:
    command = installed.with_name("autochrome")
    project = (repository / "pyproject.toml").read_text(encoding="utf-8")
    version = run(command, "--version", folder=tmp_path).split()[-1]
    assert f'\nversion = "{version}"\n' in project

    photo = repository / "examples/photos/people/portraits/astronaut.jpg"
    said = run(command, "preview", photo, folder=tmp_path)
    assert said == "astronaut.preview.jpg\n"
    with Image.open(tmp_path / "astronaut.preview.jpg") as opened:
        assert opened.size == (512 * 2 + 8, 512)

    code = (  # imports nothing, as PyTorch takes seconds; that all can be, the preview has shown
        "from importlib.util import find_spec\n"
        "for name in 'autochrome', 'jobs', 'model', 'pipeline': print(find_spec(name).origin)"
    )
    places = run(installed, "-c", code, folder=tmp_path).split()
    assert len(places) == 4
    assert [place for place in places if installed.parents[1] not in Path(place).parents] == []


def test_hints_of_extras_name_a_command_that_works(installed: Path, tmp_path: Path) -> None:
    """From the wheel, as from a checkout: what is there already is found without an index."""
    code = (
        "from pipeline.errors import missing_extra; print(missing_extra('jobs need it', 'cluster'))"
    )
    hint = run(installed, "-c", code, folder=tmp_path).strip()
    assert hint == f"jobs need it: {installed} -m pip install 'autochrome[cluster]'"
    offline = hint.partition(": ")[2].replace("pip install", "pip install --no-index")
    assert "autochrome[cluster]" in run("bash", "-c", offline, folder=tmp_path)
