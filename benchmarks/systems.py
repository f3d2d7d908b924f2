"""Train small versions of the systems of docs/models.md in the same way, and compare them.

    python benchmarks/systems.py train144.parquet out --split-column split

PixelCNN++ and the Axial Transformer draw whole pictures, without a gray photograph. PIC and the
core draw the color of one, each with and without the photo trunk, and the core also with the table
of its recipe. Needs the extra [train]. All learn from the same random crops, by the same optimizer
and schedule, and are scored on the same held-out photographs. A system whose weights are already in
OUT is not trained again. Prints a JSON line for each system, and one for all; writes
OUT/samples.jpg, made only from the photographs of examples/photos.
"""

import json
import multiprocessing
import os
import time
from collections.abc import Mapping
from pathlib import Path

import click
import numpy as np
import torch

from machine import describe_machine, matmul_gflops
from memory import peak_mib
from model.pic.pixelcnn import PixelCnn
from model.pic.sampling import sample_pixels, sample_pixels_slow
from model.scaling import scale_by_area
from model.training.losses import stage_losses
from model.training.photographs import Photographs
from model.weights import Stage, load_stage, save_stage
from pipeline.images.chroma import put_color_on
from pipeline.images.encoding import encode
from pipeline.images.masters import read_small
from pipeline.training.photographs import Wanted, read_photographs
from small_systems import RESOLUTION, SEEN, SYSTEMS, as_seen, read_training, train
from system_colors import BATCH, colorizes, draw, draw_all, mean_colorfulness, score_colors

EXAMPLES = Path(__file__).parents[1] / "examples" / "photos"
MADE_UP = 64  # pictures whose colorfulness is compared, of systems that know no photograph
TIMED = 8


@torch.inference_mode()
def held_out_bits(stage: Stage, rgb_NSS3: torch.Tensor) -> dict[str, float]:
    """Mean bits per pixel of held-out photographs, by the names of losses."""
    sums = dict[str, float]()
    for some in rgb_NSS3.split(BATCH):
        losses = stage_losses(stage, as_seen(stage, some))
        if isinstance(stage, PixelCnn):
            losses = {"pixelcnn": 3 * losses["pixelcnn"]}
        for each, bits in losses.items():
            sums[each] = sums.get(each, 0.0) + float(bits) * len(some)
    return {each: total / len(rgb_NSS3) for each, total in sums.items()}


def score_made_up(stage: Stage, rgb_NSS3: torch.Tensor, temperature: float) -> dict[str, float]:
    """Scores of a system that knows no photograph."""
    some = rgb_NSS3[:MADE_UP]
    [pictures] = draw_all(stage, some, 1, temperature)
    truth = mean_colorfulness(scale_by_area(some, RESOLUTION).numpy())
    [bits] = (bits for name, bits in held_out_bits(stage, rgb_NSS3).items() if name != "parallel")
    return {
        "bits_per_pixel": bits,
        "true_colorfulness": truth,
        "drawn_colorfulness_difference": mean_colorfulness(pictures.rgb) - truth,
    }


def time_sampling(path: Path, rgb_BSS3: np.ndarray, answer: "multiprocessing.Queue[float]") -> None:
    """In a process of its own: images/s, and its peak after drawing."""
    torch.set_num_threads(1)
    stage, photographs = load_stage(path), torch.from_numpy(rgb_BSS3)
    seeds = list(range(len(photographs)))
    draw(stage, photographs[:1], seeds[:1], 1.0)
    start = time.perf_counter()
    draw(stage, photographs, seeds, 1.0)
    answer.put(len(seeds) / (time.perf_counter() - start))
    answer.put(peak_mib())


def cached_against_slow(model: PixelCnn, batch: int = 4) -> float:
    """How many times faster the cached sampler is; both must draw the same pictures."""
    pictures, seconds = [], []
    for sampler in (sample_pixels, sample_pixels_slow):
        start = time.perf_counter()
        pictures.append(sampler(model, list(range(batch))).values_BHWC)
        seconds.append(time.perf_counter() - start)
    if not torch.equal(*pictures):
        raise SystemExit("the samplers drew different pictures: their times mean nothing")
    return seconds[1] / seconds[0]


