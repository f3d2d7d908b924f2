"""The picture of docs/hints.md: one photograph without hints, with one, with three, and palettes.

python benchmarks/hint_pictures.py docs/images/hints.jpg

Prints what each changes: the mean a* and b* of the places that hints color, and of the rest.
"""

from pathlib import Path

import click
import numpy as np

import autochrome
from model.lab import lab_from_rgb
from pipeline.images.hints import Hint, hinted_cells
from pipeline.images.pictures import resize_rgb, save

PHOTOS = Path(__file__).parents[1] / "examples" / "photos"
PHOTO = PHOTOS / "people" / "portraits" / "astronaut.jpg"
HINTS = [
    (0.36, 0.72, "#b5602f", 0.1),
    (0.10, 0.30, "#8a2a35", 0.05),
    (0.62, 0.42, "#5b78a8", 0.05),
]
# All examples are gray: what gives a palette is colorized first, and told of a color.
PALETTES = {"warm": "#c08a50", "cold": "#5a86b8"}
SIDE, GAP = 300, 6


def describe(name: str, rgb: np.ndarray, plain: np.ndarray, hinted: np.ndarray) -> str:
    """Mean a*, b* of the rest of the picture, and how far the rest has moved from `plain`."""
    lab, before = lab_from_rgb(rgb)[..., 1:], lab_from_rgb(plain)[..., 1:]
    words = [f"{name}: a*, b* {lab[~hinted].mean(axis=0).round(1).tolist()} beside hints"]
    moved = np.hypot(*np.moveaxis(lab - before, -1, 0))[~hinted].mean()
    return f"{', '.join(words)}, moved by {moved:.2f} on the mean"


@click.command()
@click.argument("place", type=click.Path(path_type=Path))
def main(place: Path) -> None:
    """Write the picture to PLACE, a JPEG."""
    plain = autochrome.colorize(PHOTO)
    shown = [("gray", np.stack([plain.gray] * 3, axis=-1)), ("without hints", plain.rgb)]
    for count in (1, len(HINTS)):
        shown.append((f"{count} hints", autochrome.colorize(PHOTO, hints=HINTS[:count]).rgb))
    palettes = {}
    for name, color in PALETTES.items():
        other = PHOTOS / "people" / "photographer.jpg"
        palettes[name] = autochrome.colorize(other, hints=[(0.5, 0.5, color, 0.15)]).rgb
        shown.append((f"{name} palette", autochrome.colorize(PHOTO, palette=palettes[name]).rgb))
    told = autochrome.colorize(PHOTO, hints=HINTS, palette=palettes["warm"]).rgb
    shown.append((f"{len(HINTS)} hints and the warm palette", told))
    height, width = plain.gray.shape
    # Twice the radius, up to which pictures are drawn to hints.
    reach = [Hint(x, y, 2 * radius, color) for x, y, color, radius in HINTS]
    hinted = hinted_cells(reach, width, height, 256) >= 0
    small = {name: resize_rgb(rgb, (256, 256)) for name, rgb in shown}
    for name, rgb in small.items():
        click.echo(describe(name, rgb, small["without hints"], hinted))
    tiles = [resize_rgb(rgb, (SIDE, SIDE * height // width)).copy() for _, rgb in shown]
    tiles.append(tiles[0] // 2 + 127)
    for x, y, color, _ in HINTS:  # where they are, on the last one
        row, column = int(y * tiles[-1].shape[0]), int(x * SIDE)
        tiles[-1][row - 6 : row + 6, column - 6 : column + 6] = [
            int(color[start : start + 2], 16) for start in (1, 3, 5)
        ]
    tiles = [*tiles[:4], tiles[7], *tiles[4:7]]
    pad = ((0, GAP), (0, GAP), (0, 0))
    padded = [np.pad(tile, pad, constant_values=255) for tile in tiles]
    rows = [np.concatenate(padded[first : first + 4], axis=1) for first in (0, 4)]
    whole = np.concatenate(rows)
    place.write_bytes(save([whole], len(whole), whole.shape[1], "JPEG", quality=85))


if __name__ == "__main__":
    main()
