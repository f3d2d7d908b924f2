"""The picture of docs/ranking.md: what likelihood ranks first, and what nearness ranks first.

python benchmarks/ranking_pictures.py docs/images/ranking.jpg

One row for each of three example photographs: gray, first by likelihood, first by nearness. There
are four candidates of each, with seed 0 and without the spatial upsampler, since candidates differ
only in the color of the small picture. Prints the colorfulness of all candidates, the most likely
first.
"""

import hashlib
from dataclasses import asdict
from pathlib import Path

import click
import numpy as np

from model.colorizer import Colorizer, Method
from model.weights import WEIGHTS
from pipeline.images.chroma import colorfulness, put_color_on
from pipeline.images.masters import read_small
from pipeline.images.pictures import save
from pipeline.ledger.ranking import RANKINGS, ranks
from pipeline.ledger.seeds import photo_seed
from pipeline.run.options import TEMPERATURES

PHOTOS = Path(__file__).parents[1] / "examples" / "photos"
SHOWN = ("people/portraits/astronaut.jpg", "animals/cat.jpg", "people/photographer.jpg")
CANDIDATES, SIDE, GAP = 4, 240, 6
COLUMNS = ("log_likelihood", "mean_distance")


@click.command()
@click.argument("place", type=click.Path(path_type=Path))
def main(place: Path) -> None:
    """Write the picture to PLACE, a JPEG."""
    colorizer = Colorizer.load(WEIGHTS, batch_size=CANDIDATES, method=Method(upsampler="guided"))
    whole = np.concatenate([_row(name, *_candidates(colorizer, name)) for name in SHOWN])
    place.write_bytes(save([whole], len(whole), whole.shape[1], "JPEG", quality=85))


def _candidates(
    colorizer: Colorizer, name: str
) -> tuple[np.ndarray, list[np.ndarray], list[dict[str, float]]]:
    """A photograph in gray, its candidates in color at the same size, and their scores."""
    data = (PHOTOS / name).read_bytes()
    sizes = colorizer.low_resolution, colorizer.high_resolution, SIDE
    low, high, gray = read_small(data, sizes)[1]
    low, high = (np.repeat(each[None], CANDIDATES, 0) for each in (low, high))
    digest = hashlib.sha256(data).hexdigest()
    seeds = [photo_seed(0, digest, number) for number in range(CANDIDATES)]
    found = asdict(colorizer.colorize(low, high, seeds, TEMPERATURES["sample"]))
    pictures = [put_color_on(gray, rgb) for rgb in found["rgb"]]
    scores = [{column: found[column][k] for column in COLUMNS} for k in range(CANDIDATES)]
    return gray, pictures, scores


def _row(
    name: str, gray: np.ndarray, pictures: list[np.ndarray], scores: list[dict[str, float]]
) -> np.ndarray:
    """The row of a photograph; prints the colorfulness of its candidates."""
    likely, near = (ranks(RANKINGS[way], scores) for way in ("likelihood", "nearness"))
    by_likelihood = [colorfulness(pictures[likely.index(k + 1)]) for k in range(CANDIDATES)]
    first = near.index(1)
    click.echo(
        f"{name}: {', '.join(f'{each:.1f}' for each in by_likelihood)};"
        f" first by nearness: {colorfulness(pictures[first]):.1f}, likelihood {likely[first]}"
    )
    shown = np.stack([gray] * 3, -1), pictures[likely.index(1)], pictures[first]
    return np.concatenate([_padded(each) for each in shown], axis=1)


def _padded(rgb_HW3: np.ndarray) -> np.ndarray:
    return np.pad(rgb_HW3, ((0, GAP), (0, GAP), (0, 0)), constant_values=255)


if __name__ == "__main__":
    main()
