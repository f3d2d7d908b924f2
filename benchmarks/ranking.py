"""Which ranking of candidates finds the best picture, on photographs whose colors are known.

python benchmarks/ranking.py photographs.parquet draws.npz --split-column split

It draws four candidates of each held-out photograph, saves them in a file, and prints a table in
Markdown: for each ranking, how far its first picture is from the truth, and how colorful it is.
Random is the mean over all candidates; oracles know the truth. Pictures are compared at the size of
the core and the color upsampler (32 x 32 with the default weights), with the photograph's own luma;
the spatial upsampler is left out. When run again, it continues where the file ends, and if the file
has all photographs, it draws nothing. On a busy machine, OMP_NUM_THREADS=1 is best.
"""

from collections.abc import Mapping
from dataclasses import asdict
from itertools import chain, combinations
from pathlib import Path

import click
import numpy as np
import torch

from model.color import gray_from_rgb
from model.colorizer import Colorizer, Method
from model.evaluation.scores import compare
from model.weights import WEIGHTS, file_digests
from pipeline.evaluation.pic import shrink
from pipeline.images.chroma import LUMA, colorfulness, put_color_on
from pipeline.ledger.ranking import RANKINGS, ranks
from pipeline.ledger.seeds import photo_seed
from pipeline.run.options import TEMPERATURES
from pipeline.training.photographs import PhotographSet, Wanted, read_photographs

CANDIDATES = 4
AT_ONCE = 16  # photographs
COLUMNS = list(dict.fromkeys(chain.from_iterable(RANKINGS.values())))
NAMES = {columns[0]: way for way, columns in RANKINGS.items() if len(columns) == 1}
Arrays = Mapping[str, np.ndarray]


def draw(colorizer: Colorizer, true: np.ndarray, large: np.ndarray, digests: list[str]) -> Arrays:
    """Candidates of photographs in both sizes, uint8 (N, R, R, 3) and (N, S, S, 3): their true and
    drawn colors, and scores."""
    low, high = (
        np.repeat(gray_from_rgb(torch.from_numpy(rgb)).numpy().astype(np.uint8), CANDIDATES, axis=0)
        for rgb in (true, large)
    )
    seeds = [photo_seed(0, digest, number) for digest in digests for number in range(CANDIDATES)]
    found = asdict(colorizer.colorize(low, high, seeds, TEMPERATURES["sample"]))
    kept = {name: found[name] for name in ("rgb", *COLUMNS)}
    by_photo = {name: each.reshape(-1, CANDIDATES, *each.shape[1:]) for name, each in kept.items()}
    return {"true": true, "digest": np.array(digests), **by_photo}


def fill(file: Path, photographs: PhotographSet[np.ndarray], weights: Path) -> Arrays:
    """What a file holds of these photographs, which are drawn where it ends."""
    colorizer = Colorizer.load(weights, batch_size=32, method=Method(upsampler="guided"))
    digest = np.array(" ".join(file_digests(weights, ("core", "color")).values()))
    kept: Arrays = dict(np.load(file)) if file.exists() else {"weights": digest}
    if kept["weights"] != digest:
        raise click.UsageError(f"{file} was drawn with other weights: name another file")
    small = shrink(photographs, colorizer.low_resolution)
    while (first := len(kept.get("digest", ()))) < len(photographs):
        some = slice(first, first + AT_ONCE)
        new = draw(colorizer, small.rgb[some], photographs.rgb[some], photographs.digests[some])
        kept = {
            name: np.concatenate((kept[name], each)) if first else each
            for name, each in new.items()
        } | {"weights": digest}
        np.savez(file, **kept)  # type: ignore[arg-type]
        click.echo(f"{len(kept['digest'])} of {len(photographs)} photographs", err=True)
    return kept


def measured(drawn: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """CIEDE2000, squared error of chroma and colorfulness of each candidate, (3, N, C), and the
    colorfulness of the truth, (N,)."""
    results, truths = [], []
    for true, candidates in zip(drawn["true"], drawn["rgb"], strict=True):
        luma = np.rint(true @ LUMA).astype(np.uint8)
        pictures = np.stack([put_color_on(luma, each) for each in candidates])
        difference = compare(np.repeat(true[None], len(pictures), axis=0), pictures)
        vivid = [colorfulness(each) for each in pictures]
        results.append((difference.ciede2000, difference.chroma_error, vivid))
        truths.append(colorfulness(true))
    return np.array(results).swapaxes(0, 1), np.array(truths)


def first_by(columns: tuple[str, ...], drawn: Arrays) -> np.ndarray:
    """Which candidate of each photograph gets rank 1, as a run would give it."""
    found = []
    for photo in range(len(drawn["digest"])):
        scores = [{name: drawn[name][photo, k] for name in columns} for k in range(CANDIDATES)]
        found.append(ranks(columns, scores).index(1))
    return np.array(found)


def describe(drawn: Arrays) -> str:
    """The table."""
    (ciede, error, vivid), true = measured(drawn)
    several = [each for size in (2, 3) for each in combinations(COLUMNS, size)]
    chosen = {
        " + ".join(NAMES[name] for name in columns): first_by(columns, drawn)
        for columns in [*((name,) for name in COLUMNS), *several]
    }
    chosen |= {
        "oracle of CIEDE2000": ciede.argmin(axis=1),
        "oracle of chroma": error.argmin(axis=1),
    }
    lines = [
        f"{len(true)} photographs, {CANDIDATES} candidates each; colorfulness of the truth"
        f" {true.mean():.1f}; weights {str(drawn['weights'])[:12]}",
        "",
        "| rank 1 by | CIEDE2000 | less than random (95 %) | chroma RMSE | colorfulness | off by |",
        "|---|---|---|---|---|---|",
    ]
    off = abs(vivid - true[:, None])
    figures = [each.mean() for each in (ciede, error, vivid, off)]
    lines.append(_line("random", figures, "-"))
    rows = np.arange(len(true))
    for way, places in chosen.items():
        gain = ciede.mean(axis=1) - ciede[rows, places]
        margin = 1.96 * gain.std(ddof=1) / np.sqrt(len(gain))
        figures = [each[rows, places].mean() for each in (ciede, error, vivid, off)]
        lines.append(_line(way, figures, f"{gain.mean():.2f} ± {margin:.2f}"))
    return "\n".join(lines)


def _line(way: str, figures: list[float], gain: str) -> str:
    ciede, error, vivid, off = figures
    return f"| {way} | {ciede:.2f} | {gain} | {error**0.5:.2f} | {vivid:.1f} | {off:.1f} |"


@click.command()
@click.argument("source")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--weights", type=click.Path(path_type=Path), default=WEIGHTS)
@click.option("--photos", default=320, show_default=True)
@click.option("--split-column", help="Parquet column with train and val.")
def main(source: str, file: Path, weights: Path, photos: int, split_column: str | None) -> None:
    """Measure on held-out photographs of SOURCE; draws are kept in FILE."""
    side = Colorizer.load(weights).high_resolution
    wanted = Wanted(side, "validation", photos, split_column=split_column)
    click.echo(describe(fill(file, read_photographs(source, wanted), weights)))


if __name__ == "__main__":
    main()
