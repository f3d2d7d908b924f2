"""Hints and palettes: files, plans, what becomes of them in the model and in finished pictures."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import autochrome
from model.color import bins_from_coarse, coarse_from_rgb
from model.colorizer import Colorizer
from model.lab import ciede2000, lab_from_rgb
from model.method import Method
from model.weights import WEIGHTS
from pipeline.errors import DestinationMismatch, UsageError
from pipeline.images.hints import Hint, hint_colors, hinted_cells, rgb_on_gray
from pipeline.ledger.hints import (
    format_hints,
    hints_by_path,
    hints_digest,
    hints_of,
    parse_hints,
    read_hints,
)
from pipeline.ledger.palettes import palette_digest, palette_of, parse_palette
from pipeline.ledger.plan import Photo, Schedule, Shard
from pipeline.ledger.results import committed_shards, read_results
from pipeline.ledger.run_file import RUN, Run
from pipeline.ledger.selection import parse_selection, take_selection
from pipeline.ledger.series import plan_series
from pipeline.ledger.status import Ledger
from pipeline.run.known_colors import UNKNOWN, Hinted, hint_bins
from pipeline.run.options import RecipeOptions, Resources
from pipeline.run.request import Job, prepare_job, reopen_job
from pipeline.run.steps import colorize_shard, read_shard, write_shard
from pipeline.run.survey import survey
from pipeline.storage.base import Storage
from pipeline.storage.local import LocalStorage
from pipeline.storage.memory import MemoryStorage
from support.commands import refusal, run_command
from support.simulated_runs import as_before
from support.tiny_models import tiny_color, tiny_core, tiny_spatial, write_tiny_weights
from support.written_shards import RECIPE, gray_photo, run_of, write_gray_photos

HEADER = "photo,x,y,color,radius\n"
HINTS = parse_hints("test", "0.2:0.3:0.1:#c03020;0.7:0.6:0.05:#2040a0")


def hint(x: float, y: float, color: str = "#c03020", radius: float = 0.1) -> Hint:
    return Hint(x, y, radius, color)


def file_of(tmp_path: Path, text: str, name: str = "hints.csv") -> str:
    path = tmp_path / name
    path.write_text(text)
    return str(path)


def reference(tmp_path: Path, seed: int = 1) -> Path:
    """A picture in color, of sixteen fields."""
    fields = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    path = tmp_path / f"reference-{seed}.png"
    Image.fromarray(fields.repeat(16, 0).repeat(16, 1)).save(path)
    return path


# Conversion.


def test_a_hint_covers_the_cells_in_its_radius_and_always_its_own() -> None:
    cells = hinted_cells([hint(0.5, 0.5, radius=0.25)], width=200, height=100, side=8)
    assert cells.max() == 0
    rows, columns = np.nonzero(cells == 0)
    # A quarter of the shorter side is 2 cells up and down, and 1 to each side of a wide picture.
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (2, 5, 3, 4)
    tiny = hinted_cells([hint(1, 1, radius=1e-6), hint(0, 0.5, radius=1e-6)], 30, 20, 8)
    assert tiny[7, 7] == 0 and tiny[4, 0] == 1 and (tiny >= 0).sum() == 2


def test_of_hints_that_overlap_each_keeps_its_own_cell_and_the_nearer_one_the_rest() -> None:
    cells = hinted_cells([hint(0.1, 0.5, radius=0.5), hint(0.6, 0.5, radius=0.5)], 80, 80, 8)
    assert cells[4].tolist() == [0, 0, 0, 1, 1, 1, 1, 1]
    within = hinted_cells([hint(0.5, 0.5, radius=0.5), hint(0.52, 0.5, radius=0.01)], 80, 80, 40)
    assert within[20, 20] in (0, 1) and set(within[within >= 0]) == {0, 1}


def test_a_color_on_its_own_luminance_is_that_color_and_its_bin() -> None:
    colors = np.random.default_rng(0).integers(0, 256, (40, 3))
    for red, green, blue in colors.tolist():
        [color] = hint_colors([hint(0.5, 0.5, f"#{red:02x}{green:02x}{blue:02x}")])
        gray = round(0.299 * red + 0.587 * green + 0.114 * blue)
        one = np.zeros((1, 1), np.int64)
        found = rgb_on_gray([color], one, np.full((1, 1), gray, np.uint8))[0]
        assert np.abs(found - (red, green, blue)).max() <= 3  # the gray itself is rounded
        low = np.full((4, 4), gray, np.uint8)
        bins = hint_bins(Hinted(low, 30, 30, (color,)))
        import torch

        expected = int(bins_from_coarse(coarse_from_rgb(torch.from_numpy(found))))
        assert bins[2, 2] == expected and set(np.unique(bins)) == {expected, UNKNOWN}


def test_luminance_is_kept_and_hue_survives_where_the_color_cannot_be_shown() -> None:
    [color] = hint_colors([hint(0.5, 0.5, "#0000ff")])
    gray = np.arange(256, dtype=np.uint8)[None]
    rgb = rgb_on_gray([color], np.zeros(gray.shape, np.int64), gray)
    assert np.abs(rgb @ [0.299, 0.587, 0.114] - gray[0]).max() <= 1
    assert color.by_gray[29, 2] < 1, "blue's own luminance"
    assert color.by_gray[200, 2] > 6, "no such blue is so bright"
    lab = lab_from_rgb(rgb[[60, 120, 200]])
    hues = np.degrees(np.arctan2(lab[:, 2], lab[:, 1]))
    assert np.ptp(hues) < 4


# Files.


def test_csv_and_parquet_say_the_same(tmp_path: Path) -> None:
    text = "photo,x,y,color,page\nb.jpg,0.25,0.5,#AABBCC,\na.jpg,1,0,#000000,2\n"
    from_csv = read_hints(file_of(tmp_path, "\ufeff" + text))
    table = pa.table(
        {
            "color": ["#000000", "#aabbcc"],
            "photo": ["a.jpg", "b.jpg"],
            "x": [1.0, 0.25],
            "y": [0.0, 0.5],
            "page": [2, None],
        }
    )
    pq.write_table(table, tmp_path / "hints.parquet")
    from_parquet = read_hints(str(tmp_path / "hints.parquet"))
    assert from_csv.hints == from_parquet.hints
    assert from_csv.digest() == from_parquet.digest()
    assert from_csv.hints["b.jpg"] == (Hint(0.25, 0.5, 0.03, "#aabbcc"),)
    for hints in from_csv.hints.values():
        assert parse_hints("again", format_hints(hints)) == hints
    other = read_hints(file_of(tmp_path, text.replace("0.25", "0.26"), "other.csv"))
    assert other.digest() != from_csv.digest()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "a.jpg,1.5,0.5,#112233,",
            "line 2: x '1.5' lies outside of the picture: it is not a number from",
        ),
        ("a.jpg,0.5,-0.1,#112233,", "line 2: y '-0.1' lies outside of the picture"),
        ("a.jpg,0.5,nan,#112233,", "line 2: y 'nan' is not a number from 0 to 1"),
        ("a.jpg,,0.5,#112233,", "line 2: x '' is not a number"),
        ("a.jpg,0.5,0.5,blue,", "line 2: color 'blue' is not of the form #rrggbb"),
        ("a.jpg,0.5,0.5,#11223g,", "line 2: color '#11223g'"),
        ("a.jpg,0.5,0.5,#112233,0.6", "line 2: radius '0.6' is not a number from 0 to 0.5"),
        ("a.jpg,0.5,0.5,#112233,0", "line 2: radius '0' is too small"),
        (",0.5,0.5,#112233,", "line 2: photo '' is not a path"),
        ("a.jpg,0.5,0.5,#112233", "line 2: 4 values, not 5"),
        ("a,0,0,#112233,\na,0,0,#332211,", "line 3: there is a hint at 0, 0 already"),
        ("", "has no hints"),
    ],
)
def test_a_wrong_row_is_named_with_its_value(tmp_path: Path, line: str, words: str) -> None:
    with pytest.raises(UsageError) as raised:
        read_hints(file_of(tmp_path, HEADER + line))
    assert words in str(raised.value) and "\n" not in str(raised.value)


def test_files_that_are_no_hints_are_told(tmp_path: Path) -> None:
    for text, words in (("photo,x,y\n", "no column 'color'"), (HEADER[:-1] + ",z\n", "column 'z'")):
        with pytest.raises(UsageError, match=words):
            read_hints(file_of(tmp_path, text))
    with pytest.raises(UsageError, match="is not a Parquet file"):
        read_hints(file_of(tmp_path, HEADER, "hints.parquet"))
    with pytest.raises(UsageError, match="is not there"):
        read_hints(str(tmp_path / "none.csv"))
    with pytest.raises(UsageError, match="hint 2: color 'red'"):
        hints_of([(0.1, 0.2, "#112233"), (0.1, 0.3, "red")])


def test_a_preview_takes_the_hints_of_its_photo_alone(tmp_path: Path) -> None:
    uri = file_of(tmp_path, HEADER + "x/a.jpg,0,0,#112233,\nb.jpg,1,1,#332211,\n")
    assert list(hints_by_path(uri, ["scans/x/a.jpg", "c/d.jpg"])) == ["scans/x/a.jpg"]
    with pytest.raises(UsageError, match="no hint for a photo that is given; it has 'b.jpg'"):
        hints_by_path(uri, ["a.jpg"])


def test_a_preview_says_what_the_luminance_does_not_allow(tmp_path: Path) -> None:
    write_tiny_weights(tmp_path / "weights", hints=True)
    Image.new("L", (30, 20), 128).save(tmp_path / "mid.png")
    hints = file_of(tmp_path, HEADER + "mid.png,0.3,0.5,#2020ff,\nmid.png,0.7,0.5,#a07868,\n")
    told = ("--weights", tmp_path / "weights", "--hints", hints, "-o", tmp_path / "seen.png")
    result = run_command("preview", tmp_path / "mid.png", *told)
    assert result.exit_code == 0, result.output
    [note] = [line for line in result.stderr.splitlines() if "hint" in line]
    where = "hint #2020ff at 0.3, 0.5: the luminance there allows #"
    assert note.startswith(f"autochrome: {tmp_path / 'mid.png'}: {where}")
    assert result.stdout == f"{tmp_path / 'seen.png'}\n"


# Plans.


@pytest.fixture(scope="module")
def told_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny weights that were built for hints and palettes."""
    return write_tiny_weights(tmp_path_factory.mktemp("told"), hints=True, palette=True)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_gray_photos(tmp_path / "in", 3)


