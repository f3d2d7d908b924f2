"""Content credentials: written with a certificate made here, read back by C2PA's own reader."""

import hashlib
import io
import json
import pickle
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import c2pa
import numpy as np
import pytest

from pipeline.errors import PhotoError, UsageError
from pipeline.images.formats import MIME_OF_FORMAT
from pipeline.images.masters import read_full, read_rgb
from pipeline.ledger.planning import prepare_run
from pipeline.ledger.recipe import Recipe
from pipeline.metadata.xmp import SOURCE_TYPES, Provenance, xmp_packet
from pipeline.provenance.c2pa import Signer, Unsigned, sign_picture
from pipeline.provenance.signing import read_signer, refuse_unsigned, write_signed
from pipeline.run.isolation import call_isolated
from pipeline.run.options import Resources
from pipeline.run.request import Job, reopen_job
from pipeline.storage.memory import MemoryStorage
from support.signing_chains import Chain, write_chain
from support.written_shards import RECIPE, gray_photo, write

SIGNED = replace(RECIPE, content_credentials=True)
MADE = Provenance("trainedAlgorithmicMedia", "1.2", {}, 0, "")
SUFFIXES = {"JPEG": "jpg", "PNG": "png", "TIFF": "tif", "WEBP": "webp", "AVIF": "avif"}


@pytest.fixture(scope="module")
def signer(chain: Chain) -> Signer:
    found = read_signer(chain.certificate, chain.key)
    assert found is not None
    return found


def read(file: bytes, format: str, root: str = "") -> tuple[str, dict[str, Any]]:
    """State and active manifest, as the reader of the library sees them."""
    settings = {"trust": {"trust_anchors": root}} if root else {}
    context = c2pa.Context(c2pa.Settings.from_dict(settings))
    with c2pa.Reader(MIME_OF_FORMAT[format], io.BytesIO(file), context=context) as reader:
        report = json.loads(reader.json())
    return report["validation_state"], report["manifests"][report["active_manifest"]]


@pytest.mark.parametrize("format", SUFFIXES)
def test_a_picture_is_signed_and_names_its_master(
    chain: Chain, signer: Signer, format: str
) -> None:
    source, destination, plain = MemoryStorage("source"), MemoryStorage(), MemoryStorage()
    name = f"sub/a.{SUFFIXES[format]}"
    source.write(name, gray_photo(1, format))
    [row] = write(source, destination, SIGNED, signer=signer)
    assert row["error"] is None
    file = destination.read(f"images/{name}")
    assert row["output_sha256"] == hashlib.sha256(file).hexdigest()
    assert row["output_bytes"] == len(file)
    state, manifest = read(file, format, chain.root)
    assert state == "Trusted"
    assert read(file, format)[0] == "Valid", "to readers that do not know the root"
    [generator] = manifest["claim_generator_info"]
    assert (generator["name"], generator["version"]) == ("Autochrome", "1.2")
    [ingredient] = manifest["ingredients"]
    assert ingredient["relationship"] == "parentOf" and ingredient["title"] == name
    assert ingredient["description"] == f"SHA-256 {row['source_sha256']}"
    [actions] = [each for each in manifest["assertions"] if each["label"] == "c2pa.actions.v2"]
    opened, adjusted = actions["data"]["actions"]
    assert opened["action"] == "c2pa.opened"
    [parent] = opened["parameters"]["ingredients"]
    assert parent["url"].endswith(ingredient["label"])
    assert adjusted["action"] == "c2pa.color_adjustments"
    assert adjusted["digitalSourceType"] == SOURCE_TYPES + RECIPE.digital_source_type
    assert adjusted["softwareAgent"] == {"name": "Autochrome", "version": "1.2"}
    assert "time" not in manifest["signature_info"], "no authority is asked for the time"
    # The picture is the unsigned one, with all its metadata.
    write(source, plain, RECIPE)
    unsigned = plain.read(f"images/{name}")
    assert np.array_equal(read_rgb(file, 30), read_rgb(unsigned, 30))
    full, same = read_full(file), read_full(unsigned)
    assert np.array_equal(full.gray, same.gray) and full.metadata == same.metadata
    assert full.dpi == same.dpi


def test_a_changed_picture_is_found_out(signer: Signer) -> None:
    file = sign_picture(signer, Unsigned("a.png", gray_photo(2), "PNG", gray_photo(1), "PNG", MADE))
    place = file.rindex(b"IDAT") + 20
    changed = file[:place] + bytes([file[place] ^ 1]) + file[place + 1 :]
    assert [read(each, "PNG")[0] for each in (file, changed)] == ["Valid", "Invalid"]


