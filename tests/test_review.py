"""The review page: its data, and the page itself in a real, headless Chromium."""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from PIL import Image

from pipeline.images.encoding import encode
from pipeline.ledger.plan import Schedule
from pipeline.ledger.planning import prepare_run
from pipeline.ledger.results import Result, commit_shard
from pipeline.ledger.run_file import Run
from pipeline.ledger.selection import parse_selection, take_selection
from pipeline.review.pages import FIELDS, PAGE, page_files, write_review
from pipeline.review.previews import PreviewSheets
from pipeline.storage.base import Storage
from pipeline.storage.local import LocalStorage
from pipeline.storage.memory import MemoryStorage
from pipeline.verify import verify
from support.browser import Browser, browser, chromium
from support.commands import run_command
from support.simulated_runs import RECIPE

MOMENT = datetime(2026, 5, 4, 12, 30, tzinfo=UTC)
ORANGE, BLUE = (230, 120, 40), (40, 110, 220)
EVIL = "odd/\"><script>document.title=1</script>&', 日.jpg"
Told = str | tuple[float | None, float]
PHOTOS: dict[
    str, Told
] = {  # bits per pixel of the first candidate and colorfulness, or the reason of a failure
    "a/1.jpg": (3.0, 10.0),
    "a/2.tif": (1.0, 40.0),
    "a/b/3.jpg": (2.0, 30.0),
    "c/4.jpg": "corrupt",
    "c/5.jpg": "too_large",
    EVIL: (4.0, 20.0),
}


def reviewed(destination: Storage, photos: Mapping[str, Told] = PHOTOS, shard_size: int = 4) -> Run:
    """A run whose photos have two candidates each, orange and blue, or have failed."""
    source = MemoryStorage("museum")
    for path in photos:
        source.write(path, b"1")
    run = prepare_run(source, destination, RECIPE, shard_size)
    for shard in Schedule(destination, run).open():
        commit(
            destination,
            run,
            shard.number,
            [(each.path, photos[each.path]) for each in shard.photos],
        )
    return run


def commit(
    destination: Storage,
    run: Run,
    shard: int,
    photos: Sequence[tuple[str, Told]],
    attempt: int = 1,
) -> None:
    sheets, rows = PreviewSheets(destination, shard), []
    for path, told in photos:
        first = Result(
            path, f"memory://museum/{path}", shard, 1, "5ha", attempt=attempt, finished_at=MOMENT
        )
        if isinstance(told, str):
            error = "<img src=x onerror=alert(1)> broken"
            rows.append(replace(first, status="failed", reason=told, error=error))
            continue
        bits, colorfulness = told
        for candidate, color in enumerate((ORANGE, BLUE)):
            picture = np.full((160, 240, 3), color, np.uint8)
            file = f"images/{path}.candidate-{candidate}{PurePosixPath(path).suffix}"
            destination.write(file, encode(picture, "JPEG"))
            row = replace(
                first,
                candidate=candidate,
                rank=candidate + 1,
                seed=2**63 - 1,
                width=240,
                height=160,
                bits_per_pixel=None if bits is None else bits + candidate,
                colorfulness=colorfulness,
                log_likelihood=-12.5,
                color_bits_per_dim=1.0,
                spatial_bits_per_dim=2.0,
                preview=sheets.add(picture, np.full((8, 8), 4 * candidate, np.float32)),
                output_uri=destination.uri_of(file),
                output_sha256="d1gest",
            )
            rows.append(row)
    sheets.close()
    assert commit_shard(destination, shard, rows, run.digest)


def data_of(destination: Storage, name: str) -> list[object]:
    """The arguments of the call in a file of data."""
    text = destination.read(f"report/data/{name}.js").decode("ascii")
    found = re.fullmatch(r"review\.\w+\((.*)\);\n", text)
    assert found
    arguments: list[object] = json.loads(f"[{found[1]}]")
    return arguments


def rows_of(destination: Storage) -> list[dict[str, object]]:
    [about] = data_of(destination, "run")
    assert isinstance(about, dict)
    rows = []
    for chunk in range(about["chunks"]):
        number, values = data_of(destination, f"rows-{chunk:05d}")
        assert number == chunk and isinstance(values, list)
        rows += [dict(zip(FIELDS, row, strict=True)) for row in values]
    return rows


