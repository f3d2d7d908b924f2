"""Train the four systems of docs/models.md alike and small, and compare them.

    python benchmarks/systems.py train144.parquet out --split-column split --images 12800

PixelCNN++ and the Axial Transformer know no gray photograph and draw whole pictures; PIC and
ColTran's core draw the color of one. Each learns from the same number of random crops of the same
photographs, by the same optimizer and schedule, and is scored on the same held-out ones. A system
whose weights are in OUT already is not trained again. Prints a table, and one JSON line; writes
OUT/samples.jpg, made of the photographs of examples/photos alone.
"""

import json
import multiprocessing
import time
from pathlib import Path

import click
import numpy as np
import torch

from machine import describe_machine, matmul_gflops
from memory import peak_mib
from model.color import COARSE_STEP, gray_from_rgb, rgb_from_bins
from model.core import ColTranCore, CoreConfig
from model.pic.colorizer import put_chroma_on
from model.pic.network import CHROMA_ZERO, Pic, PicConfig
from model.pic.pixelcnn import PixelCnn, PixelCnnConfig
from model.pic.sampling import sample_pixels, sample_pixels_slow
from model.sampling.cached import sample_core
from model.scaling import scale_by_area
from model.training.losses import stage_losses
from model.training.photographs import Photographs
from model.training.trainer import Trainer, TrainingConfig
from model.weights import Stage, StageConfig, build_stage, load_stage, save_stage
from pipeline.images.chroma import colorfulness, put_color_on
from pipeline.images.encoding import encode
from pipeline.images.pillow import read_small
from pipeline.training.photographs import Wanted, read_photographs
from pipeline.training.request import balanced_weights

