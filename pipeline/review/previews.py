"""Small pictures of a shard's results for the review page, many to a sheet.

A sheet holds up to 16 results in cells, 4 by 4, row by row: a JPEG of the pictures, and a gray PNG
of the core's uncertainty. Sheets are written before the shard's commit. A result has the same cell
whatever became of others: two commands that do a shard at once write the same sheets, though a
photo may fail in one of them. They are small because a page sorted by a score needs one cell of
each.

The JPEG is stored a second time in a script: browsers do not let a page read the pixels of an image
file on disk, but of an image in a script they do. It is used when somebody picks a color.

Legend: H W of the result, R side of the model's low resolution.
"""

import base64
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath

import numpy as np

from pipeline.images.encoding import encode
from pipeline.images.gray import eight_bits
from pipeline.images.pictures import resize_rgb
from pipeline.storage.base import Storage

CELL = 256  # pixels: the longer side of a picture
COLUMNS = 4
CELLS = COLUMNS**2
FOLDER = "report/previews"
MOST_BITS = 9.0  # of entropy: all 512 bins equally likely; white on the map
_QUALITY = 80


def fitted(height: int, width: int, longest: int = CELL) -> tuple[int, int]:
    """(height, width) of a frame scaled so that its longer side is at most `longest`; never
    enlarged."""
    scale = min(1.0, longest / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def sheet_path(shard: int, sheet: int) -> str:
    return f"{FOLDER}/shard-{shard:06d}-{sheet:03d}.jpg"


def script_path(shard: int, sheet: int) -> str:
    return f"{FOLDER}/shard-{shard:06d}-{sheet:03d}.js"


def map_path(shard: int, sheet: int) -> str:
    return f"{FOLDER}/shard-{shard:06d}-{sheet:03d}.uncertainty.png"


class Preview:
    """The small picture of a result, made from its bands (h, W, 3) as they pass."""

    def __init__(self, height: int, width: int, longest: int = CELL) -> None:
        self._shape = fitted(height, width, longest)
        self._step = max(1, max(height, width) // (4 * longest))  # enough to scale down smoothly
        self._rows = 0
        self._parts: list[np.ndarray] = []

    def watch(self, parts: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Pass on bands uint8 or uint16, and collect the small picture from them."""
        for part in parts:
            first = -self._rows % self._step
            some = part[first :: self._step, :: self._step]
            if len(some):
                self._parts.append(eight_bits(some.reshape(len(some), -1)).reshape(some.shape))
            self._rows += len(part)
            yield part

    def picture(self) -> np.ndarray:
        """uint8 (h, w, 3), of all bands."""
        height, width = self._shape
        return resize_rgb(np.concatenate(self._parts), (width, height))


class PreviewSheets:
    """The sheets of a shard; each is written as soon as it is full."""

    def __init__(self, destination: Storage, shard: int) -> None:
        self._destination, self._shard = destination, shard
        self._count = 0
        self._pictures: dict[int, np.ndarray] = {}  # by cell, of the sheet that is not full yet
        self._maps: dict[int, np.ndarray] = {}

    def add(self, picture_HW3: np.ndarray, entropy_RR: np.ndarray) -> int:
        """Give a result its cell, counted from 0 over all sheets. Raises StorageError.

        picture_HW3: uint8, as of Preview. entropy_RR: float32, bits [0, 9].
        """
        cell, share = self._count, np.clip(entropy_RR / MOST_BITS, 0, 1)
        self._pictures[cell % CELLS] = picture_HW3
        self._maps[cell % CELLS] = np.rint(share * 255).astype(np.uint8)
        self.skip(1)
        return cell

    def skip(self, cells: int) -> None:
        """Leave cells empty, of results that failed. Raises StorageError."""
        for _ in range(cells):
            self._count += 1
            if self._count % CELLS == 0:
                self.close()

    def close(self) -> None:
        """Write the last sheet. Raises StorageError."""
        if not self._pictures:
            return
        sheet = (self._count - 1) // CELLS
        color = encode(_tiled(self._pictures, CELL), "JPEG", quality=_QUALITY)
        self._destination.write(sheet_path(self._shard, sheet), color)
        path = script_path(self._shard, sheet)
        self._destination.write(path, _as_script(PurePosixPath(path).stem, color))
        side = next(iter(self._maps.values())).shape[0]
        self._destination.write(
            map_path(self._shard, sheet), encode(_tiled(self._maps, side), "PNG")
        )
        self._pictures, self._maps = {}, {}


def _as_script(name: str, jpeg: bytes) -> bytes:
    """A script that passes a sheet of this name to the page."""
    return f'review.sheet("{name}","{base64.b64encode(jpeg).decode()}");\n'.encode()


def _tiled(pictures: Mapping[int, np.ndarray], side: int) -> np.ndarray:
    """Pictures (h, w, ...) of at most `side` pixels, each at the upper left of its cell."""
    shape = (COLUMNS * side, COLUMNS * side, *next(iter(pictures.values())).shape[2:])
    canvas = np.zeros(shape, np.uint8)
    for place, picture in pictures.items():
        top, left = place // COLUMNS * side, place % COLUMNS * side
        canvas[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return canvas
