"""Time the cached sampler of the core against the slow one, side by side in one run.

    python benchmarks/sampling.py --resolution 16 --hidden 128

Both draw the same pictures from the same weights and seeds, and the run fails where they differ.
Random weights: speed does not depend on what a model has learned. Prints a table, and one JSON line
with the machine's own matrix-product rate, measured in the same run.
"""

import json
from collections.abc import Callable
from functools import partial

import click
import torch

from machine import describe_machine, matmul_gflops, seconds_of
from model.core import ColTranCore, CoreConfig
from model.sampling import CoreSample, sample_core, sample_core_slow


@click.command()
@click.option("--resolution", default=16, show_default=True, help="Side of the coarse picture.")
@click.option("--hidden", default=128, show_default=True)
@click.option("--heads", default=4, show_default=True)
@click.option("--layers", default=2, show_default=True, help="Of encoder, outer and inner each.")
@click.option("--batch", default=8, show_default=True, help="Photographs drawn side by side.")
@click.option("--repeats", default=3, show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--skip-slow", is_flag=True, help="Time the cached sampler alone, at full size.")
def main(
    resolution: int,
    hidden: int,
    heads: int,
    layers: int,
    batch: int,
    repeats: int,
    device: str,
    skip_slow: bool,
) -> None:
    """Time the cached sampler of the core against the slow one."""
    torch.manual_seed(0)
    config = CoreConfig(
        hidden=hidden,
        ff=hidden,
        heads=heads,
        resolution=resolution,
        enc=layers,
        outer=layers,
        inner=layers,
    )
    core = ColTranCore(config).to(device).eval()
    gray = torch.randint(256, (batch, resolution, resolution), device=device)
    seeds = list(range(batch))
    samplers: dict[str, Callable[..., CoreSample]] = {"cached": sample_core}
    if not skip_slow:
        samplers["slow"] = sample_core_slow
        fast, slow = (sampler(core, gray, seeds) for sampler in samplers.values())
        if not torch.equal(fast.bins_BHW, slow.bins_BHW):
            raise SystemExit("the samplers drew different pictures: their times mean nothing")
    rate = {}
    for name, sampler in samplers.items():
        seconds = seconds_of(partial(sampler, core, gray, seeds), repeats)
        rate[name] = batch / seconds
        print(
            f"{name:8} {rate[name]:10.4f} images/s{1000 * seconds / resolution**2:10.3f} ms/pixel"
        )
    facts = {
        "benchmark": "sampling",
        "config": {"hidden": hidden, "heads": heads, "layers": layers, "resolution": resolution},
        "batch": batch,
        "images_per_second": rate,
        "ratio": rate["cached"] / rate["slow"] if "slow" in rate else None,
        "matmul_gflops": matmul_gflops(device),
        **describe_machine(device),
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
