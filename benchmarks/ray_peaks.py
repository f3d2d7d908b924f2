"""Peaks of memory, and CPU time, while Ray works: of its object store, workers and driver."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil
import ray
from ray._private.internal_api import memory_summary


@contextmanager
def watched(peaks: dict[str, float]) -> Iterator[None]:
    """Peaks while the block runs: of the object store, what it spilled to disk, and of this process
    and the largest other one without what they share. And the seconds of a CPU that this process
    and all below it took, but for the last second of those that end."""
    watch = _Watch(peaks)
    before = watch.cpu_seconds()
    thread = threading.Thread(target=watch.run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        watch.ended.set()
        thread.join()
        peaks["cpu_seconds"] = watch.cpu_seconds() - before


class _Watch:
    def __init__(self, peaks: dict[str, float]) -> None:
        self.ended = threading.Event()
        self._peaks, self._spent = peaks, dict[int, float]()
        self._own, self._tree = os.getpid(), psutil.Process()
        self._address = ray.get_runtime_context().gcs_address

    def run(self) -> None:
        """Look once a second until it has ended."""
        while not self.ended.wait(1):
            self.cpu_seconds()
            self._look_at_store()
            for process in psutil.process_iter(["pid", "name", "memory_info"]):
                self._look_at(process)

    def cpu_seconds(self) -> float:
        """Of all processes seen so far, those that have ended included."""
        for process in (self._tree, *self._tree.children(recursive=True)):
            with suppress(psutil.Error):  # gone meanwhile
                times = process.cpu_times()
                self._spent[process.pid] = times.user + times.system
        return sum(self._spent.values())

    def _look_at_store(self) -> None:
        for line in memory_summary(self._address, stats_only=True).splitlines():
            for name, start, word in (("store", "Plasma memory", 3), ("spilled", "Spilled", 1)):
                if line.startswith(start):
                    self._note(f"{name}_MiB", float(line.split()[word]))

    def _look_at(self, process: psutil.Process) -> None:
        info, driver = process.info["memory_info"], process.info["pid"] == self._own
        if not info or not (driver or process.info["name"].startswith("ray::")):
            return
        if driver or self._is_below(process):
            # What is shared is the object store, which has a column of its own.
            used = (info.rss - info.shared) / 2**20
            self._note("driver_MiB" if driver else "worker_MiB", used)

    def _is_below(self, process: psutil.Process) -> bool:
        """Whether a worker belongs to this driver: workers descend from its raylet."""
        try:
            return self._own in {each.pid for each in process.parents()}
        except psutil.Error:
            return False

    def _note(self, name: str, value: float) -> None:
        self._peaks[name] = max(self._peaks.get(name, 0), value)
