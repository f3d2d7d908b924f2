"""Time the cached sampler of the core against the slow one, side by side in one run.

    python benchmarks/sampling.py --resolution 16 --hidden 128
    python benchmarks/sampling.py --published --dtype bfloat16 --batch 8 --batch 16
    python benchmarks/sampling.py --weights model/weights/core.safetensors --batch 1

The slow sampler makes a whole forward pass for each pixel. With --published this would take hours,
so one pass is timed and multiplied by the number of pixels; otherwise both samplers draw whole
pictures, and the run fails if these differ. The weights are random: speed does not depend on what
they learned.

The speed of forecasts does depend on it. --weights times them, one photograph after the other, in
turn with lanes (all photographs together) and with lanes that use oneDNN's packed weights
throughout, on photographs of examples/photos. The fastest repeat counts.

The floor is the time of one forward pass at the machine's own rate of matrix products. Prints a
table and one JSON line.
"""

import json
import math
import os
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from unittest import mock

import click
import numpy as np
import torch
from PIL import Image
from work import gflop_of

from machine import copy_gigabytes, describe_machine, matmul_gflops, seconds_of
from model.core import ColTranCore, CoreConfig
from model.encoder import Extras
from model.sampling import inference, sample_core, sample_core_slow
from model.sampling.cached import LANES, encode
from model.sampling.runners import RowRunners
from model.weights import load_stage

PHOTOGRAPHS = Path(__file__).parents[1] / "examples/photos"


@click.command()
@click.option("--weights", type=click.Path(path_type=Path, exists=True), help="Of a core.")
@click.option("--temperature", default=1.0, show_default=True, help="With --weights.")
@click.option("--published", is_flag=True, help="The published size; those below do not count.")
@click.option("--resolution", default=16, show_default=True, help="Side of the coarse picture.")
@click.option("--hidden", default=128, show_default=True)
@click.option("--heads", default=4, show_default=True)
@click.option("--layers", default=2, show_default=True, help="Of encoder, outer and inner each.")
@click.option("--batch", multiple=True, type=int, default=[8], show_default=True)
@click.option("--dtype", type=click.Choice(["float32", "bfloat16"]), default="float32")
@click.option("--repeats", default=3, show_default=True)
@click.option("--device", default="cpu", show_default=True)
def main(
    weights: Path | None,
    temperature: float,
    published: bool,
    resolution: int,
    hidden: int,
    heads: int,
    layers: int,
    batch: tuple[int, ...],
    dtype: str,
    repeats: int,
    device: str,
) -> None:
    """Time the cached sampler of the core against the slow one."""
    torch.manual_seed(0)
    if weights is not None:
        core = load_stage(weights)
        assert isinstance(core, ColTranCore)
        for size in batch:
            time_all_ways(core, size, temperature, repeats)
        return
    config = CoreConfig() if published else small_config(resolution, hidden, heads, layers)
    core = ColTranCore(config).to(device).eval()
    compare = Comparison(core, getattr(torch, dtype), published, repeats)
    rows = {size: compare.run(size) for size in batch}
    facts = {
        "benchmark": "sampling",
        "config": core.describe(),
        "dtype": dtype,
        "slow": "float32, extrapolated from one pixel" if published else dtype,
        "gflop_per_image": compare.work,
        "batches": rows,
        "matmul_gflops": compare.rate,
        "copy_gb_per_second": copy_gigabytes(device),
        **describe_machine(device),
    }
    print(json.dumps(facts))


def small_config(resolution: int, hidden: int, heads: int, layers: int) -> CoreConfig:
    """A core with as many layers in its encoder as in each decoder."""
    return CoreConfig(
        hidden=hidden,
        ff=hidden,
        heads=heads,
        resolution=resolution,
        enc=layers,
        outer=layers,
        inner=layers,
    )