def job_of(source: Path, destination: Storage, weights: Path, **options: object) -> Job:
    asked = RecipeOptions(shard_size=2, **options)  # type: ignore[arg-type]
    return prepare_job(str(source), destination, asked, Resources(str(weights), device="cpu"))


def work(job: Job, saturation: float = 1.7) -> dict[str, bytes]:
    """All that is left to do, done here; the pictures by their names."""
    how = Method(draft=True, saturation=saturation)
    colorizer = Colorizer.load(job.resources.weights, method=how)
    recipe = job.run.recipe
    for shard in Schedule(job.destination, job.run).open(committed_shards(job.destination).keys()):
        read = read_shard(shard, job.source, job.sizes)
        colored = colorize_shard(read, colorizer, shard.recipe(recipe), "cpu")
        write_shard(shard.number, colored, job.source, job.destination, job.run)
    images = job.destination.list("images")
    return {each.path: job.destination.read(each.path) for each in images}


def rows_of(destination: Storage, run: Run) -> dict[str, dict[str, object]]:
    tables = read_results(destination, run)
    return {row["photo"]: row for table in tables for row in table.to_pylist()}


def test_hints_are_frozen_in_the_plan_and_change_their_photo_alone(
    source: Path, told_weights: Path, tmp_path: Path
) -> None:
    file = file_of(tmp_path, HEADER + "1.png,0.2,0.3,#c03020,0.1\n1.png,0.7,0.6,#2040a0,0.05\n")
    job = job_of(source, MemoryStorage("hinted"), told_weights, hints=file)
    Path(file).unlink()
    reopened = reopen_job(job.destination, job.resources)
    with_hints = work(reopened)
    without = work(job_of(source, MemoryStorage("plain"), told_weights))
    differing = [path for path in without if without[path] != with_hints[path]]
    assert differing == ["images/1.png"]
    rows = rows_of(job.destination, job.run)
    assert [rows[f"{n}.png"]["hints"] for n in range(3)] == [0, 2, 0]
    assert rows["1.png"]["hints_sha256"] == hints_digest(HINTS)
    assert rows["0.png"]["hints_sha256"] is None
    with pytest.raises(DestinationMismatch, match="hints: was [0-9a-f]{64}, now None"):
        job_of(source, job.destination, told_weights)


