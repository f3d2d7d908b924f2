"""Hints on the review page, in a real, headless Chromium: set, colored, undone, kept, exported."""

import csv
import hashlib
import io
import json
import re
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.ledger.selection import parse_selection
from pipeline.review.pages import write_review
from pipeline.storage.memory import MemoryStorage
from pipeline.weights.store import shipped_weights, takes_hints
from support.browser import CTRL, SHIFT, Browser, browser, chromium
from support.firefox import firefox, started_firefox
from support.hinted_runs import FRESH, REDONE, picture_of, write_hinted_page
from support.simulated_runs import planned

LIST = "hints.of(detail.photo)"
LIVE = "byId('live-detail').textContent"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's file."""
    return write_hinted_page(tmp_path_factory.mktemp("hinted"))


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if chromium() is None:
        pytest.skip("no chromium on PATH")
    with browser(tmp_path_factory.mktemp("profile")) as driven:
        driven.resize(1280, 900)
        yield driven


@pytest.fixture
def page(chrome: Browser, archive: Path) -> Iterator[Browser]:
    """The photograph that was not redone, open, without hints; it must not have logged an error."""
    chrome.forget()
    chrome.open(archive)
    chrome.errors.clear()
    opened(chrome, FRESH)
    yield chrome
    assert chrome.errors == []


def opened(page: Browser, photo: str) -> None:
    page.evaluate(f"openDetail(catalog.photos.findIndex(each => each.path === '{photo}'))")
    page.wait("document.querySelector('#palette-picture button') !== null")


def listed(page: Browser) -> list[tuple[float, float, str]]:
    found = page.evaluate(f"{LIST}.map(each => [each.x, each.y, each.color])")
    return [(round(x, 2), round(y, 2), color) for x, y, color in found]


def type_hex(page: Browser, color: str) -> None:
    page.evaluate("byId('hint-hex').focus(); byId('hint-hex').select()")
    page.call("Input.insertText", text=color)


def exported(page: Browser) -> list[dict[str, str]]:
    text = page.evaluate("decisions.csv()")
    parse_selection("selection.csv", text.encode())  # as resume does
    return list(csv.DictReader(io.StringIO(text)))


def near(color: str, picture: np.ndarray, x: float, y: float) -> bool:
    """Whether it is one of those around a place; sheets are JPEGs, and pointers whole pixels."""
    line, column = round(y * picture.shape[0]), round(x * picture.shape[1])
    around = picture[line - 5 : line + 5, column - 5 : column + 5].reshape(-1, 3).astype(int)
    return min(distance(color, each) for each in around) < 16


def distance(color: str, other: np.ndarray) -> float:
    """The largest difference of a channel."""
    rgb = np.array([int(color[k : k + 2], 16) for k in (1, 3, 5)])
    return float(np.abs(rgb - other).max())


def test_a_click_sets_a_hint_in_the_pictures_own_color_and_hex_changes_it(page: Browser) -> None:
    page.click("#marks", 0.25, 0.5)
    page.wait(f"{LIST}.length === 1")
    [(x, y, own)] = listed(page)
    assert (x, y) == (0.25, 0.5)
    assert near(own, picture_of(FRESH), x, y)
    type_hex(page, "#2A4b8c")
    assert listed(page) == [(0.25, 0.5, "#2a4b8c")]
    assert re.fullmatch(
        r"Hint 1, blue, 2[45](\.\d)? % from the left, (49\.\d|50) % from the top",
        page.evaluate(LIVE),
    )
    dot = "getComputedStyle(document.querySelector('.dot'))"
    assert page.evaluate(f"{dot}.backgroundColor") == "rgb(42, 75, 140)"
    assert page.evaluate(f"{dot}.borderTopColor") == "rgb(255, 255, 255)"
    type_hex(page, "12x")
    assert page.evaluate("byId('hint-hex').getAttribute('aria-invalid')") == "true"
    assert listed(page) == [(0.25, 0.5, "#2a4b8c")]


def test_keys_alone_set_move_and_delete_hints_and_undo_all_of_it(page: Browser) -> None:
    page.press("h", "ArrowRight", "ArrowRight", "ArrowUp", "Enter")
    page.wait(f"{LIST}.length === 1")
    [(x, y, color)] = listed(page)
    assert (x, y) == (0.54, 0.48)
    page.press("ArrowLeft", modifiers=SHIFT)
    page.press("Escape")
    assert page.evaluate("byId('detail').open && document.activeElement.id") == "hint-keys"
    page.evaluate("byId('hint-list').querySelector('button').focus()")
    page.press("ArrowDown", "ArrowDown")
    assert listed(page) == [(0.54, 0.52, color)]
    assert page.evaluate("document.activeElement.dataset.hint") == "0", "the focus stays"
    page.press("Delete")
    assert listed(page) == []
    page.press("z", modifiers=CTRL)
    assert listed(page) == [(0.54, 0.52, color)]
    page.press("z", modifiers=CTRL)
    assert listed(page) == [(0.54, 0.48, color)], "moves by keys are one step"
    page.press("Z", modifiers=CTRL | SHIFT)
    assert listed(page) == [(0.54, 0.52, color)]
    for left in ([(0.54, 0.48, color)], []):
        page.press("z", modifiers=CTRL)
        page.wait("true")  # the key has come
        assert listed(page) == left
    page.press("z", modifiers=CTRL)
    page.wait(f"{LIVE} === 'Nothing to undo'")
    assert listed(page) == []


