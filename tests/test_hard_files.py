"""Inputs from reports of people who scan and archive: no picture wrong, no sound master refused."""

import csv
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.images.gray import eight_bits
from pipeline.images.masters import Master, read_full, read_small
from pipeline.ledger.recipe import Recipe
from pipeline.run.isolation import call_isolated
from pipeline.run.rendering import render

# The photograph that all of them show is this file's.
PLAIN = "09b-png-text.png"
SAME = (
    "01a-12bit-bigendian.tif",
    "01e-32bit-littleendian.tif",
    "01f-16bit-whiteiszero-bigendian.tif",
    "04-tiff-jpeg2000.tif",
    "04-tiff-lerc.tif",
    "04-tiff-webp.tif",
    "23d-jpegls.jpg",
    "25d-sgi-matteing.tif",
    "26b-tifffile-shaped.tif",
    "27c-thumbnail-first-main-in-subifd.tif",
    "41b-gray-alpha-planar8.tif",
)
LINEAR = ("40d-gray8-linear-icc.jp2", "40e-gray16-linear-icc.jp2")
STAMPED = ("10-color-strip-02.png", "10-red-stamp.png")
RECIPE = Recipe(source="nowhere", format="png", weights={}, versions={"autochrome": "0"})


@pytest.fixture(scope="module")
def hard(shared: Path) -> Path:
    folder = shared / "photos" / "hard"
    if not folder.is_dir():
        pytest.skip("no shared/photos/hard folder beside the checkout")
    return folder


@pytest.fixture(scope="module")
def photograph(hard: Path) -> np.ndarray:
    return gray_of(hard / PLAIN)


def gray_of(path: Path) -> np.ndarray:
    return eight_bits(full(path).gray).astype(int)


def full(path: Path) -> Master:
    """What both readers agree on."""
    master = read_full(path.read_bytes())
    assert read_small(path.read_bytes(), [64])[0] == master.info
    assert master.gray.shape == (master.info.height, master.info.width)
    return master


def result(path: Path, small: np.ndarray) -> bytes:
    [picture] = render(path.read_bytes(), [small], RECIPE, [0])
    assert not isinstance(picture, Exception), picture
    return picture.file


@pytest.mark.parametrize("name", SAME)
def test_however_a_photograph_is_stored_it_is_the_same(
    name: str, hard: Path, photograph: np.ndarray
) -> None:
    assert np.abs(gray_of(hard / name) - photograph).max() <= 1
    assert read_small((hard / name).read_bytes(), [64])[0].tone == "gray"


@pytest.mark.parametrize("name", LINEAR)
def test_a_profile_in_jpeg_2000_is_applied_once(
    name: str, hard: Path, photograph: np.ndarray
) -> None:
    light = photograph / 255
    expected = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    assert np.abs(gray_of(hard / name) - 255 * expected).max() <= 1.5


def test_cie_lab_of_a_color_picture_is_in_color(hard: Path) -> None:
    path = hard / "05a-color-lab8.tif"
    assert read_small(path.read_bytes(), [64])[0].tone == "color"


@pytest.mark.parametrize("name", STAMPED)
def test_a_print_beside_something_in_color_is_gray_and_that_keeps_its_color(
    name: str, hard: Path, photograph: np.ndarray
) -> None:
    path = hard / name
    assert read_small(path.read_bytes(), [64])[0].tone == "gray_with_color"
    master = np.asarray(Image.open(path)).astype(int)
    small = np.full((16, 16, 3), (150, 120, 100), np.uint8)
    made = np.asarray(Image.open(BytesIO(result(path, small)))).astype(int)
    colored = np.ptp(master, axis=-1) > 20
    assert colored.mean() > 0.01
    assert np.array_equal(made[colored], master[colored])
    elsewhere = np.ptp(made, axis=-1) > 10
    assert elsewhere[: len(made) // 2].mean() > 0.95, "the print is painted"


def test_orientation_that_stands_in_xmp_alone_is_honored(
    hard: Path, photograph: np.ndarray
) -> None:
    found = gray_of(hard / "28b-orientation-xmp-only.jpg")
    assert np.abs(found - np.rot90(photograph, -1)).mean() < 4


def test_a_jpeg_of_twelve_bits_is_read(hard: Path) -> None:
    master = full(hard / "23a-12bit.jpg")
    assert master.info.mode == "L;12" and master.gray.dtype == np.uint16


def results(folder: Path) -> dict[str, bytes | str]:
    """By file, the bytes of its result."""
    small = np.full((16, 16, 3), (150, 120, 100), np.uint8)
    names = sorted(path.name for path in folder.iterdir() if path.suffix != ".csv")
    return {name: result(folder / name, small) for name in names}


@pytest.mark.slow
def test_every_file_of_the_index_is_read_and_two_runs_give_the_same_bytes(hard: Path) -> None:
    first, second = (call_isolated(results, hard) for _ in range(2))
    assert first == second
    with open(hard / "index.csv", newline="", encoding="utf-8") as index:
        assert sorted(row["file"] for row in csv.DictReader(index)) == sorted(first)
