"""Parquet is read without Arrow's own threads, which can abort a command as it ends."""

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

THREADS = """
import io, os, sys
from pathlib import Path
import pyarrow.parquet as pq
from pipeline.parquet import open_parquet, read_parquet

def threads():
    return len(os.listdir("/proc/self/task"))

data = Path(sys.argv[1]).read_bytes()
before = threads()
assert read_parquet(data, ["a", "x"]).column_names == ["a"]
assert list(read_parquet(data)["a"].to_pylist()) == [1, 2]
with open_parquet(io.BytesIO(data)) as file:
    assert len(list(file.iter_batches(1, use_threads=False))) == 2
alone = threads()
pq.read_table(io.BytesIO(data))
print(alone - before, threads() > before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts threads in /proc")
def test_reading_starts_no_thread(tmp_path: Path, repository: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": [1, 2], "b": ["c", "d"]}), path)
    command = [sys.executable, "-c", THREADS, str(path)]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["0", "True"], done.stderr
