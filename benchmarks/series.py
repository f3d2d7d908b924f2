"""How much more alike --series folder makes the photographs of a folder, by mean chroma.

python benchmarks/series.py examples/photos

For each folder with at least two photographs, it prints before and after: the root mean square
distance of the pictures' mean a*, b* from the mean of the folder, and the mean chroma. As no
picture is approved, the palette is that of a typical one. Everything runs in this process, without
Ray.
"""

import io
import posixpath
from collections import defaultdict

import click
import numpy as np
from PIL import Image

from model.colorizer import Colorizer
from model.lab import lab_from_rgb
from model.method import Method
from pipeline.ledger.plan import Schedule
from pipeline.ledger.results import committed_shards, image_path, read_results
from pipeline.ledger.series import plan_series
from pipeline.run.options import RecipeOptions, Resources
from pipeline.run.request import Job, prepare_job
from pipeline.run.steps import colorize_shard, read_shard, write_shard
from pipeline.storage.memory import MemoryStorage
from pipeline.weights.store import shipped_weights


def work(job: Job, colorizer: Colorizer) -> dict[str, list[np.ndarray]]:
    """Do what is left to do; mean a*, b* and chroma of each picture, by folder."""
    for shard in Schedule(job.destination, job.run).open(committed_shards(job.destination).keys()):
        read = read_shard(shard, job.source, job.sizes)
        colored = colorize_shard(read, colorizer, shard.recipe(job.run.recipe), "cpu")
        write_shard(shard.number, colored, job.source, job.destination, job.run)
    found: dict[str, list[np.ndarray]] = defaultdict(list)
    for table in read_results(job.destination, job.run):
        for row in table.to_pylist():
            if row["status"] == "ok":
                data = job.destination.read(image_path(row))
                with Image.open(io.BytesIO(data)) as opened:
                    small = np.asarray(opened.convert("RGB").resize((128, 128)))
                a, b = np.moveaxis(lab_from_rgb(small)[..., 1:], -1, 0)
                means = np.array((a.mean(), b.mean(), np.hypot(a, b).mean()))
                found[posixpath.dirname(row["photo"])].append(means)
    return found


def describe(means: list[np.ndarray]) -> str:
    """Spread of a*, b*, and mean chroma."""
    pairs = np.stack(means)[:, :2]
    spread = np.sqrt(np.square(pairs - pairs.mean(axis=0)).sum(axis=1).mean())
    return f"spread {spread:.2f}, chroma {np.mean([each[2] for each in means]):.1f}"


@click.command()
@click.argument("source")
def main(source: str) -> None:
    """Measure the folders of SOURCE."""
    resources = Resources(str(shipped_weights()), device="cpu")
    job = prepare_job(source, MemoryStorage("out"), RecipeOptions(output_size="256"), resources)
    colorizer = Colorizer.load(resources.weights, method=Method(draft=True, saturation=1.7))
    before = work(job, colorizer)
    click.echo(f"{plan_series(job.destination, job.run, job.sizes[0])} photographs done once more")
    after = work(job, colorizer)
    for folder in sorted(before):
        if len(before[folder]) > 1:
            old, new = describe(before[folder]), describe(after[folder])
            click.echo(f"{folder or '.'}: {len(before[folder])} photographs, {old} -> {new}")


if __name__ == "__main__":
    main()
