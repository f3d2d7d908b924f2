"""What leaves a destination: which pictures, under which names, and that they arrive unharmed."""

import csv
import gc
import hashlib
import io
import json
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import bagit
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as some
from PIL import Image

from pipeline.delivery.chosen import chosen, decisions_of
from pipeline.delivery.deliver import deliver
from pipeline.delivery.names import DeliveredNames
from pipeline.delivery.order import Order
from pipeline.errors import DestinationMismatch, StorageError, StoreUnavailable, UsageError
from pipeline.ledger import seen
from pipeline.ledger.names import Names, ending_of, output_path
from pipeline.ledger.planning import prepare_run
from pipeline.ledger.results import Result, image_path, read_results
from pipeline.ledger.run_file import Run
from pipeline.ledger.selection import parse_selection, take_selection
from pipeline.ledger.updates import plan_update
from pipeline.storage.base import Skip, Storage, StoredObject, enter_all
from pipeline.storage.local import LocalStorage
from pipeline.storage.memory import MemoryStorage
from pipeline.storage.s3 import S3Storage
from support.colored_places import color, colored_folder, example_photos
from support.written_shards import RECIPE, gray_photo

HEADER = "photo,candidate,decision,seed\n"
TWO = replace(RECIPE, candidates=2)
PHOTOS = {f"box/{number}.png": gray_photo(number) for number in range(4)}
Place = tuple[MemoryStorage, MemoryStorage, Run]
# bagit hands flags of a regular expression over as a count, which Python 3.13 warns of.
BAGIT = pytest.mark.filterwarnings("ignore:'count' is passed as positional:DeprecationWarning")


def colored(photos: dict[str, bytes], recipe: object = TWO) -> Place:
    source, destination = MemoryStorage("source"), MemoryStorage("colored")
    for path, data in photos.items():
        source.write(path, data)
    run = prepare_run(source, destination, recipe, 3)  # type: ignore[arg-type]
    color(source, destination, run)
    return source, destination, run


@pytest.fixture
def place() -> Place:
    return colored(PHOTOS | {"box/broken.png": b""})


def rows_of(destination: Storage, run: Run) -> list[dict[str, object]]:
    return [row for table in read_results(destination, run) for row in table.to_pylist()]


def catalog_of(out: Storage, folder: str = "") -> list[dict[str, object]]:
    """The rows of the table, which are the same as CSV."""
    table = pq.read_table(io.BytesIO(out.read(f"{folder}catalog.parquet")))
    text = io.StringIO(out.read(f"{folder}catalog.csv").decode(), newline="")
    lines = list(csv.DictReader(text, strict=True))
    rows: list[dict[str, object]] = table.to_pylist()
    for line, row in zip(lines, rows, strict=True):
        assert line["photo"].removeprefix("'") == row["photo"]
        assert line["path"] == (row["path"] or "") and line["sha256"] == (row["sha256"] or "")
    return rows


def pictures_of(out: Storage, folder: str = "") -> dict[str, bytes]:
    start = f"{folder}images/"
    found = [each.path for each in out.list() if each.path.startswith(start)]
    return {path.removeprefix(start): out.read(path) for path in found}


def best_of(destination: Storage, run: Run) -> dict[str, bytes]:
    """What should be delivered of each photo: the picture of rank 1, called as its master."""
    return {
        str(row["photo"]): destination.read(image_path(row))
        for row in rows_of(destination, run)
        if row["rank"] == 1 and row["status"] == "ok"
    }


def test_the_best_picture_of_each_photo_goes_out_under_its_masters_name(place: Place) -> None:
    source, destination, run = place
    before = dict(destination.objects), dict(source.objects)
    out = MemoryStorage("out")
    summary = deliver(source, destination, run, out, Order())
    assert pictures_of(out) == best_of(destination, run)
    assert sorted(pictures_of(out)) == sorted(PHOTOS)
    assert (summary.pictures, summary.photos, summary.left_out) == (4, 4, {"failed": 1})
    assert summary.bytes == sum(map(len, pictures_of(out).values()))
    by_photo = {row["photo"]: row for row in catalog_of(out)}
    for photo, data in pictures_of(out).items():
        row = by_photo[photo]
        assert row["path"] == f"images/{photo}" and row["status"] == "delivered"
        assert row["sha256"] == hashlib.sha256(data).hexdigest() and row["bytes"] == len(data)
        assert row["source_sha256"] == hashlib.sha256(PHOTOS[photo]).hexdigest()
        assert row["software"] == "Autochrome 1.2" and row["weights"] == "color:c010 core:c0de"
        assert str(row["digital_source_type"]).endswith("/compositeWithTrainedAlgorithmicMedia")
    assert (dict(destination.objects), dict(source.objects)) == before