def score(
    path: Path, rgb_NSS3: torch.Tensor, draws: int, temperature: float
) -> dict[str, float | None]:
    """All that the table says of one system."""
    stage = load_stage(path)
    spawn = multiprocessing.get_context("spawn")
    answer = spawn.Queue()
    child = spawn.Process(target=time_sampling, args=(path, rgb_NSS3[:TIMED].numpy(), answer))
    child.start()
    rate, peak = answer.get(), answer.get()
    child.join()
    facts: dict[str, float | None] = {
        "parameters": sum(each.numel() for each in stage.parameters()),
        "images_per_second": rate,
        "peak_mib": peak,
    }
    if colorizes(stage):
        facts |= score_colors(stage, rgb_NSS3, draws, temperature)
    else:
        facts |= score_made_up(stage, rgb_NSS3, temperature)
    if isinstance(stage, PixelCnn):
        facts["cached_against_slow"] = cached_against_slow(stage)
    return facts


def write_samples(stages: list[Stage], path: Path, temperature: float) -> None:
    """Rows: gray; what is colorized, in the order of SYSTEMS; then pictures that are made up."""
    files = sorted(each for each in EXAMPLES.rglob("*") if each.suffix in (".jpg", ".png", ".tif"))
    grays = np.stack([read_small(each.read_bytes(), [SEEN])[1][0] for each in files])
    shown = np.repeat(grays[..., None], 3, axis=-1)
    rows, seeds = [shown], list(range(len(files)))
    for stage in sorted(stages, key=colorizes, reverse=True):
        drawn = draw(stage, torch.from_numpy(shown), seeds, temperature).rgb
        if colorizes(stage):
            pairs = zip(grays, drawn, strict=True)
            rows.append(np.stack([put_color_on(*pair) for pair in pairs]))
        else:
            times = SEEN // RESOLUTION
            rows.append(drawn.repeat(times, 1).repeat(times, 2))
    sheet = np.full((len(rows) * (SEEN + 8), len(grays) * (SEEN + 8), 3), 255, np.uint8)
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            top, left = i * (SEEN + 8), j * (SEEN + 8)
            sheet[top : top + SEEN, left : left + SEEN] = picture
    path.write_bytes(encode(sheet, "JPEG", quality=75))


def train_missing(
    paths: Mapping[str, Path], photographs: Photographs, images: int, batch: int
) -> None:
    """Train the systems that have no weights yet; what each learned lies beside them, as JSON."""
    for name, path in paths.items():
        if not path.exists():
            stage, learned = train(name, photographs, images, batch)
            save_stage(stage, path)
            path.with_suffix(".json").write_text(json.dumps(learned))


def score_all(
    paths: Mapping[str, Path], rgb_NSS3: torch.Tensor, draws: int, temperature: float
) -> dict[str, dict[str, object]]:
    """The scores of each system, printed as they come, with the figures of its training."""
    results = dict[str, dict[str, object]]()
    for name, path in paths.items():
        training = json.loads(path.with_suffix(".json").read_text())
        results[name] = {**score(path, rgb_NSS3, draws, temperature), "training": training}
        print(name, json.dumps(results[name]), flush=True)
    return results


@click.command()
@click.argument("source")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--system", "names", type=click.Choice(list(SYSTEMS)), multiple=True)
@click.option("--images", default=12_800, show_default=True, help="Crops that each learns from.")
@click.option("--photos", default=20_000, show_default=True, help="At most so many are cropped.")
@click.option("--batch", default=16, show_default=True)
@click.option("--split-column")
@click.option("--held-out", default=512, show_default=True, help="Photographs that are scored.")
@click.option("--draws", default=4, show_default=True, help="Pictures drawn of each of these.")
@click.option("--temperature", default=1.0, show_default=True, help="Of these.")
@click.option("--train-only", is_flag=True)
def main(
    source: str,
    out: Path,
    names: tuple[str, ...],
    images: int,
    photos: int,
    batch: int,
    split_column: str | None,
    held_out: int,
    draws: int,
    temperature: float,
    train_only: bool,
) -> None:
    """Train the systems alike and small, and compare them."""
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    paths = {name: out / f"{name}.safetensors" for name in names or SYSTEMS}
    if any(not path.exists() for path in paths.values()):
        train_missing(paths, read_training(source, photos, split_column), images, batch)
    if train_only:
        return
    wanted = Wanted(SEEN, "validation", held_out, split_column=split_column)
    rgb = torch.from_numpy(read_photographs(source, wanted).rgb)
    results = score_all(paths, rgb, draws, temperature)
    if len(paths) == len(SYSTEMS):
        stages = [load_stage(path) for path in paths.values()]
        write_samples(stages, out / "samples.jpg", temperature)
    facts = {
        "benchmark": "systems",
        "images": images,
        "batch": batch,
        "held_out": len(rgb),
        "draws": draws,
        "temperature": temperature,
        "systems": results,
        "matmul_gflops": matmul_gflops("cpu"),
        "load": os.getloadavg(),
        **describe_machine("cpu"),
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
