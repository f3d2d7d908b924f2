import datetime
import io
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from pipeline.chroma import put_color_on
from pipeline.encoding import encode
from pipeline.report import write_report
from pipeline.report_page import histogram
from pipeline.results import SCHEMA
from pipeline.storage import LocalStorage, MemoryStorage, Storage

RUN = {"source": "s3://museum/glass", "seed": 7, "weights": {"core": "abc123"}, "note": None}
MOMENT = datetime.datetime(2026, 5, 4, 12, 30, tzinfo=datetime.UTC)
ORANGE = (190, 110, 70)
CHROMIUM = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --hide-scrollbars"
CHROMIUM += " --disable-background-networking --disable-component-update --disable-sync"


def colorized(storage: Storage, photo: str, bits: float) -> dict[str, object]:
    """A row of the results, its picture stored."""
    gray = np.full((60, 90), 128, np.uint8)
    path = f"images/{photo}"
    storage.write(path, encode(put_color_on(gray, np.array([[ORANGE]], np.uint8)), "PNG"))
    row: dict[str, object] = {"photo": photo, "width": 90, "height": 60, "candidate": 0, "rank": 0}
    row |= {"status": "ok"}
    row |= {"output_uri": storage.uri_of(path), "bits_per_pixel": bits, "colorfulness": 33.3}
    return row | {"finished_at": MOMENT}


def failed(photo: str, reason: str, error: str) -> dict[str, object]:
    row: dict[str, object] = {"photo": photo, "candidate": 0, "status": "failed"}
    return row | {"reason": reason, "error": error, "finished_at": MOMENT}


def page_of(
    storage: Storage, rows: Sequence[Mapping[str, object]], run: Mapping[str, object] = RUN
) -> str:
    uri = write_report(storage, [pa.Table.from_pylist(rows, schema=SCHEMA)], run)
    assert uri == storage.uri_of("report/index.html")
    return storage.read("report/index.html").decode()


def names_on(page: str) -> list[str]:
    return re.findall(r"<figcaption><b>(.*?)</b>", page)


def test_page_shows_both_ends_by_likelihood() -> None:
    storage = MemoryStorage()
    rows = [colorized(storage, f"a/{k}.png", bits=k) for k in (3, 1, 4, 5, 2)]
    page = page_of(storage, rows)
    assert names_on(page) == ["1.png", "2.png", "3.png", "5.png", "4.png"]
    assert page.index("Most likely") < page.index("1.png") < page.index("Least likely")
    assert page.count("data:image/jpeg;base64,") == 10
    assert 'alt="1.png, gray"' in page and 'alt="1.png, colorized"' in page
    assert "1.00 bits per pixel · colorfulness 33 · 90 × 60" in page
    assert 'href="../images/a/1.png"' in page
    assert "s3://museum/glass" in page and "2026-05-04 12:30 UTC" in page
    assert "<dt>weights core</dt><dd>abc123</dd>" in page


def test_page_is_self_contained_well_formed_and_without_script() -> None:
    storage = MemoryStorage()
    rows = [colorized(storage, "a.png", 2), failed("b.png", "corrupt", "broken")]
    page = page_of(storage, rows)
    assert "<script" not in page and "@import" not in page and "url(" not in page
    links = re.findall(r'(?:src|href)="([^"]*)"', page)
    local = {"../images/a.png", "contact-sheet.png"}
    assert {link for link in links if not link.startswith("data:")} == local
    open_tags: list[str] = []

    class Checker(HTMLParser):
        def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
            if tag not in ("meta", "link", "img", "th", "td", "rect", "path"):
                open_tags.append(tag)

        def handle_endtag(self, tag: str) -> None:
            if tag not in ("rect", "path"):
                assert open_tags.pop() == tag

    Checker().feed(page)
    assert not open_tags


def test_names_errors_and_settings_cannot_inject_anything() -> None:
    storage = MemoryStorage()
    evil = 'x"><script>alert(1)</script>&.png'
    rows = [colorized(storage, evil, 2), failed(evil + "2", "corrupt", "<img src=x onerror=y>")]
    page = page_of(storage, rows, {"source": "<b>bold</b>", "<i>": "<u>"})
    assert "<script" not in page and "<img src=x" not in page
    assert "<b>bold" not in page and "<i>" not in page and "<u>" not in page
    assert "x%22%3E%3Cscript%3Ealert%281%29%3C/script%3E%26.png" in page
    odd = "caf\udce9/日本.png"  # a name that is not UTF-8
    assert "日本" in page_of(storage, [failed(odd.encode("utf-8", "replace").decode(), "", "")])


