"""Sheets of small pictures: taken from bands, laid out in cells, the same bytes each time."""

import base64
import io
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from PIL import Image

from pipeline.review.previews import (
    CELL,
    CELLS,
    Preview,
    PreviewSheets,
    fitted,
    map_path,
    script_path,
    sheet_path,
)
from pipeline.storage.memory import MemoryStorage


def opened(storage: MemoryStorage, path: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(storage.read(path))))


@settings(max_examples=10)
@given(
    height=some.integers(1, 2200),
    width=some.integers(1, 2200),
    band=some.integers(1, 700),
    deep=some.booleans(),
)
def test_a_preview_is_the_picture_made_small_whatever_its_bands(
    height: int, width: int, band: int, deep: bool
) -> None:
    rows = np.linspace(0, 255, height)[:, None]
    columns = np.linspace(0, 255, width)[None]
    picture = np.stack(np.broadcast_arrays(rows, columns, np.float64(77)), axis=-1)
    picture = (picture * 257).astype(np.uint16) if deep else picture.astype(np.uint8)
    preview = Preview(height, width)
    parts = [picture[top : top + band] for top in range(0, height, band)]
    passed = list(preview.watch(parts))
    assert all(one is other for one, other in zip(passed, parts, strict=True))
    small = preview.picture()
    shape = fitted(height, width)
    assert small.shape == (*shape, 3) and small.dtype == np.uint8 and max(shape) <= CELL
    expected = np.stack(
        np.broadcast_arrays(
            np.linspace(0, 255, shape[0])[:, None], np.linspace(0, 255, shape[1])[None], 77.0
        ),
        axis=-1,
    )
    if min(shape) > 8:
        assert np.abs(small - expected).mean() < 4


def test_cells_are_filled_row_by_row_and_sheets_follow_each_other() -> None:
    storage = MemoryStorage()
    sheets = PreviewSheets(storage, 12)
    count = CELLS + 2
    colors = [(10 * k, 255 - 10 * k, 60) for k in range(count)]
    for k, color in enumerate(colors):
        picture = np.full((CELL, 100 + k, 3), color, np.uint8)
        assert sheets.add(picture, np.full((8, 8), k / 2, np.float32)) == k
        assert len(storage.objects) == 3 * ((k + 1) // CELLS), "written as soon as it is full"
    sheets.close()
    sheets.close()
    assert sorted(storage.objects) == sorted(
        path_of(12, sheet) for path_of in (sheet_path, map_path, script_path) for sheet in (0, 1)
    )
    script = storage.read(script_path(12, 1)).decode()
    found = re.fullmatch(r'review\.sheet\("shard-000012-001","(.+)"\);\n', script)
    assert found and base64.b64decode(found[1]) == storage.read(sheet_path(12, 1))
    assert sheet_path(12, 1) == "report/previews/shard-000012-001.jpg"
    for k, color in enumerate(colors):
        sheet, cell = divmod(k, CELLS)
        top, left = cell // 4, cell % 4
        picture = opened(storage, sheet_path(12, sheet)).astype(int)
        assert picture.shape == (4 * CELL, 4 * CELL, 3)
        inside = picture[top * CELL : (top + 1) * CELL, left * CELL : left * CELL + 96]
        assert np.abs(inside - color).max() <= 4, "no neighbor bleeds in"
        known = opened(storage, map_path(12, sheet))
        block = known[8 * top : 8 * top + 8, 8 * left : 8 * left + 8]
        assert (block == round(min(9, k / 2) / 9 * 255)).all()


def test_sheets_have_the_same_bytes_each_time() -> None:
    stores = [MemoryStorage(), MemoryStorage()]
    picture = np.random.default_rng(0).integers(0, 256, (CELL, 99, 3), dtype=np.uint8)
    for storage in stores:
        sheets = PreviewSheets(storage, 0)
        sheets.add(picture, np.ones((4, 4), np.float32))
        sheets.close()
    assert stores[0].objects == stores[1].objects


@pytest.mark.parametrize(
    ("height", "width", "shape"),
    [(100, 50, (100, 50)), (2560, 1280, (256, 128)), (1, 9000, (1, 256))],
)
def test_fitted(height: int, width: int, shape: tuple[int, int]) -> None:
    assert fitted(height, width) == shape
