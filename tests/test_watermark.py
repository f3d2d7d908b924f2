"""The watermark: found after handling, nowhere else, and luminance stays."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import DestinationMismatch
from pipeline.images.chroma import LUMA, bands, put_color_on
from pipeline.images.encoding import encode
from pipeline.images.masters import read_full, read_rgb
from pipeline.images.pictures import resize_rgb
from pipeline.images.watermark import (
    READ_AT,
    STRENGTH,
    find_watermark,
    read_watermark,
    watermarked,
)
from pipeline.images.watermark_code import CODED, decoded, encoded
from pipeline.images.watermark_strength import STRENGTHS, least_strength
from pipeline.ledger.planning import check_recipe
from pipeline.ledger.recipe import Recipe
from pipeline.provenance.inspection import Inspection, inspect_file
from pipeline.provenance.rows import find_rows
from pipeline.provenance.sidecar import sidecar_path
from pipeline.provenance.watermark import payload_of
from pipeline.storage.memory import MemoryStorage
from support.written_shards import RECIPE, run_of, write

PHOTOS = ("animals/cat.jpg", "people/stairs.jpg")
WITH = replace(RECIPE, watermark=True, sidecar=True, format="png")


def written(repository: Path, recipe: Recipe) -> MemoryStorage:
    """The example photographs, colored at random, as the writing step leaves them."""
    source, destination = MemoryStorage("source"), MemoryStorage()
    for name in PHOTOS:
        source.write(name, (repository / "examples/photos" / name).read_bytes())
    rows = write(source, destination, recipe)
    assert [row["status"] for row in rows] == ["ok", "ok"], rows
    return destination


@pytest.fixture(scope="module")
def with_mark(repository: Path) -> MemoryStorage:
    return written(repository, WITH)


@pytest.fixture(scope="module")
def plain(repository: Path) -> MemoryStorage:
    return written(repository, replace(WITH, watermark=False))


def images(place: MemoryStorage) -> dict[str, bytes]:
    """By the master's name."""
    return {
        Path(name).stem: data
        for name, data in sorted(place.objects.items())
        if name.startswith("images/") and name.endswith(".png")
    }


def as_jpeg(file: bytes) -> bytes:
    again = io.BytesIO()
    Image.open(io.BytesIO(file)).convert("RGB").save(again, "JPEG", quality=75)
    return again.getvalue()


def inspected(folder: Path, file: bytes) -> Inspection:
    path = folder / "picture"
    path.write_bytes(file)
    return inspect_file(str(path))


def test_pictures_say_run_and_photo_and_find_their_rows(
    with_mark: MemoryStorage, tmp_path: Path
) -> None:
    destination = with_mark
    run, found = run_of(WITH, 2), []
    for name, file in images(destination).items():
        for handled in (file, as_jpeg(file)):
            each = inspected(tmp_path, handled)
            assert "watermark" in each.declared_by, name
            [[row], _], _ = find_rows(
                destination, run, [(each.sha256, None, each.watermark), ("", None, None)]
            )
            assert each.watermark == payload_of(WITH, str(row.source_sha256))
            assert Path(row.photo).name == name
            found.append(row.found_by)
    assert found == ["digest", "watermark"] * 2
    other = replace(run, recipe=replace(WITH, seed=1))
    assert find_rows(destination, other, [("", None, each.watermark)])[0] == [()]
    text = destination.read(sidecar_path("images/animals/cat.jpg.png"))
    assert b'"watermark": true' in text


def test_nothing_is_found_in_pictures_without_a_mark(plain: MemoryStorage, tmp_path: Path) -> None:
    for file in images(plain).values():
        assert inspected(tmp_path, file).watermark is None
    flat = encode(np.full((300, 200, 3), (200, 90, 40), np.uint8), "PNG")
    assert inspected(tmp_path, flat).watermark is None


