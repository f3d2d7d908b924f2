"""A run's counters for Prometheus, through Ray's metrics; their names get the prefix `ray_`."""

from collections.abc import Mapping

from pipeline.ledger.shard_report import ShardReport

METRICS: Mapping[str, str] = {
    "autochrome_photos": "Photos committed, by status (of their worst candidate).",
    "autochrome_failures": "Photos that failed, by reason.",
    "autochrome_shards": "Shards committed.",
    "autochrome_bytes": "Bytes of masters read, and of images written, by direction.",
    "autochrome_stage_seconds": "Seconds of a photo in a stage; their sum is an estimate.",
    "autochrome_pending_photos": "Photos that are not committed yet.",
}
_SECONDS = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0]


class Metrics:
    """The driver's counters; Ray must be running. They start at zero with each command."""

    def __init__(self) -> None:
        from ray.util.metrics import Counter, Gauge, Histogram

        def counter(name: str, *tags: str) -> Counter:
            return Counter(name, METRICS[name], tag_keys=tags)

        self._photos = counter("autochrome_photos", "status")
        self._failures = counter("autochrome_failures", "reason")
        self._shards = counter("autochrome_shards")
        self._bytes = counter("autochrome_bytes", "direction")
        name = "autochrome_stage_seconds"
        self._seconds = Histogram(name, METRICS[name], boundaries=_SECONDS, tag_keys=("stage",))
        name = "autochrome_pending_photos"
        self._pending = Gauge(name, METRICS[name])

    def record(self, report: ShardReport, pending: int) -> None:
        """Count a newly committed shard. pending: photos that are left."""
        self._pending.set(pending)
        if not report.statuses:  # committed by another command, which counts it
            return
        self._shards.inc(1)
        for status, count in report.statuses.items():
            self._photos.inc(count, {"status": status})
        for reason, count in report.reasons.items():
            self._failures.inc(count, {"reason": reason})
        for direction, size in report.bytes.items():
            if size:
                self._bytes.inc(size, {"direction": direction})
        for stage, seconds in report.seconds.items():
            for one in seconds:
                self._seconds.observe(one, {"stage": stage})
