"""Names that are not UTF-8 are the same in all that a run writes, and lead back to their photos."""

import csv
import io
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pipeline.ledger.manifest import Manifest
from pipeline.ledger.plan import Schedule
from pipeline.ledger.planning import prepare_run
from pipeline.ledger.results import image_path, read_results
from pipeline.ledger.run_file import open_run
from pipeline.ledger.selection import parse_selection, take_selection
from pipeline.provenance.premis import PREMIS
from pipeline.review.pages import write_review
from pipeline.run.steps import write_shard
from pipeline.storage.local import LocalStorage
from pipeline.storage.open_storage import open_storage
from pipeline.verify import verify
from support.premis_rules import write_premis
from support.written_shards import RECIPE, candidates_of, gray_photo

NAMES = [b"caf\xe9.png", b"\xff\xfe/b\xfcro.png", "\uf7e9.png".encode(), b"broken\x80.png"]
FOLDER = b"R\xf6ntgen"


# A command for each list of words; a page is fed after each. An exit code that is not 0 ends all.
COMMANDS = """
import itertools, sys
from jobs.main import main

words = iter(sys.argv[1:])
while command := list(itertools.takewhile(lambda word: word != "--", words)):
    try:
        main(command)
    except SystemExit as end:
        if end.code:
            raise
    sys.stdout.flush()
    sys.stdout.buffer.write(b"\\f")
"""


def printed(*commands: Sequence[object]) -> list[str]:
    """What commands print, one after the other in a process whose names are bytes."""
    words = [str(word) for command in commands for word in (*command, "--")]
    program = [sys.executable, "-c", COMMANDS, *words]
    done = subprocess.run(program, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    *told, rest = done.stdout.decode("utf-8").split("\f")
    assert len(told) == len(commands) and not rest
    return told


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a source and the destination of its run, as the system names it."""
    root = os.fsencode(tmp_path_factory.mktemp("names")) + b"/" + FOLDER
    for number, name in enumerate(NAMES):
        path = root + b"/source/" + name
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(b"no photo" if name.startswith(b"broken") else gray_photo(number))
    return os.fsdecode(root)


@pytest.fixture(scope="module")
def done(place: str) -> LocalStorage:
    source, destination = LocalStorage(f"{place}/source"), LocalStorage(f"{place}/out")
    recipe = replace(RECIPE, source=source.uri, sidecar=True)
    run = prepare_run(source, destination, recipe, 8)
    [shard] = Schedule(destination, run).open()
    write_shard(0, candidates_of(recipe, source, shard), source, destination, run)
    write_premis(destination, read_results(destination, run), run)
    write_review(destination, run)
    return destination


def photos(destination: LocalStorage) -> list[str]:
    [table] = read_results(destination, open_run(destination))
    found: list[str] = table["photo"].to_pylist()
    return found


def test_results_premis_sidecars_and_page_have_the_same_names(done: LocalStorage) -> None:
    names = photos(done)
    assert len(set(names)) == len(NAMES) and "caf\uf7e9.png" in names
    record = ElementTree.fromstring(done.read(PREMIS))
    originals = record.iter("{http://www.loc.gov/premis/v3}originalName")
    assert [each.text for each in originals] == names
    sidecars = [done.read(each.path) for each in done.list("images") if each.path[-5:] == ".json"]
    [table] = read_results(done, open_run(done))
    rows = [row for row in table.to_pylist() if row["status"] == "ok"]
    assert {json.loads(each)["photo"] for each in sidecars} == {row["photo"] for row in rows}
    assert all(done.exists(image_path(row)) for row in rows)
    page = done.read("report/data/rows-00000.js").decode("ascii")
    assert [row[0] for row in json.loads(page[page.index(",") + 1 : -3])] == names


def test_status_names_them_as_text_json_and_table(done: LocalStorage, place: str) -> None:
    out = f"{place}/out"
    failed = ("status", out, "--failed")
    lines, table, nothing, text, state = printed(
        *((*failed, "--json"), (*failed, "--csv", "-")),
        *((*failed, "--csv", f"{place}/f\udce9.csv"), failed, ("status", out, "--json")),
    )
    assert [json.loads(line)["photo"] for line in lines.splitlines()] == ["broken\uf780.png"]
    rows = list(csv.DictReader(io.StringIO(table)))
    assert [row["photo"] for row in rows] == ["broken\uf780.png"]
    assert os.path.exists(os.fsencode(place) + b"/f\xe9.csv"), nothing
    assert r"broken\uf780.png" in text
    assert json.loads(state)["done"] == 3


def test_a_selection_that_comes_back_finds_them(done: LocalStorage) -> None:
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(["photo", "candidate", "decision", "seed"])
    names = [name for name in photos(done) if not name.startswith("broken")]
    table.writerows([name, 0, "approve", ""] for name in names)
    selection = parse_selection("chosen.csv", text.getvalue().encode())
    assert [each.photo for each in selection.choices] == names
    assert take_selection(done, open_run(done), selection) == 0


def test_a_recorded_place_is_found_again(done: LocalStorage, place: str) -> None:
    run = open_run(done)
    source = open_storage(run.recipe.source)
    assert source.uri == run.recipe.source == LocalStorage(f"{place}/source").uri
    assert [each.path for each in source.list()] == photos(done)
    literal = Path(place).parent / "R\uf7f6ntgen"  # a folder that is called so itself
    literal.mkdir()
    assert list(open_storage(str(literal)).list()) == []
    literal.rmdir()


def test_verify_finds_nothing_amiss(done: LocalStorage) -> None:
    run = open_run(done)
    findings = verify(open_storage(run.recipe.source), done, run)
    assert not findings.problems, findings.problems


def test_a_manifest_in_such_a_folder_is_read(place: str) -> None:
    for name in ("list.csv", "l\udce9.csv"):
        with open(f"{place}/{name}", "w", encoding="utf-8") as file:
            file.write("uri\ncaf\uf7e9.png\n")
        source = LocalStorage(f"{place}/source")
        found = Manifest(f"{place}/{name}").photos(source, Counter())
        assert [source.read(each.path)[:4] for each in found] == [b"\x89PNG"]