def test_luminance_stays_and_bytes_are_the_same_twice(
    with_mark: MemoryStorage, plain: MemoryStorage, repository: Path
) -> None:
    without, first = images(plain), images(with_mark)
    again = images(written(repository, WITH))
    assert first == again and len(first) == 2
    for name, file in first.items():
        assert file != without[name]
        before, after = (
            np.asarray(Image.open(io.BytesIO(each))).astype(float) for each in (without[name], file)
        )
        assert np.abs((after - before) @ LUMA).max() < 0.62
        assert np.abs(after @ LUMA - np.rint(before @ LUMA)).max() < 0.31
        gray = np.ptp(before, axis=2) == 0
        assert np.array_equal(after[gray], before[gray])


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_bands_do_not_show(kind: type[np.uint8] | type[np.uint16], repository: Path) -> None:
    data = (repository / "examples/photos" / PHOTOS[0]).read_bytes()
    scale = np.iinfo(kind).max // 255
    gray = (read_full(data).gray[::2, ::2].astype(np.int64) * scale).astype(kind)
    small = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    picture = put_color_on(gray, small)
    height, width = gray.shape
    [whole] = watermarked([picture], height, width, 1234567)
    parts = [picture[rows] for rows in (slice(0, 1), slice(1, 90), slice(90, None))]
    assert np.array_equal(np.concatenate(list(watermarked(parts, height, width, 1234567))), whole)
    assert whole.dtype == kind
    moved = np.abs(whole.astype(int) - picture).max() / np.iinfo(kind).max * 255
    assert 1 <= moved < 9, "codes of 8 bits"


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (500, 3)])
def test_pictures_of_any_size(size: tuple[int, int]) -> None:
    height, width = size
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    parts = (picture[rows] for rows in bands(height, width))
    assert np.concatenate(list(watermarked(parts, height, width, 7))).shape == picture.shape


def with_colors(repository: Path, colors: np.ndarray) -> np.ndarray:
    """An example photograph, uint8 (h, w, 3), in colors uint8 (S, S, 3)."""
    data = (repository / "examples/photos" / PHOTOS[0]).read_bytes()
    return put_color_on(read_full(data).gray, colors)


def is_read_after_handling(picture: np.ndarray, payload: int, strength: float) -> bool:
    """As JPEG of quality 75, also without the first pixels, and at half the size."""
    height, width = picture.shape[:2]
    [marked] = watermarked([picture], height, width, payload, strength)
    half = resize_rgb(marked, (width // 2, height // 2))
    found = []
    for quality, less in ((75, 0), (70, 5), (75, 10)):
        file = io.BytesIO()  # by Pillow as it is: it keeps a quarter of the colors
        Image.fromarray(marked[less:, less:]).save(file, "JPEG", quality=quality)
        share = (max(height, width) - less) / max(height, width)
        squeezed = read_rgb(file.getvalue(), READ_AT)
        found.append(read_watermark(squeezed, height - less, width - less, share))
    found.append(read_watermark(read_rgb(encode(half, "PNG"), READ_AT), height, width))
    return found == [payload] * 4


def test_each_picture_gets_the_least_strength_that_is_read_after_handling(
    repository: Path,
) -> None:
    payload, random = 0xC0FFEE42, np.random.default_rng(3)
    flat = with_colors(repository, np.full((8, 8, 3), (200, 150, 90), np.uint8))
    busy = with_colors(repository, random.integers(60, 200, (32, 32, 3), dtype=np.uint8))
    assert least_strength(flat, payload) == STRENGTHS[0]
    assert is_read_after_handling(flat, payload, STRENGTHS[0])
    strength = least_strength(busy, payload)
    assert strength > STRENGTH, "its own colors hide the mark"
    assert is_read_after_handling(busy, payload, strength)
    weaker = STRENGTHS[STRENGTHS.index(strength) - 1]
    assert not is_read_after_handling(busy, payload, weaker)


def test_what_cannot_carry_a_mark_gets_the_strength_of_before(repository: Path) -> None:
    gray = with_colors(repository, np.full((8, 8, 3), 120, np.uint8))
    assert least_strength(gray, 1) == STRENGTH
    assert least_strength(np.full((1, 1, 3), (200, 90, 40), np.uint8), 1) == STRENGTH


def test_marks_of_versions_that_had_one_strength_are_found(repository: Path) -> None:
    picture = with_colors(repository, np.full((8, 8, 3), (200, 150, 90), np.uint8))
    height, width = picture.shape[:2]
    [marked] = watermarked([picture], height, width, 99)
    squeezed = read_rgb(encode(marked, "PNG"), READ_AT)
    assert find_watermark(squeezed, height, width) == 99


def test_the_code_corrects_what_noise_turns_over() -> None:
    random = np.random.default_rng(1)
    for payload in (0, 2**32 - 1, 0xC0FFEE42):
        noisy = encoded(payload) + random.normal(0, 1, CODED)
        assert (np.sign(noisy) != encoded(payload)).sum() > 10
        assert decoded(noisy) == payload
    assert decoded(np.zeros(CODED)) is None
    assert sum(decoded(random.normal(0, 1, CODED)) is not None for _ in range(20)) == 0


def test_a_run_is_marked_from_beginning_to_end() -> None:
    destination, recipe = MemoryStorage(), run_of(RECIPE).recipe
    with pytest.raises(DestinationMismatch, match="watermark: was False, now True"):
        check_recipe(destination, recipe, replace(recipe, watermark=True))
