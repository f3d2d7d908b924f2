"""What documents show is run: every example of the API page and of the cookbook, in their order.

The cookbook's commands share a Ray; its bucket is on a server here.
"""

import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.ledger.plan import Schedule
from pipeline.ledger.planning import prepare_run
from pipeline.run.steps import write_shard
from pipeline.storage.local import LocalStorage
from support.commands import run_command
from support.written_shards import RECIPE, candidates_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\."),  # of Ray at itself
]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
# Lines that are for other programs and machines, or that tests of their own run.
ELSEWHERE = {
    "docker run": "MinIO; any server of the S3 protocol does",
    "aws s3": "a client of Amazon's",
    "AWS_PROFILE=archive": "somebody's account",
    "eval ": "tests/test_help.py",
    "_AUTOCHROME_COMPLETE=": "tests/test_help.py",
    "autochrome submit": "tests/test_submit_command.py",
    "autochrome jobs": "tests/test_submit_command.py",
    "autochrome logs": "tests/test_submit_command.py",
}

TAKE_WEIGHTS = ("preview", "colorize", "resume")
BY_SHIPPED_WEIGHTS = "trial/"


def examples(document: Path) -> list[tuple[str, str]]:
    """(language, text) of each block."""
    return BLOCK.findall(document.read_text(encoding="utf-8"))


@pytest.fixture
def place(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: three small photographs in scans/, one of which is in color."""
    monkeypatch.chdir(tmp_path)
    people = repository / "examples" / "photos" / "people"
    gray = Image.open(people / "portraits" / "astronaut.jpg").convert("L").resize((96, 96))
    color = Image.effect_mandelbrot((96, 64), (-2, -1, 1, 1), 60).convert("RGB")
    color.paste((200, 40, 30), (0, 0, 48, 64))
    color.paste((30, 60, 190), (48, 0, 96, 40))
    Path("scans/street").mkdir(parents=True)
    gray.save("portrait.tif")
    gray.save("scans/portrait.jpg")
    Image.open(people / "stairs.jpg").convert("L").resize((64, 96)).save("scans/street/corner.jpg")
    color.save("scans/street/market.jpg")
    return tmp_path


def test_every_block_is_of_a_known_language(repository: Path) -> None:
    for name in ("api", "cookbook", "faq"):
        kinds = {language for language, _ in examples(repository / "docs" / f"{name}.md")}
        assert kinds <= {"python", "sh"}, name


def test_the_api_page(repository: Path, place: Path) -> None:
    source, destination = LocalStorage("scans"), LocalStorage("colorized")
    run = prepare_run(source, destination, replace(RECIPE, source=source.uri), 8)
    [shard] = Schedule(destination, run).open()
    write_shard(0, candidates_of(run.recipe, source, shard), source, destination, run)
    names: dict[str, Any] = {}
    blocks = examples(repository / "docs" / "api.md")
    assert len(blocks) >= 5 and {language for language, _ in blocks} == {"python"}
    for _, code in blocks:
        exec(compile(code, "docs/api.md", "exec"), names)
    assert names["picture"].rgb.shape == (96, 96, 3)
    assert len(names["several"].candidates) == 3
    assert names["table"].num_rows == 3
    with Image.open("portrait.color.png") as opened:
        assert opened.size == (96, 96)


@pytest.mark.usefixtures("local_ray", "place")
def test_the_cookbook(
    repository: Path, weights: Path, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but the trial with tiny weights: what is shown is how commands are given."""
    pytest.importorskip("duckdb")
    names: dict[str, Any] = {}
    for language, text in examples(repository / "docs" / "cookbook.md"):
        if language == "python":
            exec(compile(text, "docs/cookbook.md", "exec"), names)
            continue
        for line in text.splitlines():
            if line.startswith("export "):
                for word in shlex.split(line)[1:]:
                    name, _, value = word.partition("=")
                    there = s3_endpoint if name == "AWS_ENDPOINT_URL_S3" else value
                    monkeypatch.setenv(name, there)
            elif not line.startswith(tuple(ELSEWHERE)):
                carry_out(line, weights)
    rows = names["rows"]
    assert sorted(rows["status"]) == ["ok", "ok", "skipped"]
    assert Path("results.csv").read_text().count("\n") == 4
    assert Path("failures.csv").exists() and not Path("chosen").exists()
    assert Path("skipped.csv").read_text().splitlines() == ['"uri"', '"street/market.jpg"']
    assert len(list(Path("drawn/images").rglob("*.jpg"))) == 6


def carry_out(line: str, weights: Path) -> None:
    """A line of a shell, in this process where it is a command of ours. It has to succeed."""
    words = shlex.split(line)
    if words[0] == "autochrome":
        tiny = words[1] in TAKE_WEIGHTS and BY_SHIPPED_WEIGHTS not in words
        result = run_command(*words[1:], *(("--weights", weights) if tiny else ()))
        assert result.exit_code == 0, f"{line}\n{result.output}"
    else:
        line = re.sub(r"^python ", f"{shlex.quote(sys.executable)} ", line)
        subprocess.run(["bash", "-c", line], check=True, timeout=120)


def test_pages_are_built_without_a_warning(repository: Path, tmp_path: Path) -> None:
    """As by `make docs`: all documents have their place, all links and anchors lead somewhere."""
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(tmp_path)]
    result = subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=300)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    page = (tmp_path / "cluster.html").read_text(encoding="utf-8")
    assert 'href="files/deploy/rayjob.yaml"' in page
    copied = tmp_path / "files" / "deploy" / "rayjob.yaml"
    assert copied.read_bytes() == (repository / "deploy" / "rayjob.yaml").read_bytes()
    foreign = [
        address
        for each in tmp_path.rglob("*.html")
        for address in re.findall(r'(?:src|<link[^>]* href)="(https?://[^"]*)"', each.read_text())
    ]
    assert foreign == [], "pages ask no other host"
