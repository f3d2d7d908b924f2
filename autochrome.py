"""Autochrome for notebooks: a photograph in color in one call, and the results of a run as a table.

import autochrome

picture = autochrome.colorize("portrait.tif")
picture.rgb                  # uint8 (H, W, 3), at the photograph's full size
picture.uncertainty          # where the model was unsure, bits

autochrome.colorize("portrait.tif", hints=[(0.5, 0.8, "#29486b")])  # the coat was blue

autochrome.open_results("colorized").to_table().to_pandas()
"""

from functools import lru_cache
from os import PathLike
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    import pyarrow.dataset as ds
    from PIL.Image import Image

    from pipeline.single import Colorization, PhotoColorizer

    Hint = tuple[float, float, str] | tuple[float, float, str, float]
    Photo = str | PathLike[str] | bytes | np.ndarray | Image

__all__ = ["colorize", "open_results"]


def colorize(
    photo: "Photo",
    *,
    seed: int = 0,
    candidates: int = 1,
    method: str = "auto",
    temperature: float | None = None,
    saturation: float | None = None,
    weights: str | None = None,
    hints: "Iterable[Hint]" = (),
    palette: "Photo | None" = None,
    rank_by: str | None = None,
) -> "Colorization":
    """Colorize one photograph in this process.

    photo: a path, a file's bytes, a PIL image, or an array of gray or RGB, uint8 or uint16 gray
    (H, W), or uint8 (H, W, 3). The options are those of `autochrome colorize`.
    hints: places whose color is known, each (x, y, "#rrggbb") or (x, y, "#rrggbb", radius).
    palette: a color picture, in any of these forms.

    Returns candidates, best first by `rank_by`, each with its full-size picture and scores, and a
    map of uncertainty.

    Raises:
        pipeline.errors.PhotoError: the photograph cannot be read.
        pipeline.errors.UsageError: a setting or weights that cannot work.
    """
    from pipeline.ledger.hints import hints_of
    from pipeline.ledger.palettes import palette_of

    colorizer, given = _colorizer(weights), hints_of(hints)
    colors = None
    if palette is not None:
        name = palette if isinstance(palette, str | PathLike) else "picture"
        colors = palette_of(str(name), _bytes_of(palette), colorizer.low_resolution)
    how = seed, candidates, method, temperature, saturation
    told: dict[str, Any] = {"hints": given, "palette": colors, "rank_by": rank_by}
    return colorizer.colorize(_bytes_of(photo), *how, **told)


def open_results(destination: str) -> "ds.Dataset":
    """The rows of a run as a pyarrow dataset, of each photo those of its latest attempt.

    destination: a folder or s3://bucket/prefix. The rows are read into memory, some 500 bytes each.
    `output_uri` is where a picture is now, also where the destination has moved since.

    Raises:
        pipeline.errors.UsageError: there is no run.
    """
    import pyarrow.dataset as ds

    from pipeline.ledger.results import SCHEMA, located, read_results
    from pipeline.ledger.run_file import open_run
    from pipeline.storage.open_storage import open_storage

    place = open_storage(destination)
    tables = [located(table, place) for table in read_results(place, open_run(place))]
    return ds.dataset(tables or [SCHEMA.empty_table()])


@lru_cache(maxsize=1)
def _colorizer(weights: str | None) -> "PhotoColorizer":
    from model.weights import WEIGHTS
    from pipeline.single import PhotoColorizer

    return PhotoColorizer(weights or WEIGHTS)


def _bytes_of(photo: Any) -> bytes:
    """A photograph in any form, as the bytes of an image file."""
    if isinstance(photo, bytes):
        return photo
    if isinstance(photo, str | PathLike):
        with open(photo, "rb") as opened:
            return opened.read()
    from pipeline.images.pictures import png_of

    return png_of(photo)