def test_all_candidates_keep_their_numbers(place: Place) -> None:
    source, destination, run = place
    out = MemoryStorage("out")
    summary = deliver(source, destination, run, out, Order(candidates="all"))
    expected = {f"box/{number}.candidate-{which}.png" for number in range(4) for which in (0, 1)}
    assert pictures_of(out).keys() == expected
    assert (summary.pictures, summary.photos) == (8, 4)
    ranks = [row["rank"] for row in catalog_of(out)]
    assert ranks == [1, 2] * 4


def test_a_rank_in_a_name_goes_where_one_picture_is_delivered() -> None:
    photos = {"box/a.png": gray_photo(1), "b.rank-2-by-nearness.png": gray_photo(2)}
    recipe = replace(TWO, rank_by="nearness")
    source, destination, run = colored(photos, recipe)
    assert destination.exists("images/box/a.rank-2-by-nearness.png")
    out = MemoryStorage("out")
    deliver(source, destination, run, out, Order())
    assert sorted(pictures_of(out)) == sorted(photos)
    every = MemoryStorage("all")
    deliver(source, destination, run, every, Order(candidates="all"))
    ends = ".rank-1-by-nearness.png", ".rank-2-by-nearness.png"
    stems = [photo.removesuffix(".png") for photo in photos]
    assert pictures_of(every).keys() == {stem + end for stem in stems for end in ends}
    assert {row["rank_by"] for row in catalog_of(every)} == {"nearness"}


def test_the_same_order_again_changes_nothing_and_mends_what_a_kill_left(place: Place) -> None:
    source, destination, run = place
    out = MemoryStorage("out")
    order = Order(iiif="https://archive.example/colored/")
    deliver(source, destination, run, out, order)
    whole, times = dict(out.objects), dict(out.times)
    deliver(source, destination, run, out, order)
    assert out.objects == whole and out.times == times  # nothing was written
    for path in list(out.objects):
        if path != "delivery.json":
            again = MemoryStorage("out")
            again.objects = {name: data for name, data in whole.items() if name <= path}
            again.objects["delivery.json"] = whole["delivery.json"]
            again.objects["images/.0123456789abcdef0123456789abcdef.partial"] = b"cut off"
            deliver(source, destination, run, again, order)
            assert again.objects == whole


def test_what_was_colored_since_is_added(place: Place) -> None:
    source, destination, run = place
    out = MemoryStorage("out")
    first = parse_selection("s.csv", (HEADER + "box/1.png,0,approve,\n").encode())
    take_selection(destination, run, first)
    deliver(source, destination, run, out, Order("approved"))
    assert pictures_of(out).keys() == {"box/1.png"}
    more = parse_selection("s.csv", (HEADER + "box/2.png,1,approve,\n").encode())
    take_selection(destination, run, more)
    deliver(source, destination, run, out, Order("approved"))
    assert pictures_of(out).keys() == {"box/1.png", "box/2.png"}
    assert {row["photo"]: row["candidate"] for row in catalog_of(out)} == {
        "box/1.png": 0,
        "box/2.png": 1,
    }


def test_another_file_is_never_replaced(place: Place) -> None:
    source, destination, run = place
    out = MemoryStorage("out")
    deliver(source, destination, run, out, Order())
    out.objects["images/box/2.png"] = b"touched up by hand"
    summary = deliver(source, destination, run, out, Order())
    assert out.read("images/box/2.png") == b"touched up by hand"
    [failed] = summary.failed
    assert failed.reason == "write_error" and "is another file, and stays" in str(failed.error)
    [row] = [row for row in catalog_of(out) if row["status"] == "failed"]
    assert (row["photo"], row["path"], row["reason"]) == ("box/2.png", None, "write_error")


