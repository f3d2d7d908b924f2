"""The picture of docs/hints.md: one photograph without hints, with one, with three, and palettes.

python benchmarks/hint_pictures.py docs/images/hints.jpg

Prints for each picture the mean a* and b* of the part that hints do not reach, and how far that
part has moved from the picture without hints.
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
# The examples are all gray, so the photograph whose palette is taken is colorized first, with a
# hint.
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
    shown = colorize_each_way()
    small = {name: resize_rgb(rgb, (256, 256)) for name, rgb in shown.items()}
    height, width = shown["gray"].shape[:2]
    hinted = reached_by_hints(width, height)
    for name, rgb in small.items():
        click.echo(describe(name, rgb, small["without hints"], hinted))
    tiles = [resize_rgb(rgb, (SIDE, SIDE * height // width)).copy() for rgb in shown.values()]
    whole = lay_out([*tiles[:4], mark_hints(tiles[0]), *tiles[4:]])
    place.write_bytes(save([whole], len(whole), whole.shape[1], "JPEG", quality=85))


def colorize_each_way() -> dict[str, np.ndarray]:
    """The photograph in gray, without hints, with one, with all, with palettes, and with both."""
    plain = autochrome.colorize(PHOTO)
    shown = {"gray": np.stack([plain.gray] * 3, axis=-1), "without hints": plain.rgb}
    for count in (1, len(HINTS)):
        shown[f"{count} hints"] = autochrome.colorize(PHOTO, hints=HINTS[:count]).rgb
    palettes = {}
    for name, color in PALETTES.items():
        other = PHOTOS / "people" / "photographer.jpg"
        palettes[name] = autochrome.colorize(other, hints=[(0.5, 0.5, color, 0.15)]).rgb
        shown[f"{name} palette"] = autochrome.colorize(PHOTO, palette=palettes[name]).rgb
    both = autochrome.colorize(PHOTO, hints=HINTS, palette=palettes["warm"]).rgb
    shown[f"{len(HINTS)} hints and the warm palette"] = both
    return shown


def reached_by_hints(width: int, height: int) -> np.ndarray:
    """The cells of 256 x 256 within twice the radius of a hint, which is how far hints reach."""
    reach = [Hint(x, y, 2 * radius, color) for x, y, color, radius in HINTS]
    return hinted_cells(reach, width, height, 256) >= 0


def mark_hints(gray_HW3: np.ndarray) -> np.ndarray:
    """A pale copy of a tile, with a square in its color at the place of each hint."""
    marked = gray_HW3 // 2 + 127
    for x, y, color, _ in HINTS:
        row, column = int(y * marked.shape[0]), int(x * SIDE)
        marked[row - 6 : row + 6, column - 6 : column + 6] = [
            int(color[start : start + 2], 16) for start in (1, 3, 5)
        ]
    return marked


def lay_out(tiles: list[np.ndarray]) -> np.ndarray:
    """Eight tiles in two rows of four, with white gaps."""
    pad = ((0, GAP), (0, GAP), (0, 0))
    padded = [np.pad(tile, pad, constant_values=255) for tile in tiles]
    rows = [np.concatenate(padded[first : first + 4], axis=1) for first in (0, 4)]
    return np.concatenate(rows)


if __name__ == "__main__":
    main()