def test_a_hint_for_an_unknown_photo_is_refused_before_the_first_write(
    source: Path, told_weights: Path, tmp_path: Path
) -> None:
    destination = MemoryStorage("out")
    for line, words in (
        (
            "1.png,0,0,#112233,\n9.png,0,0,#112233,\n",
            "line 3: photo '9.png' is not among the photos to do",
        ),
        ("1.png,0,0,#112233,7\n", "line 2: radius '7'"),
    ):
        with pytest.raises(UsageError, match=words):
            job_of(source, destination, told_weights, hints=file_of(tmp_path, HEADER + line))
    paged = file_of(tmp_path, "photo,x,y,color,page\n1.png,0,0,#112233,2\n")
    with pytest.raises(UsageError, match="line 2: photo '1.png' has a hint for page 2, and only"):
        job_of(source, destination, told_weights, hints=paged)
    assert not destination.objects
    resources = Resources(str(told_weights), device="cpu")
    unknown = file_of(tmp_path, HEADER + "9.png,0,0,#112233,\n")
    with pytest.raises(UsageError, match="line 2: photo '9.png' is not among the photos to do"):
        survey(str(source), destination, RecipeOptions(hints=unknown), resources)


def test_weights_that_know_no_hints_are_refused(
    source: Path, weights: Path, tmp_path: Path
) -> None:
    file, out = file_of(tmp_path, HEADER + "1.png,0,0,#112233,\n"), tmp_path / "out"
    said = refusal("colorize", source, out, "--weights", weights, "--hints", file)
    assert said == f"--hints {file}: the weights in {weights} were not trained with hints"
    said = refusal("colorize", source, out, "--model", "pic", "--hints", file)
    assert said.startswith(f"--hints {file}: the weights in ")
    picture = reference(tmp_path)
    said = refusal("colorize", source, out, "--weights", weights, "--palette", picture)
    assert said.endswith("were not trained with palette")
    assert not out.exists()
    with pytest.raises(UsageError, match="were not trained with hints"):
        autochrome.colorize(gray_photo(1), weights=str(weights), hints=[(0, 0, "#112233")])


