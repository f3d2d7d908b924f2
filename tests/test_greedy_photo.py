"""A photo that needs more memory than there is, on a Ray of its own with next to none to give."""

import os
import re
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import tifffile

from pipeline.ledger.results import read_results
from pipeline.ledger.run_file import open_run
from pipeline.storage.local import LocalStorage
from support.commands import run_command

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\."),  # of Ray at itself
]

BESIDE = 3  # photos of the same shard, each of which takes two processes in the end


class Greedy(LocalStorage):
    """A folder in which one photo has its worker killed as often as a shard is tried, as Ray does
    where it takes all memory."""

    def read(self, path: str, most: int | None = None) -> bytes:
        data = super().read(path, most)
        for attempt in range(3) if path == "greedy.tif" else ():
            try:
                Path(f"{self.uri}.killed-{attempt}").touch(exist_ok=False)
            except FileExistsError:
                continue
            os.kill(os.getpid(), signal.SIGKILL)
        return data


def test_photos_beside_one_that_needs_too_much_memory_are_committed(
    weights: Path, tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for number in range(BESIDE):
        shutil.copy(repository / "examples/photos/animals/cat.jpg", source / f"{number}.jpg")
    pixels = np.full((6_000, 10_000, 3), 9_000, np.uint16)  # 360 MB
    tifffile.imwrite(source / "greedy.tif", pixels, photometric="rgb", compression="zlib")
    from ray.cloudpickle import register_pickle_by_value

    kinds: dict[Path, type[LocalStorage]] = {source: Greedy, out: LocalStorage}
    for module in ("run.request", "storage.lease"):
        monkeypatch.setattr(
            f"pipeline.{module}.open_storage", lambda uri, **_: kinds[Path(uri)](uri)
        )
    register_pickle_by_value(sys.modules[__name__])
    monkeypatch.setenv("RAY_memory_usage_threshold", "0.01")  # a process gets the least, 256 MiB
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "0")  # and Ray itself kills nobody for it
    result = run_command("colorize", source, out, "--weights", weights, "--shard-size", BESIDE + 1)
    assert result.exit_code == 3, result.output
    assert re.match(
        rf"{BESIDE} of {BESIDE + 1} photos colorized.*\n1 failed: 1 out_of_memory\n", result.stdout
    )
    place = LocalStorage(str(out))
    rows = pa.concat_tables(read_results(place, open_run(place))).to_pylist()
    reasons = {row["photo"]: row["reason"] for row in rows}
    assert reasons == {"greedy.tif": "out_of_memory"} | {
        f"{number}.jpg": None for number in range(BESIDE)
    }
    assert len(list(tmp_path.glob("in.killed-*"))) == 3, "it was tried three times, and then alone"