def test_data_say_what_the_results_say() -> None:
    destination = MemoryStorage("destination")
    run = reviewed(destination)
    assert write_review(destination, run) == "memory://destination/report/index.html"
    [about] = data_of(destination, "run")
    assert isinstance(about, dict)
    assert (about["digest"], about["planned"], about["seed"]) == (run.digest, 6, "0")
    assert about["finished"] == "2026-05-04 12:30 UTC"
    assert ["source", "memory://source"] in about["settings"]
    rows = rows_of(destination)
    assert [row["photo"] for row in rows if row["candidate"] == 0] == sorted(PHOTOS)
    assert [(row["bits"], row["rank"], row["preview"]) for row in rows[:3]] == [
        (3.0, 1, 0),
        (4.0, 2, 1),
        (1.0, 1, 2),
    ]
    assert (rows[0]["width"], rows[0]["height"]) == (240, 160)
    failed = next(row for row in rows if row["photo"] == "c/4.jpg")
    assert (failed["status"], failed["reason"], failed["preview"]) == ("failed", "corrupt", None)
    _, details = data_of(destination, "details-00000")
    assert isinstance(details, list) and len(details) == len(rows)
    first = dict(zip(about["detail_fields"], details[0], strict=True))
    assert first["seed"] == str(2**63 - 1), "more than JavaScript's numbers hold"
    assert first["file"] == "images/a/1.jpg.candidate-0.jpg" and first["output_sha256"] == "d1gest"


def test_the_last_attempt_is_shown_and_what_was_decided(tmp_path: Path) -> None:
    destination = LocalStorage(str(tmp_path))
    run = reviewed(destination)
    lines = "photo,candidate,decision,seed\na/1.jpg,1,approve,\na/2.tif,,redo,7\n"
    take_selection(destination, run, parse_selection("s.csv", lines.encode()))
    commit(destination, run, 2, [("a/2.tif", (0.5, 3.0))], attempt=2)
    result = run_command("report", tmp_path)
    assert result.output == f"report   {tmp_path}/report/index.html\n" and result.exit_code == 0
    redone = [row for row in rows_of(destination) if row["photo"] == "a/2.tif"]
    assert [(row["attempt"], row["bits"], row["shard"]) for row in redone] == [
        (2, 0.5, 2),
        (2, 1.5, 2),
    ]
    [choices] = data_of(destination, "selection-00001")
    assert choices == [["a/1.jpg", 1, "approve"], ["a/2.tif", None, "redo"]]
    assert run_command("report", tmp_path / "elsewhere").exit_code == 2


def test_files_are_cut_between_photos_and_older_ones_removed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipeline.review.pages.ROWS_PER_FILE", 3)
    destination = MemoryStorage("destination")
    run = reviewed(destination)
    destination.write("report/data/rows-00099.js", b"of a larger page")
    write_review(destination, run)
    first = dict(destination.objects)
    names = [each.path for each in destination.list("report/data")]
    assert "report/data/rows-00001.js" in names and "report/data/rows-00099.js" not in names
    assert len(rows_of(destination)) == 10
    chunks = [data_of(destination, f"rows-{chunk:05d}")[1] for chunk in range(3)]
    assert [[row[0] for row in chunk] for chunk in chunks] == [  # type: ignore[attr-defined]
        ["a/1.jpg", "a/1.jpg", "a/2.tif", "a/2.tif"],
        ["a/b/3.jpg", "a/b/3.jpg", "c/4.jpg"],
        ["c/5.jpg", EVIL, EVIL],
    ]
    write_review(destination, run)
    assert destination.objects == first, "the same page of the same results"


def test_what_a_later_page_has_stays() -> None:
    """Another command, which found more results, writes its page while ours is written."""

    class Overtaken(MemoryStorage):
        def write(self, path: str, data: bytes) -> None:
            super().write(path, data)
            if path == "report/data/run.js":
                super().write("report/data/rows-00099.js", b"of results that came later")

    run, destination = reviewed(before := MemoryStorage("destination")), Overtaken("destination")
    destination.objects = before.objects
    write_review(destination, run)
    assert destination.exists("report/data/rows-00099.js")


