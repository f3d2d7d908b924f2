"""The files that decoders stumble over: what becomes of each, and the memory that it takes."""

import csv
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.errors import REASONS

# In one process for all, whose peak is a bound for each of them; ru_maxrss would start with ours.
READ_AND_WRITE = """
import json, sys
from contextlib import suppress
from pathlib import Path
import numpy as np
from pipeline.errors import PhotoError
from pipeline.images.masters import read_full, read_small
from pipeline.ledger.recipe import Recipe
from pipeline.run.rendering import render

recipe = Recipe(source="nowhere", weights={}, versions={"autochrome": "0"})
refused, large = {}, {}

def check_whole(path, info):
    try:
        assert read_full(path.read_bytes()).info == info
    except PhotoError as error:
        refused[path.name] = error.reason, str(error)

for path in map(Path, sys.argv[1:]):
    try:
        info, _ = read_small(path.read_bytes(), (64, 256))
    except PhotoError as error:
        refused[path.name] = error.reason, str(error)
        continue
    if info.width * info.height > 100_000_000:
        large[path] = info  # allowed more, and slow; benchmarks/imaging.py measures such
        continue
    check_whole(path, info)
    with suppress(PhotoError):
        render(path.read_bytes(), [np.full((256, 256, 3), 99, np.uint8)], recipe, [0])
lines = Path("/proc/self/status").read_text().splitlines() if sys.platform == "linux" else []
peak = [int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
for path, info in large.items():
    check_whole(path, info)
print(json.dumps({"refused": refused, "peak_kib": sum(peak)}))
"""


@dataclass(frozen=True)
class Outcome:
    """refused: reason and words by file. peak_kib: of memory, without the largest files; 0 where
    nobody knows."""

    index: list[dict[str, str]]
    refused: dict[str, tuple[str, str]]
    peak_kib: int


@pytest.fixture(scope="module")
def outcome(shared: Path, repository: Path) -> Outcome:
    awkward = shared / "photos" / "awkward"
    if not awkward.is_dir():
        pytest.skip("no shared/photos/awkward folder beside the checkout")
    with open(awkward / "index.csv", newline="", encoding="utf-8") as file:
        index = list(csv.DictReader(file))
    done = subprocess.run(
        [sys.executable, "-c", READ_AND_WRITE, *(str(awkward / row["file"]) for row in index)],
        cwd=repository,
        capture_output=True,  # libtiff's chatter is among it
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return Outcome(index, **json.loads(done.stdout))


@pytest.mark.slow
def test_awkward_files_as_their_index_says(outcome: Outcome) -> None:
    assert len(outcome.index) > 150
    for reason, words in outcome.refused.values():
        assert reason in REASONS and "\n" not in words
    wrong = []
    for row in outcome.index:
        error = outcome.refused.get(row["file"])
        if row["expect"] == ("accept" if error else "reject"):
            wrong.append(f"{row['file']} ({row['what']}): {error or 'was read'}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_awkward_file_takes_much_memory(outcome: Outcome) -> None:
    assert 0 < outcome.peak_kib < 500 * 1024  # 210 MiB were seen
