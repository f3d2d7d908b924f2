"""Pages of TIFFs: which there are, and what becomes of each in a run that takes all."""

import hashlib
import io
import pickle
import struct
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from model.colorizer import Colorizer
from pipeline.errors import PhotoError, UsageError
from pipeline.images.masters import read_full, read_small
from pipeline.images.pages import count_pages, page_alone
from pipeline.ledger.names import former_output_path
from pipeline.ledger.plan import Schedule
from pipeline.ledger.planning import prepare_run
from pipeline.ledger.recipe import Recipe
from pipeline.ledger.results import read_results
from pipeline.ledger.run_file import Run
from pipeline.ledger.seeds import photo_seed
from pipeline.ledger.selection import parse_selection, take_selection
from pipeline.ledger.status import Ledger
from pipeline.run.operators import pack, read_row
from pipeline.run.options import RecipeOptions, Resources
from pipeline.run.request import prepare_job
from pipeline.run.steps import colorize_shard, read_shard, write_shard
from pipeline.storage.memory import MemoryStorage
from pipeline.verify import verify
from support.premis_rules import breaches, write_premis
from support.tiny_models import tiny_color, tiny_core, tiny_spatial, write_tiny_weights

RECIPE = Recipe(
    source="memory://source",
    weights={"core": "c0de"},
    versions={"autochrome": "1.2"},
    pages="all",
    sidecar=True,
)
PAGES = np.random.default_rng(0).integers(0, 65536, (6, 20, 30), dtype=np.uint16)


@pytest.fixture(scope="module")
def colorizer() -> Colorizer:
    return Colorizer(tiny_core(8), tiny_color(8), tiny_spatial(16), batch_size=4)


def tiff(*pages: np.ndarray, kinds: tuple[int, ...] = (), **options: Any) -> bytes:
    """A TIFF of these pages; kinds: NewSubfileType of the first ones."""
    file = io.BytesIO()
    with tifffile.TiffWriter(
        file, bigtiff=options.pop("big", False), byteorder=options.pop("order", "<")
    ) as writer:
        for page, kind in zip(pages, (*kinds, *[0] * len(pages)), strict=False):
            writer.write(
                *(page,),
                photometric="minisblack",
                subfiletype=kind,
                metadata=None,
                contiguous=False,
                **options,
            )
    return file.getvalue()


def few_bits(page: np.ndarray) -> np.ndarray:
    return (page >> 8).astype(np.uint8)