@pytest.mark.parametrize("kind", ["es384", "ed25519", "ps256"])
def test_every_kind_of_key_signs(kind: str, tmp_path: Path) -> None:
    chain = write_chain(tmp_path, kind)
    signer = read_signer(chain.certificate, chain.key)
    assert signer is not None and signer.algorithm == kind
    file = sign_picture(signer, Unsigned("a.png", gray_photo(2), "PNG", gray_photo(1), "PNG", MADE))
    assert read(file, "PNG", chain.root)[0] == "Trusted"


def test_a_master_with_credentials_keeps_them_in_the_pictures(chain: Chain, signer: Signer) -> None:
    master = sign_picture(
        signer, Unsigned("print", gray_photo(1), "PNG", gray_photo(1), "PNG", MADE)
    )
    file = sign_picture(signer, Unsigned("a.png", gray_photo(2), "PNG", master, "PNG", MADE))
    state, manifest = read(file, "PNG", chain.root)
    assert state == "Trusted"
    assert manifest["ingredients"][0]["active_manifest"] == read(master, "PNG")[1]["label"]


def test_credentials_of_a_master_are_not_taken_for_those_of_a_picture(signer: Signer) -> None:
    source, destination = MemoryStorage("source"), MemoryStorage()
    for format, suffix in SUFFIXES.items():
        photo = gray_photo(1, format)
        signed = sign_picture(signer, Unsigned("print", photo, format, photo, format, MADE))
        source.write(f"a.{suffix}", signed)
    for row in write(source, destination, replace(RECIPE, format="tiff")):
        path = str(row["output_uri"]).removeprefix("memory://memory/")
        assert b"c2pa" not in destination.read(path), row["photo"]


@pytest.mark.parametrize(
    "where",
    [
        '<rdf:Description dcterms:provenance="https://a.example/1"/>',
        "<rdf:Description><dcterms:provenance>https://a.example/1</dcterms:provenance>"
        "</rdf:Description>",
    ],
)
def test_where_credentials_of_a_master_are_is_not_said_of_a_picture(where: str) -> None:
    names = 'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:dcterms="dc"'
    packet = xmp_packet(f"<rdf:RDF {names}>{where}</rdf:RDF>".encode(), MADE)
    assert packet is not None and b"dcterms=" in packet and b"a.example" not in packet


@pytest.mark.parametrize("master", [gray_photo(1, "JPEG2000"), gray_photo(1), b"odd"])
def test_a_master_that_the_library_cannot_read_is_named_all_the_same(
    signer: Signer, master: bytes
) -> None:
    file = sign_picture(signer, Unsigned("a.jp2", gray_photo(2), "PNG", master, "JPEG", MADE))
    state, manifest = read(file, "PNG")
    assert state == "Valid"
    assert hashlib.sha256(master).hexdigest() in manifest["ingredients"][0]["description"]


def test_what_cannot_be_signed_becomes_png_or_is_refused(signer: Signer) -> None:
    source, destination = MemoryStorage("source"), MemoryStorage()
    source.write("a.jp2", gray_photo(1, "JPEG2000"))
    [row] = write(source, destination, SIGNED, signer=signer)
    assert row["output_uri"].endswith("images/a.jp2.png")
    assert read(destination.read("images/a.jp2.png"), "PNG")[0] == "Valid"
    with pytest.raises(UsageError, match="--format jp2 cannot hold content credentials"):
        refuse_unsigned("jp2")
    for format in ("auto", "jpeg", "png", "tiff", "webp", "avif"):
        refuse_unsigned(format)


def test_of_two_workers_on_a_picture_the_first_one_counts(signer: Signer) -> None:
    destination = MemoryStorage()
    first, second, other = (
        sign_picture(
            signer, Unsigned("a.png", gray_photo(number), "PNG", gray_photo(1), "PNG", MADE)
        )
        for number in (2, 2, 3)
    )
    assert first != second, "salts are random"
    assert write_signed(destination, "images/a.png", first) == first
    assert write_signed(destination, "images/a.png", second) == first
    assert destination.read("images/a.png") == first
    for harmed in (first[:-30], gray_photo(2), other, b""):
        destination.write("images/a.png", harmed)
        assert write_signed(destination, "images/a.png", second) == second
        assert destination.read("images/a.png") == second


