"""autochrome preview: single photographs, at once and without Ray."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.options import check_number
from pipeline.errors import AutochromeError, PhotoError, UsageError, shown_in_line

if TYPE_CHECKING:
    import numpy as np

LONGEST = 640  # side of each picture in a preview


@click.command()
@click.argument(
    "photos",
    nargs=-1,
    required=True,
    metavar="PHOTO...",
    type=click.Path(exists=True, path_type=Path),
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE|FOLDER",
    help="A JPEG, PNG or WebP file; for several photos, a folder.  [default: NAME.preview.jpg]",
)
@click.option(
    "--candidates",
    type=click.IntRange(0, 8),
    default=0,
    show_default=True,
    help="Number of pictures drawn pixel by pixel, next to the one with the expected colors.",
)
@click.option("--seed", default=0, show_default=True, help="Another seed draws other candidates.")
@click.option(
    "--saturation",
    type=click.FloatRange(0, 4),
    callback=check_number,
    help="Strength of colors, as for colorize.",
)
@click.option(
    "--hints",
    metavar="FILE",
    help="Places whose color is known, as for colorize; hints for other photos are ignored.",
)
@click.option("--palette", metavar="PICTURE", help="Expect this picture's colors, as for colorize.")
@click.option("--weights", metavar="FOLDER", help="A folder with weights, as for colorize.")
def preview(
    photos: tuple[Path, ...],
    output: Path | None,
    candidates: int,
    seed: int,
    saturation: float | None,
    hints: str | None,
    palette: str | None,
    weights: str | None,
) -> None:
    """Colorize single photographs, here and at once.

    One picture shows gray, color and candidates side by side. There is no plan, no results table
    and no Ray. The colors are those that autochrome colorize would give.

    \b
    Exit codes: 0, 2 wrong usage, 3 a photo could not be colorized.

    \b
    Examples:
      autochrome preview portrait.tif
      autochrome preview portrait.tif street.jpg --candidates 2 -o previews
      autochrome preview portrait.tif --hints hints.csv
    """
    photos = tuple(dict.fromkeys(photos))
    places = places_of(photos, output)  # refuses before all that is slow
    from model.weights import WEIGHTS
    from pipeline.ledger.hints import hints_by_path
    from pipeline.ledger.palettes import read_palette
    from pipeline.single import PhotoColorizer

    known = hints_by_path(hints, map(str, photos)) if hints else {}
    colorizer, failed = PhotoColorizer(weights or WEIGHTS), False
    colors = read_palette(palette, colorizer.low_resolution) if palette else None
    for photo, place in zip(photos, places, strict=True):
        try:
            known_colors = known.get(str(photo), ()), colors
            data, how = read_photo(photo), (seed, candidates, LONGEST, saturation, *known_colors)
            made = colorizer.preview(data, *how)
            write_preview(made.rgb, place)
        except PhotoError as error:
            words = f"autochrome: {photo}: {error.reason}: {error}"
            click.echo(shown_in_line(words), err=True)
            failed = True
        else:
            click.echo(shown_in_line(str(place)))
            for note in made.notes:
                click.echo(shown_in_line(f"autochrome: {photo}: {note}"), err=True)
    click.get_current_context().exit(3 if failed else 0)


def read_photo(photo: Path) -> bytes:
    """Raises PhotoError."""
    from pipeline.run.steps.reading import MAX_BYTES
    from pipeline.storage.open_storage import read_file

    try:
        return read_file(str(photo), MAX_BYTES)
    except AutochromeError as error:  # as a pipe, which would be waited for
        raise PhotoError("unreadable", str(error)) from error


def places_of(photos: tuple[Path, ...], output: Path | None) -> list[Path]:
    """The file that each photo's preview is written to. Raises UsageError."""
    places: dict[Path, Path] = {}
    for photo in photos:
        place = place_of(photo, photos, output)
        if place in places:
            raise UsageError(
                f"{places[place]} and {photo} would both go to {place}: preview them one by one,"
                " with -o"
            )
        places[place] = photo
    return list(places)


def place_of(photo: Path, photos: tuple[Path, ...], output: Path | None) -> Path:
    """The file that a photo's preview is written to. Raises UsageError."""
    if photo.is_dir():
        raise UsageError(f"{photo} is a folder: autochrome colorize does folders")
    name = f"{photo.stem}.preview.jpg"
    if output is None:
        place = Path(name)
    elif len(photos) > 1 or output.is_dir():
        place = output / name
    else:
        place = output
    if place.suffix.lower() not in (".jpg", ".jpeg", ".png", ".webp"):
        raise UsageError(f"{place} is not a JPEG, PNG or WebP file")
    if any(place.exists() and os.path.samefile(place, each) for each in photos):
        raise UsageError(f"{place} is one of the photos: masters are never written to")
    folder = place.parent
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file, not a folder")
    if not folder.is_dir() and (len(photos) == 1 or not folder.parent.is_dir()):
        missing = folder if len(photos) == 1 else folder.parent
        raise UsageError(f"there is no folder {missing} for {place.name}: make it first")
    return place


def write_preview(rgb_HW3: "np.ndarray", place: Path) -> None:
    """Raises UsageError where the place cannot be written."""
    from pipeline.images.pictures import save

    format = {".png": "PNG", ".webp": "WEBP"}.get(place.suffix.lower(), "JPEG")
    height, width = rgb_HW3.shape[:2]
    file = save([rgb_HW3], height, width, format, quality=90)
    part = place.with_name(f".{place.name}.partial")
    try:
        place.parent.mkdir(exist_ok=True)
        try:
            part.write_bytes(file)
            part.replace(place)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"{place} cannot be written: {error.strerror}") from error
