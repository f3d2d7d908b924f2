"""Measurements and facts about the machine, which all benchmarks report."""

import platform
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import torch


def seconds_of(function: Callable[[], object], repeats: int, warm: bool = True) -> float:
    """Median wall seconds of a call; warm: after one call that is not counted."""
    if warm:
        function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return sorted(times)[len(times) // 2]


def matmul_gflops(device: str, dtype: torch.dtype = torch.float32) -> float:
    """The machine's own rate on a square matrix product, in GFLOP/s."""
    size = 8192 if device == "cuda" else 1024
    matrix = torch.randn(size, size, device=device, dtype=dtype)
    return 2 * size**3 / seconds_of(lambda: matrix @ matrix, 10) / 1e9


def copy_gigabytes(device: str) -> float:
    """The machine's own memory bandwidth on a large copy, read and written, in GB/s."""
    source = torch.ones(2**26, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / seconds_of(lambda: target.copy_(source), 5) / 1e9


def describe_machine(device: str) -> dict[str, object]:
    """Facts to be reported with every figure."""
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "commit": commit(),
    }


def processor() -> str:
    """The model's name, if the system states it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:  # no git there
        return "unknown"
    return result.stdout.strip() or "unknown"
