"""Targets, stamps and mounts: a print beside them is gray, and they keep their color."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from pipeline.images.masters import read_full, read_small
from pipeline.images.regions import keep_color, look_at
from pipeline.ledger.recipe import Recipe
from pipeline.run.rendering import render

INKS = [(0, 160, 220), (40, 140, 70), (240, 220, 20), (190, 30, 45), (255,) * 3, (120, 70, 40)]
SMALL = np.full((16, 16, 3), (150, 120, 100), np.uint8)


def print_of(tone: tuple[float, float, float] = (1, 1, 1)) -> np.ndarray:
    """A smooth photograph of 256 x 256 with grain, toned by powers."""
    rows, columns = np.mgrid[:256, :256]
    gray = 128 + 80 * np.sin(rows / 40) * np.cos(columns / 55)
    gray = gray + np.random.default_rng(0).normal(0, 8, gray.shape)
    return (255 * (gray.clip(0, 255)[..., None] / 255) ** np.array(tone)).astype(np.uint8)


def strip(picture: np.ndarray) -> None:
    for number, ink in enumerate(INKS):
        picture[-20:, number * 43 : (number + 1) * 43] = ink


def column(picture: np.ndarray) -> None:
    for number, ink in enumerate(INKS):
        picture[number * 43 : (number + 1) * 43, :24] = ink


def stamp(picture: np.ndarray) -> None:
    picture[100:130, 120:170] = (190, 30, 40)


def mount(picture: np.ndarray) -> None:
    inside = picture[40:216, 40:216].copy()
    picture[:] = (60, 90, 150)
    picture[40:216, 40:216] = inside


def png(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("put", [strip, column, stamp, mount])
@pytest.mark.parametrize("toned", [False, True])
def test_a_print_is_what_it_is_beside_something_in_color(
    put: Callable[[np.ndarray], None], toned: bool
) -> None:
    picture = print_of((0.7, 1, 1.4) if toned else (1, 1, 1))
    before = picture.copy()
    put(picture)
    look = look_at(picture)
    assert look.tone == ("toned_with_color" if toned else "gray_with_color")
    assert look.cells is not None
    there = (picture != before).any(axis=-1)
    vivid = there & (np.ptp(picture, axis=-1) > 80)
    assert look.cells[vivid].all()
    assert look.cells[~there].mean() < 0.06, "the print itself is painted"


def test_a_color_photograph_stays_one() -> None:
    rows, columns = np.mgrid[:256, :256]
    sky = np.where(rows < 110 + 30 * np.sin(columns / 30), 1, 0)[..., None]
    gray = print_of()
    land = (gray * (0.9, 1.0, 0.6)).astype(np.uint8)
    assert look_at(np.where(sky, np.array([110, 150, 230]), land).astype(np.uint8)).tone == "color"
    assert look_at(print_of()) == look_at(print_of())
    assert look_at(print_of()).cells is None


@pytest.mark.parametrize("format", ["png", "jpeg", "tiff"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_the_target_comes_out_as_it_was_and_upright(format: str, orientation: int) -> None:
    picture = print_of()[:, :200].copy()
    strip(picture)
    exif = Image.Exif()
    exif[274] = orientation
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", exif=exif)
    recipe = Recipe(source="nowhere", format=format, weights={}, versions={"autochrome": "0"})
    [made] = render(file.getvalue(), [SMALL], recipe, [0])
    assert not isinstance(made, Exception)
    found = np.asarray(Image.open(io.BytesIO(made.file)).convert("RGB")).astype(int)
    expected = picture if orientation == 1 else np.rot90(picture, -1)
    target = found[-19:] if orientation == 1 else found[:, :19]
    wanted = expected[-19:] if orientation == 1 else expected[:, :19]
    assert np.abs(target - wanted).mean() < (2 if format == "jpeg" else 0.01)


def test_results_of_another_size_keep_it_too() -> None:
    picture = print_of()
    strip(picture)
    recipe = Recipe(
        source="nowhere", output_size="128", format="png", weights={}, versions={"autochrome": "0"}
    )
    [made] = render(png(picture), [SMALL], recipe, [0])
    assert not isinstance(made, Exception)
    found = np.asarray(Image.open(io.BytesIO(made.file))).astype(int)
    assert np.abs(found[-5, 75] - INKS[3]).max() < 6


@pytest.mark.parametrize("put", [strip, column, stamp, mount])
@pytest.mark.parametrize("size", ["full", "256"])
@pytest.mark.parametrize("mark", [False, True])
def test_the_preview_shows_the_picture_that_is_delivered(
    put: Callable[[np.ndarray], None], size: str, mark: bool
) -> None:
    picture = np.kron(print_of(), np.ones((2, 2, 1), np.uint8))
    small = picture[::2, ::2].copy()
    put(small)
    picture[:] = np.kron(small, np.ones((2, 2, 1), np.uint8))
    versions = {"autochrome": "0"}
    recipe = Recipe(
        source="nowhere", weights={}, versions=versions, output_size=size, format="png", mark=mark
    )
    [made] = render(png(picture), [SMALL], recipe, [0])
    assert not isinstance(made, Exception)
    delivered = Image.open(io.BytesIO(made.file)).resize((256, 256), Image.Resampling.LANCZOS)
    away = np.abs(np.asarray(delivered).astype(int) - made.preview)
    assert away.max() <= 1


def test_only_those_cells_are_kept_and_both_readers_see_them() -> None:
    picture = print_of()
    stamp(picture)
    master = read_full(png(picture))
    assert master.kept is not None and master.info.tone == "gray_with_color"
    assert read_small(png(picture), [16])[0].tone == "gray_with_color"
    painted = np.full_like(picture, 7)
    bands = [painted[:100].copy(), painted[100:].copy()]
    whole = np.concatenate(list(keep_color(bands, master.kept)))
    assert np.array_equal(whole[105:125, 125:165], picture[105:125, 125:165])
    assert (whole[:90] == 7).all() and (whole[140:] == 7).all()
