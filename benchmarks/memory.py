"""Peaks of memory; no torch here, as it would count."""

from pathlib import Path


def peak_mib() -> float:
    """Of this process; ru_maxrss would start with that of the one that started it."""
    status = Path("/proc/self/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024
