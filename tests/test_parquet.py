"""Parquet in memory: read without Arrow's own threads, which can abort a command as it ends."""

import io
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import StorageError
from pipeline.ledger import plan, results
from pipeline.ledger.planning import prepare_run
from pipeline.ledger.recipe import Recipe
from pipeline.parquet import read_parquet
from pipeline.storage.memory import MemoryStorage

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


def test_a_column_that_comes_twice_is_damage() -> None:
    file = io.BytesIO()
    columns = [pa.nulls(1, field.type) for field in plan.SCHEMA]
    names = [*plan.SCHEMA.names, "photo"]
    pq.write_table(pa.Table.from_arrays([*columns, columns[0]], names=names), file)
    data = file.getvalue()
    with pytest.raises(ValueError, match="the column 'photo' comes twice"):
        read_parquet(data, ["photo"])
    with pytest.raises(StorageError, match="a is damaged: the column 'photo' comes twice"):
        results.parse_results(data, "a")
    source, destination = MemoryStorage("source"), MemoryStorage()
    source.write("a.jpg", b"a")
    run = prepare_run(source, destination, Recipe(source=source.uri, weights={}, versions={}), 1)
    destination.write(plan.retry_path(0), data)
    with pytest.raises(StorageError, match="retry-00000.parquet is damaged: the column 'photo'"):
        list(plan.Schedule(destination, run).open(frozenset()))