RESOLUTION, GRAY, SIDE = 16, 64, 92  # of color, of PIC's and of shown photographs, of the data
EXAMPLES = Path(__file__).parents[1] / "examples" / "photos"
LAYERS = {"hidden": 96, "ff": 192, "heads": 4, "outer": 1, "inner": 1, "resolution": RESOLUTION}
SYSTEMS: dict[str, StageConfig] = {
    "PixelCNN++": PixelCnnConfig(hidden=56, inner=2, resolution=RESOLUTION),
    "Axial Transformer": CoreConfig(**LAYERS, enc=1, unconditional=True),  # type: ignore[arg-type]
    "PIC": PicConfig(hidden=56, enc=6, inner=2, resolution=GRAY, factor=GRAY // RESOLUTION),
    "ColTran core": CoreConfig(**LAYERS, enc=2),  # type: ignore[arg-type]
}
DIMS = {"PixelCNN++": 3, "Axial Transformer": 3, "PIC": 2, "ColTran core": 3}


def train(
    name: str, photographs: Photographs, images: int, batch: int, path: Path
) -> dict[str, float]:
    """Train one system and keep its moving average."""
    torch.manual_seed(0)
    settings = TrainingConfig(
        images // batch,
        batch,
        learning_rate=3e-3,
        optimizer="muon",
        schedule="linear",
        warmup=50,
        autoregressive_weight=1.0,
        parallel_weight=0.5,
        average_decay=0.998,
        bfloat16=True,
    )
    trainer = Trainer(build_stage(SYSTEMS[name]), settings)
    started, told = time.monotonic(), time.monotonic()
    losses: dict[str, float] = {}
    for losses in trainer.run(photographs):
        if time.monotonic() - told > 20:
            told = time.monotonic()
            print(f"  {name}: step {trainer.step} of {settings.steps}, {losses}", flush=True)
    save_stage(trainer.average, path)  # type: ignore[arg-type]
    return {"seconds": time.monotonic() - started, **losses}


@torch.inference_mode()
def held_out_bits(stage: Stage, rgb_NSS3: torch.Tensor) -> dict[str, float]:
    """Mean bits per pixel of held-out photographs, by the names of losses."""
    side, sums = stage.config.resolution, dict[str, float]()
    for some in rgb_NSS3.split(32):
        batch = scale_by_area(some, side)
        losses = stage_losses(stage, batch)
        if isinstance(stage, PixelCnn):
            losses = {"pixelcnn": 3 * losses["pixelcnn"]}
        for each, bits in losses.items():
            sums[each] = sums.get(each, 0.0) + float(bits) * len(some)
    return {each: total / len(rgb_NSS3) for each, total in sums.items()}


@torch.inference_mode()
def draw(stage: Stage, gray_BSS: np.ndarray, temperature: float) -> np.ndarray:
    """Pictures uint8 (B, S or R, S or R, 3); those of PIC and the core have the gray's size."""
    seeds, large = list(range(len(gray_BSS))), torch.from_numpy(gray_BSS)
    if isinstance(stage, PixelCnn):
        return sample_pixels(stage, seeds, None, temperature).values_BHWC.numpy().astype(np.uint8)
    if isinstance(stage, Pic):
        embedding = stage.encode(large)
        chroma = sample_pixels(stage.pixelcnn, seeds, embedding, temperature).values_BHWC
        small = (chroma - CHROMA_ZERO).double().numpy()
        pairs = zip(gray_BSS, small, strict=True)
        return np.stack([put_color_on(gray, put_chroma_on(gray, each)) for gray, each in pairs])
    assert isinstance(stage, ColTranCore)
    gray = scale_by_area(large[..., None].expand(-1, -1, -1, 3), RESOLUTION)[..., 0].long()
    bins = sample_core(stage, gray, seeds, temperature).bins_BHW
    coarse = (rgb_from_bins(bins) + COARSE_STEP // 2).numpy().astype(np.uint8)
    if stage.config.unconditional:
        return coarse
    return np.stack([put_color_on(*pair) for pair in zip(gray_BSS, coarse, strict=True)])


def time_sampling(path: Path, gray_BSS: np.ndarray, answer: "multiprocessing.Queue[float]") -> None:
    """In a process of its own: images/s, and its peak before and after drawing."""
    torch.set_num_threads(1)
    stage = load_stage(path)
    draw(stage, gray_BSS[:1], 1.0)
    start = time.perf_counter()
    draw(stage, gray_BSS, 1.0)
    answer.put(len(gray_BSS) / (time.perf_counter() - start))
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


def write_samples(stages: dict[str, Stage], path: Path, temperature: float) -> None:
    """Rows: gray, PIC, core; then pictures that PixelCNN++ and the Axial Transformer made up."""
    files = sorted(each for each in EXAMPLES.rglob("*") if each.suffix in (".jpg", ".png", ".tif"))
    grays = np.stack([read_small(each.read_bytes(), [GRAY])[1][0] for each in files])
    rows = [np.repeat(grays[..., None], 3, axis=-1)]
    for name in ("PIC", "ColTran core", "PixelCNN++", "Axial Transformer"):
        pictures = draw(stages[name], grays, temperature)
        factor = GRAY // pictures.shape[1]
        rows.append(pictures.repeat(factor, 1).repeat(factor, 2))
    sheet = np.full((len(rows) * (GRAY + 4), len(grays) * (GRAY + 4), 3), 255, np.uint8)
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            top, left = i * (GRAY + 4), j * (GRAY + 4)
            sheet[top : top + GRAY, left : left + GRAY] = picture
    path.write_bytes(encode(sheet.repeat(2, 0).repeat(2, 1), "JPEG", quality=90))


@click.command()
@click.argument("source")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--system", "names", type=click.Choice(list(SYSTEMS)), multiple=True)
@click.option("--images", default=12_800, show_default=True, help="Crops that each learns from.")
@click.option("--batch", default=16, show_default=True)
@click.option("--split-column")
@click.option("--held-out", default=512, show_default=True, help="Photographs that are scored.")
@click.option("--drawn", default=64, show_default=True, help="Pictures drawn for colorfulness.")
@click.option("--temperature", default=1.0, show_default=True, help="Of these.")
@click.option("--train-only", is_flag=True)
def main(
    source: str,
    out: Path,
    names: tuple[str, ...],
    images: int,
    batch: int,
    split_column: str | None,
    held_out: int,
    drawn: int,
    temperature: float,
    train_only: bool,
) -> None:
    """Train the four systems alike and small, and compare them."""
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    paths = {name: out / f"{name}.safetensors" for name in names or SYSTEMS}
    missing = [name for name, path in paths.items() if not path.exists()]
    if missing:
        groups = "set" if split_column else None
        wanted = Wanted(SIDE, "train", split_column=split_column, group_column=groups)
        found = read_photographs(source, wanted)
        weights = balanced_weights(found.groups, 0.5)
        photographs = Photographs(torch.from_numpy(found.rgb), weights)
        for name in missing:
            learned = train(name, photographs, images, batch, paths[name])
            (out / f"{name}.json").write_text(json.dumps(learned))
    if train_only:
        return
    wanted = Wanted(GRAY, "validation", held_out, split_column=split_column)
    true = read_photographs(source, wanted).rgb
    rgb = torch.from_numpy(true)
    gray = gray_from_rgb(rgb[:drawn]).numpy().astype(np.uint8)
    stages = {name: load_stage(path) for name, path in paths.items()}
    results = {}
    spawn = multiprocessing.get_context("spawn")
    for name, stage in stages.items():
        answer = spawn.Queue()
        child = spawn.Process(target=time_sampling, args=(paths[name], gray[:8], answer))
        child.start()
        rate, peak = answer.get(), answer.get()
        child.join()
        bits = held_out_bits(stage, rgb)
        pictures = draw(stage, gray, temperature)
        truth = scale_by_area(rgb[:drawn], pictures.shape[1]).numpy()
        color, true_color = (
            float(np.mean([colorfulness(each) for each in some])) for some in (pictures, truth)
        )
        main_loss = next(each for each in bits if each != "parallel")
        results[name] = {
            "parameters": sum(each.numel() for each in stage.parameters()),
            "bits_per_pixel": bits[main_loss],
            "bits_per_dim": bits[main_loss] / DIMS[name],
            "parallel_bits_per_pixel": bits.get("parallel"),
            "images_per_second": rate,
            "peak_mib": peak,
            "colorfulness": color,
            "colorfulness_difference": color - true_color,
            "training": json.loads((out / f"{name}.json").read_text()),
        }
        if isinstance(stage, PixelCnn):
            results[name]["cached_against_slow"] = cached_against_slow(stage)
        print(name, json.dumps(results[name]), flush=True)
    if len(stages) == len(SYSTEMS):
        write_samples(stages, out / "samples.jpg", temperature)
    facts = {
        "benchmark": "systems",
        "images": images,
        "batch": batch,
        "temperature": temperature,
        "systems": results,
        "matmul_gflops": matmul_gflops("cpu"),
        **describe_machine("cpu"),
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
