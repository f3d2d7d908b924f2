"""Metrics of a run as Prometheus gets them from a real Ray."""

import re
import time
import urllib.request
from collections.abc import Mapping

import pytest

from pipeline.ledger.shard_report import ShardReport
from pipeline.run.metrics import METRICS, Metrics

REPORT = ShardReport(
    *(3, 1, {"ok": 2, "failed": 1}, {"corrupt": 1}, {"read": 500, "written": 0}),
    {"read": [0.2, 0.4], "colorize": [], "write": [5.0]},
)


def scraped(pending: int) -> Mapping[str, float]:
    """What Prometheus would get, by name and tags, once so many photos are said to be pending: Ray
    passes all metrics on at once, every ten seconds."""
    import ray

    node = ray.nodes()[0]
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    for _ in range(600):
        text = urllib.request.urlopen(url).read().decode()
        lines = re.findall(r"^(ray_autochrome_\w+\{[^}]*\}) (\S+)$", text, re.MULTILINE)
        found = {key: float(number) for key, number in lines}
        if ("ray_autochrome_pending_photos", pending) in {
            (key.partition("{")[0], number) for key, number in found.items()
        }:
            return found
        time.sleep(0.2)
    raise AssertionError(text[-2000:])


@pytest.mark.usefixtures("local_ray")
def test_prometheus_gets_what_a_run_counts() -> None:
    metrics = Metrics()
    # Earlier commands of this process may have counted something.
    metrics.record(REPORT, pending=1009)
    before = scraped(pending=1009)
    metrics.record(REPORT, pending=1007)
    metrics.record(ShardReport(4, 0), pending=1005)
    found = scraped(pending=1005)

    def value(name: str, tag: str = "") -> float:
        """By how much it has grown."""
        [only] = [key for key in found if key.startswith(name) and tag in key]
        return found[only] - before[only]

    assert value("ray_autochrome_photos_total", 'status="ok"') == 2
    assert value("ray_autochrome_photos_total", 'status="failed"') == 1
    assert value("ray_autochrome_failures_total", 'reason="corrupt"') == 1
    assert value("ray_autochrome_shards_total") == 1
    assert value("ray_autochrome_bytes_total", 'direction="read"') == 500
    assert value("ray_autochrome_pending_photos") == 1005 - 1009
    assert value("ray_autochrome_stage_seconds_count", 'stage="read"') == 2
    assert 3 < value("ray_autochrome_stage_seconds_sum", 'stage="write"') < 10  # of its bucket
    names = {re.sub(r"_(total|bucket|sum|count)$", "", key.split("{")[0]) for key in found}
    assert names == {f"ray_{name}" for name in METRICS}