def damaged(data: bytes, page: int) -> bytes:
    """The pixels of a page, counted from 0, are overwritten."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        found = file.pages[page]
        assert isinstance(found, tifffile.TiffPage)
        place, size = found.dataoffsets[0], found.databytecounts[0]
    return data[:place] + b"\xff" * size + data[place + size :]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("compression", ["lzw", "zlib", None])
def test_every_page_is_read_bit_by_bit(order: str, big: bool, compression: str | None) -> None:
    shapes = [PAGES[0], few_bits(PAGES[1]), PAGES[2][:7, :9], few_bits(PAGES[3]) > 99]
    data = tiff(*shapes, order=order, big=big, compression=compression)
    assert count_pages(data) == 4
    for number, page in enumerate(shapes, 1):
        master = read_full(data, page=number)
        expected = page * np.uint8(255) if page.dtype == bool else page
        assert np.array_equal(master.gray, expected) and master.gray.dtype == expected.dtype
        assert read_small(data, [16], page=number)[0] == master.info
    with pytest.raises(PhotoError, match="no page 5"):
        read_full(data, page=5)


def test_what_is_no_picture_of_its_own_is_no_page() -> None:
    small, mask = few_bits(PAGES[0])[:5, :5], few_bits(PAGES[1]) > 99
    data = tiff(small, PAGES[0], small, mask, PAGES[1], kinds=(1, 0, 1, 4, 2))
    assert count_pages(data) == 2
    for number in (1, 2):
        assert np.array_equal(read_full(data, page=number).gray, PAGES[number - 1])
    alone = tiff(small, small, kinds=(1, 1))
    assert count_pages(alone) == 1 and np.array_equal(read_full(alone).gray, small)
    assert count_pages(b"") == count_pages(b"II*\0") == count_pages(b"no TIFF at all") == 1


def test_the_usual_first_page_is_the_file_itself() -> None:
    for data in (tiff(PAGES[0]), tiff(PAGES[0], PAGES[1]), b"something else"):
        assert page_alone(data, 1) is data


def test_a_chain_that_leads_out_of_the_file_ends_with_a_page_and_a_circle_does_not() -> None:
    data = tiff(PAGES[0], PAGES[1])
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        first, last = (page.offset for page in file.pages)
    pointers = [
        place + 2 + 12 * struct.unpack_from("<H", data, place)[0] for place in (first, last)
    ]

    def leading_to(place: int) -> bytes:
        return data[: pointers[1]] + struct.pack("<I", place) + data[pointers[1] + 4 :]

    assert count_pages(leading_to(first)) == count_pages(leading_to(last)) == 2
    assert count_pages(leading_to(len(data) + 5)) == 3
    with pytest.raises(PhotoError) as error:
        read_full(leading_to(len(data) + 5), page=3)
    assert error.value.reason == "corrupt"
    cut = data[: last + 10]
    assert count_pages(cut) == 2 and np.array_equal(read_full(cut).gray, PAGES[0])


TWO_PAGES = tiff(few_bits(PAGES[0])[:4, :4], few_bits(PAGES[1])[:4, :4])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    changes=st.lists(st.tuples(st.integers(0), st.integers(0, 255)), max_size=12),
    cut=st.floats(0, 1),
)
def test_damage_of_any_kind_leaves_a_number_of_pages(
    changes: list[tuple[int, int]], cut: float
) -> None:
    data = bytearray(TWO_PAGES)
    for place, value in changes:
        data[place % len(data)] = value
    left = bytes(data[: int(len(data) * cut)])
    for page in range(1, count_pages(left) + 1):
        assert len(page_alone(left, page)) == len(left)


def test_names_of_pages_are_those_of_no_other_photo() -> None:
    source = MemoryStorage()
    names = ["a.tif", "a.page-0002.tif", "b.tif", "b.page-0002", "c.tiff", "d.tif"]
    for name in names:
        source.write(name, b"x")
    assert former_output_path("d.tif", "tif", None, source, 2) == "images/d.page-0002.tif"
    assert (
        former_output_path("c.tiff", "tif", 1, source, 12) == "images/c.page-0012.candidate-1.tiff"
    )
    assert former_output_path("d.tif", "png", None, source, 2) == "images/d.tif.page-0002.png"
    for suffix in ("tif", "png"):
        for candidate in (None, 0):
            places = {
                former_output_path(name, suffix, candidate, source, page)
                for name in names
                for page in (None, 1, 2)
            }
            assert len(places) == 3 * len(names)


def test_the_first_page_has_the_seed_of_a_photo_and_others_their_own() -> None:
    assert photo_seed(7, "abc", 2, 1) == photo_seed(7, "abc", 2)
    assert (
        len({photo_seed(0, "abc", candidate, page) for candidate in (0, 1) for page in (1, 2, 3)})
        == 6
    )


def run(
    source: MemoryStorage, destination: MemoryStorage, colorizer: Colorizer, recipe: Recipe = RECIPE
) -> tuple[Run, list[dict[str, Any]]]:
    """All that is open, in one process; the rows that count."""
    planned = prepare_run(source, destination, recipe, 8)
    done = {
        shard for shard in range(99) if destination.exists(f"results/shard-{shard:06d}.parquet")
    }
    for shard in list(Schedule(destination, planned).open(done)):
        read = read_shard(shard, source, (8, 16), pages=recipe.pages)
        own = shard.recipe(recipe)
        colored = colorize_shard(read, colorizer, own, "cpu")
        report = write_shard(shard.number, colored, source, destination, planned)
        assert report.photos == len(shard.photos)
    rows = [row for table in read_results(destination, planned) for row in table.to_pylist()]
    return planned, rows


def test_every_page_becomes_a_picture_and_a_row(colorizer: Colorizer) -> None:
    source, destination = MemoryStorage("source"), MemoryStorage("destination")
    same = few_bits(PAGES[3])
    book = damaged(tiff(PAGES[0], PAGES[1], same, same, compression="zlib"), 1)
    source.write("box/book.tif", book)
    source.write("box/one.tif", tiff(PAGES[2]))
    planned, rows = run(source, destination, colorizer, replace(RECIPE, candidates=2))
    digest = hashlib.sha256(book).hexdigest()
    told = [
        (row["photo"], row["page"], row["pages"], row["candidate"], row["reason"]) for row in rows
    ]
    assert told == [
        *(("box/book.tif", 1, 4, candidate, None) for candidate in (0, 1)),
        ("box/book.tif", 2, 4, 0, "corrupt"),
        *(("box/book.tif", page, 4, candidate, None) for page in (3, 4) for candidate in (0, 1)),
        *(("box/one.tif", 1, 1, candidate, None) for candidate in (0, 1)),
    ]
    for row in rows:
        if row["status"] == "ok":
            several = f".page-{row['page']:04d}" if row["pages"] > 1 else ""
            stem = row["photo"].removesuffix(".tif")
            path = f"images/{stem}{several}.candidate-{row['candidate']}.tif"
            assert row["output_uri"] == destination.uri_of(path)
            written = read_full(destination.read(path)).gray.astype(int)
            number = {"box/one.tif": 2}.get(row["photo"], row["page"] - 1)
            expected = PAGES[number] if row["page"] == 1 else same
            assert np.abs(written - expected).max() <= 1
            said = f"<autochrome:SourcePage>{row['page']}<".encode()
            assert (said in destination.read(path)) == (row["pages"] > 1)
            assert (f'"page": {row["page"]}'.encode() in destination.read(path + ".json")) == (
                row["pages"] > 1
            )
            assert row["rank"] in (1, 2) and row["preview"] is not None
    seeds = [row["seed"] for row in rows if row["photo"] == "box/book.tif" and row["seed"]]
    assert len(set(seeds)) == 6 and seeds[:2] == [photo_seed(0, digest, n) for n in (0, 1)]
    assert destination.read("images/box/book.page-0003.candidate-0.tif") != destination.read(
        "images/box/book.page-0004.candidate-0.tif"
    ), "pages that look the same are drawn anew"
    ledger = Ledger(destination, planned)
    ledger.refresh()
    status = ledger.status()
    assert (status.photos, status.done, status.failed, status.more_pages) == (
        2,
        1,
        {"corrupt": 1},
        0,
    )
    assert not verify(source, destination, planned).problems
    write_premis(destination, read_results(destination, planned), planned)
    record = destination.read("premis.xml")
    assert not breaches(ElementTree.fromstring(record)) and b"page 4 of 4, candidate 1" in record

    # The page that failed is mended: all of the photo is done once more, and its newer rows count.
    source.write("box/book.tif", book)
    assert ledger.retry_failed() == 1
    before = destination.read("images/box/book.page-0003.candidate-0.tif")
    _, again = run(source, destination, colorizer, replace(RECIPE, candidates=2))
    assert [row["attempt"] for row in again if row["photo"] == "box/book.tif"] == [2] * 7
    assert destination.read("images/box/book.page-0003.candidate-0.tif") == before
    assert not verify(source, destination, planned).problems


def test_a_picture_that_is_gone_and_a_page_without_a_row_are_named(colorizer: Colorizer) -> None:
    source, destination = MemoryStorage("source"), MemoryStorage("destination")
    source.write("a.tif", tiff(PAGES[0], PAGES[1]))
    planned, _ = run(source, destination, colorizer)
    destination.delete("images/a.page-0002.tif")
    [problem] = verify(source, destination, planned).problems
    assert (problem.kind, problem.path) == ("missing_image", "images/a.page-0002.tif")
    run_of_first = replace(planned, recipe=replace(RECIPE, pages="first"))
    assert (
        verify(source, destination, run_of_first).problems[0].detail.startswith("pages [1, 2] of 1")
    )
    selection = parse_selection("x.csv", b"photo,page,candidate,decision,seed\na.tif,2,0,reject,\n")
    assert take_selection(destination, planned, selection) == 0
    for line, why in ((b"a.tif,3,0,reject,", "page 3"), (b"a.tif,0,1,approve,", "candidate 1 of")):
        wrong = parse_selection("x.csv", b"photo,page,candidate,decision,seed\n" + line)
        with pytest.raises(UsageError, match=why):
            take_selection(destination, planned, wrong)


def test_first_pages_are_what_they_were_and_others_are_counted(colorizer: Colorizer) -> None:
    source = MemoryStorage("source")
    source.write("book.tif", tiff(PAGES[0], PAGES[1]))
    source.write("one.tif", tiff(PAGES[2]))
    first, every = MemoryStorage("first"), MemoryStorage("every")
    planned, rows = run(source, first, colorizer, replace(RECIPE, pages="first"))
    assert [(row["photo"], row["page"], row["pages"]) for row in rows] == [
        ("book.tif", 1, 2),
        ("one.tif", 1, 1),
    ]
    run(source, every, colorizer)
    assert first.read("images/one.tif") == every.read("images/one.tif")
    assert every.exists("images/book.page-0002.tif") and not every.exists("images/book.tif")
    pixels = [
        np.asarray(Image.open(io.BytesIO(place.read(path))))
        for place, path in ((first, "images/book.tif"), (every, "images/book.page-0001.tif"))
    ]
    assert np.array_equal(pixels[0], pixels[1])
    ledger = Ledger(first, planned)
    ledger.refresh()
    assert ledger.status().more_pages == 1


def test_a_file_of_too_many_pages_is_one_row_and_a_page_too_large_harms_no_other(
    colorizer: Colorizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.run.steps.reading.MOST_PAGES", 2)
    monkeypatch.setattr("pipeline.verification.rows.MOST_PAGES", 2)
    monkeypatch.setattr("pipeline.run.steps.reading.MAX_PIXELS", 500)
    source, destination = MemoryStorage("source"), MemoryStorage("destination")
    source.write("a.tif", tiff(*PAGES[:3]))
    source.write("b.tif", tiff(PAGES[0][:4], PAGES[1]))
    planned, rows = run(source, destination, colorizer)
    told = [(row["photo"], row["page"], row["pages"], row["reason"]) for row in rows]
    assert told == [
        ("a.tif", 1, 3, "too_large"),
        ("b.tif", 1, 2, None),
        ("b.tif", 2, 2, "too_large"),
    ]
    assert rows[0]["error"] == "3 pages; the limit is 2"
    assert not verify(source, destination, planned).problems


def test_a_photo_is_skipped_only_where_all_its_pages_are(colorizer: Colorizer) -> None:
    color = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    files = []
    for some in ([color, few_bits(PAGES[0])], [color, color]):
        images = [Image.fromarray(each) for each in some]
        file = io.BytesIO()
        images[0].save(file, "TIFF", save_all=True, append_images=images[1:])
        files.append(file.getvalue())
    source, destination = MemoryStorage("source"), MemoryStorage("destination")
    source.write("mixed.tif", files[0])
    source.write("color.tif", files[1])
    planned, rows = run(source, destination, colorizer)
    assert [row["status"] for row in rows] == ["skipped", "skipped", "skipped", "ok"]
    ledger = Ledger(destination, planned)
    ledger.refresh()
    assert (ledger.status().done, ledger.status().skipped) == (1, 1)


def test_pages_count_once_where_a_later_attempt_opens_a_file(colorizer: Colorizer) -> None:
    source, destination = MemoryStorage("source"), MemoryStorage("destination")
    for name in ("a.tif", "b.tif"):
        source.write(name, tiff(PAGES[0], PAGES[1]))
    recipe = replace(RECIPE, pages="first")
    planned = prepare_run(source, destination, recipe, 8)
    source.delete("b.tif")
    run(source, destination, colorizer, recipe)
    ledger = Ledger(destination, planned)
    ledger.refresh()
    assert (ledger.status().more_pages, ledger.status().failed) == (1, {"missing": 1})
    source.write("b.tif", tiff(PAGES[0], PAGES[1], PAGES[2]))
    assert ledger.retry_failed() == 1
    run(source, destination, colorizer, recipe)
    for each in (ledger, Ledger(destination, planned)):
        each.refresh()
        assert (each.status().more_pages, each.status().done) == (2, 2)


def test_a_run_on_ray_is_told_which_pages(tmp_path: Path) -> None:
    weights = write_tiny_weights(tmp_path / "weights")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.tif").write_bytes(tiff(PAGES[0], PAGES[1]))
    options, resources = RecipeOptions(pages="all"), Resources(str(weights), device="cpu")
    job = prepare_job(str(tmp_path / "photos"), MemoryStorage("out"), options, resources)
    assert (job.run.recipe.pages, job.run.plan.shard_size) == ("all", 1)
    [shard] = Schedule(job.destination, job.run).open()
    row = read_row(pack(shard), job, False)
    _, photos = pickle.loads(row["work"])
    assert [photo.result.page for photo in photos] == [1, 2]


def test_directories_that_share_their_bytes_are_not_read_again_and_again() -> None:
    entries = 4000
    one = struct.pack("<H", entries) + struct.pack("<HHII", 270, 2, 1, 0) * entries
    data = bytearray(b"II*\0\x08\0\0\0" + one * 3)
    for place in range(len(data) - 2, 8, -2):  # each place may be a directory that leads on
        data[place : place + 2] = struct.pack("<H", entries)
    start = time.process_time()
    count_pages(bytes(data))
    assert time.process_time() - start < 2
    chained = bytearray(b"II*\0\x08\0\0\0" + b"\0" * 400_000)
    for number in range(2_000):
        place = 8 + 4 * number
        struct.pack_into("<H", chained, place, entries)
        struct.pack_into("<I", chained, place + 2 + 12 * entries, place + 4)
    start = time.process_time()
    assert 1 <= count_pages(bytes(chained)) < 20
    assert time.process_time() - start < 2