def test_plans_and_results_of_before_know_no_hints(source: Path, told_weights: Path) -> None:
    destination = MemoryStorage("old")
    job = job_of(source, destination, told_weights)
    old = as_before(destination, "hints", ("hints", "palette"))
    assert old.recipe == job.run.recipe
    assert [shard.photos[0].hints for shard in Schedule(destination, old).open()] == [None, None]
    assert Schedule(destination, old).hints() == {}


def test_decisions_bring_hints_and_a_retry_keeps_them(source: Path, told_weights: Path) -> None:
    job = job_of(source, MemoryStorage("out"), told_weights)
    first = work(job)
    header, text = "photo,candidate,decision,seed,hints\n", format_hints(HINTS)

    def take(lines: str) -> int:
        selection = parse_selection("my.csv", (header + lines).encode())
        return take_selection(job.destination, job.run, selection)

    again = f"1.png,,redo,0,{text}\n2.png,0,approve,,\n"
    assert take(again) == 1
    assert take(again) == 0, "the same again goes on with what is there"
    second = work(job)
    assert [path for path in first if first[path] != second[path]] == ["images/1.png"]
    row = rows_of(job.destination, job.run)["1.png"]
    assert (row["attempt"], row["hints"]) == (2, 2)
    assert Schedule(job.destination, job.run).hints() == {"1.png": text}
    without = parse_selection("my.csv", b"photo,candidate,decision,seed\n1.png,,redo,5\n")
    assert take_selection(job.destination, job.run, without) == 1
    work(job)
    assert rows_of(job.destination, job.run)["1.png"]["hints"] == 2, "no column: they stay"
    assert take("1.png,,redo,5,\n") == 0, "an empty cell: they stay, and so does all else"
    assert take("1.png,,redo,5,none\n") == 1
    work(job)
    assert rows_of(job.destination, job.run)["1.png"]["hints"] == 0, "an empty cell: none"