def test_dots_are_dragged_and_taps_set_them_too(page: Browser) -> None:
    page.point("tap", "#marks", 0.5, 0.5)
    page.wait(f"{LIST}.length === 1")
    page.point("mousePressed", "#marks", 0.5, 0.5)
    page.point("mouseMoved", "#marks", 0.6, 0.6)
    page.point("mouseMoved", "#marks", 0.75, 0.25)
    page.point("mouseReleased", "#marks", 0.75, 0.25)
    assert [each[:2] for each in listed(page)] == [(0.75, 0.25)]
    page.press("ArrowLeft")
    assert [each[:2] for each in listed(page)] == [(0.73, 0.25)], "what was set last moves"
    assert page.evaluate("byId('detail-title').textContent") == FRESH


def test_colors_come_from_palettes_and_from_any_picture(page: Browser) -> None:
    page.click("#marks", 0.5, 0.5)
    page.wait(f"{LIST}.length === 1")
    colors = "[...document.querySelectorAll('#palette-{} button')].map(each => each.dataset.color)"
    for whose, photos in (("picture", [FRESH]), ("folder", [REDONE])):
        offered = page.evaluate(colors.format(whose))
        assert len(offered) >= 4 and len(set(offered)) == len(offered)
        pixels = np.concatenate([picture_of(photo).reshape(-1, 3) for photo in photos]).astype(int)
        for color in offered:
            nearest = min(distance(color, pixel) for pixel in pixels[::7])
            assert nearest < 24, f"{color} is nowhere in the picture"
    page.evaluate("document.querySelector('#palette-folder button').click()")
    assert [each[2] for each in listed(page)] == page.evaluate(colors.format("folder"))[:1]
    page.press("i")
    page.wait("document.querySelector('#hint-pictures canvas')?.width === 240")
    page.click("#hint-pictures canvas", 0.7, 0.5)
    page.wait("!hinting.picking")
    [(_, _, color)] = listed(page)
    assert near(color, picture_of(REDONE), 0.7, 0.5)


def test_redo_with_hints_is_exported_and_a_decision_without_it_is_not(page: Browser) -> None:
    page.click("#marks", 0.25, 0.75)
    page.wait(f"{LIST}.length === 1")
    type_hex(page, "#8c2f2b")
    assert exported(page) == [], "hints alone ask for nothing"
    page.click("#hint-redo")
    assert page.evaluate(LIVE) == "raccoon.jpg: to be redone with 1 hint"
    page.evaluate("byId('detail').close()")
    page.evaluate("cardAt(0).focus()")
    page.press("a")
    assert "to be redone, 1 hint" in page.evaluate("cardAt(1).getAttribute('aria-label')")
    first, second = exported(page)
    assert list(first) == ["photo", "candidate", "decision", "seed", "hints"]
    assert (first["photo"], first["decision"], first["hints"]) == (REDONE, "approve", "")
    assert (second["photo"], second["decision"], second["seed"]) == (FRESH, "redo", "1")
    assert re.fullmatch(r"0\.2\d{3}:0\.7\d{3}:0\.0300:#8c2f2b", second["hints"])


def test_hints_survive_a_reload_and_other_tabs_see_them(page: Browser, archive: Path) -> None:
    page.click("#marks", 0.5, 0.5)
    page.wait(f"{LIST}.length === 1")
    page.press("d")
    page.open(archive)
    opened(page, FRESH)
    assert [each[:2] for each in listed(page)] == [(0.5, 0.5)]
    with page.second_tab(archive):
        opened(page, FRESH)
        page.click("#marks", 0.2, 0.2)
        page.wait(f"{LIST}.length === 2")
        page.press("r")
    page.wait(f"{LIST}.length === 2 && document.querySelectorAll('.dot').length === 2")
    page.wait("byId('reject').getAttribute('aria-pressed') === 'true'")
    assert page.evaluate("cardAt(1).dataset.verdict") == "reject"
    page.press("a")
    assert page.evaluate("decisions.verdict(detail.photo)") == "approve"
    page.open(archive)
    assert page.evaluate("decisions.verdict(catalog.photos[1])") == "approve", "the last one counts"


def test_what_was_redone_stands_beside_what_it_was(page: Browser) -> None:
    opened(page, REDONE)
    page.wait("!byId('before').hidden && byId('picture').width === 240")
    page.evaluate("wipe(0)")
    shown = []
    for name in ("before-picture", "picture"):
        box = page.evaluate(f"byId('{name}').getBoundingClientRect().toJSON()")
        area = (box["left"], box["top"], box["right"], box["bottom"])
        picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB").crop(area)
        shown.append(np.asarray(picture.resize((60, 40))).astype(int)[8:])  # below its name
    before, now = shown
    assert np.abs(before[:, ::-1] - now).mean() < 8 < np.abs(before - now).mean()
    opened(page, FRESH)
    assert page.evaluate("byId('before').hidden")


