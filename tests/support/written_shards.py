"""Shards that are read and written as they are, colored at random: no model, no Ray."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.images.encoding import encode
from pipeline.ledger.plan import Photo, Shard
from pipeline.ledger.recipe import Recipe
from pipeline.ledger.results import read_results
from pipeline.ledger.run_file import Plan, Run
from pipeline.ledger.seeds import photo_seed
from pipeline.run.steps import Candidate, read_shard, write_shard
from pipeline.storage.base import Storage

RECIPE = Recipe(
    source="memory://source",
    temperature=0.5,
    weights={"core": "c0de", "color": "c010"},
    versions={"autochrome": "1.2", "pillow": "3"},
)


def gray_photo(number: int, format: str = "PNG", size: tuple[int, int] = (30, 20)) -> bytes:
    """A photograph of noise; size: (width, height)."""
    random = np.random.default_rng(number)
    return encode(random.integers(0, 256, size[::-1], dtype=np.uint8), format)


def write_gray_photos(folder: Path, count: int) -> Path:
    """A new folder with 0.png, 1.png and so on."""
    folder.mkdir()
    for number in range(count):
        (folder / f"{number}.png").write_bytes(gray_photo(number))
    return folder


def run_of(recipe: Recipe, photos: int = 1) -> Run:
    return Run(recipe, Plan(photos, 1, photos, 1, (), {}), "digest")


def candidates_of(recipe: Recipe, source: Storage, shard: Shard) -> list[list[Candidate]]:
    """The photos of a shard, read, and colored by their seeds."""
    every = []
    for photo in read_shard(shard, source, (8, 16), recolor=recipe.recolor, pages=recipe.pages):
        if photo.low is None:
            every.append([Candidate(photo.result)])
            continue
        of_photo = []
        for number in range(recipe.candidates):
            seed = photo_seed(recipe.seed, str(photo.result.source_sha256), number)
            rgb = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
            result = replace(
                photo.result,
                candidate=number,
                rank=number + 1,
                rank_by=recipe.rank_by,
                seed=seed,
                device="cpu",
                log_likelihood=-seed / 3e18,
                bits_per_pixel=seed / 7e18,
            )
            of_photo.append(Candidate(result, rgb))
        every.append(of_photo)
    return every


def planned(source: Storage) -> tuple[Photo, ...]:
    """What a source holds, as a plan has it where no two photos could share a name."""
    return tuple(Photo(each.path, each.size, name=each.path) for each in source.list())


def write(
    source: Storage, destination: Storage, recipe: Recipe = RECIPE, **options: Any
) -> list[dict[str, Any]]:
    """All photos of a source as one shard; its committed rows. options: as of write_shard."""
    shard = Shard(0, planned(source))
    run = run_of(recipe, len(shard.photos))
    write_shard(0, candidates_of(recipe, source, shard), source, destination, run, **options)
    [table] = read_results(destination, run)
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows
