"""Destinations with real pictures in them, colored at random: no model, no Ray."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.ledger.plan import Schedule
from pipeline.ledger.planning import prepare_run
from pipeline.ledger.recipe import Recipe
from pipeline.ledger.results import committed_shards
from pipeline.ledger.run_file import Run
from pipeline.run.steps import write_shard
from pipeline.storage.base import Storage
from pipeline.storage.local import LocalStorage
from support.written_shards import RECIPE, candidates_of

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "photos"


def example_photos() -> dict[str, bytes]:
    """The photographs of the demo: JPEG, PNG and TIFF in folders."""
    return {
        path.relative_to(EXAMPLES).as_posix(): path.read_bytes()
        for path in sorted(EXAMPLES.rglob("*"))
        if path.suffix in (".jpg", ".png", ".tif")
    }


def color(source: Storage, destination: Storage, run: Run) -> None:
    """Do whatever is open in a run, with previews."""
    for shard in Schedule(destination, run).open(committed_shards(destination).keys()):
        photos = [
            [replace(each, entropy=np.zeros((8, 8), np.float32)) for each in photo]
            if photo[0].rgb is not None
            else photo
            for photo in candidates_of(shard.recipe(run.recipe), source, shard)
        ]
        write_shard(shard.number, photos, source, destination, run)


def colored_folder(
    folder: Path, photos: Mapping[str, bytes], recipe: Recipe = RECIPE
) -> tuple[LocalStorage, LocalStorage, Run]:
    """A source of these photos and its destination, as folders of a folder, and the run."""
    source, destination = LocalStorage(str(folder / "scans")), LocalStorage(str(folder / "colored"))
    for path, data in photos.items():
        source.write(path, data)
    run = prepare_run(source, destination, replace(recipe, source=source.uri), 3)
    color(source, destination, run)
    return source, destination, run
