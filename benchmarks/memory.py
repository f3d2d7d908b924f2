"""Peaks of memory; this module must not import torch, whose memory would count."""

from pathlib import Path


def peak_mib() -> float:
    """The peak of this process, in MiB; ru_maxrss would include that of its parent."""
    status = Path("/proc/self/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024