def test_no_file_of_the_page_is_an_orphan() -> None:
    destination = MemoryStorage("destination")
    run = reviewed(destination)
    lines = "photo,candidate,decision,seed\na/1.jpg,0,approve,\n"
    take_selection(destination, run, parse_selection("s.csv", lines.encode()))
    write_review(destination, run)
    assert verify(MemoryStorage("museum"), destination, run).of_kind("orphan") == []
    destination.write("images/nobodys.jpg", b"")
    found = verify(MemoryStorage("museum"), destination, run).of_kind("orphan")
    assert [problem.path for problem in found] == ["images/nobodys.jpg"]


def test_the_page_is_well_formed_and_needs_nothing_from_outside() -> None:
    files = dict(page_files())
    assert list(files)[-1] == "index.html", "which is written last"
    page = files["index.html"].decode()
    links = re.findall(r'(?:src|href)="([^"#][^"]*)"', page)
    assert {link for link in links if not link.startswith("data:")} == files.keys() - {"index.html"}
    for content in files.values():
        assert not re.search(
            r"https?://(?!www\.w3\.org/2000/svg)|@import|innerHTML|fetch\(", content.decode()
        )
    labels, ids, controls = set(), set(), []
    open_tags: list[str] = []

    class Checker(HTMLParser):
        def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
            known = dict(attributes)
            if known.get("id"):
                assert known["id"] not in ids
                ids.add(known["id"])
            if tag == "label" and known.get("for"):
                labels.add(known["for"])
            if tag in ("input", "select"):
                controls.append((known, "label" in open_tags))
            if tag not in ("meta", "link", "input", "br"):
                open_tags.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert open_tags.pop() == tag

    checker = Checker()
    checker.feed(
        re.sub(r"<(feFunc\w|feColorMatrix)([^>]*)/>", r"<\1\2></\1>", page, flags=re.DOTALL)
    )
    assert not open_tags
    for known, inside in controls:
        assert inside or known.get("id") in labels, f"{known} has no label"
    for referred in re.findall(r'aria-labelledby="([^"]+)"', page):
        assert referred in ids


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    destination = LocalStorage(str(folder))
    write_review(destination, reviewed(destination))
    return folder


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if chromium() is None:
        pytest.skip("no chromium on PATH")
    with browser(tmp_path_factory.mktemp("profile")) as driven:
        yield driven


@pytest.fixture
def page(chrome: Browser, archive: Path) -> Iterator[Browser]:
    """The page as it opens from a disk, nothing decided; it must not have logged an error."""
    chrome.resize(1280, 900)
    chrome.forget()
    chrome.open(archive / PAGE)
    chrome.errors.clear()
    yield chrome
    assert chrome.errors == []


def shown(page: Browser) -> list[str]:
    names = page.evaluate("[...document.querySelectorAll('.card .name')].map(e => e.textContent)")
    assert isinstance(names, list)
    return names


def set_filter(page: Browser, name: str, value: str) -> None:
    field = f"byId('filters').elements['{name}']"
    page.evaluate(f"{field}.value = {json.dumps(value)}; update()")


def seen(page: Browser, selector: str) -> np.ndarray:
    """What is seen of an element, int (H, W, 3)."""
    box = page.evaluate(
        "(({left, top, right, bottom}) => [left, top, right, bottom].map(Math.round))"
        f"(document.querySelector({json.dumps(selector)}).getBoundingClientRect())"
    )
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    return np.asarray(picture.crop(box)).astype(int)


def share_of(pixels: np.ndarray, color: tuple[int, int, int]) -> float:
    return float((np.abs(pixels - color).max(axis=2) <= 8).mean())


def test_it_opens_from_a_disk_and_shows_the_likeliest_pictures(page: Browser) -> None:
    assert shown(page) == [path.rpartition("/")[2] for path in sorted(PHOTOS)]
    assert page.evaluate("byId('count').textContent") == "6 photographs"
    assert page.evaluate("byId('failures').textContent") == "1 corrupt1 too large"
    page.wait("sheets.size === 2")
    page.wait("cardAt(0).querySelector('canvas').width === 240")
    assert share_of(seen(page, ".card[data-place='0'] canvas"), ORANGE) > 0.95
    page.press("g")
    luma = round(0.299 * ORANGE[0] + 0.587 * ORANGE[1] + 0.114 * ORANGE[2])
    assert share_of(seen(page, ".card[data-place='0'] canvas"), (luma,) * 3) > 0.95
    page.press("g")


