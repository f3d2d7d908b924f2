"""What `autochrome inspect` finds in pictures of a run, as they were written and after handling."""

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.images.encoding import encode
from pipeline.images.mark import FOUND, find_mark, marked
from pipeline.images.masters import read_full
from pipeline.ledger.plan import Shard
from pipeline.ledger.planning import prepare_run
from pipeline.ledger.recipe import Recipe
from pipeline.metadata.xmp import Provenance, xmp_packet
from pipeline.metadata.xmp_provenance import provenance_in_xmp
from pipeline.provenance.inspection import inspect_file, summary_of
from pipeline.provenance.signing import read_signer
from pipeline.run.steps import write_shard
from pipeline.storage.base import Storage
from pipeline.storage.open_storage import open_storage
from support.commands import run_command, started_command
from support.signing_chains import Chain, write_chain
from support.written_shards import RECIPE, candidates_of, planned

EVERYTHING = replace(RECIPE, content_credentials=True, sidecar=True, mark=True)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    return write_chain(tmp_path_factory.mktemp("chain"))


def run(source: Storage, destination: Storage, recipe: Recipe, chain: Chain | None = None) -> None:
    """A run of a source as one shard, with its run.json."""
    signer = read_signer(chain.certificate, chain.key) if chain else None
    recipe = replace(recipe, source=source.uri)
    made = prepare_run(source, destination, recipe, 64)
    shard = Shard(0, planned(source))
    colored = candidates_of(recipe, source, shard)
    write_shard(0, colored, source, destination, made, signer=signer)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, repository: Path, chain: Chain) -> Path:
    """Two photographs, colored at random, with all marks; only ever read."""
    folder = tmp_path_factory.mktemp("archive")
    (folder / "scans").mkdir()
    for name in ("animals/cat.jpg", "people/stairs.jpg"):
        gray = read_full((repository / "examples/photos" / name).read_bytes()).gray
        (folder / "scans" / Path(name).name).write_bytes(encode(gray[::2, ::2], "JPEG"))
    source, destination = (open_storage(str(folder / name)) for name in ("scans", "colored"))
    run(source, destination, EVERYTHING, chain)
    return folder


def inspected(*arguments: object, code: int = 0) -> dict[str, Any]:
    result = run_command("inspect", "--json", *arguments)
    assert result.exit_code == code, result.output
    [line] = result.stdout.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def picture(folder: Path) -> Path:
    return folder / "colored" / "images" / "cat.jpg"


def test_all_that_a_picture_says(folder: Path) -> None:
    found = inspected(picture(folder), "--results", folder / "colored")
    assert found["declared_by"] == [
        *("content credentials", "XMP", "sidecar", "visible mark", "results"),
    ]
    signed = found["credentials"]
    assert (signed["state"], signed["signer"]) == ("Valid", "Scanner, An Archive")
    assert signed["time"] is None and signed["program"] == "Autochrome 1.2"
    assert found["xmp"]["AISystemUsed"] == "Autochrome"
    [row] = found["rows"]
    assert found["xmp"]["autochrome:SourceSHA256"] == row["source_sha256"]
    assert (row["photo"], row["found_by"], row["distance"]) == ("cat.jpg", "digest", 0)
    assert row["finished_at"].endswith("+00:00") and found["notes"] == []
    text = run_command("inspect", picture(folder), "--results", folder / "colored").stdout
    assert "  declared                           a machine's color, by content" in text
    assert "signed by Scanner, An Archive; without a time stamp; Autochrome 1.2" in text
    assert f"cat.jpg, candidate 0: these very bytes; {row['output_uri']}; 20" in text
    assert "in the lower right corner" in text