def test_previews_of_the_attempt_before_may_be_gone(chrome: Browser, tmp_path: Path) -> None:
    archive = write_hinted_page(tmp_path)
    (archive.parent / "previews/shard-000000-000.jpg").unlink()
    (archive.parent / "previews/shard-000000-000.js").unlink()
    chrome.open(archive)
    opened(chrome, REDONE)
    chrome.wait("byId('before-picture').classList.contains('lost')")
    assert chrome.evaluate("byId('before').hidden && byId('now').hidden")
    chrome.errors.clear()  # it says which files are not there


def test_assistive_technology_gets_the_hints(page: Browser) -> None:
    page.click("#marks", 0.25, 0.5)
    page.wait(f"{LIST}.length === 1")
    type_hex(page, "#ffffff")
    nodes = page.accessibility("1: white #ffffff")
    names = {(node["role"], node["name"]) for node in nodes}
    assert ("application", "Crosshair for color hints") in names
    assert ("list", "Hints") in names
    assert any(role == "button" and name.startswith("1: white #ffffff") for role, name in names)
    for role in ("button", "textbox", "slider", "ColorWell"):
        assert all(node["name"] for node in nodes if node["role"] == role), role


def test_from_a_server_the_images_themselves_tell_colors(chrome: Browser, archive: Path) -> None:
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, template: str, *values: object) -> None:
            asked.append(str(values[0]))

    served = partial(Handler, directory=str(archive.parents[1]))
    with ThreadingHTTPServer(("127.0.0.1", 0), served) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/report/index.html"
        chrome.call("Page.navigate", url=address)
        chrome.wait("document.documentElement?.dataset.ready === 'true'")
        opened(chrome, FRESH)
        chrome.call("Page.navigate", url="about:blank")
        server.shutdown()
    assert any("previews/shard-000000-000.jpg" in each for each in asked)
    assert not any(re.search(r"previews/.*\.js", each) for each in asked)
    chrome.errors.clear()


@pytest.mark.slow
def test_firefox_sets_hints_from_a_disk(archive: Path, tmp_path: Path) -> None:
    if firefox() is None:
        pytest.skip("no firefox on PATH")
    dots, card = "document.querySelectorAll('.dot').length", ".card[data-place='1']"
    label = f"document.querySelector({card!r}).getAttribute('aria-label')".replace('"', "`")
    with started_firefox(tmp_path) as page:
        page.open(archive)
        page.click(card)
        page.wait("document.querySelectorAll('#palette-folder button').length >= 4")
        page.click("#marks", 0.25, 0.5)
        page.wait(f"{dots} === 1")
        own = page.evaluate("document.getElementById('hint-hex').value")
        assert near(own, picture_of(FRESH), 0.25, 0.5), "no image file on a disk tells it here"
        page.press("h", "ArrowRight", "Enter")
        page.wait(f"{dots} === 2")
        page.press("z", control=True)
        assert page.evaluate(dots) == 1
        page.click("#marks", 0.75, 0.75, touch=True)
        page.wait(f"{dots} === 2")
        page.click("#hint-redo")
        with page.second_tab(archive):
            assert page.evaluate(label).endswith("to be redone, 2 hints")
            page.click(card)
            page.wait("!document.getElementById('marks').hidden")
            page.click("#marks", 0.5, 0.2)
            page.wait(f"{dots} === 3")
        page.wait(f"{dots} === 3")


def test_weights_without_hints_offer_none(chrome: Browser, tmp_path: Path) -> None:
    archive = write_hinted_page(tmp_path, takes_hints=False)
    chrome.forget()  # the other page, which shows the same run
    chrome.open(archive)
    chrome.evaluate("openDetail(1)")
    assert chrome.evaluate("byId('hints-section').hidden && byId('marks').hidden")
    chrome.press("h", "Enter", "d")
    assert chrome.evaluate(f"{LIST}.length") == 0
    assert chrome.evaluate("decisions.csv()").splitlines()[0] == "photo,candidate,decision,seed"


def test_the_page_keeps_what_was_known_of_its_weights() -> None:
    _, destination, run = planned(photos=1, shard_size=1)

    def offers() -> bool:
        text = destination.read("report/data/run.js").decode()
        return bool(json.loads(text[len("review.run(") : -len(");\n")])["hints"])

    assert isinstance(destination, MemoryStorage)
    for told, expected in ((None, False), (True, True), (None, True), (False, False)):
        write_review(destination, run, told)
        assert offers() == expected
    destination.write("report/data/run.js", b"damaged")
    write_review(destination, run)
    assert not offers()


def test_weights_tell_whether_they_take_hints() -> None:
    core = Path(shipped_weights(), "core.safetensors").read_bytes()
    digests = {"core": hashlib.sha256(core).hexdigest(), "color": "1" * 64}
    assert takes_hints(shipped_weights(), digests) is True
    assert takes_hints(shipped_weights(), {"pic": "0" * 64}) is False
    assert takes_hints(shipped_weights(), digests | {"core": "0" * 64}) is None