def test_another_certificate_signs_anew(signer: Signer, tmp_path: Path) -> None:
    chain, destination = write_chain(tmp_path), MemoryStorage()
    renewed = read_signer(chain.certificate, chain.key)
    assert renewed is not None
    first, second = (
        sign_picture(each, Unsigned("a.png", gray_photo(2), "PNG", gray_photo(1), "PNG", MADE))
        for each in (signer, renewed)
    )
    write_signed(destination, "images/a.png", first)
    assert write_signed(destination, "images/a.png", second) == second


def test_signing_works_in_a_process_of_its_own(signer: Signer) -> None:
    photo = gray_photo(1)
    file = call_isolated(sign_picture, signer, Unsigned("a.png", photo, "PNG", photo, "PNG", MADE))
    assert read(file, "PNG")[0] == "Valid"


def test_the_key_is_never_shown(chain: Chain, signer: Signer) -> None:
    secret = "".join(Path(chain.key).read_text().splitlines()[1:-1])[:40]
    run = prepare_run(*shown(), SIGNED, 1)
    job = Job(*shown(), run, Resources("weights"), (8, 16), "cpu", signer)
    for text in (repr(job), str(vars(job)), repr(replace(job, signer=None)), repr(signer)):
        assert secret not in text
    assert secret not in pickle.dumps(replace(job, signer=None)).decode("latin-1")
    assert "Signer(es256)" in repr(job)
    with pytest.raises(PhotoError) as raised:
        sign_picture(signer, Unsigned("a.png", b"no picture", "PNG", b"", "PNG", MADE))
    assert raised.value.reason == "write_error" and secret not in str(raised.value)


def shown() -> tuple[MemoryStorage, MemoryStorage]:
    source, destination = MemoryStorage("source"), MemoryStorage("destination")
    source.write("a.png", gray_photo(1))
    return source, destination


class TestWhatCannotSign:
    def test_half_of_a_pair(self, chain: Chain) -> None:
        assert read_signer(None, None) is None
        for pair in ((chain.certificate, None), (None, chain.key)):
            with pytest.raises(UsageError, match="belong together"):
                read_signer(*pair)

    @pytest.mark.parametrize(
        ("kind", "days", "message"),
        [
            ("es256", (-20, -10), "was not valid at time of signing"),
            ("none", (-1, 30), "C2PA knows RSA, Ed25519"),
        ],
    )
    def test_certificates_that_no_reader_accepts(
        self, kind: str, days: tuple[int, int], message: str, tmp_path: Path
    ) -> None:
        chain = write_chain(tmp_path, kind, days)
        with pytest.raises(UsageError, match=message):
            read_signer(chain.certificate, chain.key)

    def test_files_that_are_none_or_do_not_belong_together(
        self, chain: Chain, tmp_path: Path
    ) -> None:
        other = write_chain(tmp_path, "es384")
        locked = write_chain(tmp_path, "es256", password=b"secret")
        root = tmp_path / "root.pem"
        root.write_text(chain.root)
        for certificate, key, message in (
            (chain.certificate, other.key, "is not that of the first certificate"),
            (str(root), chain.key, "is not that of the first certificate"),
            (locked.certificate, locked.key, "is encrypted"),
            (chain.key, chain.key, "--c2pa-certificate"),
            (chain.certificate, chain.certificate, "--c2pa-key"),
            (str(tmp_path / "nothing"), chain.key, "nothing: No such file"),
            (chain.certificate, str(tmp_path / "nothing"), "nothing: No such file"),
        ):
            with pytest.raises(UsageError, match=message):
                read_signer(certificate, key)

    def test_without_the_library(self, chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "c2pa", None)
        with pytest.raises(UsageError, match=r"pip install 'autochrome\[provenance\]'"):
            read_signer(chain.certificate, chain.key)


@pytest.mark.parametrize(
    ("signed", "given", "message"),
    [(True, False, "give --c2pa-certificate and"), (False, True, "its pictures are not signed")],
)
def test_a_run_is_signed_from_beginning_to_end(
    signed: bool, given: bool, message: str, chain: Chain
) -> None:
    source, destination = shown()
    recipe: Recipe = replace(RECIPE, content_credentials=signed)
    prepare_run(source, destination, recipe, 1)
    resources = Resources("weights", device="cpu")
    if given:
        resources = replace(resources, c2pa_certificate=chain.certificate, c2pa_key=chain.key)
    with pytest.raises(UsageError, match=message):
        reopen_job(destination, resources)
