"""Time the upsamplers, one photograph at a time, against a plain forward pass and argmax.

    python benchmarks/upsampling.py --dtype bfloat16
    python benchmarks/upsampling.py --hidden 128 --resolution 64 --high-resolution 128

Weights are random. The floor is the time of the same products at the machine's own rate. The run
fails if the two give different pictures in float32. Prints a table and one JSON line.
"""

import json

import click
import torch
from work import gflop_of

from machine import copy_gigabytes, describe_machine, matmul_gflops, seconds_of
from memory import peak_mib
from model.sampling.inference import most_likely
from model.upsamplers import (
    ChannelUpsampler,
    ColorUpsampler,
    ColorUpsamplerConfig,
    SpatialUpsampler,
    SpatialUpsamplerConfig,
)


@click.command()
@click.option("--hidden", default=512, show_default=True)
@click.option("--resolution", default=64, show_default=True, help="Of the color upsampler.")
@click.option("--high-resolution", default=256, show_default=True)
@click.option("--dtype", type=click.Choice(["float32", "bfloat16"]), default="float32")
@click.option("--repeats", default=1, show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--skip-plain", is_flag=True, help="A plain pass takes gigabytes at full size.")
@torch.no_grad()
def main(
    hidden: int,
    resolution: int,
    high_resolution: int,
    dtype: str,
    repeats: int,
    device: str,
    skip_plain: bool,
) -> None:
    """Time the upsamplers, one photograph at a time."""
    torch.manual_seed(0)
    color = ColorUpsamplerConfig(hidden=hidden, ff=hidden, resolution=resolution)
    spatial = SpatialUpsamplerConfig(hidden=hidden, ff=hidden, resolution=high_resolution)
    kind = getattr(torch, dtype)
    rate = matmul_gflops(device, kind)
    stages: dict[str, dict[str, float]] = {}
    for model in (ColorUpsampler(color), SpatialUpsampler(spatial)):
        stages[model.stage] = _measure(model.to(device, kind).eval(), rate, repeats, skip_plain)
    facts = {
        "benchmark": "upsampling",
        "hidden": hidden,
        "dtype": dtype,
        "stages": stages,
        "matmul_gflops": rate,
        "copy_gb_per_second": copy_gigabytes(device),
        **describe_machine(device),
    }
    print(json.dumps(facts))


def _measure(
    model: ChannelUpsampler, rate: float, repeats: int, skip_plain: bool
) -> dict[str, float]:
    side, device = model.config.resolution, model.head.weight.device
    values = torch.randint(model.levels, (side, side, 3), device=device)
    gray = torch.randint(256, (side, side), device=device)
    seconds = seconds_of(lambda: most_likely(model, values, gray), repeats)
    found = {"seconds_per_image": seconds, "peak_mib": peak_mib()}
    found["gflop_per_image"] = gflop_of(lambda: most_likely(model, values, gray))
    found["share_of_floor"] = found["gflop_per_image"] / rate / seconds
    if not skip_plain:
        plain = model(values[None], gray[None])[0].argmax(dim=-1)
        same = bool((plain == most_likely(model, values, gray)[0]).float().mean() > 0.999)
        if not same and model.head.weight.dtype == torch.float32:
            raise SystemExit("the two ways give different pictures: their times mean nothing")
        found["plain_seconds_per_image"] = seconds_of(
            lambda: model(values[None], gray[None]).argmax(dim=-1), repeats
        )
        found["ratio"] = found["plain_seconds_per_image"] / seconds
        found["plain_peak_mib"] = peak_mib()
    print(f"{model.stage:8}", ", ".join(f"{name} {value:.3g}" for name, value in found.items()))
    return found


if __name__ == "__main__":
    main()