def test_a_selection_decides(place: Place) -> None:
    source, destination, run = place
    text = HEADER + "box/0.png,1,approve,\nbox/1.png,0,reject,\nbox/2.png,,redo,9\n"
    text += "box/broken.png,0,approve,\n"
    selection = parse_selection("selection.csv", text.encode())
    out = MemoryStorage("out")
    summary = deliver(source, destination, run, out, Order("selection"), selection)
    expected = destination.read("images/box/0.candidate-1.png")
    assert pictures_of(out) == {"box/0.png": expected}
    assert summary.left_out == {"not approved": 3}
    [failed] = summary.failed  # it was asked for, and has no picture
    assert (failed.picture.row["photo"], failed.reason) == ("box/broken.png", "corrupt")
    [delivered] = [row for row in catalog_of(out) if row["status"] == "delivered"]
    assert (delivered["candidate"], delivered["decision"]) == (1, "approve")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("box/9.png,0,approve,", "selection.csv, line 2: photo 'box/9.png' has no result in"),
        ("box/1.png,7,approve,", "selection.csv, line 2: candidate 7 of photo 'box/1.png' has no"),
        ("box/1.png,0,reject,", "has nothing to deliver: 1 failed, 4 not approved"),
    ],
)
def test_a_selection_of_what_is_not_there_is_refused(place: Place, line: str, words: str) -> None:
    source, destination, run = place
    out = MemoryStorage("out")
    selection = parse_selection("selection.csv", f"{HEADER}{line}\n".encode())
    words = words.replace("1 failed, 4", "5")
    with pytest.raises(UsageError, match=words):
        deliver(source, destination, run, out, Order("selection"), selection)
    assert not out.objects


def test_decisions_that_the_destination_keeps(place: Place) -> None:
    source, destination, run = place
    files = [
        "box/0.png,0,approve,\nbox/1.png,0,reject,\nbox/1.png,1,reject,\nbox/2.png,0,approve,\n",
        "box/0.png,1,approve,\nbox/2.png,,redo,5\n",
    ]
    for text in files:
        take_selection(destination, run, parse_selection("s.csv", (HEADER + text).encode()))
    color(source, destination, run)  # the second attempt of box/2.png
    approved, rest = MemoryStorage("approved"), MemoryStorage("rest")
    deliver(source, destination, run, approved, Order("approved"))
    assert pictures_of(approved) == {"box/0.png": destination.read("images/box/0.candidate-1.png")}
    summary = deliver(source, destination, run, rest, Order())
    assert pictures_of(rest).keys() == {"box/0.png", "box/2.png", "box/3.png"}
    assert summary.left_out == {"failed": 1, "rejected": 1}
    attempts = {row["photo"]: row["attempt"] for row in catalog_of(rest)}
    assert attempts["box/2.png"] == 2 and attempts["box/3.png"] == 1
    assert pictures_of(rest)["box/0.png"] == pictures_of(approved)["box/0.png"]


def test_scores_decide(place: Place) -> None:
    source, destination, run = place
    done = [row for row in rows_of(destination, run) if row["status"] == "ok"]
    bits = sorted(float(str(row["bits_per_pixel"])) for row in done)
    out = MemoryStorage("out")
    summary = deliver(source, destination, run, out, Order(most_bits=bits[0]))
    assert [row["bits_per_pixel"] for row in catalog_of(out)] == bits[:1]
    assert summary.left_out == {"failed": 1, "outside of the scores": 3}
    colorful = max(float(str(row["colorfulness"])) for row in done)
    least = MemoryStorage("least")
    deliver(source, destination, run, least, Order(least_colorfulness=colorful))
    assert len(pictures_of(least)) == 1
    with pytest.raises(UsageError, match="4 outside of the scores"):
        deliver(source, destination, run, MemoryStorage(), Order(least_colorfulness=colorful + 1))


def test_what_is_gone_or_changed_is_a_row_with_a_reason(place: Place) -> None:
    source, destination, run = place
    rows = {row["photo"]: row for row in rows_of(destination, run) if row["rank"] == 1}
    gone, changed = (image_path(rows[f"box/{number}.png"]) for number in (0, 3))
    kept = destination.objects.pop(gone)
    destination.objects[changed] += b"!"
    out = MemoryStorage("out")
    summary = deliver(source, destination, run, out, Order())
    assert {each.picture.row["photo"]: each.reason for each in summary.failed} == {
        "box/0.png": "missing",
        "box/3.png": "changed",
    }
    assert pictures_of(out).keys() == {"box/1.png", "box/2.png"}
    assert Counter(row["status"] for row in catalog_of(out)) == {"delivered": 2, "failed": 2}
    destination.objects[gone] = kept
    destination.objects[changed] = destination.objects[changed][:-1]
    assert not deliver(source, destination, run, out, Order()).failed
    assert pictures_of(out) == best_of(destination, run)