def test_a_failed_photo_is_retried_with_its_hints(
    source: Path, told_weights: Path, tmp_path: Path
) -> None:
    file = file_of(tmp_path, HEADER + "1.png,0.2,0.3,#c03020,0.1\n")
    job = job_of(source, MemoryStorage("out"), told_weights, hints=file)
    master = (source / "1.png").read_bytes()
    (source / "1.png").write_bytes(b"damaged")
    work(job)
    (source / "1.png").write_bytes(master)
    assert Ledger(job.destination, job.run).retry_failed() == 1
    work(job)
    row = rows_of(job.destination, job.run)["1.png"]
    assert (row["status"], row["attempt"], row["hints"]) == ("ok", 2, 1)


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("0.5:0.5:#112233", "line 2: hint '0.5:0.5:#112233' is not x:y:radius:#rrggbb"),
        ("0.5:2:0.1:#112233", "line 2: y '2' lies outside of the picture"),
        ("0.5:0.5:0.1:red", "line 2: color 'red'"),
    ],
)
def test_wrong_hints_of_a_decision_are_named(cell: str, words: str) -> None:
    text = f"photo,candidate,decision,seed,hints\na.jpg,,redo,1,{cell}\n"
    with pytest.raises(UsageError) as raised:
        parse_selection("my.csv", text.encode())
    assert words in str(raised.value)
    with pytest.raises(UsageError, match="belong to no approve"):
        parse_selection(
            "my.csv", text.replace(",redo,1,", ",approve,,").replace(",,", ",0,", 1).encode()
        )


