"""One photograph at a time, without Ray: the command and the functions for notebooks."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import autochrome
from pipeline.errors import PhotoError, UsageError
from pipeline.images.chroma import put_color_on
from pipeline.ledger.plan import Schedule
from pipeline.ledger.planning import prepare_run
from pipeline.run.steps import write_shard
from pipeline.single import PhotoColorizer
from pipeline.storage.local import LocalStorage
from support.commands import run_command
from support.written_shards import RECIPE, candidates_of, gray_photo


@pytest.fixture(scope="module")
def photo(repository: Path) -> Path:
    [found] = (repository / "examples" / "photos").rglob("astronaut.jpg")
    return found


def options(**given: Any) -> dict[str, Any]:
    return given


def test_gray_color_and_candidates_stand_side_by_side(
    photo: Path, weights: Path, tmp_path: Path
) -> None:
    result = run_command(
        "preview", photo, "-o", tmp_path / "a.png", "--candidates", 2, "--weights", weights
    )
    assert (result.exit_code, result.output) == (0, f"{tmp_path / 'a.png'}\n")
    with Image.open(tmp_path / "a.png") as opened:
        picture = np.asarray(opened)
    width = (picture.shape[1] - 3 * 8) // 4
    parts = [picture[:, place * (width + 8) :][:, :width] for place in range(4)]
    assert max(picture.shape[0], width) == 512, "never enlarged"
    assert (np.ptp(parts[0], axis=-1) == 0).all(), "gray"
    assert all(np.ptp(part, axis=-1).max() > 0 for part in parts[1:]), "color"
    assert not np.array_equal(parts[2], parts[3])


def test_the_colors_are_those_of_a_run(photo: Path, weights: Path) -> None:
    from model import Colorizer
    from model.method import Method
    from pipeline.images.masters import read_full, read_small

    data = photo.read_bytes()
    [given] = PhotoColorizer(weights).colorize(data).candidates
    colorizer = Colorizer.load(weights, method=Method(draft=True, saturation=1.7))
    sizes = colorizer.low_resolution, colorizer.high_resolution
    _, (low, high) = read_small(data, sizes)
    colors = colorizer.colorize(low[None], high[None], [given.seed], 1.0)
    gray = read_full(data).gray
    assert np.array_equal(given.rgb, put_color_on(gray, colors.rgb[0]))
    assert given.log_likelihood == colors.log_likelihood[0]


def test_several_photos_go_to_a_folder(photo: Path, weights: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.png"
    Image.new("L", (30, 20), 99).save(other)
    result = run_command("preview", photo, other, "-o", tmp_path / "out", "--weights", weights)
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "out" / "astronaut.preview.jpg") as opened:
        assert opened.format == "JPEG"
    with Image.open(tmp_path / "out" / "other.preview.jpg") as opened:
        assert opened.size == (68, 20), "never enlarged"


def test_a_photo_that_cannot_be_read_is_named_and_the_others_are_done(
    photo: Path, weights: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(photo.read_bytes()[:200])
    os.mkfifo(pipe := tmp_path / "pipe.jpg")  # reading it would wait for ever
    result = run_command("preview", broken, pipe, photo, "-o", tmp_path, "--weights", weights)
    assert result.exit_code == 3 and f"{broken}: corrupt: " in result.output
    assert f"{pipe}: unreadable: {pipe} is not a regular file\n" in result.output
    assert (tmp_path / "astronaut.preview.jpg").exists()


def test_wrong_usage_is_one_line(photo: Path, weights: Path, tmp_path: Path) -> None:
    (tmp_path / "box").mkdir()
    other, twin, none = tmp_path / "other.jpg", tmp_path / "box" / photo.name, tmp_path / "none"
    for each in (other, twin):
        each.write_bytes(photo.read_bytes())
    for arguments, words in (
        ((tmp_path,), "is a folder: autochrome colorize does folders"),
        ((photo, "-o", photo), "masters are never written to"),
        ((photo, "-o", tmp_path / "a.bmp"), "is not a JPEG, PNG or WebP file"),
        ((photo, "-o", none / "a.jpg"), f"there is no folder {none} for a.jpg"),
        ((photo, other, "-o", none / "deep"), f"there is no folder {none} for "),
        ((photo, other, "-o", photo), f"{photo} is a file, not a folder"),
        ((photo, twin, "-o", tmp_path), f"{photo} and {twin} would both go to "),
        ((photo, "--weights", tmp_path, "-o", tmp_path), "no weights file at"),
        ((tmp_path / "nothing.jpg",), "does not exist"),
        ((), "Missing argument"),
    ):
        result = run_command("preview", *arguments)
        assert result.exit_code == 2 and words in result.output, result.output


@pytest.mark.slow
def test_ray_is_not_started_nor_imported(photo: Path, weights: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from jobs.main import main\n"
        f"try: main(['preview', {str(photo)!r}, '-o', {str(tmp_path / 'a.jpg')!r},"
        f" '--weights', {str(weights)!r}])\n"
        "except SystemExit as end: assert not end.code\n"
        "assert not {'ray', 'boto3'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("kind", ["path", "bytes", "image", "gray", "deep", "rgb"])
def test_notebooks_colorize_a_photograph_in_any_form(photo: Path, weights: Path, kind: str) -> None:
    image = Image.open(photo).convert("L")
    gray = np.asarray(image)
    forms: dict[str, Any] = {
        "path": photo,
        "bytes": photo.read_bytes(),
        "image": image,
        "gray": gray,
        "deep": gray.astype(np.uint16) * 257,
        "rgb": np.stack([gray] * 3, axis=-1),
    }
    found = autochrome.colorize(forms[kind], weights=str(weights))
    assert found.rgb.shape == (*gray.shape, 3) and found.rgb.dtype == np.uint8
    assert np.abs(found.gray.astype(int) - gray).max() <= 1
    assert found.uncertainty.shape == (8, 8)
    [candidate] = found.candidates
    assert candidate.log_likelihood < 0 < candidate.bits_per_pixel


def test_candidates_are_ranked_and_differ(photo: Path, weights: Path) -> None:
    found = autochrome.colorize(photo, candidates=3, seed=7, weights=str(weights))
    distances = [candidate.mean_distance for candidate in found.candidates]
    assert distances == sorted(distances) and len(set(distances)) == 3
    by_likelihood = autochrome.colorize(
        photo, candidates=3, seed=7, weights=str(weights), rank_by="likelihood"
    )
    likelihoods = [candidate.log_likelihood for candidate in by_likelihood.candidates]
    assert likelihoods == sorted(likelihoods, reverse=True) and len(set(likelihoods)) == 3
    assert {each.seed for each in found.candidates} == {
        each.seed for each in by_likelihood.candidates
    }
    again = autochrome.colorize(photo, candidates=3, seed=7, weights=str(weights))
    assert all(
        np.array_equal(one.rgb, other.rgb)
        for one, other in zip(found.candidates, again.candidates, strict=True)
    )


def test_what_notebooks_cannot_do_is_said(photo: Path, weights: Path, tmp_path: Path) -> None:
    place = str(weights)
    for given, words in (
        (options(candidates=0), "at least one candidate is needed, not 0"),
        (options(method="magic"), "method must be auto, mean or sample, not 'magic'"),
        (options(method="mean", candidates=2), "one picture of a photo, not 2"),
        (options(rank_by="taste"), "--rank-by taste: .* can rank by likelihood, typicality, "),
    ):
        with pytest.raises(UsageError, match=words):
            autochrome.colorize(photo, weights=place, **given)
    with pytest.raises(UsageError, match=r"not float64 \(2, 2\)"):
        autochrome.colorize(np.zeros((2, 2)), weights=place)
    with pytest.raises(PhotoError):
        autochrome.colorize(b"nothing", weights=place)
    with pytest.raises(UsageError, match="holds no run of Autochrome"):
        autochrome.open_results(str(tmp_path))


def test_results_are_a_table_of_the_latest_attempts(tmp_path: Path) -> None:
    source = LocalStorage(str(tmp_path / "source"))
    for number in range(3):
        source.write(f"{number}.png", gray_photo(number))
    destination = LocalStorage(str(tmp_path / "out"))
    run = prepare_run(source, destination, replace(RECIPE, source=source.uri), 8)
    assert autochrome.open_results(destination.uri).to_table().num_rows == 0
    [shard] = Schedule(destination, run).open()
    write_shard(0, candidates_of(run.recipe, source, shard), source, destination, run)
    table = autochrome.open_results(destination.uri).to_table()
    assert table["photo"].to_pylist() == ["0.png", "1.png", "2.png"]
    assert set(table["status"].to_pylist()) == {"ok"}
    moved = tmp_path / "moved"
    (tmp_path / "out").rename(moved)
    uris = autochrome.open_results(str(moved)).to_table()["output_uri"].to_pylist()
    assert len(uris) == 3 and all(Path(uri).is_relative_to(moved) for uri in uris)
    assert all(Path(uri).is_file() for uri in uris)


def test_a_stamp_keeps_its_color_in_notebooks(photo: Path, weights: Path) -> None:
    with Image.open(photo) as opened:
        stamped = np.asarray(opened.convert("L").convert("RGB")).copy()
    stamped[100:150, 200:280] = (190, 30, 40)
    found = autochrome.colorize(stamped, weights=str(weights))
    assert (found.rgb[110:140, 210:270] == (190, 30, 40)).all()
    assert (found.rgb[300:400] != stamped[300:400]).any()


def test_a_stamp_keeps_its_color_in_a_preview(photo: Path, weights: Path, tmp_path: Path) -> None:
    with Image.open(photo) as opened:
        stamped = np.asarray(opened.convert("L").convert("RGB")).copy()
    stamped[100:150, 200:280] = (190, 30, 40)
    Image.fromarray(stamped).save(tmp_path / "a.png")
    made = PhotoColorizer(weights).preview((tmp_path / "a.png").read_bytes(), 0, 1, 256).rgb
    for place in (1, 2):
        picture = made[:, place * 264 :][:, :256]
        assert np.abs(picture[54:71, 104:136].astype(int) - (190, 30, 40)).max() <= 4
        assert np.ptp(picture[150:200], axis=-1).max() > 0, "the print is painted"


@pytest.mark.parametrize("name", ["n" * 300, "folder/" + "n" * 252])
def test_a_name_that_is_too_long_is_one_line(photo: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    result = run_command("preview", photo, "-o", tmp_path / f"{name}.jpg")
    assert result.exit_code == 2
    assert result.stderr == (
        f"autochrome: {tmp_path / name}.jpg cannot be used: File name too long\n"
    )
