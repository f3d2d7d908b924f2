"""Everything that needs a GPU, in slices: tests, speed, numerics, training.

    python benchmarks/gpu.py b OUT                       speed; a, c and d likewise
    python benchmarks/gpu.py d OUT --photographs FOLDER [--resume EARLIER_OUT]
    python benchmarks/gpu.py cut FOLDER --photographs FILE.parquet

It needs only torch, numpy, safetensors, pyarrow and Pillow, and the checkout in PYTHONPATH if
Autochrome is not installed (gpu.sh sets that). A slice stops by itself after --seconds and leaves
files below 16 MB in OUT; figures are written as soon as they are measured, one JSON line each.
"""

import argparse
import importlib.util
import subprocess
import sys
import time
from pathlib import Path

import torch
from gpu_figures import ROOT, Report, measure_numerics, measure_speed
from gpu_training import Slice, train
from parts import cut_photographs

from model.training.phases import DEFAULT_PHASES


def check(out: Path, seconds: float) -> None:
    """Slice a: the tests marked `cuda`, where there is pytest."""
    out.mkdir(parents=True, exist_ok=True)
    if importlib.util.find_spec("pytest") is None:
        told = "no pytest here: the tests marked cuda were not run"
    else:
        # The suite's conftest.py needs Ray and all the rest; these tests do not.
        command = [sys.executable, "-m", "pytest", "--noconftest", "-m", "cuda", "-rA"]
        command += ["-p", "no:cacheprovider", "tests/test_cuda.py"]
        if not torch.cuda.is_available():
            command.append("--collect-only")
        try:
            done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=seconds)
            told = (done.stdout + done.stderr).decode(errors="replace")
        except subprocess.TimeoutExpired as error:
            told = (error.stdout or b"").decode(errors="replace") + "\nstopped: no time left"
    (out / "a.txt").write_text(told[-4_000_000:])
    print(told[-2000:])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("slice", choices=["a", "b", "c", "d", "cut"])
    parser.add_argument("out", type=Path)
    parser.add_argument("--photographs", type=Path, help="c, d: Parquet, a file or a folder")
    parser.add_argument("--resume", type=Path, help="d: OUT of an earlier slice")
    parser.add_argument("--init", type=Path, default=ROOT / "model/weights", help="d: from where")
    parser.add_argument("--seconds", type=float, default=500, help="when a slice stops itself")
    parser.add_argument("--phases", type=Path, default=DEFAULT_PHASES, help="d: a TOML file")
    parser.add_argument("--longer", type=float, default=1.0, help="d: times the steps of phases")
    parser.add_argument("--train-batch", type=int, help="d: instead of that of each phase")
    parser.add_argument("--high", type=int, help="d: side of what the trunk sees, likewise")
    parser.add_argument("--validate-every", type=int, default=250)
    parser.add_argument("--batches", type=int, nargs="+", default=[64, 8, 256, 512, 128])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--tiny", action="store_true", help="b, c: sizes to try them on a CPU")
    parser.add_argument("--megabytes", type=int, default=60, help="cut: size of a file")
    parser.add_argument("--parts", type=int, default=2, help="cut: how many files")
    asked = parser.parse_args(arguments)
    until = time.monotonic() + asked.seconds
    try:
        return run(asked, until)
    except (ValueError, OSError) as error:
        print(f"slice {asked.slice}: {error}", file=sys.stderr)
        return 2


def run(asked: argparse.Namespace, until: float) -> int:
    """One slice. Raises ValueError and OSError: what was asked for cannot be done."""
    if asked.slice in ("cut", "d") and asked.photographs is None:
        raise ValueError("it needs --photographs")
    if asked.slice == "cut":
        for file in cut_photographs(asked.photographs, asked.out, asked.megabytes, asked.parts):
            print(file, f"{file.stat().st_size / 1e6:.1f} MB")
    elif asked.slice == "a":
        check(asked.out, asked.seconds)
    elif asked.slice == "b":
        report = Report(asked.out, "b", until)
        measure_speed(report, asked.device, asked.batches, asked.tiny)
    elif asked.slice == "c":
        report = Report(asked.out, "c", until)
        measure_numerics(report, asked.device, asked.batches[0], asked.photographs, asked.tiny)
    else:
        wanted = Slice(
            asked.photographs,
            asked.init,
            asked.device,
            until,
            asked.phases,
            asked.longer,
            asked.train_batch,
            asked.high,
            asked.validate_every,
            asked.resume,
        )
        done = train(asked.out / "d", wanted)
        print("all phases are done" if done else "to be continued by the same command")
    return 0


if __name__ == "__main__":
    sys.exit(main())