def test_it_sorts_and_filters(page: Browser) -> None:
    set_filter(page, "sort", "-bits")
    names = shown(page)
    assert names[1:4] == ["1.jpg", "3.jpg", "2.tif"] and names[4:] == ["4.jpg", "5.jpg"]
    set_filter(page, "sort", "colorfulness")
    assert shown(page)[0] == "1.jpg" and shown(page)[3] == "2.tif"
    page.evaluate("byId('filters').reset()")
    for name, value, expected in [
        ("folder", "a", ["1.jpg", "2.tif", "3.jpg"]),
        ("folder", "a/b/", ["3.jpg"]),
        ("status", "failed", ["4.jpg", "5.jpg"]),
        ("reason", "too_large", ["5.jpg"]),
        ("text", "A/B", ["3.jpg"]),
        ("bits-least", "3", ["1.jpg", EVIL.rpartition("/")[2]]),
        ("bits-most", "1", ["2.tif"]),
        ("colorfulness-least", "35", ["2.tif"]),
    ]:
        set_filter(page, name, value)
        assert shown(page) == expected, name
        set_filter(page, name, "")
    chart = "byId('bits-chart')"
    page.evaluate("update()")
    assert page.evaluate(f"{chart}.querySelectorAll('.bright[height]').length") == 40
    assert page.evaluate(f"{chart}.getAttribute('aria-label')") == (
        "Bits per pixel of 4 photographs, 4 of them shown: from 1.00 to 4.00, median 3.00"
    )


def test_keys_decide_and_the_export_is_what_resume_takes(
    page: Browser, archive: Path, tmp_path: Path
) -> None:
    page.evaluate("cardAt(0).focus()")
    page.press("a", "ArrowRight", "r", "End", "d")
    assert page.evaluate("document.activeElement.dataset.place") == "5"
    assert page.evaluate("cardAt(0).dataset.verdict") == "approve"
    assert page.evaluate("byId('live').textContent").endswith("日.jpg: to be redone")
    page.press("ArrowLeft", "a")
    assert page.evaluate("byId('live').textContent") == "5.jpg has no picture to approve"
    page.press("Home", "Enter")
    page.wait("byId('origin').textContent.includes('9223372036854775807')")
    page.press("ArrowDown", "a")
    page.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    page.press("Escape")
    page.wait("!byId('detail').open && document.activeElement.dataset.place === '0'")
    page.evaluate("byId('export').click()")
    file = tmp_path / "selection.csv"
    for _ in range(500):
        if file.exists() and file.stat().st_size:
            break
        page.evaluate("new Promise(done => setTimeout(done, 20))")
    selection = parse_selection("selection.csv", file.read_bytes())
    found = {(each.photo, each.candidate, each.decision, each.seed) for each in selection.choices}
    assert found == {
        ("a/1.jpg", 1, "approve", None),
        ("a/2.tif", 0, "reject", None),
        (EVIL, None, "redo", 1),
    }
    assert list(csv.reader(io.StringIO(file.read_text())))[0] == [
        "photo",
        "candidate",
        "decision",
        "seed",
    ]
    page.open(archive / PAGE)
    assert page.evaluate("byId('decided').textContent") == "3", "kept in the browser"
    set_filter(page, "decision", "redo")
    assert shown(page) == [EVIL.rpartition("/")[2]]


def test_the_slider_wipes_gray_over_color_and_the_map_tells_candidates_apart(page: Browser) -> None:
    page.evaluate("openDetail(1)")
    page.wait("byId('picture').width === 240 && byId('map').width === 8")
    page.wait("byId('gray-picture').width === 240")
    picture = seen(page, "#frame")
    gray = np.ptp(picture, axis=2) <= 6
    third = picture.shape[1] // 3
    assert gray[:, :third].mean() > 0.95 and share_of(picture[:, -third:], ORANGE) > 0.95
    page.evaluate("byId('wipe').focus()")
    page.press("Home")
    assert page.evaluate("byId('wipe').value") == "0"
    assert share_of(seen(page, "#frame"), ORANGE) > 0.95
    certain = seen(page, "#map").mean()
    page.evaluate("showCandidate(detail.photo.candidates[1])")
    page.evaluate("new Promise(done => setTimeout(done, 50))")
    assert share_of(seen(page, "#frame"), BLUE) > 0.95
    assert seen(page, "#map").mean() > certain + 100
    page.press("Escape")