def test_a_place_that_holds_other_files_is_refused(place: Place) -> None:
    source, destination, run = place
    out = MemoryStorage("out")
    out.write("letters/1890.txt", b"dear")
    out.write(".DS_Store", b"")
    with pytest.raises(UsageError, match=r"out holds letters/1890.txt and no delivery.json"):
        deliver(source, destination, run, out, Order())
    assert len(out.objects) == 2
    out.delete("letters/1890.txt")
    deliver(source, destination, run, out, Order())
    out.write("images/box/extra.png", b"")
    with pytest.raises(UsageError, match="holds images/box/extra.png, which does not belong to"):
        deliver(source, destination, run, out, Order())
    out.delete("images/box/extra.png")
    with pytest.raises(DestinationMismatch, match="candidates: was best, now all"):
        deliver(source, destination, run, out, Order(candidates="all"))
    out.write("delivery.json", b"[1]")
    with pytest.raises(StorageError, match="is not a delivery of Autochrome"):
        deliver(source, destination, run, out, Order())


def test_a_delivery_that_begins_while_its_place_is_looked_through_is_joined(place: Place) -> None:
    class Overtaken(MemoryStorage):
        """Another command delivers the same between a look for its order and a listing."""

        def list(self, folder: str = "", skip: Skip = enter_all) -> Iterator[StoredObject]:
            if not self.objects:
                other = MemoryStorage("out")
                deliver(*place, other, Order())
                self.objects |= other.objects
            return super().list(folder, skip)

    out = Overtaken("out")
    assert deliver(*place, out, Order()).pictures == 4


def test_hard_links_are_the_same_files_and_refused_elsewhere(place: Place, tmp_path: Path) -> None:
    source, destination, run = colored_folder(tmp_path, {"1.png": gray_photo(1)})
    out = LocalStorage(str(tmp_path / "delivery"))
    summary = deliver(source, destination, run, out, Order(), hard_links=True)
    [picture] = tmp_path.glob("delivery/images/*")
    [original] = tmp_path.glob("colored/images/*")
    assert picture.samefile(original) and summary.pictures == 1
    again = deliver(source, destination, run, out, Order(), hard_links=True)
    assert again == summary and picture.samefile(original)
    picture.unlink()
    picture.write_bytes(b"of others")
    other = deliver(source, destination, run, out, Order(), hard_links=True)
    assert [each.reason for each in other.failed] == ["write_error"]
    assert picture.read_bytes() == b"of others"
    with pytest.raises(UsageError, match="no hard links from .*: not folders"):
        deliver(*place, MemoryStorage("out"), Order(), hard_links=True)


@pytest.mark.parametrize("where", ["colored", "colored/images/new", "scans/a", "."])
def test_no_delivery_lies_in_source_or_destination(tmp_path: Path, where: str) -> None:
    source, destination, run = colored_folder(tmp_path, {"1.png": gray_photo(1)})
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError, match="must not lie inside each other"):
        deliver(source, destination, run, LocalStorage(str(tmp_path / where)), Order())
    assert sorted(tmp_path.rglob("*")) == before


def test_a_full_disk_ends_a_delivery_with_nothing_but_its_error(place: Place) -> None:
    class Full(MemoryStorage):
        def write_if_absent(self, path: str, data: bytes) -> bool:
            if path.startswith("images/"):
                raise StoreUnavailable(f"cannot write {path}: No space left on device")
            return super().write_if_absent(path, data)

    source, destination, run = place
    out = Full("out")
    with pytest.raises(StoreUnavailable, match="No space left"):
        deliver(source, destination, run, out, Order())
    gc.collect()  # a table that is left open would complain now, which fails the test
    rest = MemoryStorage("out")
    rest.objects = out.objects
    assert deliver(source, destination, run, rest, Order()).pictures == 4


