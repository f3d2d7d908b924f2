"""The visible mark: it can be read, and the rest of the picture stays as it was."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from pipeline.errors import DestinationMismatch
from pipeline.images.chroma import bands
from pipeline.images.codecs import open_deep
from pipeline.images.encoding import encode
from pipeline.images.mark import draw_mark, marked, place_of_mark
from pipeline.images.masters import read_full, read_rgb
from pipeline.ledger.planning import check_recipe
from pipeline.storage.memory import MemoryStorage
from support.written_shards import RECIPE, gray_photo, run_of, write

LUMA = np.array([0.299, 0.587, 0.114])


def mark_on(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    parts = (picture[rows] for rows in bands(height, width))
    return np.concatenate(list(marked(parts, height, width)))


def corner_of(height: int, width: int) -> tuple[slice, slice]:
    mark = draw_mark(height, width)
    top, left = place_of_mark(height, width, mark)
    return slice(top, top + mark.shape[0]), slice(left, left + mark.shape[1])


@settings(max_examples=60)
@given(some.integers(1, 300), some.integers(1, 300), some.sampled_from([np.uint8, np.uint16]))
def test_outside_of_the_mark_a_picture_of_any_size_stays_as_it_is(
    height: int, width: int, kind: type[np.uint8] | type[np.uint16]
) -> None:
    random = np.random.default_rng(height * 1000 + width)
    picture = random.integers(0, np.iinfo(kind).max + 1, (height, width, 3), dtype=kind)
    before = picture.copy()
    result = mark_on(picture)
    assert np.array_equal(picture, before), "what was given is left alone"
    assert result.shape == picture.shape and result.dtype == kind
    corner = corner_of(height, width)
    assert not np.array_equal(result[corner], picture[corner])
    result[corner] = picture[corner]
    assert np.array_equal(result, picture)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("brightness", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("height", "width"), [(300, 451), (3000, 200), (2400, 3600)])
def test_letters_stand_out_on_any_picture(
    kind: type[np.uint8] | type[np.uint16], brightness: float, height: int, width: int
) -> None:
    highest = np.iinfo(kind).max
    picture = np.full((height, width, 3), round(brightness * highest), kind)
    plate = mark_on(picture)[corner_of(height, width)].astype(float) / highest
    mark = draw_mark(height, width)
    assert (plate[mark == 255] == 1).all() and plate[mark == 0].max() < 0.35
    assert 0.05 < (mark > 128).mean() < 0.3, "letters, neither a blank nor a block"


@pytest.mark.parametrize(("height", "width"), [(400, 600), (4000, 6000), (6000, 4000)])
def test_its_size_goes_with_the_picture_and_it_keeps_to_the_corner(height: int, width: int) -> None:
    rows, columns = corner_of(height, width)
    tall, wide = rows.stop - rows.start, columns.stop - columns.start
    assert 0.02 < tall / min(height, width) < 0.06 and wide / width < 0.2
    assert height - tall < rows.stop < height and width - tall < columns.stop < width


@pytest.mark.parametrize(("format", "depth"), [("PNG", 8), ("TIFF", 16)])
def test_luminance_is_kept_outside_of_the_mark(format: str, depth: int) -> None:
    source, plain, with_mark = MemoryStorage("source"), MemoryStorage(), MemoryStorage()
    size = (160, 90)
    master = gray_photo(1, format, size)
    if depth == 16:
        gray = np.random.default_rng(0).integers(0, 2**16, size[::-1], dtype=np.uint16)
        master = encode(gray, format)
    source.write("a", master)
    [row] = write(source, plain, RECIPE)
    [other] = write(source, with_mark, replace(RECIPE, mark=True))
    assert other["output_sha256"] != row["output_sha256"]
    scores = ("colorfulness", "log_likelihood", "width", "height", "seed")
    assert [other[name] for name in scores] == [row[name] for name in scores]
    [path] = [path for path in plain.objects if path.startswith("images/")]
    found = [read_full(place.read(path)).gray.astype(int) for place in (plain, with_mark)]
    corner = corner_of(*found[0].shape)
    outside = np.ones(found[0].shape, bool)
    outside[corner] = False
    assert np.array_equal(found[0][outside], found[1][outside])
    stored = read_full(master).gray.astype(int)
    assert np.abs(found[1] - stored)[outside].max() <= 1
    assert np.abs(found[1] - stored)[~outside].max() > 50
    if depth == 16:
        deep = open_deep(with_mark.read(path))
        assert deep is not None and deep.mode == "RGB;16"
    else:
        rgb = read_rgb(with_mark.read(path), 90)
        assert np.ptp(rgb, axis=2).max() > 20, "still in color"


def test_a_run_is_marked_from_beginning_to_end() -> None:
    destination, recipe = MemoryStorage(), run_of(RECIPE).recipe
    with pytest.raises(DestinationMismatch, match="mark: was False, now True"):
        check_recipe(destination, recipe, replace(recipe, mark=True))