def test_nothing_in_a_name_or_an_error_is_taken_for_a_page(page: Browser) -> None:
    page.evaluate("openDetail(5)")
    assert page.evaluate("byId('detail-title').textContent") == EVIL
    page.wait("byId('open').href.includes('images')")
    href = page.evaluate("byId('open').href")
    assert "%3Cscript%3E" in href and "%26" in href
    page.evaluate("openDetail(3)")
    assert "onerror" in page.evaluate("byId('failure').textContent")
    assert page.evaluate("document.querySelectorAll('img, main script, dialog script').length") == 0
    assert page.evaluate("document.title") == "source · Autochrome review"
    blocked = "new Promise(done => { const s = document.createElement('script');"
    blocked += " s.textContent = 'window.ran = 1'; document.body.append(s); done(window.ran) })"
    assert page.evaluate(blocked) is None, "the policy lets no script run that is in the page"
    page.errors.clear()  # which has said so
    page.press("Escape")


def test_assistive_technology_gets_roles_and_names(page: Browser) -> None:
    nodes = page.accessibility("c/4.jpg, failed")
    roles = {node["role"] for node in nodes}
    assert {"banner", "main", "complementary", "search", "navigation", "status", "list"} <= roles
    for role in ("button", "textbox", "searchbox", "spinbutton", "combobox", "image", "slider"):
        assert all(node["name"] for node in nodes if node["role"] == role), role
    cards = [
        node["name"] for node in nodes if node["role"] == "button" and "bits per" in node["name"]
    ]
    assert cards[0] == "a/1.jpg, 3.00 bits per pixel · colorfulness 10, undecided"
    assert any(node["name"].startswith("c/4.jpg, failed: corrupt") for node in nodes)
    assert any(node["role"] == "image" and "Colorfulness of 4" in node["name"] for node in nodes)
    page.evaluate("cardAt(0).focus()")
    page.press("Enter")
    page.wait("byId('picture').width === 240")
    nodes = page.accessibility("Map of uncertainty")
    dialog = next(node for node in nodes if node["role"] == "dialog")
    assert dialog["modal"] and dialog["name"] == "a/1.jpg"
    assert any(node["name"] == "a/1.jpg" and node.get("focused") for node in nodes)
    pictures = {node["name"] for node in nodes if node["role"] == "image"}
    assert {"1.jpg, colorized, candidate 0", "Map of uncertainty of 1.jpg"} <= pictures
    assert any(node["role"] == "slider" and "gray" in node["name"] for node in nodes)
    page.press("ArrowRight")
    assert page.evaluate("byId('live-detail').textContent").startswith("a/2.tif, 1.00 bits")
    page.press("Escape")
    page.evaluate("cardAt(1).focus()")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid", "the focus is seen"


def test_drafts_have_no_likelihood_and_are_shown_all_the_same(
    chrome: Browser, tmp_path: Path
) -> None:
    destination = LocalStorage(str(tmp_path))
    write_review(destination, reviewed(destination, {"a.jpg": (None, 5.0), "b.jpg": (2.0, 6.0)}))
    chrome.open(tmp_path / PAGE)
    scores = "[...document.querySelectorAll('.card .scores')].map(e => e.textContent)"
    assert chrome.evaluate(scores) == ["color 5", "2.00 bits · color 6"]
    set_filter(chrome, "sort", "bits")
    assert shown(chrome) == ["b.jpg", "a.jpg"], "what has none comes last"
    chrome.evaluate("openDetail(1)")
    chrome.wait("byId('scores').textContent.includes('colorfulness')")
    assert "bits per pixel" not in chrome.evaluate("byId('scores').textContent")
    chrome.press("Escape")


