"""Metrics of a run as Prometheus gets them from a real Ray."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.run.metrics import METRICS

PROGRAM = """
import time, urllib.request
from pipeline.cluster.session import quiet_ray
from pipeline.run.metrics import Metrics
from pipeline.ledger.shard_report import ShardReport

report = ShardReport(
    3, 1, {"ok": 2, "failed": 1}, {"corrupt": 1}, {"read": 500, "written": 0},
    {"read": [0.2, 0.4], "colorize": [], "write": [5.0]},
)
with quiet_ray(num_cpus=1):
    import ray
    metrics = Metrics()
    metrics.record(report, pending=9)
    metrics.record(ShardReport(4, 0), pending=5)
    node = ray.nodes()[0]
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    for _ in range(300):
        text = urllib.request.urlopen(url).read().decode()
        if "ray_autochrome_pending_photos" in text and "ray_autochrome_shards" in text:
            break
        time.sleep(0.2)
    print(text)
"""


@pytest.mark.slow
def test_prometheus_gets_what_a_run_counts(repository: Path) -> None:
    text = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=repository,
        stdout=subprocess.PIPE,
        check=True,
        text=True,
        timeout=180,
    ).stdout
    found = dict(re.findall(r"^(ray_autochrome_\w+\{[^}]*\}) (\S+)$", text, re.MULTILINE))
    assert found, text[-2000:]

    def value(name: str, tag: str = "") -> float:
        [only] = [
            float(number) for key, number in found.items() if key.startswith(name) and tag in key
        ]
        return only

    assert value("ray_autochrome_photos_total", 'status="ok"') == 2
    assert value("ray_autochrome_photos_total", 'status="failed"') == 1
    assert value("ray_autochrome_failures_total", 'reason="corrupt"') == 1
    assert value("ray_autochrome_shards_total") == 1
    assert value("ray_autochrome_bytes_total", 'direction="read"') == 500
    assert value("ray_autochrome_pending_photos") == 5
    assert value("ray_autochrome_stage_seconds_count", 'stage="read"') == 2
    assert 3 < value("ray_autochrome_stage_seconds_sum", 'stage="write"') < 10  # of its bucket
    names = {re.sub(r"_(total|bucket|sum|count)$", "", key.split("{")[0]) for key in found}
    assert names == {f"ray_{name}" for name in METRICS}
