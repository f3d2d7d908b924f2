"""Memory and time of the files that decoders stumble over."""

import subprocess
import sys
from pathlib import Path

import pytest

# In one process for all, whose peak is a bound for each of them; ru_maxrss would start with ours.
READ_AND_WRITE = """
import sys
from contextlib import suppress
from pathlib import Path
import numpy as np
from pipeline.errors import PhotoError
from pipeline.images.masters import read_small
from pipeline.ledger.recipe import Recipe
from pipeline.run.rendering import render

recipe = Recipe(source="nowhere", weights={}, versions={"autochrome": "0"})
for path in Path(sys.argv[1]).iterdir():
    with suppress(PhotoError):
        info, _ = read_small(path.read_bytes(), (64, 256))
        if info.width * info.height > 100_000_000:
            continue  # allowed more, and slow; benchmarks/imaging.py measures such
        render(path.read_bytes(), [np.full((256, 256, 3), 99, np.uint8)], recipe, [0])
lines = Path("/proc/self/status").read_text().splitlines()
print(*(line.split()[1] for line in lines if line.startswith("VmHWM")))
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_no_awkward_file_takes_much_memory(shared: Path, repository: Path) -> None:
    awkward = shared / "photos" / "awkward"
    if not awkward.is_dir():
        pytest.skip("no shared/photos/awkward folder beside the checkout")
    peak_kib = subprocess.run(
        [sys.executable, "-c", READ_AND_WRITE, str(awkward)],
        cwd=repository,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # libtiff's chatter
        check=True,
        timeout=300,
    ).stdout
    assert 0 < int(peak_kib) < 500 * 1024  # 210 MiB were seen