def test_failures_are_listed_with_reasons_once_per_photograph() -> None:
    storage = MemoryStorage()
    broken = [failed("b.png", "corrupt", "cut short") | {"candidate": k} for k in range(3)]
    other = [failed("c.png", "too_large", "900 megapixels"), failed("a.png", "corrupt", "empty")]
    skipped = failed("d.png", "already_color", "") | {"status": "skipped"}
    page = page_of(storage, [*broken, *other, skipped])
    assert "2 corrupt, 1 already color, 1 too large" in page
    assert page.count("cut short") == 1 and "<td>too large<td>900 megapixels" in page
    assert "<dd>4</dd>" in page and "<dt>skipped</dt><dd>1</dd>" in page
    assert "No photograph was colorized." in page


def test_best_ranked_candidate_stands_for_its_photograph() -> None:
    storage = MemoryStorage()
    rows = [
        colorized(storage, "a.candidate-0.png", 3) | {"candidate": 0, "rank": 2},
        colorized(storage, "a.candidate-1.png", 2) | {"candidate": 1, "rank": 1},
    ]
    rows = [row | {"photo": "a.png"} for row in rows]
    rows.append(colorized(storage, "b.png", 5) | {"rank": 2})  # its first could not be written
    page = page_of(storage, rows)
    assert names_on(page) == ["a.png", "b.png"] and 'href="../images/a.candidate-1.png"' in page


def test_size_is_bounded_and_what_is_left_out_is_said() -> None:
    storage = MemoryStorage()
    row = colorized(storage, "one.png", 0)
    rows = [dict(row, photo=f"{k:04}.png", bits_per_pixel=k / 100) for k in range(400)]
    page = page_of(storage, rows + [failed(f"x{k}", "corrupt", "") for k in range(501)])
    names = names_on(page)
    assert len(names) == 120 and names[0] == "0000.png" and names[60] == "0399.png"
    assert "280 photographs between" in page and "1 more are in the results" in page
    assert page.count("<th scope=row>") == 500
    picture = Image.open(io.BytesIO(storage.read("report/contact-sheet.png")))
    assert picture.size == (1760, 80 + 10 * 250)


def test_contact_sheet_shows_gray_beside_color() -> None:
    storage = MemoryStorage()
    page_of(storage, [colorized(storage, "a.png", 2)])
    picture = np.asarray(Image.open(io.BytesIO(storage.read("report/contact-sheet.png"))))
    gray, color = picture[200, 180].astype(int), picture[200, 270].astype(int)
    assert np.ptp(gray) <= 2 and abs(gray[0] - 128) <= 4
    assert color[0] - color[2] > 80


def test_result_that_is_gone_is_a_card_without_pictures() -> None:
    storage = MemoryStorage()
    rows = [colorized(storage, "a.png", 2), colorized(storage, "b.png", 3)]
    del storage.objects["images/a.png"]
    storage.write("images/b.png", b"no picture")
    page = page_of(storage, rows)
    assert page.count("cannot be read any more") == 2 and "data:image/jpeg" not in page


def test_nothing_at_all_still_makes_a_page() -> None:
    assert "No photograph was colorized." in page_of(MemoryStorage(), [])


@pytest.mark.parametrize("count", [1, 2, 50, 5000])
def test_histogram_counts_every_photograph(count: int) -> None:
    bits = np.random.default_rng(0).normal(3, 0.5, count)
    for values in (bits, np.full(count, 2.5)):
        svg = histogram(values)
        counts = re.findall(r"<title>([\d,]+) from", svg)
        assert sum(int(number.replace(",", "")) for number in counts) == count
        assert f"{count:,} photographs" in svg and "nan" not in svg


def test_page_opens_in_a_browser(tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("no chromium on PATH")
    storage = LocalStorage(str(tmp_path / "run"))
    rows = [colorized(storage, f"ä ö/{k}.png", bits=k) for k in range(4)]
    page_of(storage, [*rows, failed("broken.tif", "corrupt", "the file is empty")])
    command = [browser, *CHROMIUM.split(), f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--window-size=1200,1000", f"--screenshot={tmp_path / 'page.png'}"]
    subprocess.run(
        [*command, (tmp_path / "run/report/index.html").as_uri()],
        check=True,
        timeout=120,
        capture_output=True,
    )
    seen = np.asarray(Image.open(tmp_path / "page.png").convert("RGB")).astype(int)
    target = put_color_on(np.full((1, 1), 128, np.uint8), np.array([[ORANGE]], np.uint8))[0, 0]
    orange = np.abs(seen - target).max(axis=2) <= 4
    gray = np.abs(seen - 128).max(axis=2) <= 4
    assert orange.sum() > 10_000 and gray.sum() > 10_000  # the pictures themselves, side by side
    assert np.median(np.nonzero(gray)[1]) < np.median(np.nonzero(orange)[1])