class Comparison:
    """The two samplers of one core on batches of random photographs."""

    def __init__(
        self, core: ColTranCore, dtype: torch.dtype, extrapolate: bool, repeats: int
    ) -> None:
        """extrapolate: time the slow sampler by one forward pass, in float32."""
        self.core, self.dtype, self.extrapolate = core, dtype, extrapolate
        self.repeats, self.side = repeats, core.config.resolution
        self.device = core.head.weight.device
        self.rate = matmul_gflops(self.device.type, dtype)
        self.work = gflop_of(partial(core, *self.inputs(1)))

    def inputs(self, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Bins and gray of so many photographs."""
        gray = torch.randint(256, (size, self.side, self.side), device=self.device)
        return torch.zeros_like(gray), gray

    def run(self, size: int) -> dict[str, float]:
        """Time one batch; prints a line of the table."""
        bins, gray = self.inputs(size)
        slow_seconds = self.time_slow(bins, gray)
        seeds = list(range(size))
        self.core.to(self.dtype)
        seconds = seconds_of(partial(sample_core, self.core, gray, seeds), self.repeats)
        row = {
            "seconds_per_image": seconds / size,
            "slow_seconds_per_image": slow_seconds / size,
            "ratio": slow_seconds / seconds,
            "share_of_floor": self.work / self.rate / (seconds / size),
        }
        print(
            f"batch {size:4}: {seconds / size:8.4f} s an image, slow {slow_seconds / size:9.3f},"
            f" ratio {slow_seconds / seconds:6.1f}, {row['share_of_floor']:.0%} of the floor"
        )
        return row

    def time_slow(self, bins: torch.Tensor, gray: torch.Tensor) -> float:
        """Seconds of the slow sampler; fails if the cached one draws other pictures."""
        core, seeds = self.core, list(range(len(gray)))
        if self.extrapolate:
            core.float()
            with torch.no_grad():
                return seconds_of(partial(core, bins, gray), 1) * self.side**2
        core.to(self.dtype)
        fast, slow = (each(core, gray, seeds) for each in (sample_core, sample_core_slow))
        if not torch.equal(fast.bins_BHW, slow.bins_BHW):
            raise SystemExit("the samplers drew different pictures: their times mean nothing")
        return seconds_of(partial(sample_core_slow, core, gray, seeds), 1)


def read_examples(core: ColTranCore, size: int) -> tuple[torch.Tensor, Extras]:
    """So many example photographs in gray, and what a core with a trunk is given beside them."""
    files = sorted(path for path in PHOTOGRAPHS.rglob("*") if path.suffix in (".jpg", ".png"))
    squares: dict[int, list[np.ndarray]] = {core.config.resolution: [], 256: []}
    for file, (side, found) in product((files * size)[:size], squares.items()):
        with Image.open(file) as picture:
            found.append(np.asarray(picture.convert("L").resize((side, side))).astype(np.int64))
    low, high = (torch.from_numpy(np.stack(found)) for found in squares.values())
    return low, Extras(high if core.config.trunk != "none" else None)


def time_all_ways(core: ColTranCore, size: int, temperature: float, repeats: int) -> None:
    """Print how many seconds lanes, forecasts and the encoder alone take for some photographs.

    Packed lanes multiply by oneDNN's packed weights, where lanes take plain products. More
    photographs than fit into one group of lanes are not forecast, as that takes minutes.
    """
    low, extras = read_examples(core, size)
    seeds, runners, packed = range(size), RowRunners(core), RowRunners(core)
    draw = partial(sample_core, core, low, seeds, temperature, *extras)
    lanes, forecasts = (partial(draw, runners=runners, forecast=way) for way in (False, True))
    packed_lanes = partial(draw, runners=packed, forecast=False)
    ways: dict[str, Callable[[], object]] = {
        "lanes": lanes,
        "packed lanes": packed_lanes,
        "forecasts": forecasts,
        "encoder alone": torch.no_grad()(partial(encode, core, low, *extras)),
    }
    if size > LANES:
        del ways["forecasts"]
    with mock.patch.object(inference, "_plain_is_packed", lambda *_: False):
        packed_picture = packed_lanes()
    others = [packed_picture] if size > LANES else [packed_picture, forecasts()]
    picture = lanes()
    if not all(all(map(torch.equal, picture, other)) for other in others):
        raise SystemExit("the ways drew different pictures: their times mean nothing")
    fastest = {name: math.inf for name in ways}
    for _, (name, way) in product(range(repeats), ways.items()):
        fastest[name] = min(fastest[name], seconds_of(way, 1, warm=False))
    ratios = {name: time / fastest["lanes"] for name, time in fastest.items()}
    shown = [f"{name} {time:.3f} s ({ratios[name]:.2f})" for name, time in fastest.items()]
    print(f"{size} at once, and of the time of lanes: {', '.join(shown)}")
    facts = {"benchmark": "ways to draw", "size": size, "temperature": temperature}
    told = {"seconds": fastest, "ratios": ratios, "load": os.getloadavg()[0]}
    print(json.dumps(facts | told | describe_machine("cpu")))


if __name__ == "__main__":
    main()
