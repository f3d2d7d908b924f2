"""Time the cached sampler of PixelCNN++ against the slow one, with strides and without.

    python benchmarks/strides.py --resolution 16 --hidden 56 --inner 2

The network without strides has as many blocks as the one with three levels. Weights are random, as
speed does not depend on what a network has learned. The run fails if the samplers draw different
pictures in float64. Prints a table and one JSON line.
"""

import copy
import json
import os
import time

import click
import torch

from machine import describe_machine, matmul_gflops
from model.pic.pixelcnn import PixelCnn, PixelCnnConfig
from model.pic.sampling import sample_pixels, sample_pixels_slow

LEVELS = 3
SAMPLERS = (sample_pixels, sample_pixels_slow)


def compare_samplers(model: PixelCnn, batch: int) -> dict[str, float]:
    """Speed of both samplers, and in how many of their float32 pictures all values are the same."""
    exact = copy.deepcopy(model).double()
    if not torch.equal(*(each(exact, [0, 1]).values_BHWC for each in SAMPLERS)):
        raise SystemExit("the samplers drew different pictures: their times mean nothing")
    pictures, seconds = [], []
    for sampler in SAMPLERS:
        start = time.perf_counter()
        pictures.append(sampler(model, list(range(batch))).values_BHWC)
        seconds.append(time.perf_counter() - start)
    alike = (pictures[0] == pictures[1]).flatten(1).all(dim=1)
    return {
        "images_per_second": batch / seconds[0],
        "slow_images_per_second": batch / seconds[1],
        "alike_in_float32": int(alike.sum()),
        "ratio": seconds[1] / seconds[0],
    }


@click.command()
@click.option("--resolution", default=16, show_default=True)
@click.option("--hidden", default=56, show_default=True)
@click.option("--inner", default=2, show_default=True, help="Blocks a level.")
@click.option("--batch", default=8, show_default=True)
def main(resolution: int, hidden: int, inner: int, batch: int) -> None:
    """Time the cached sampler of PixelCNN++ against the slow one, with strides and without."""
    torch.set_num_threads(1)
    blocks = LEVELS * inner + (LEVELS - 1) // 2  # half of all blocks of the network with strides
    rows = {}
    for levels, depth in ((LEVELS, inner), (1, blocks)):
        torch.manual_seed(0)
        config = PixelCnnConfig(hidden=hidden, inner=depth, levels=levels, resolution=resolution)
        model = PixelCnn(config).eval()
        rows[levels] = {
            "blocks": sum(step.source == step.level for step in model.steps),
            "parameters": sum(each.numel() for each in model.parameters()),
            **compare_samplers(model, batch),
        }
        print(f"levels {levels}: {rows[levels]}", flush=True)
    facts = {
        "benchmark": "strides",
        "resolution": resolution,
        "hidden": hidden,
        "batch": batch,
        "levels": rows,
        "load": os.getloadavg()[0],
        "matmul_gflops": matmul_gflops("cpu"),
        **describe_machine("cpu"),
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
