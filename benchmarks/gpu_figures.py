"""Slices b and c of benchmarks/gpu.py: speed, and how numbers differ between devices.

The floor is the time of one forward pass at the machine's own rate of matrix products, in the same
run and the same number format.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import product
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from parts import read_squares
from PIL import Image
from torch import Tensor
from work import gflop_of

from machine import copy_gigabytes, describe_machine, matmul_gflops, seconds_of
from memory import peak_mib
from model.color import bins_from_coarse, coarse_from_rgb, gray_from_rgb
from model.colorizer import Colorizer
from model.core import ColTranCore, CoreConfig
from model.encoder import Extras
from model.likelihood import BITS_PER_NAT
from model.method import Method
from model.sampling import row as rows
from model.sampling import sample_core
from model.sampling.cached import encode
from model.sampling.inference import most_likely
from model.sampling.runners import RowRunners
from model.scaling import scale_by_area
from model.upsamplers import (
    ChannelUpsampler,
    ColorUpsampler,
    ColorUpsamplerConfig,
    SpatialUpsampler,
    SpatialUpsamplerConfig,
)
from model.weights import STAGES, load_stage, stage_path

ROOT = Path(__file__).parents[1]
HIGH = 256
DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


class Report:
    """Figures of one slice, kept as they come; what fails is a line too."""

    def __init__(self, out: Path, slice_name: str, until: float) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self._path, self._until = out / f"{slice_name}.jsonl", until
        self._path.write_text("")

    def measure(self, name: str, work: Callable[[], dict[str, object]], **told: object) -> None:
        """Add what `work` finds; out of memory and out of time are findings."""
        if time.monotonic() > self._until:
            return self.add(name, told | {"left_out": "no time"})
        try:
            return self.add(name, told | work())
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            return self.add(name, told | {"left_out": "out of memory"})
        except (RuntimeError, ValueError) as error:
            return self.add(name, told | {"failed": f"{type(error).__name__}: {error}"[:500]})

    def add(self, name: str, facts: dict[str, object]) -> None:
        line = json.dumps({"name": name} | facts)
        print(line, flush=True)
        with self._path.open("a") as file:
            file.write(line + "\n")


@contextmanager
def graphs(wanted: bool) -> Iterator[None]:
    """With wanted=False, rows are drawn by the plain loop on a GPU, too."""
    if wanted:
        yield
    else:
        with mock.patch.object(rows, "record", lambda draw_row, device: draw_row):
            yield


def build(size: str, tiny: bool) -> tuple[ColTranCore, ColorUpsampler, SpatialUpsampler]:
    """Stages of the shipped size, with their weights, or of the published one, with random ones."""
    if size == "shipped":
        loaded = (load_stage(stage_path(ROOT / "model/weights", name)) for name in STAGES)
        return tuple(loaded)  # type: ignore[return-value]
    torch.manual_seed(0)
    low: dict[str, int] = {"hidden": 16, "ff": 16, "resolution": 8} if tiny else {}
    core = ColTranCore(CoreConfig(**low))  # type: ignore[arg-type]
    color = ColorUpsampler(ColorUpsamplerConfig(**low))
    high = low | {"resolution": 16} if tiny else low
    spatial = SpatialUpsampler(SpatialUpsamplerConfig(**high))
    return core.eval(), color.eval(), spatial.eval()


def photographs(side: int, count: int) -> np.ndarray:
    """Those of the demo, again and again: uint8 (count, side, side, 3)."""
    folder = ROOT / "examples/photos"
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".jpg", ".png"))
    found = []
    for file in files[:count]:
        with Image.open(file) as picture:
            found.append(np.asarray(picture.convert("RGB").resize((side, side))))
    return np.stack([found[place % len(found)] for place in range(count)])


def inputs_of(
    core: ColTranCore, count: int, device: str, given: Tensor | None = None
) -> tuple[Tensor, Tensor, Extras]:
    """True bins and grays (B, R, R), and, for a trunk, the photographs at 256 x 256."""
    rgb = torch.from_numpy(photographs(HIGH, count)) if given is None else given
    low = scale_by_area(rgb, core.config.resolution)
    bins, gray = bins_from_coarse(coarse_from_rgb(low)), gray_from_rgb(low).long()
    high = gray_from_rgb(rgb).long() if core.config.trunk != "none" else None
    return bins.to(device), gray.to(device), Extras(high).to(torch.device(device))


def reset_peak(device: str) -> None:
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak(device: str) -> float:
    """MiB: of the GPU since `reset_peak`, of the process elsewhere."""
    return torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else peak_mib()


def time_core(
    core: ColTranCore,
    batch: int,
    device: str,
    with_graphs: bool,
    forecast: bool,
    gflop: float,
    rate: float,
) -> dict[str, object]:
    _, gray, extras = inputs_of(core, batch, device)
    reset_peak(device)
    runners = RowRunners(core)
    draw = partial(
        sample_core, core, gray, range(batch), 1.0, *extras, runners=runners, forecast=forecast
    )
    with graphs(with_graphs):
        seconds = seconds_of(draw, 1)
    encoder = seconds_of(torch.no_grad()(partial(encode, core, gray, *extras)), 1)
    return {
        "images_per_second": batch / seconds,
        "milliseconds_a_pixel_step": 1000 * (seconds - encoder) / core.config.resolution**2,
        "encoder_seconds": encoder,
        "share_of_floor": batch * gflop / rate / seconds,
        "peak_mib": peak(device),
    }


def time_upsampler(model: ChannelUpsampler, device: str, rate: float) -> dict[str, object]:
    side = model.config.resolution
    values = torch.randint(model.levels, (side, side, 3), device=device)
    gray = torch.randint(256, (side, side), device=device)
    reset_peak(device)
    work = torch.no_grad()(partial(most_likely, model, values, gray))
    seconds, gflop = seconds_of(work, 3), gflop_of(work)
    return {
        "images_per_second": 1 / seconds,
        "tflop_per_second": gflop / seconds / 1000,
        "share_of_floor": gflop / rate / seconds,
        "peak_mib": peak(device),
    }


def time_stages(colorizer: Colorizer, batch: int, device: str) -> dict[str, object]:
    gray = photographs(colorizer.high_resolution, batch)[..., 1]
    low = photographs(colorizer.low_resolution, batch)[..., 1]
    reset_peak(device)
    seconds = seconds_of(partial(colorizer.colorize, low, gray, range(batch)), 1)
    return {"images_per_second": batch / seconds, "peak_mib": peak(device)}


def measure_speed(report: Report, device: str, batches: list[int], tiny: bool) -> None:
    """Slice b. Without graphs at the largest batch but one alone: there launches show."""
    report.add("machine", describe_machine(device))
    if not tiny:
        report.add("copy", {"gb_per_second": copy_gigabytes(device)})
    rates = {name: matmul_gflops(device, dtype) for name, dtype in DTYPES.items()}
    report.add("matmul_gflops", {**rates})
    for size, (name, dtype) in product(("published", "shipped"), DTYPES.items()):
        if tiny and size == "shipped":
            continue  # on a CPU that takes seconds
        core, color, spatial = build(size, tiny)
        for stage in (core, color, spatial):
            stage.to(device)
        bins, gray, extras = inputs_of(core, 1, device)
        gflop = gflop_of(partial(core, bins, gray, *extras))
        for stage in (core, color, spatial):
            stage.to(dtype)
        told: dict[str, object] = {"size": size, "dtype": name}
        ways = [(batch, True, False) for batch in batches]
        if device == "cuda":
            ways.insert(1, (batches[0], False, False))
            ways += [(batch, True, True) for batch in batches]
        for batch, graph, forecast in ways:
            work = partial(time_core, core, batch, device, graph, forecast, gflop, rates[name])
            report.measure("core", work, **told, batch=batch, graphs=graph, forecast=forecast)
        upsamplers: list[ChannelUpsampler] = [color]
        if not (tiny and size == "shipped"):
            upsamplers.append(spatial)
        for upsampler in upsamplers:
            work = partial(time_upsampler, upsampler, device, rates[name])
            report.measure(upsampler.stage, work, **told)
        for last in (() if size == "shipped" else ("spatial",)) if tiny else ("guided", "spatial"):
            method = Method(name, last)
            colorizer = Colorizer(core, color, spatial, batches[-1], method)
            work = partial(time_stages, colorizer, batches[-1], device)
            report.measure("all stages", work, **told, batch=batches[-1], upsampler=last)


def compare(logits: Tensor, reference: Tensor, bins: Tensor) -> dict[str, object]:
    """Logits (B, H, W, 512) against those of a CPU in float32, and bits a pixel of the truth."""
    logits, reference = logits.double().cpu(), reference.double().cpu()
    chosen = torch.log_softmax(logits, -1).gather(-1, bins.cpu()[..., None])
    return {
        "largest_difference": float((logits - reference).abs().max()),
        "argmax_changes": float((logits.argmax(-1) != reference.argmax(-1)).double().mean()),
        "bits_per_pixel": float(-chosen.mean() * BITS_PER_NAT),
    }


@torch.no_grad()
def measure_numerics(
    report: Report, device: str, count: int, source: Path | None, tiny: bool
) -> None:
    """Slice c, at the shipped weights, on held-out photographs of a source, or those of the demo.

    Many of the demo are gray: their bits say nothing about color.
    """
    size = "published" if tiny else "shipped"
    report.add("machine", describe_machine(device))
    core = build(size, tiny)[0]
    given = None if source is None else read_squares(source, HIGH, count).held_out
    bins, gray, extras = inputs_of(core, count, "cpu", given)
    reference = core(bins, gray, *extras)
    report.add("logits", {"dtype": "float32", "on": "cpu"} | compare(reference, reference, bins))
    there = inputs_of(core, count, device, given)
    before = torch.get_float32_matmul_precision()
    for tf32, (name, dtype) in product((False, True), DTYPES.items()):
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        core = build(size, tiny)[0].to(device, dtype)
        report.measure(
            "logits",
            lambda core=core: compare(  # type: ignore[misc]
                core(*there[:2], *there[2]), reference, bins
            ),
            dtype=name,
            on=device,
            tf32=tf32,
        )
    torch.set_float32_matmul_precision(before)
    for name, dtype in DTYPES.items():
        core = build(size, tiny)[0].to(device, dtype)
        report.measure("graph against eager", partial(draw_both, core, there, "graph"), dtype=name)
        report.measure("company", partial(draw_both, core, there, "company"), dtype=name)
        if device == "cuda":
            work = partial(draw_both, core, there, "forecasts")
            report.measure("forecasts against lanes", work, dtype=name)


def draw_both(
    core: ColTranCore, there: tuple[Tensor, Tensor, Extras], what: str
) -> dict[str, object]:
    """The share of pixels that the plain loop, single photographs or forecasts draw otherwise."""
    _, gray, extras = there
    count = len(gray)

    def draw(places: range, forecast: bool = False) -> Tensor:
        part = slice(places.start, places.stop)
        some = (None if each is None else each[part] for each in extras)
        sample = sample_core(core, gray[part], places, 1.0, *some, lanes=count, forecast=forecast)
        return sample.bins_BHW

    together = draw(range(count))
    parts = [range(1), range(count - 1, count)] if what == "company" else [range(count)]
    with graphs(what != "graph"):
        pairs = [
            (together[places.start : places.stop], draw(places, what == "forecasts"))
            for places in parts
        ]
    return {"changed": max(float((one != other).double().mean()) for one, other in pairs)}