def handled(file: bytes, how: str) -> bytes:
    """A file as other programs leave it; none of them keeps metadata unless it says so."""
    image: Image.Image = Image.open(io.BytesIO(file))
    width, height = image.size
    options: dict[str, Any] = {"quality": 75}
    if how == "half":
        image = image.resize((width // 2, height // 2), Image.Resampling.LANCZOS)
    elif how == "crop":
        image = image.crop((0, 0, width * 4 // 5, height * 4 // 5))
    elif how == "gray":
        image = image.convert("L")
    elif how == "keeps XMP":
        options["xmp"] = image.info["xmp"]
    file_again = io.BytesIO()
    image.save(file_again, "JPEG", **options)
    return file_again.getvalue()


@pytest.mark.parametrize(
    ("how", "found_by"),
    [
        ("JPEG", ["visible mark", "results"]),
        ("half", ["visible mark", "results"]),
        ("gray", ["visible mark"]),
        ("keeps XMP", ["XMP", "visible mark", "results"]),
        ("crop", []),
    ],
)
def test_what_is_left_after_handling(
    how: str, found_by: list[str], folder: Path, tmp_path: Path
) -> None:
    for name in ("cat.jpg", "stairs.jpg"):
        file = tmp_path / name
        file.write_bytes(handled((folder / "colored/images" / name).read_bytes(), how))
        found = inspected(file, "--results", folder / "colored", code=int(not found_by))
        assert found["declared_by"] == found_by
        assert [row["photo"] for row in found["rows"]] == ([] if how == "crop" else [name])
        assert {row["found_by"] for row in found["rows"]} <= {"looks"}


def test_a_master_declares_nothing_though_its_row_is_found(folder: Path) -> None:
    found = inspected(folder / "scans" / "cat.jpg", "--results", folder / "colored", code=1)
    assert found["declared_by"] == [] and found["in_color"] is False
    assert [row["found_by"] for row in found["rows"]] == ["master"]


def test_a_changed_picture_is_said_to_be_invalid(folder: Path, tmp_path: Path) -> None:
    data = bytearray(picture(folder).read_bytes())
    data[-1000] ^= 1
    changed = tmp_path / "changed.jpg"
    changed.write_bytes(data)
    (tmp_path / "changed.jpg.json").write_bytes(Path(f"{picture(folder)}.json").read_bytes())
    found = inspected(changed)
    assert found["credentials"]["state"] == "Invalid"
    assert "assertion.dataHash.mismatch" in found["credentials"]["failures"]
    assert found["sidecar"] is None
    assert "sidecar: of a picture with other bytes than this file has" in found["notes"]
    assert "INVALID (assertion.dataHash.mismatch)" in run_command("inspect", changed).stdout


def test_rows_of_an_older_version_are_found_by_their_bytes(folder: Path, tmp_path: Path) -> None:
    for name in ("run.json", "plan/part-00000.parquet", "results/shard-000000.parquet"):
        copy = tmp_path / name
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes((folder / "colored" / name).read_bytes())
    table = pq.read_table(copy)
    pq.write_table(table.drop_columns(["phash"]), copy)
    found = inspected(picture(folder), "--results", tmp_path)
    assert [row["found_by"] for row in found["rows"]] == ["digest"] and found["notes"] == []
    other = tmp_path / "other.jpg"
    other.write_bytes(handled(picture(folder).read_bytes(), "JPEG"))
    found = inspected(other, "--results", tmp_path)
    assert found["rows"] == []
    assert found["notes"] == [
        "results: 2 rows are older than perceptual hashes, and found by bytes alone"
    ]


@pytest.mark.slow
def test_marks_written_to_a_bucket_are_read_back_from_it(
    bucket: str, chain: Chain, folder: Path
) -> None:
    place = f"s3://{bucket}/archive"
    source, destination = (open_storage(f"{place}/{name}") for name in ("scans", "colored"))
    source.write("a b.jpg", (folder / "scans" / "cat.jpg").read_bytes())
    run(source, destination, EVERYTHING, chain)
    found = inspected(f"{place}/colored/images/a b.jpg", "--results", f"{place}/colored")
    assert found["declared_by"] == [
        *("content credentials", "XMP", "sidecar", "visible mark", "results"),
    ]


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP", "AVIF", "JPEG2000"])
def test_other_formats_say_it_too(format: str, tmp_path: Path, chain: Chain) -> None:
    source, destination = open_storage(str(tmp_path / "in")), open_storage(str(tmp_path / "out"))
    gray = np.random.default_rng(1).integers(0, 2**16, (60, 80), dtype=np.uint16)
    deep = format in ("PNG", "TIFF", "JPEG2000")
    source.write("a.png", encode(gray if deep else (gray >> 8).astype(np.uint8), "PNG"))
    name = {"JPEG2000": "jp2"}.get(format, format.lower())
    run(source, destination, replace(RECIPE, format=name))
    [path] = [each.path for each in destination.list("images")]
    found = inspected(tmp_path / "out" / path, "--results", tmp_path / "out")
    assert found["declared_by"] == ["XMP", "results"] and found["format"] == format
    assert found["xmp"]["autochrome:WeightsCoreSHA256"] == "c0de"


class TestFilesOfAnyone:
    def test_errors_are_a_line_for_each_and_others_are_read(
        self, folder: Path, tmp_path: Path
    ) -> None:
        odd = tmp_path / "odd\x1b[2J\nname.jpg"
        odd.write_bytes(b"no picture")
        result = run_command("inspect", picture(folder), odd, tmp_path, tmp_path / "none.jpg")
        assert result.exit_code == 2 and "a machine's color" in result.stdout
        lines = result.stderr.splitlines()
        assert len(lines) == 3 and all(line.startswith("autochrome: ") for line in lines)
        assert "\x1b" not in result.output and r"\x1b[2J\nname.jpg" in lines[0]
        refused = run_command("inspect", picture(folder), "--results", tmp_path)
        assert refused.exit_code == 2 and "holds no run" in refused.stderr

    def test_every_cut_and_many_changes_are_borne(self, folder: Path, tmp_path: Path) -> None:
        whole, file = picture(folder).read_bytes(), tmp_path / "cut.jpg"
        random = np.random.default_rng(5)
        for number in range(40):
            data = bytearray(whole[: int(random.integers(3, len(whole)))])
            for place in random.integers(3, len(data), number % 4):
                data[place] = int(random.integers(256))
            file.write_bytes(data)
            found = inspect_file(str(file))
            assert all("\n" not in note and len(note) < 400 for note in found.notes)
        assert found.sha256 and found.mark is None

    def test_words_of_a_file_leave_no_line_and_no_escape(self, tmp_path: Path) -> None:
        words = "1\n  declared  a machine's\x9b color"
        packet = xmp_packet(None, Provenance("x", words, {}, 0, ""))
        image, file = Image.new("RGB", (40, 30), "red"), tmp_path / "a.jpg"
        image.save(file, "JPEG", xmp=packet)
        result = run_command("inspect", file)
        assert result.exit_code == 1
        assert r"1\n  declared  a machine's\x9b color" in result.stdout
        assert "\x9b" not in result.stdout
        assert result.stdout.count("\n  declared ") == 1

    @pytest.mark.parametrize(
        ("packet", "words"),
        [
            (b"<a>" * 100, "nested too deeply"),
            (b"<a></b>", "not well-formed"),
            (b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "document type"),
            (b"<a>" + b" " * 2**20 + b"</a>", "more than 1 MiB"),
        ],
    )
    def test_packets_that_are_refused(self, packet: bytes, words: str) -> None:
        with pytest.raises(ValueError, match=words):
            provenance_in_xmp(packet)

    def test_a_sidecar_of_anyone(self, tmp_path: Path) -> None:
        file, beside = tmp_path / "a.png", tmp_path / "a.png.json"
        file.write_bytes(encode(np.zeros((20, 20), np.uint8), "PNG"))
        for content in (b"[" * 100_000, b"{", b"[]", b"null", b"\xff", b" " * (2**20 + 1)):
            beside.write_bytes(content)
            found = inspect_file(str(file))
            assert found.sidecar is None and found.notes[0].startswith("sidecar: ")

    def test_a_report_of_credentials_without_anything(self) -> None:
        for report in ({}, {"manifests": [], "validation_results": 3}, {"manifests": {"None": 1}}):
            assert summary_of(report).source_types == ()


def test_xmp_is_read_in_each_of_its_forms() -> None:
    names = (
        'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
        ' xmlns:e="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
    )
    kind = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    for form in (
        f'<rdf:Description e:DigitalSourceType="{kind}"/>',
        f"<rdf:Description><e:DigitalSourceType> {kind}\n</e:DigitalSourceType></rdf:Description>",
        f'<rdf:Description><e:DigitalSourceType rdf:resource="{kind}"/></rdf:Description>',
        f"<rdf:Description><e:DigitalSourceType><rdf:Bag><rdf:li>{kind}</rdf:li></rdf:Bag>"
        "</e:DigitalSourceType></rdf:Description>",
    ):
        packet = f"<rdf:RDF {names}>{form}</rdf:RDF>".encode()
        assert provenance_in_xmp(packet) == {"DigitalSourceType": kind}, form


def test_marks_are_found_and_nothing_else_is(repository: Path, shared: Path) -> None:
    """The threshold; docs/provenance.md has the figures of more photographs."""
    table = pq.read_table(shared / "photos" / "train256.parquet", columns=["image"])
    for file in table["image"].slice(0, 40).to_pylist():
        rgb = np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))
        with_mark = np.concatenate(list(marked([rgb], *rgb.shape[:2])))
        plain, found = (
            find_mark(np.asarray(Image.fromarray(each).convert("L"))) for each in (rgb, with_mark)
        )
        assert plain < FOUND - 0.05 and found > 0.85


def test_without_the_library_a_hint(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "c2pa", None)
    found = inspected(picture(folder))
    assert found["credentials"] is None and "pip install" in found["notes"][0]


def test_no_row_is_taken_for_a_blank_picture(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "blank.png"
    file.write_bytes(encode(np.full((50, 50, 3), (200, 10, 10), np.uint8), "PNG"))
    found = inspected(file, "--results", folder / "colored", code=1)
    assert found["rows"] == [] and found["phash"] is None
    table: pa.Table = pq.read_table(folder / "colored/results/shard-000000.parquet")
    assert all(len(each) == 16 for each in table["phash"].to_pylist())


@pytest.mark.slow
def test_a_reader_that_has_gone_is_no_fault(folder: Path) -> None:
    """As in `autochrome inspect *.jpg | head`."""
    with started_command("inspect", picture(folder)) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        process.stdout = None
        told = process.stderr.read()
        assert (process.wait(), told) == (1, "")


def test_it_needs_neither_a_model_nor_ray() -> None:
    code = (
        "import sys, jobs.inspect, pipeline.provenance.inspection, pipeline.provenance.rows;"
        "print(sorted({'torch', 'ray', 'boto3', 'c2pa'} & sys.modules.keys()))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"