def test_sidecars_go_along() -> None:
    source, destination, run = colored(PHOTOS, replace(TWO, sidecar=True))
    out = MemoryStorage("out")
    summary = deliver(source, destination, run, out, Order())
    assert summary.pictures == 4
    for photo in PHOTOS:
        said = json.loads(out.read(f"images/{photo}.json"))
        assert said["result"]["sha256"] == hashlib.sha256(out.read(f"images/{photo}")).hexdigest()
    best = next(row for row in rows_of(destination, run) if row["rank"] == 1)
    destination.delete(f"{image_path(best)}.json")
    [gone] = deliver(source, destination, run, MemoryStorage("again"), Order()).failed
    assert gone.picture.row["photo"] == best["photo"] and gone.reason == "missing"


def test_each_page_goes_out() -> None:
    two, stream = [Image.effect_noise((30, 20), 50), Image.effect_noise((40, 20), 50)], io.BytesIO()
    two[0].save(stream, "TIFF", save_all=True, append_images=two[1:])
    recipe = replace(RECIPE, pages="all")
    source, destination, run = colored({"album.tif": stream.getvalue()}, recipe)
    out = MemoryStorage("out")
    summary = deliver(source, destination, run, out, Order(iiif="http://127.0.0.1:8000"))
    assert (summary.pictures, summary.photos) == (2, 1)
    assert pictures_of(out).keys() == {"album.page-0001.tif", "album.page-0002.tif"}
    manifest = json.loads(out.read("iiif/manifests/album.page-0001.tif.json"))
    assert [canvas["width"] for canvas in manifest["items"]] == [30, 40]


def test_many_paths_are_asked_for_on_disk(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen, "_MOST_IN_MEMORY", 1)
    source, destination, run = place
    out = MemoryStorage("out")
    for _ in range(2):
        deliver(source, destination, run, out, Order())
        assert pictures_of(out) == best_of(destination, run)


PARTS = [
    *("a", "b", "A", "é", "e\u0301", "~", " ", "%", "%25", "\n", "\r", "\x07", "\u202e", "\uf7e9"),
    *("\u2028", "_", ".jpg", ".png", ".tif", ".candidate-0", ".page-0001", "x" * 240, "y" * 300),
    ".rank-1-by-nearness",
]
PATHS = some.lists(
    some.lists(some.lists(some.sampled_from(PARTS), min_size=1, max_size=4).map("".join),
               min_size=1, max_size=3).map("/".join),
    max_size=12, unique=True,
)  # fmt: skip


@settings(max_examples=300)
@given(paths=PATHS, suffix=some.sampled_from(["jpg", "png", "tif"]), numbered=some.booleans(),
       in_bag=some.booleans(), pages=some.booleans(),
       rank_by=some.sampled_from([None, "nearness"]))  # fmt: skip
@example(["a\n.jpg", "a_.jpg", "a\r.jpg"], "jpg", False, True, False, None)
@example(["a", "a.jpg", "a.candidate-0.jpg"], "jpg", False, False, False, None)
@example(["a", "a.jpg", "a.rank-1-by-nearness.jpg"], "jpg", False, False, False, "nearness")
def test_no_two_pictures_share_a_name(
    paths: list[str], suffix: str, numbered: bool, in_bag: bool, pages: bool, rank_by: str | None
) -> None:
    names, delivered = Names(2, pages, False, rank_by), DeliveredNames(numbered, in_bag)
    found = []
    for path in paths:
        name = names.of(path)
        for page in (1, 2) if pages else (None,):
            for candidate in (0, 1) if numbered else (1,):
                ranked = {"candidate": candidate, "rank": 2 - candidate, "rank_by": rank_by}
                which = ending_of(2, rank_by, candidate, 2 - candidate)
                file = output_path(name, suffix, which, page)
                row = asdict(Result(path, "", 0, 1, name=name)) | ranked
                found.append(delivered.of(row | {"output_uri": f"memory://out/{file}"}))
    keys = {unicodedata.normalize("NFC", each).casefold() for each in found}
    assert len(keys) == len(found)
    folders = {key[:at] for key in keys for at, sign in enumerate(key) if sign == "/"}
    assert not keys & folders  # no file is called as a folder is
    for each in found:
        assert all(len(part.encode()) <= 255 for part in each.split("/"))
        assert each.isprintable() or not any(sign < " " for sign in each)
        assert not (in_bag and "%" in each)


