"""Peaks of memory, and CPU time, while Ray works: of its object store, workers and driver."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import ray
from ray._private.internal_api import memory_summary

# isort: split
import psutil  # Ray brings it along, for whoever has imported Ray

COLUMNS = ("driver_MiB", "worker_MiB", "store_MiB", "spilled_MiB")


@contextmanager
def watched(
    peaks: dict[str, float], curve: Path | None = None, done: Callable[[], int] = int
) -> Iterator[None]:
    """Peaks while the block runs: of the object store, what it spilled to disk, and of this process
    and the largest other one without what they share. And the seconds of a CPU that this process
    and all below it took, but for the last second of those that end.

    curve: a CSV file for the same every five seconds, beside how many photos are done by then.
    """
    watch = _Watch(peaks, done)
    before = watch.cpu_seconds()
    thread = threading.Thread(target=watch.run, args=[curve], daemon=True)
    thread.start()
    try:
        yield
    finally:
        watch.ended.set()
        thread.join()
        peaks["cpu_seconds"] = watch.cpu_seconds() - before


class _Watch:
    def __init__(self, peaks: dict[str, float], done: Callable[[], int]) -> None:
        self.ended = threading.Event()
        self._peaks, self._done, self._spent = peaks, done, dict[int, float]()
        self._own, self._tree = os.getpid(), psutil.Process()
        self._address = ray.get_runtime_context().gcs_address

    def run(self, curve: Path | None) -> None:
        """Look until it has ended: once a second, or less often for a curve, as a look takes some
        time of a CPU."""
        start = time.perf_counter()
        with open(curve or os.devnull, "w") as file:
            print("seconds", "photos", *COLUMNS, sep=",", file=file)
            while not self.ended.wait(5 if curve else 1):
                self.cpu_seconds()
                now = self._look()
                for name, value in now.items():
                    self._peaks[name] = max(self._peaks.get(name, 0), value)
                seconds = round(time.perf_counter() - start)
                values = (round(now.get(name, 0)) for name in COLUMNS)
                print(seconds, self._done(), *values, sep=",", file=file, flush=True)

    def cpu_seconds(self) -> float:
        """Of all processes seen so far, those that have ended included."""
        for process in (self._tree, *self._tree.children(recursive=True)):
            with suppress(psutil.Error):  # gone meanwhile
                times = process.cpu_times()
                self._spent[process.pid] = times.user + times.system
        return sum(self._spent.values())

    def _look(self) -> dict[str, float]:
        now: dict[str, float] = {}
        for line in memory_summary(self._address, stats_only=True).splitlines():
            for name, start, word in (("store", "Plasma memory", 3), ("spilled", "Spilled", 1)):
                if line.startswith(start):
                    now[f"{name}_MiB"] = float(line.split()[word])
        for process in psutil.process_iter(["pid", "name", "memory_info"]):
            info, driver = process.info["memory_info"], process.info["pid"] == self._own
            if not info or not (driver or process.info["name"].startswith("ray::")):
                continue
            if driver or self._is_below(process):
                name = "driver_MiB" if driver else "worker_MiB"
                # What is shared is the object store, which has a column of its own.
                now[name] = max(now.get(name, 0), (info.rss - info.shared) / 2**20)
        return now

    def _is_below(self, process: psutil.Process) -> bool:
        """Whether a worker belongs to this driver: workers descend from its raylet."""
        try:
            return self._own in {each.pid for each in process.parents()}
        except psutil.Error:
            return False
