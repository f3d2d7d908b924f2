"""The picture of docs/ranking.md: what likelihood puts first, and what nearness does.

python benchmarks/ranking_pictures.py docs/images/ranking.jpg

A row for each photograph of the examples: gray, rank 1 by likelihood, rank 1 by nearness. Four
candidates each, seed 0, without the spatial upsampler, as color of the small pictures is all that
differs. Prints the colorfulness of all candidates, in the order of their likelihood.
"""

import hashlib
from dataclasses import asdict
from pathlib import Path

import click
import numpy as np

from model.colorizer import Colorizer, Method
from model.weights import WEIGHTS
from pipeline.images.chroma import colorfulness, put_color_on
from pipeline.images.pictures import save
from pipeline.images.pillow import read_small
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
    colorizer = Colorizer.load(WEIGHTS, batch_size=16, method=Method(upsampler="guided"))
    sizes = colorizer.low_resolution, colorizer.high_resolution, SIDE
    read = [read_small((PHOTOS / name).read_bytes(), sizes) for name in SHOWN]
    low, high = (
        np.repeat(np.stack([grays[k] for _, grays in read]), CANDIDATES, 0) for k in (0, 1)
    )
    digests = [hashlib.sha256((PHOTOS / name).read_bytes()).hexdigest() for name in SHOWN]
    seeds = [photo_seed(0, digest, number) for digest in digests for number in range(CANDIDATES)]
    found = asdict(colorizer.colorize(low, high, seeds, TEMPERATURES["sample"]))
    rows = []
    for photo, name in enumerate(SHOWN):
        gray, places = read[photo][1][2], range(photo * CANDIDATES, (photo + 1) * CANDIDATES)
        pictures = [put_color_on(gray, found["rgb"][place]) for place in places]
        scores = [{column: found[column][place] for column in COLUMNS} for place in places]
        likely, near = (ranks(RANKINGS[way], scores) for way in ("likelihood", "nearness"))
        by_likelihood = [colorfulness(pictures[likely.index(k + 1)]) for k in range(CANDIDATES)]
        first = near.index(1)
        click.echo(
            f"{name}: {', '.join(f'{each:.1f}' for each in by_likelihood)};"
            f" first by nearness: {colorfulness(pictures[first]):.1f}, likelihood {likely[first]}"
        )
        shown = np.stack([gray] * 3, -1), pictures[likely.index(1)], pictures[first]
        rows.append(np.concatenate([_padded(each) for each in shown], axis=1))
    whole = np.concatenate(rows)
    place.write_bytes(save([whole], len(whole), whole.shape[1], "JPEG", quality=85))


def _padded(rgb_HW3: np.ndarray) -> np.ndarray:
    return np.pad(rgb_HW3, ((0, GAP), (0, GAP), (0, 0)), constant_values=255)


if __name__ == "__main__":
    main()
