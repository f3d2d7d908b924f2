"""Memory and work of criss-cross attention against full attention, by the side of the picture.

    python benchmarks/criss_cross.py --sides 32 --sides 64 --sides 97

One layer of attention on one picture, forward only, single head, as the paper's table compares its
module (two passes) with a non-local block. Work is that of the matrix products, as PyTorch counts
them, without and with those of queries, keys, values and output. Memory is what the peak of a fresh
process grows by while it runs the layer. Prints a table and one JSON line.
"""

import json
import multiprocessing
from typing import NamedTuple

import click
import torch
from torch import Tensor
from work import WorkCounter

from machine import describe_machine, matmul_gflops
from memory import peak_mib
from model.conditioning import NO_POSITIONS, PositionModulations
from model.criss_cross import CrissCrossAttention, FullAttention, GridAttention


class NonLocal(FullAttention):
    """Full attention without a fused kernel and without a bias, as in the non-local block."""

    def forward(self, x: Tensor, modulations: PositionModulations = NO_POSITIONS) -> Tensor:
        q, k, v = (part.flatten(1, 2).transpose(1, 2) for part in self.project(x, modulations))
        weights = torch.softmax(q * q.shape[-1] ** -0.5 @ k.transpose(-1, -2), dim=-1)
        return self.output((weights @ v).transpose(1, 2).flatten(2).unflatten(1, x.shape[1:3]))


KINDS: dict[str, type[GridAttention]] = {"criss-cross": CrissCrossAttention, "full": NonLocal}
WARM = 16  # side of a first picture, for which PyTorch allocates what it keeps
HEADER = f"{'side':>5}{'criss-cross':>24}{'full':>24}{'memory':>10}{'work':>8}{'all work':>10}"


class Measured(NamedTuple):
    """One layer: GFLOP without its four projections, growth of the peak in MiB, and all GFLOP."""

    gflop: float
    mib: float
    gflop_with_projections: float


@torch.no_grad()  # inference mode would hide the products from the counter
def measure(kind: str, side: int, hidden: int, answer: "multiprocessing.Queue[float]") -> None:
    """Put the three numbers of `Measured` into answer; runs in a process of its own."""
    torch.set_num_threads(1)
    with WorkCounter():
        KINDS[kind](hidden, 1, WARM)(torch.randn(1, WARM, WARM, hidden))
    module, x = KINDS[kind](hidden, 1, side), torch.randn(1, side, side, hidden)
    module.project(x, NO_POSITIONS)
    before = peak_mib()
    with WorkCounter() as counter:
        module(x)
    passes = 2 if kind == "criss-cross" else 1
    projections = passes * 4 * 2 * side**2 * hidden**2
    answer.put((counter.flop - projections) / 1e9)
    answer.put(peak_mib() - before)
    answer.put(counter.flop / 1e9)


def measure_alone(kind: str, side: int, hidden: int) -> Measured:
    """`measure` in a fresh process, whose peak is that of the layer."""
    spawn = multiprocessing.get_context("spawn")
    answer = spawn.Queue()
    child = spawn.Process(target=measure, args=(kind, side, hidden, answer))
    child.start()
    measured = Measured(answer.get(), answer.get(), answer.get())
    child.join()
    return measured


def format_row(side: int, crossed: Measured, full: Measured) -> str:
    """A line of the table below HEADER."""
    return (
        f"{side:>5}{crossed.gflop:>10.3f} GFLOP{crossed.mib:>6.0f}M{full.gflop:>11.3f} GFLOP"
        f"{full.mib:>6.0f}M{full.mib / crossed.mib:>9.1f}x{1 - crossed.gflop / full.gflop:>8.1%}"
        f"{1 - crossed.gflop_with_projections / full.gflop_with_projections:>10.1%}"
    )


@click.command()
@click.option("--sides", default=[32, 64, 97, 128], show_default=True, multiple=True, type=int)
@click.option("--hidden", default=64, show_default=True)
def main(sides: tuple[int, ...], hidden: int) -> None:
    """Memory and work of criss-cross attention against full attention."""
    rows = []
    print(HEADER)
    for side in sides:
        crossed, full = (measure_alone(kind, side, hidden) for kind in KINDS)
        print(format_row(side, crossed, full))
        rows.append({"side": side, "criss_cross": crossed._asdict(), "full": full._asdict()})
    facts = {
        "benchmark": "criss_cross",
        "hidden": hidden,
        "sides": rows,
        "matmul_gflops": matmul_gflops("cpu"),
        **describe_machine("cpu"),
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