def test_pages_are_looked_at_one_by_one_and_redone_together(
    chrome: Browser, tmp_path: Path
) -> None:
    source, destination = MemoryStorage("museum"), LocalStorage(str(tmp_path))
    for path in ("a.jpg", "book.tif"):
        source.write(path, b"1")
    run = prepare_run(source, destination, replace(RECIPE, pages="all"), 4)
    rows = [Result("a.jpg", "memory://museum/a.jpg", 0, 1, pages=1, finished_at=MOMENT)]
    rows += [replace(rows[0], photo="book.tif", page=page, pages=2) for page in (1, 2)]
    for number, row in enumerate(rows):
        rows[number] = replace(row, rank=1, bits_per_pixel=1.0, colorfulness=float(number))
    commit_shard(destination, 0, rows, run.digest)
    write_review(destination, run)
    chrome.open(tmp_path / PAGE)
    assert shown(chrome) == ["a.jpg", "book.tif, page 1", "book.tif, page 2"]
    assert chrome.evaluate("byId('figures').textContent").startswith("photographs2pages3")
    chrome.evaluate("cardAt(0).focus()")
    chrome.press("End", "a", "ArrowLeft", "r")
    csv_text = chrome.evaluate("decisions.csv()").replace("\r\n", "\n").encode()
    choices = parse_selection("x.csv", csv_text).choices
    assert {(each.page, each.decision) for each in choices} == {(1, "reject"), (2, "approve")}
    assert take_selection(destination, run, parse_selection("x.csv", csv_text)) == 0
    write_review(destination, run)
    chrome.press("d")
    [redo] = parse_selection("x.csv", chrome.evaluate("decisions.csv()").encode()).choices
    assert (redo.photo, redo.decision, redo.seed) == ("book.tif", "redo", 1)
    assert chrome.evaluate("cardAt(2).dataset.verdict") == "redo"
    chrome.press("d")
    assert chrome.evaluate("decisions.local.size") == 0
    chrome.open(tmp_path / PAGE)
    verdicts = "catalog.photos.map(photo => decisions.verdict(photo))"
    assert chrome.evaluate(verdicts) == ["", "reject", "approve"], "as the destination keeps them"


def test_words_stand_out_from_the_dark(page: Browser) -> None:
    def luminance(color: str) -> float:
        parts = np.array([int(color[k : k + 2], 16) / 255 for k in (1, 3, 5)])
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    style = "getComputedStyle(document.documentElement).getPropertyValue"
    names = ("back", "panel", "mat", "ink", "soft", "accent", "approve", "reject", "redo")
    colors = {name: luminance(page.evaluate(f"{style}('--{name}').trim()")) for name in names}
    for word in names[3:]:
        for ground in names[:3]:
            assert (colors[word] + 0.05) / (colors[ground] + 0.05) >= 4.5, f"{word} on {ground}"


def test_a_hundred_thousand_photographs_open(chrome: Browser, tmp_path: Path) -> None:
    """As `report` would write them; the results of so many would take the test a minute."""
    for name, content in page_files():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "data").mkdir()
    count, chunk = 100_000, 2000
    about = {
        **dict.fromkeys(("finished", "weights"), ""),
        **dict.fromkeys(("selections", "detail_fields", "settings"), ()),
        **{"digest": "0" * 64, "version": "1", "source": "s3://big", "seed": "0"},
        **{"planned": count, "chunks": count // chunk, "fields": FIELDS},
    }
    (tmp_path / "data/run.js").write_text(f"review.run({json.dumps(about)});")
    for number in range(count // chunk):
        rows = [
            [f"box-{k // 500:03}/scan-{k:06}.tif", 0, 1, "ok", None, None, k % 997 / 100, k % 89]
            + [1, k // 64, k % 64, 256, 192]
            for k in range(number * chunk, (number + 1) * chunk)
        ]
        script = f"review.rows({number},{json.dumps(rows)});"
        (tmp_path / f"data/rows-{number:05}.js").write_text(script)
    chrome.open(tmp_path / "index.html")
    assert chrome.evaluate("byId('count').textContent") == "100,000 photographs"
    assert chrome.evaluate("document.querySelectorAll('.card').length") == 100
    set_filter(chrome, "sort", "-bits")
    assert shown(chrome)[0] == "scan-000996.tif"
    chrome.evaluate("cardAt(0).focus()")
    chrome.press("PageDown", "ArrowRight")
    assert chrome.evaluate("document.activeElement.dataset.place") == "101"
    chrome.errors.clear()  # sheets that are not there: a card says so by its frame
