"""Time parts of the model compiled by Inductor against the same parts as they are, on a CPU.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/compiling.py
    python benchmarks/compiling.py --part row --lanes 8

Both ways run in turn, and medians are compared: by time, and by CPU time, which other work disturbs
less (with OMP_WAIT_POLICY=PASSIVE, as waiting threads otherwise count). Compilation starts from an
empty cache. "again" is the first call after forgetting all but that cache, as in another process.

The parts, with the shipped weights unless stated otherwise:

    encoder  encoder and photo trunk, one photograph, by torch.compile and AOTInductor
    row      the pixels of one row of the inner decoder; also of the published size, random weights
    whole    whole pictures: a draft with the compiled encoder, and drawn ones with both of these
    color, spatial   an upsampler, one photograph, by torch.compile; color also by AOTInductor

Inductor needs a C++ compiler. Prints a table and one JSON line.
"""

import json
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click
import torch
from compiled_parts import PixelRow, WholeEncoder, WholeUpsampler
from sampling import read_examples
from torch import Tensor, nn

from machine import describe_machine, matmul_gflops
from memory import peak_mib
from model.core import ColTranCore, CoreConfig
from model.draft import expected_color, log_likelihood_of
from model.sampling.cached import draw_rows, encode, modulate_norms, start_row
from model.sampling.draw import CoreSample, draw_uniforms
from model.sampling.inference import most_likely
from model.sampling.row import RowInputs, RowRunner
from model.upsamplers import ChannelUpsampler
from model.weights import load_stage, stage_path

PARTS = ("encoder", "row", "whole", "color", "spatial")


@click.command()
@click.option("--weights", type=click.Path(path_type=Path, exists=True), default="model/weights")
@click.option("--part", "parts", multiple=True, type=click.Choice(PARTS), default=PARTS)
@click.option("--lanes", multiple=True, type=int, default=[8, 32], show_default=True)
@click.option("--repeats", default=15, show_default=True, help="Turns; of slow parts a fifth.")
@click.option("--freeze", is_flag=True, help="Let Inductor take weights for constants.")
@torch.no_grad()
def main(
    weights: Path, parts: tuple[str, ...], lanes: tuple[int, ...], repeats: int, freeze: bool
) -> None:
    """Time parts of the model compiled by Inductor against the same parts as they are."""
    check_compiler()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
        compare = Comparison(Path(folder), repeats, {"freezing": True} if freeze else {})
        core, color, spatial = (
            load_stage(stage_path(weights, stage)).eval() for stage in ("core", "color", "spatial")
        )
        assert isinstance(core, ColTranCore)
        if "encoder" in parts:
            compare_encoder(compare, core)
        if "row" in parts:
            for name, each in (("shipped", core), ("published", ColTranCore(CoreConfig()).eval())):
                for count in lanes:
                    compare_row(compare, f"row of {count}, {name}", each, count)
        if "whole" in parts:
            compare_whole(compare, core, lanes)
        for upsampler in (color, spatial):
            if isinstance(upsampler, ChannelUpsampler) and upsampler.stage in parts:
                compare_upsampler(compare, upsampler)
    facts = {"benchmark": "compiling", "freeze": freeze, "parts": compare.found}
    rate = {"matmul_gflops": matmul_gflops("cpu"), "load": os.getloadavg()}
    print(json.dumps(facts | rate | describe_machine("cpu")))


def check_compiler() -> None:
    """Raises ClickException where Inductor finds no C++ compiler."""
    from torch._inductor.cpp_builder import get_cpp_compiler  # takes seconds
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler as error:
        raise click.ClickException("Inductor needs a C++ compiler; set CXX to one") from error


