"""Time stamps of signatures, by an authority that the tests start; and what happens without it."""

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import c2pa
import pytest

from pipeline.errors import UsageError
from pipeline.metadata.xmp import Provenance
from pipeline.provenance import signing
from pipeline.provenance.c2pa import Signer, Unsigned, is_stamped, sign_picture
from pipeline.provenance.inspection import inspect_file
from pipeline.provenance.signing import read_signer, sign_stamped, write_signed
from pipeline.storage.memory import MemoryStorage
from support.commands import run_command
from support.ports import free_port
from support.signing_chains import Chain
from support.time_stamps import Authority, time_stamp_authority
from support.written_shards import RECIPE, gray_photo, write

SIGNED = replace(RECIPE, content_credentials=True)
MADE = Provenance("trainedAlgorithmicMedia", "1.2", {}, 0, "")
PICTURE = ("a.png", gray_photo(2), "PNG", gray_photo(1), "PNG", MADE)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Authority]:
    with time_stamp_authority(tmp_path_factory.mktemp("authority")) as authority:
        yield authority


@pytest.fixture
def authority(started: Authority, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """As new, and asked again without waiting."""
    monkeypatch.setattr(signing, "WAITS", (0.0, 0.0))
    started.failures = started.asked = 0
    return started


@pytest.fixture
def signer(chain: Chain, authority: Authority, request: pytest.FixtureRequest) -> Signer:
    """With an address of its own, as those that have failed are left alone for a while."""
    url = f"{authority.url}{request.node.name}"
    found = read_signer(chain.certificate, chain.key, url)
    assert found is not None and found.silent == ""
    authority.asked = 0
    return found


def test_a_signature_has_the_authoritys_time(
    chain: Chain, authority: Authority, signer: Signer, tmp_path: Path
) -> None:
    signed = sign_stamped(signer, *PICTURE)
    assert signed.unstamped == "" and authority.asked == 1
    anchors = {"trust": {"trust_anchors": chain.root + authority.root}}
    context = c2pa.Context(c2pa.Settings.from_dict(anchors))
    with c2pa.Reader("image/png", io.BytesIO(signed.file), context=context) as reader:
        report = json.loads(reader.json())
    assert report["validation_state"] == "Trusted"
    codes = [each["code"] for each in report["validation_results"]["activeManifest"]["success"]]
    assert "timeStamp.validated" in codes and "timeStamp.trusted" in codes
    file = tmp_path / "a.png"
    file.write_bytes(signed.file)
    found = inspect_file(str(file)).credentials
    assert found is not None and found.time is not None and not found.time_trusted
    age = datetime.now(UTC) - datetime.fromisoformat(found.time)
    assert timedelta(minutes=-1) < age < timedelta(hours=1)
    assert f"time stamp {found.time}, by an authority" in run_command("inspect", file).stdout


def test_an_authority_that_fails_twice_is_asked_again(authority: Authority, signer: Signer) -> None:
    authority.failures = 2
    signed = sign_stamped(signer, *PICTURE)
    assert signed.unstamped == "" and authority.asked == 3
    assert is_stamped(signed.file, "PNG")


def test_without_a_time_stamp_a_batch_goes_on_and_its_rows_say_so(
    authority: Authority, signer: Signer
) -> None:
    source, destination = MemoryStorage("source"), MemoryStorage()
    for name in ("a.png", "b.png", "c.png"):
        source.write(name, gray_photo(ord(name[0])))
    authority.failures = 1000
    rows = write(source, destination, SIGNED, signer=signer)
    assert authority.asked == 3, "it is left alone for a while once it has failed"
    for row in rows:
        assert row["status"] == "ok"
        assert row["note"].startswith("no time stamp: ") and "503" in row["note"]
        assert not is_stamped(destination.read(f"images/{row['photo']}"), "PNG")


def test_with_one_rows_say_nothing(authority: Authority, signer: Signer) -> None:
    source, destination = MemoryStorage("source"), MemoryStorage()
    source.write("a.png", gray_photo(1))
    [row] = write(source, destination, SIGNED, signer=signer)
    assert row["note"] is None and is_stamped(destination.read("images/a.png"), "PNG")


def test_of_two_workers_the_first_counts_whatever_its_time(
    chain: Chain, authority: Authority, signer: Signer
) -> None:
    first, second = (sign_stamped(signer, *PICTURE).file for _ in range(2))
    plain, destination = sign_picture(signer, Unsigned(*PICTURE)), MemoryStorage()
    assert write_signed(destination, "images/a.png", first) == first
    for other in (second, plain):
        assert write_signed(destination, "images/a.png", other) == first
    # A picture of before, without a time, stays as well, and the row says what it lacks.
    source, destination = MemoryStorage("source"), MemoryStorage()
    source.write("a.png", gray_photo(1))
    silent = read_signer(chain.certificate, chain.key)
    write(source, destination, SIGNED, signer=silent)
    destination.delete("results/shard-000000.parquet")
    [row] = write(source, destination, SIGNED, signer=signer)
    assert row["note"] == "no time stamp: it was signed before without one"


def test_at_the_start_silence_is_told_and_nonsense_refused(
    chain: Chain, authority: Authority
) -> None:
    nobody = f"http://127.0.0.1:{free_port()}/"
    found = read_signer(chain.certificate, chain.key, nobody)
    assert found is not None and found.silent.startswith("no time stamp: ")
    assert "\n" not in found.silent
    for url in (
        "",
        "ftp://a.example",
        "a.example/tsa",
        "http:",
        "http://a b",
        "http://[",
        "http://é",
    ):
        with pytest.raises(UsageError, match="--c2pa-timestamp"):
            read_signer(chain.certificate, chain.key, url)
    with pytest.raises(UsageError, match="needs --c2pa-certificate"):
        read_signer(None, None, authority.url)
