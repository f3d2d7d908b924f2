"""Time the three stages together, by method: all of them, all but the last, or one-pass draft.

    python benchmarks/end_to_end.py --precision bfloat16 --photos 8
    python benchmarks/end_to_end.py --weights model/weights

Without --weights, the stages have random weights and the published size. Prints a table and one
JSON line.
"""

import json
from functools import partial
from pathlib import Path

import click
import numpy as np
import torch

from machine import copy_gigabytes, describe_machine, matmul_gflops, seconds_of
from memory import peak_mib
from model.colorizer import Colorizer
from model.core import ColTranCore, CoreConfig
from model.method import Method
from model.upsamplers import (
    ColorUpsampler,
    ColorUpsamplerConfig,
    SpatialUpsampler,
    SpatialUpsamplerConfig,
)


@click.command()
@click.option("--weights", type=click.Path(path_type=Path, exists=True))
@click.option("--photos", default=8, show_default=True, help="Photographs in the batch.")
@click.option("--precision", type=click.Choice(["float32", "bfloat16"]), default="float32")
@click.option("--method", "methods", multiple=True, default=["draft", "guided", "spatial"])
@click.option("--repeats", default=1, show_default=True)
@click.option("--device", default="cpu", show_default=True)
def main(
    weights: Path | None,
    photos: int,
    precision: str,
    methods: tuple[str, ...],
    repeats: int,
    device: str,
) -> None:
    """Time all three stages together, by method."""
    torch.manual_seed(0)
    generator = np.random.default_rng(0)
    found: dict[str, dict[str, float]] = {}
    for name in methods:
        colorizer = _load(weights, device, photos, _method(name, precision))
        found[name] = result = _measure(colorizer, generator, repeats, device)
        print(
            f"{name:8} {result['images_per_second']:9.3f} images/s,"
            f" peak {result['peak_mib']:,.0f} MiB"
        )
    facts = {
        "benchmark": "end_to_end",
        "weights": str(weights or "random, of the published size"),
        "photos": photos,
        "precision": precision,
        "methods": found,
        "matmul_gflops": matmul_gflops(device, getattr(torch, precision)),
        "copy_gb_per_second": copy_gigabytes(device),
        **describe_machine(device),
    }
    print(json.dumps(facts))


def _method(name: str, precision: str) -> Method:
    """draft, guided or spatial, as a method of the colorizer."""
    draft = name == "draft"
    return Method(precision, "guided" if draft else name, draft)


def _measure(
    colorizer: Colorizer, generator: np.random.Generator, repeats: int, device: str
) -> dict[str, float]:
    """Speed on one batch of random photographs, and the peak of memory so far."""
    photos = colorizer.batch_size
    low, high = (
        generator.integers(256, size=(photos, side, side), dtype=np.uint8)
        for side in (colorizer.low_resolution, colorizer.high_resolution)
    )
    seconds = seconds_of(partial(colorizer.colorize, low, high, range(photos)), repeats)
    memory = torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else peak_mib()
    return {"images_per_second": photos / seconds, "peak_mib": memory}


def _load(weights: Path | None, device: str, photos: int, method: Method) -> Colorizer:
    if weights:
        return Colorizer.load(weights, device, photos, method)
    core = ColTranCore(CoreConfig())
    color, spatial = (
        ColorUpsampler(ColorUpsamplerConfig()),
        SpatialUpsampler(SpatialUpsamplerConfig()),
    )
    for stage in (core, color, spatial):
        stage.to(device, getattr(torch, method.precision)).eval()
    return Colorizer(core, color, spatial, photos, method)


if __name__ == "__main__":
    main()
