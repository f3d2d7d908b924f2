"""A review page of real photographs, two of one folder, of which one was redone."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.images.encoding import encode
from pipeline.ledger.planning import prepare_run
from pipeline.ledger.results import Result, commit_shard
from pipeline.ledger.run_file import Run
from pipeline.ledger.selection import parse_selection, take_selection
from pipeline.review.pages import PAGE, write_review
from pipeline.review.previews import PreviewSheets
from pipeline.storage.base import Storage
from pipeline.storage.local import LocalStorage
from pipeline.storage.memory import MemoryStorage
from support.simulated_runs import RECIPE

PHOTOS = Path(__file__).parents[2] / "examples" / "photos"
REDONE, FRESH = "animals/cat.jpg", "animals/raccoon.jpg"
SIZE = (240, 160)  # of all pictures


def picture_of(photo: str, mirrored: bool = False) -> np.ndarray:
    """uint8 (160, 240, 3), red at the left to blue at the right."""
    with Image.open(PHOTOS / photo) as opened:
        gray = np.asarray(opened.convert("L").resize(SIZE))
    share = np.linspace(0, 1, SIZE[0])
    tint = np.stack([1 - 0.7 * share, np.full_like(share, 0.5), 0.3 + 0.7 * share], axis=1)
    picture = (gray[..., None] * tint).astype(np.uint8)
    return np.ascontiguousarray(picture[:, ::-1] if mirrored else picture)


def write_hinted_page(folder: Path, takes_hints: bool = True) -> Path:
    """Its page. The first attempt of what was redone is mirrored."""
    source, destination = MemoryStorage("museum"), LocalStorage(str(folder))
    for photo in (REDONE, FRESH):
        source.write(photo, b"1")
    run = prepare_run(source, destination, RECIPE, 4)
    _commit(destination, run, 0, [REDONE, FRESH], attempt=1)
    lines = f"photo,candidate,decision,seed\n{REDONE},,redo,7\n"
    take_selection(destination, run, parse_selection("s.csv", lines.encode()))
    _commit(destination, run, 1, [REDONE], attempt=2)
    write_review(destination, run, takes_hints)
    return folder / PAGE


def _commit(
    destination: Storage, run: Run, shard: int, photos: Sequence[str], attempt: int
) -> None:
    sheets, rows = PreviewSheets(destination, shard), []
    for photo in photos:
        picture = picture_of(photo, mirrored=attempt == 1 and photo == REDONE)
        file = f"images/{photo}"
        destination.write(file, encode(picture, "JPEG"))
        row = Result(photo, f"memory://museum/{photo}", shard, 1, "5ha", attempt=attempt)
        row = replace(row, rank=1, width=SIZE[0], height=SIZE[1], bits_per_pixel=2.0)
        row = replace(row, colorfulness=20.0, output_uri=destination.uri_of(file))
        preview = sheets.add(picture, np.zeros((8, 8), np.float32))
        rows.append(replace(row, preview=preview, finished_at=datetime(2026, 5, 4, tzinfo=UTC)))
    sheets.close()
    assert commit_shard(destination, shard, rows, run.digest)