def test_decisions_with_hints_are_refused_for_weights_that_know_none(
    source: Path, weights: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    job = job_of(source, LocalStorage(str(out)), weights)
    work(job)
    text = "photo,candidate,decision,seed,hints\n1.png,,redo,1,0.5:0.5:0.1:#112233\n"
    file = file_of(tmp_path, text, "selection.csv")
    said = refusal("resume", out, "--weights", weights, "--selection", file)
    assert "line 2: hints '0.5:0.5:0.1:#112233': the weights in" in said
    assert not (out / "selections").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
@pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\.")
def test_a_resume_needs_no_file_and_gives_the_same_bytes(
    source: Path, told_weights: Path, tmp_path: Path
) -> None:
    """The plan is there and nothing else, as after a kill; file and reference are gone."""
    file = file_of(tmp_path, HEADER + "1.png,0.2,0.3,#c03020,0.1\n")
    colors = reference(tmp_path)
    given = {"hints": file, "palette": str(colors)}
    expected = work(job_of(source, MemoryStorage("whole"), told_weights, **given))
    out = LocalStorage(str(tmp_path / "out"))
    job_of(source, out, told_weights, **given)
    Path(file).unlink()
    colors.unlink()
    result = run_command("resume", tmp_path / "out", "--weights", told_weights, "--actors", 1)
    assert result.exit_code == 0, result.output
    assert {each.path: out.read(each.path) for each in out.list("images")} == expected


# Pictures.


def shard_of(source: Storage, hints: Mapping[str, Sequence[Hint]]) -> Shard:
    texts = {photo: format_hints(found) for photo, found in hints.items()}
    photos = (Photo(e.path, e.size, name=e.path, hints=texts.get(e.path)) for e in source.list())
    return Shard(0, tuple(photos))


@pytest.mark.parametrize("draft", [True, False])
def test_company_changes_nothing_with_hinted_and_unhinted_photos(draft: bool) -> None:
    core = tiny_core(8, hints=True, palette=True)
    how = Method(draft=draft, saturation=1.4)
    colorizer = Colorizer(core, tiny_color(8), tiny_spatial(16), batch_size=8, method=how)
    recipe = replace(RECIPE, palette="5:3,77:1")
    source = MemoryStorage("source")
    for number in range(3):
        source.write(f"{number}.png", gray_photo(number))
    whole = shard_of(source, {"1.png": HINTS})
    together = colorize_shard(read_shard(whole, source, (8, 16)), colorizer, recipe, "cpu")
    for photo, candidates in zip(whole.photos, together, strict=True):
        one = read_shard(replace(whole, photos=(photo,)), source, (8, 16))
        [[alone]] = colorize_shard(one, colorizer, recipe, "cpu")
        [beside] = candidates
        assert alone.rgb is not None and beside.rgb is not None
        assert np.array_equal(alone.rgb, beside.rgb)
        assert alone.result.log_likelihood == beside.result.log_likelihood
        assert beside.result.palette_sha256 == palette_digest("5:3,77:1")
    plain = read_shard(shard_of(source, {}), source, (8, 16))
    unhinted = colorize_shard(plain, colorizer, recipe, "cpu")
    changed = [
        told[0].result.log_likelihood != untold[0].result.log_likelihood
        for told, untold in zip(together, unhinted, strict=True)
    ]
    assert changed == [False, True, False]


COLORS = ("#b03a2e", "#2e5a8a", "#4a7a3a", "#c8a050", "#806090", "#d8b0a0", "#f0f0f0", "#3a3a30")


@pytest.mark.slow
def test_in_finished_pictures_the_color_at_each_hint_is_what_was_asked(repository: Path) -> None:
    """All photographs of the examples with the shipped weights, from file to file.

    What was asked: the hint's a* and b* on the luminance that is there.
    """
    photos = LocalStorage(str(repository / "examples" / "photos"))
    places = [(x, y) for x in (0.07, 0.36, 0.64, 0.93) for y in (0.11, 0.5, 0.89)]
    masters = [each.path for each in photos.list() if not each.path.endswith(".md")]
    hints = {
        photo: tuple(
            Hint(x, y, 0.03, COLORS[(number + first) % len(COLORS)])
            for number, (x, y) in enumerate(places)
        )
        for first, photo in enumerate(masters)
    }
    shard = shard_of(photos, hints)
    shard = replace(shard, photos=tuple(p for p in shard.photos if p.path in masters))
    recipe = replace(RECIPE, recolor=True)
    destination, run = MemoryStorage("out"), run_of(recipe, len(masters))
    colorizer = Colorizer.load(WEIGHTS, method=Method(draft=True, saturation=1.7))
    sizes = colorizer.low_resolution, colorizer.high_resolution
    read = read_shard(shard, photos, sizes, recolor=True)
    colored = colorize_shard(read, colorizer, recipe, "cpu")
    write_shard(0, colored, photos, destination, run)
    far: list[float] = []
    excused = 0
    for photo, row in rows_of(destination, run).items():
        assert row["status"] == "ok" and row["hints"] == len(places)
        uri = str(row["output_uri"]).removeprefix("memory://out/")
        with Image.open(io.BytesIO(destination.read(uri))) as opened:
            rgb = np.asarray(opened.convert("RGB"))
        height, width = rgb.shape[:2]
        for each in hints[photo]:
            found = lab_from_rgb(rgb[int(each.y * height), int(each.x * width)])
            color = [int(each.color[place : place + 2], 16) for place in (1, 3, 5)]
            asked = np.concatenate((found[:1], lab_from_rgb(color)[1:]))
            if f"hint {each.color} at {each.x:g}, {each.y:g}:" in str(row["note"]):
                excused += 1
            else:
                far.append(float(ciede2000(found, asked)))
    print(f"{len(far)} hints: mean {np.mean(far):.2f}, largest {max(far):.2f}; {excused} excused")
    assert max(far) < 6
    assert excused < len(far)


# Palettes.


def test_a_palette_is_what_the_model_was_trained_with(tmp_path: Path) -> None:
    import torch

    from model.training.known_color import palette_of as trained
    from pipeline.images.masters import read_rgb

    data = reference(tmp_path).read_bytes()
    text = palette_of("reference.png", data, 32)
    expected = trained(torch.from_numpy(read_rgb(data, 32).astype(np.int64)))
    assert np.array_equal(parse_palette(text), expected.numpy())
    assert text == palette_of("again", data, 32) and len(text) < 4000


def test_a_palette_that_is_gray_or_no_picture_is_refused(
    source: Path, told_weights: Path, tmp_path: Path
) -> None:
    destination = MemoryStorage("out")
    with pytest.raises(UsageError, match=r"the palette .*0\.png is gray, and gives no colors"):
        job_of(source, destination, told_weights, palette=str(source / "0.png"))
    with pytest.raises(UsageError, match="is not a picture that can be read"):
        job_of(source, destination, told_weights, palette=file_of(tmp_path, "text"))
    assert not destination.objects
    for text in ("", "red", "1:0", "5:3,"):
        with pytest.raises(UsageError, match="is not a palette"):
            parse_palette(text)


def test_a_palette_is_frozen_and_another_one_refused(
    source: Path, told_weights: Path, tmp_path: Path
) -> None:
    colors = str(reference(tmp_path))
    job = job_of(source, MemoryStorage("out"), told_weights, palette=colors)
    frozen = json.loads(job.destination.read(RUN))["palette"]
    assert parse_palette(frozen).sum() == pytest.approx(1)
    plain = work(job_of(source, MemoryStorage("plain"), told_weights))
    told = work(reopen_job(job.destination, job.resources))
    assert all(told[path] != plain[path] for path in plain)
    assert {row["palette_sha256"] for row in rows_of(job.destination, job.run).values()} == {
        palette_digest(frozen)
    }
    other = str(reference(tmp_path, seed=2))
    with pytest.raises(DestinationMismatch, match="palette: was "):
        job_of(source, job.destination, told_weights, palette=other)


# Series.


def test_a_series_takes_the_palette_of_its_approved_picture_and_can_be_gone_on_with(
    told_weights: Path, tmp_path: Path
) -> None:
    source = tmp_path / "in"
    for number, name in enumerate(("a/1.png", "a/2.png", "a/3.png", "b/1.png", "b/2.png", "c.png")):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(gray_photo(number))
    job = job_of(source, MemoryStorage("out"), told_weights)
    side = job.sizes[0]
    first = work(job)
    text = b"photo,candidate,decision,seed\na/2.png,0,approve,\n"
    take_selection(job.destination, job.run, parse_selection("my.csv", text))
    assert plan_series(job.destination, job.run, side) == 3
    assert plan_series(job.destination, job.run, side) == 0, "planned already"
    second = work(job)
    assert plan_series(job.destination, job.run, side) == 0, "done already"
    rows = rows_of(job.destination, job.run)
    palettes = {name: row["palette_sha256"] for name, row in rows.items()}
    approved = palette_of("a/2.png", first["images/a/2.png"], side)
    assert palettes["a/1.png"] == palettes["a/3.png"] == palette_digest(approved)
    assert palettes["a/2.png"] is None and palettes["c.png"] is None
    assert [palettes["b/1.png"] is None, palettes["b/2.png"] is None].count(True) == 1
    changed = {path.removeprefix("images/") for path in first if first[path] != second[path]}
    assert changed == {name for name, palette in palettes.items() if palette}


def test_a_series_of_gray_pictures_stays_as_it_is(told_weights: Path, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for number in range(2):
        (source / f"{number}.png").write_bytes(gray_photo(number))
    job = job_of(source, MemoryStorage("out"), told_weights, saturation=0.0)
    work(job, saturation=0.0)
    assert plan_series(job.destination, job.run, job.sizes[0]) == 0