def test_names_that_no_list_can_hold_are_replaced_and_marked(tmp_path: Path) -> None:
    awkward = ["line\nbreak.png", "100%.png", "box\r/a.png", "=SUM(A1).png"]
    if os.name == "posix":
        awkward.append("gr\uf7fcn.png")  # a byte that is not UTF-8
    photos = {path: gray_photo(number) for number, path in enumerate(awkward)}
    source, destination, run = colored_folder(tmp_path, photos)
    out = LocalStorage(str(tmp_path / "bag"))
    summary = deliver(source, destination, run, out, Order(bag=True))
    assert summary.pictures == len(photos) and not summary.failed
    known = {str(row["photo"]): str(row["path"]) for row in catalog_of(out, "data/")}
    assert known.keys() == photos.keys()
    assert known["=SUM(A1).png"] == "images/=SUM(A1).png"
    assert known["line\nbreak.png"].startswith("images/line_break~")
    for path in known.values():
        assert path.isprintable() and "%" not in path
        assert (tmp_path / "bag" / "data" / path).is_file()


FIT = re.compile(
    r"(?!(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[\d¹²³])(?:\.|$))"
    r"[^<>:\"\\|?*]*[^<>:\"\\|?*. ]",
    re.I,
)


def test_a_disk_of_windows_can_hold_all_names() -> None:
    awkward = ["CON.jpg", "a/aux/b.jpg", "lpt1", "1:2.jpg", "a\\b.jpg", "why?.jpg", "a /b.jpg"]
    awkward += ["dots./a.jpg", "com1.tar.jpg", 'q"<|>*.jpg', "1_2.jpg", "console.jpg", "a.com1.jpg"]
    awkward += ["COM¹.jpg", "lpt³/a.jpg", "conin$.jpg", "com⁴.jpg"]
    names, delivered = Names(1, False, False), DeliveredNames(False, False)
    found = {}
    for path in awkward:
        row = asdict(Result(path, "", 0, 1, name=names.of(path)))
        found[path] = delivered.of(row | {"output_uri": f"memory://out/{output_path(path, 'jpg')}"})
    assert len(set(found.values())) == len(awkward)
    assert all(FIT.fullmatch(part) for each in found.values() for part in each.split("/")), found
    unchanged = [path for path in awkward if found[path] == path]
    assert unchanged == ["1_2.jpg", "console.jpg", "a.com1.jpg", "com⁴.jpg"]


@pytest.mark.parametrize("bag", [False, True])
def test_a_delivery_of_an_older_version_goes_on_with_its_names(bag: bool) -> None:
    source, destination, run = colored({"why?.png": gray_photo(1), "b.png": gray_photo(2)}, RECIPE)
    out, order, folder = MemoryStorage("out"), Order(bag=bag), "data/" if bag else ""
    deliver(source, destination, run, out, replace(order, for_windows=False))
    assert "why?.png" in pictures_of(out, folder)
    older = json.loads(out.read("delivery.json"))
    del older["for_windows"]
    out.write("delivery.json", json.dumps(older).encode())
    before = dict(out.objects)
    assert deliver(source, destination, run, out, order).pictures == 2
    assert {path for path in out.objects if before.get(path) != out.objects[path]} <= {
        "tagmanifest-sha256.txt"
    }
    new = MemoryStorage("new")
    deliver(source, destination, run, new, order)
    assert "why?.png" not in pictures_of(new, folder) and len(pictures_of(new, folder)) == 2


@BAGIT
def test_a_bag_is_valid_and_closed(tmp_path: Path) -> None:
    source, destination, run = colored_folder(tmp_path, example_photos(), TWO)
    folder = tmp_path / "bag"
    order = Order(
        bag=True,
        bag_info={"Source-Organization": "Stadtarchiv Köln", "External-Identifier": "RBA 7"},
        iiif="https://archive.example/bag",
    )
    deliver(source, destination, run, LocalStorage(str(folder)), order)
    bag = bagit.Bag(str(folder))
    bag.validate()
    assert bag.info["Source-Organization"] == "Stadtarchiv Köln"
    files = [path for path in (folder / "data").rglob("*") if path.is_file()]
    assert bag.info["Payload-Oxum"] == f"{sum(f.stat().st_size for f in files)}.{len(files)}"
    assert set(bag.payload_entries()) == {f.relative_to(folder).as_posix() for f in files}
    assert pictures_of(LocalStorage(str(folder)), "data/") == best_of(destination, run)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    deliver(source, destination, run, LocalStorage(str(folder)), order)
    assert before == {path: path.stat().st_mtime_ns for path in before}
    rejected = parse_selection("s.csv", (HEADER + "animals/cat.jpg,0,reject,\n").encode())
    take_selection(destination, run, rejected)
    also = parse_selection("s.csv", (HEADER + "animals/cat.jpg,1,reject,\n").encode())
    take_selection(destination, run, also)
    with pytest.raises((DestinationMismatch, UsageError), match="pictures_sha256: was "):
        deliver(source, destination, run, LocalStorage(str(folder)), order)
    bagit.Bag(str(folder)).validate()
    (folder / "data" / "images" / "animals" / "cat.jpg").write_bytes(b"another")
    with pytest.raises(bagit.BagValidationError):
        bagit.Bag(str(folder)).validate()