class Comparison:
    """Compares and prints the two ways of each part."""

    def __init__(self, folder: Path, repeats: int, options: dict[str, Any]) -> None:
        """folder: for packages. options: of Inductor."""
        self.folder, self.repeats, self.options = folder, repeats, options
        self.found: dict[str, dict[str, Any]] = {}

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function by torch.compile; its first call compiles it."""
        return torch.compile(function, fullgraph=True, dynamic=False, options=self.options)

    def jit(
        self, name: str, eager: Callable[[], Any], compiled: Callable[[], Any], slow: bool = False
    ) -> Any:
        """Compare with a way whose first call compiles; returns its results."""
        eager()
        facts: dict[str, Any] = {"eager_mib": peak_of(eager)}
        _, facts["first"], facts["first_cpu"] = timed(compiled)
        facts["first_mib"] = peak_mib()
        torch._dynamo.reset()
        facts["again"] = timed(compiled)[1]
        facts["compiled_mib"] = peak_of(compiled)
        return self.turns(name, eager, compiled, facts, slow)

    def package(self, name: str, eager: Callable[[], Any], module: nn.Module, *given: Any) -> None:
        """Compare with a package of AOTInductor; "again" is how long it takes to load."""
        from torch._inductor import aoti_compile_and_package, aoti_load_package

        def compile_it() -> str:
            path = str(self.folder / f"{len(self.found)}.pt2")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # of PyTorch about its own calls
                exported = torch.export.export(module, given)
                return aoti_compile_and_package(
                    exported, package_path=path, inductor_configs=self.options
                )

        path, *seconds = timed(compile_it)
        facts: dict[str, Any] = dict(zip(("first", "first_cpu"), seconds, strict=True))
        facts["package_mb"] = os.path.getsize(path) / 1e6
        loaded, facts["again"], _ = timed(lambda: aoti_load_package(path))
        self.turns(name, eager, lambda: loaded(*given), facts)

    def turns(
        self,
        name: str,
        eager: Callable[[], Any],
        compiled: Callable[[], Any],
        facts: dict[str, Any],
        slow: bool = False,
    ) -> Any:
        """Time both in turn, compare their results, and print a line; facts: of compilation."""
        turns, times = max(1, self.repeats // 5) if slow else self.repeats, []
        for _ in range(turns):
            one, *eager_times = timed(eager)
            other, *compiled_times = timed(compiled)
            times.append((eager_times, compiled_times))
        medians = torch.tensor(times, dtype=torch.float64).median(dim=0).values
        facts["eager"], facts["compiled"] = medians[:, 0].tolist()
        facts["ratio"], facts["ratio_cpu"] = (medians[0] / medians[1]).tolist()
        facts["difference"], facts["load"] = difference(one, other), os.getloadavg()[0]
        self.found[name] = facts
        numbers = (f"{key} {value:.3g}" for key, value in facts.items() if key != "difference")
        print(f"{name}:", ", ".join(numbers), facts["difference"], flush=True)
        return other


def timed(function: Callable[[], Any]) -> tuple[Any, float, float]:
    """The result, seconds, and CPU seconds with those of processes that ended meanwhile."""
    start, cpu = time.perf_counter(), cpu_seconds()
    result = function()
    return result, time.perf_counter() - start, cpu_seconds() - cpu


def cpu_seconds() -> float:
    return time.process_time() + sum(os.times()[2:4])


def peak_of(function: Callable[[], object]) -> float:
    """The peak of this process during a call, in MiB, with what it held before."""
    Path("/proc/self/clear_refs").write_text("5")  # forgets earlier peaks
    function()
    return peak_mib()


def difference(eager: Any, compiled: Any) -> str:
    """How far two results, tensors or tuples of tensors, differ."""
    others, integers, most = 0, 0, 0.0
    pairs = zip(*(x if isinstance(x, tuple) else (x,) for x in (eager, compiled)), strict=True)
    for one, other in pairs:
        if one.is_floating_point():
            most = max(most, float((one - other).abs().max()))
        else:
            others, integers = others + int((one != other).sum()), integers + one.numel()
    counted = f"{others} of {integers} integers differ" if integers else "no integers"
    return f"{counted}, floats by {most:.1e} at most"


def compare_encoder(compare: Comparison, core: ColTranCore) -> None:
    low, extras = read_examples(core, 1)
    module, eager = WholeEncoder(core.encoder), partial(encode, core, low, *extras)
    compiled = compare.compiled(module)
    compare.jit("encoder", eager, lambda: compiled(low, extras.high_BSS))
    compare.package("encoder, package", eager, module, low, extras.high_BSS)


def compare_row(compare: Comparison, name: str, core: ColTranCore, lanes: int) -> None:
    """A row of pixels, all on random contexts."""
    side, hidden = core.config.resolution, core.config.hidden
    gray, context = torch.randint(256, (lanes, side, side)), torch.randn(lanes, side, side, hidden)
    norms = [modulate_norms(layer, context) for layer in core.inner.layers]
    gray_row = context[:, 1, None].contiguous()
    start, steps = start_row(core, 1, torch.randn_like(gray_row), gray_row, norms)
    uniforms = torch.rand(lanes, side, dtype=torch.float64)
    given = RowInputs(uniforms, core.prior(gray[:, 1]), start, steps)
    eager = RowRunner(core, lanes, 1.0)
    compiled = PixelRow(core, lanes, compare.compiled)
    compare.jit(name, lambda: eager(given), lambda: compiled(given))


def compare_whole(compare: Comparison, core: ColTranCore, sizes: tuple[int, ...]) -> None:
    """A draft, and drawn pictures, of which the first must be the same for all sizes."""
    compiled = compare.compiled(WholeEncoder(core.encoder))

    def encode_compiled(low: Tensor, high: Tensor) -> Tensor:
        pairs = zip(low.split(1), high.split(1), strict=True)
        return torch.cat([compiled(*pair) for pair in pairs])

    def draft(encode: Callable[[], Tensor], low: Tensor) -> tuple[Tensor, ...]:
        context = encode()
        rgb, entropy = expected_color(core, context, low, 1.0)
        return rgb, entropy, log_likelihood_of(core, context, low, rgb)

    low, (high, *_) = read_examples(core, 1)
    assert high is not None
    eager, fast = partial(encode, core, low, high), partial(encode_compiled, low, high)
    compare.jit("draft of one", partial(draft, eager, low), partial(draft, fast, low))
    drawn: list[CoreSample] = []
    for size in sizes:
        low, (high, *_) = read_examples(core, size)
        assert high is not None
        uniforms = draw_uniforms(low, range(size), 1.0)

        def sample(runner: Any, encode: Callable[..., Tensor], *inputs: Tensor) -> CoreSample:
            return draw_rows(core, runner, inputs[0], encode(*inputs[:2]), inputs[2])

        given = (low, high, uniforms)
        as_it_is = partial(sample, RowRunner(core, size, 1.0), partial(encode, core), *given)
        row = PixelRow(core, size, compare.compiled)
        fast_one = partial(sample, row, encode_compiled, *given)
        drawn.append(compare.jit(f"{size} drawn pictures", as_it_is, fast_one, slow=True))
    shared = [CoreSample(*(part[: min(sizes)] for part in each)) for each in drawn]
    for size, each in zip(sizes, shared, strict=True):
        print(f"compiled, {size} beside {sizes[0]} at once: {difference(shared[0], each)}")


def compare_upsampler(compare: Comparison, upsampler: ChannelUpsampler) -> None:
    """On a random picture of the upsampler's size."""
    name, side = upsampler.stage, upsampler.config.resolution
    given = torch.randint(upsampler.levels, (side, side, 3)), torch.randint(256, (side, side))
    module, eager = WholeUpsampler(upsampler), partial(most_likely, upsampler, *given)
    compiled = compare.compiled(module)
    compare.jit(name, eager, lambda: compiled(*given))
    if name == "color":
        compare.package(f"{name}, package", eager, module, *given)


if __name__ == "__main__":
    main()