@BAGIT
def test_from_bucket_to_bucket_and_home(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, destination = S3Storage(bucket, "scans"), S3Storage(bucket, "colored")
    for path, data in example_photos().items():
        source.write(path, data)
    run = prepare_run(source, destination, replace(RECIPE, source=source.uri), 3)
    color(source, destination, run)
    out = S3Storage(bucket, "bags/7")
    order = Order(bag=True)
    deliver(source, destination, run, out, order)
    out.delete("data/images/animals/cat.jpg")
    out.delete("bagit.txt")
    deliver(source, destination, run, out, order)
    for found in out.list():
        LocalStorage(str(tmp_path / "bag")).write(found.path, out.read(found.path))
    bagit.Bag(str(tmp_path / "bag")).validate()
    assert pictures_of(out, "data/") == best_of(destination, run)
    home = LocalStorage(str(tmp_path / "home"))
    deliver(source, destination, run, home, Order())
    assert pictures_of(home) == best_of(destination, run)


def test_titles_come_from_the_metadata(tmp_path: Path) -> None:
    packet = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF'
        b' xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""'
        b' xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title><rdf:Alt><rdf:li'
        b' xml:lang="x-default">Market &amp;\n square</rdf:li></rdf:Alt></dc:title>'
        b"</rdf:Description></rdf:RDF></x:xmpmeta>"
    )
    iptc = b"\x1c\x02\x05\x00\x0aThe harbor"
    resource = b"8BIM\x04\x04\0\0" + len(iptc).to_bytes(4, "big") + iptc + b"\0" * (len(iptc) % 2)
    jpeg = gray_photo(1, "JPEG")

    def with_segment(kind: int, body: bytes) -> bytes:
        head = bytes([0xFF, kind]) + (len(body) + 2).to_bytes(2, "big")
        return jpeg[:2] + head + body + jpeg[2:]

    photos = {
        "xmp.jpg": with_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet),
        "iptc.jpg": with_segment(0xED, b"Photoshop 3.0\0" + resource),
        "none.jpg": jpeg,
    }
    for format in ("jpeg", "png", "tiff", "webp", "jp2", "avif"):
        source, destination, run = colored_folder(
            tmp_path / format, photos, replace(RECIPE, format=format)
        )
        out = MemoryStorage(format)
        deliver(source, destination, run, out, Order())
        titles = {row["photo"]: row["title"] for row in catalog_of(out)}
        assert titles["xmp.jpg"] == "Market & square" and titles["none.jpg"] is None, format
        if format != "png":  # where IPTC has no place but in a way of ImageMagick's
            assert titles["iptc.jpg"] == "The harbor", format


def test_chosen_photos_are_those_of_the_latest_attempt(place: Place) -> None:
    _, destination, run = place
    left_out: Counter[str] = Counter()
    photos = list(chosen(destination, run, Order(), decisions_of(destination, run, None), left_out))
    assert [len(photo) for photo in photos] == [1] * 4 and left_out == {"failed": 1}


def test_photos_that_were_added_and_not_done_yet_are_pending() -> None:
    source, destination, run = colored({"a.png": gray_photo(1)})
    source.write("b.png", gray_photo(2))
    assert plan_update(source, destination, run).new == 1
    assert deliver(source, destination, run, MemoryStorage("out"), Order()).pending == 1
    color(source, destination, run)
    assert deliver(source, destination, run, MemoryStorage("again"), Order()).pending == 0
