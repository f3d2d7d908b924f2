"""Buckets: what S3Storage adds to the contract of test_storage.py, and what it does under faults.

The faults are real: a proxy commits them between boto3 and a server of the protocol.
"""

import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.errors import ObjectArchived, StorageError, StoreUnavailable
from pipeline.storage.base import Storage
from pipeline.storage.s3 import S3Storage
from support import s3_servers
from support.fault_proxy import (
    CONFLICT,
    SLOW_DOWN,
    Broken,
    Fault,
    FaultProxy,
    Refusal,
    Request,
    first,
    harmless,
)

INTERNAL = Refusal(500, "InternalError")


def paths(store: Storage, folder: str = "") -> list[str]:
    return [found.path for found in store.list(folder)]


def with_pages_of(size: int, store: S3Storage) -> S3Storage:
    store._client.meta.events.register(
        "provide-client-params.s3.ListObjectsV2", lambda params, **_: {**params, "MaxKeys": size}
    )
    return store


def test_markers_of_empty_folders_and_neighbors_are_no_photos(bucket: str) -> None:
    everything = S3Storage(bucket)
    everything._client.put_object(Bucket=bucket, Key="photos/sub/", Body=b"")
    everything.write("photos/a.jpg", b"x")
    everything.write("photos/c.jpg/", b"a photo")  # of that name
    everything.write("photos2/b.jpg", b"x")
    assert paths(S3Storage(bucket, "photos")) == ["a.jpg", "c.jpg/"]
    assert S3Storage(bucket, "photos").read("c.jpg/") == b"a photo"
    assert paths(everything) == ["photos/a.jpg", "photos/c.jpg/", "photos2/b.jpg"]


def test_names_that_a_folder_could_not_hold(bucket: str) -> None:
    store = S3Storage(bucket, "p")
    for name in ("a//b.jpg", "/c.jpg", "d/../e.jpg", "tab\t.jpg", "a\\b.jpg"):
        store.write(name, name.encode())
        assert store.read(name) == name.encode()
        assert store.exists(name)
    assert len(paths(store)) == 5
    store.delete("a//b.jpg")
    assert len(paths(store)) == 4


def test_browsers_are_told_what_a_file_is(bucket: str) -> None:
    store = S3Storage(bucket)
    kinds = {"index.html": "text/html", "a.jpg": "image/jpeg", "b": "application/octet-stream"}
    for path, kind in kinds.items():
        store.write(path, b"x")
        assert store._client.head_object(Bucket=bucket, Key=path)["ContentType"] == kind


def test_a_missing_bucket_is_one_line(bucket: str) -> None:
    store = S3Storage(f"no-{uuid.uuid4().hex}", "photos")
    with pytest.raises(StoreUnavailable, match=r"cannot list s3://no-.*does not exist") as caught:
        list(store.list())
    assert "\n" not in str(caught.value)


def test_without_credentials_it_says_so(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StoreUnavailable, match="credentials"):
        S3Storage(bucket).read("a")


def test_an_unusable_endpoint_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "no address at all")
    with pytest.raises(StorageError, match="cannot open s3://bucket"):
        S3Storage("bucket").read("a")


NAMES = (
    *(f"a/{name}" for name in ("1", "2", "b/3", "b-4", "b.5", "z/y/x/w")),
    *("a-1", "a.jpg", "a0", "Z", "ä/1", "猫/1", "猫/2", "b/1", "c//d", "c/ e", "d/1/2/3"),
    *(f"e{number}/{number}" for number in range(5)),
    *(f"long/{number}" for number in range(7)),
    *("long.1", "z"),
)


@pytest.fixture(scope="module")
def full_bucket(s3_endpoint: str) -> str:
    """A bucket with these names in it, and with the same in an only folder of only folders."""
    with pytest.MonkeyPatch.context() as patch:
        bucket = s3_servers.new_bucket(s3_endpoint, patch)
        store = S3Storage(bucket)
        for name in NAMES:
            store.write(f"top/{name}", name.encode())
            store.write(f"only/one/here/{name}", name.encode())
    return bucket


@pytest.fixture
def full(full_bucket: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_endpoint)
    return full_bucket


class TestListing:
    """Folders are listed in parallel; what comes out must be what one plain listing tells."""

    @pytest.mark.parametrize("size", [2, 1000])
    def test_it_equals_a_plain_listing(
        self, full: str, monkeypatch: pytest.MonkeyPatch, size: int
    ) -> None:
        monkeypatch.setattr("pipeline.storage.s3.LISTINGS", 3)  # fewer than there are folders
        client = with_pages_of(size, S3Storage(full))._client
        for prefix, folder in (
            *(("", ""), ("top", ""), ("only", ""), ("", "only/one")),
            *(("top", "a"), ("top", "long/"), ("top/c", ""), ("top", "nowhere")),
        ):
            store = S3Storage(full, prefix)
            store._opened = client
            start = "".join(f"{part.rstrip('/')}/" for part in (prefix, folder) if part)
            pages = store._pages(start)
            plain = [each for page in pages for each in store._objects(page.get("Contents", ()))]
            found = list(store.list(folder))
            assert found == plain
            assert [each.modified for each in found] == [each.modified for each in plain]
            names = [each.path.encode() for each in found]
            assert names == sorted(names)
            assert bool(names) is (folder != "nowhere")

    def test_who_stops_early_leaves_no_thread_behind(
        self, full: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("pipeline.storage.s3.PAGES_AHEAD", 1)
        listing = with_pages_of(2, S3Storage(full, "top")).list("long")
        assert next(listing).path == "long/0"
        listing.close()  # type: ignore[attr-defined]
        listing = with_pages_of(2, S3Storage(full, "top")).list()
        while next(listing).path != "long/0":
            pass
        assert threads()
        listing.close()  # type: ignore[attr-defined]
        give_up = time.monotonic() + 30
        while threads() and time.monotonic() < give_up:
            time.sleep(0.05)
        assert not threads()

    @pytest.mark.parametrize("folder", ["e3", "a"])
    def test_an_error_in_a_thread_arrives(self, full: str, faults: FaultProxy, folder: str) -> None:
        faults.rule = always(INTERNAL, f"prefix=top%2F{folder}%2F")
        seen = []
        with pytest.raises(StoreUnavailable, match="cannot list s3://.*InternalError"):
            for each in S3Storage(full, "top").list():
                seen.append(each.path)
        before = sorted(NAMES, key=str.encode)
        assert seen == [name for name in before if name.encode() < f"{folder}/".encode()]

    def test_more_than_a_page_of_a_thousand_in_one_folder(self, bucket: str) -> None:
        from moto.core import DEFAULT_ACCOUNT_ID
        from moto.s3.models import s3_backends

        names = ["a/1", *(f"b/{number:05}" for number in range(2100)), "b0", "c/1"]
        for name in names:  # past its door: two thousand requests take seconds
            s3_backends[DEFAULT_ACCOUNT_ID]["aws"].put_object(bucket, name, b"")
        assert paths(S3Storage(bucket)) == names
        assert paths(S3Storage(bucket), "b") == names[1:-2]


def threads() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name.startswith("listing ")]


def always(fault: Fault, target: str = "") -> Callable[[Request], Fault | None]:
    return lambda request: fault if target in request.target else None


CALLS: dict[str, Callable[[S3Storage], Any]] = {
    "read": lambda store: store.read("there"),
    "exists": lambda store: store.exists("there"),
    "list": paths,
    "write": lambda store: store.write("there", b"x"),
    "write if absent": lambda store: store.write_if_absent("new", b"x"),
    "delete": lambda store: store.delete("there"),
}


class TestFaults:
    @pytest.fixture
    def store(self, bucket: str, faults: FaultProxy) -> S3Storage:
        store = S3Storage(bucket)
        store.write("there", bytes(range(256)))
        return store

    @pytest.mark.parametrize(
        "fault", [SLOW_DOWN, INTERNAL, Broken.RESET_BEFORE, Broken.RESET_AFTER], ids=str
    )
    def test_what_passes_is_waited_for(
        self, store: S3Storage, faults: FaultProxy, fault: Fault
    ) -> None:
        calls = dict(CALLS)
        if fault is Broken.RESET_AFTER:  # see test_a_lost_answer_makes_our_own_write_look_...
            del calls["write if absent"]
        for name, call in calls.items():
            faults.rule = harmless
            expected = call(store)
            store.delete("new")
            store.write("there", bytes(range(256)))
            faults.seen.clear()
            faults.rule = first("", fault, fault, fault)
            assert call(store) == expected, name
            assert len(faults.seen) == 4, name

    def test_what_does_not_pass_is_one_line(self, store: S3Storage, faults: FaultProxy) -> None:
        for call in CALLS.values():
            store = S3Storage(store.bucket)  # which has not used up boto3's quota of retries
            faults.rule = always(SLOW_DOWN)
            faults.seen.clear()
            with pytest.raises(StoreUnavailable, match="cannot .* s3://.*(SlowDown|503)") as caught:
                call(store)
            assert len(faults.seen) == 10
            assert "\n" not in str(caught.value)
            faults.rule = always(Broken.RESET_BEFORE)
            with pytest.raises(StoreUnavailable, match=r"cannot .* s3://.*onnection") as caught:
                call(store)
            assert "\n" not in str(caught.value)

    def test_what_lies_in_cold_storage_is_said_to(
        self, store: S3Storage, faults: FaultProxy
    ) -> None:
        faults.rule = always(Refusal(403, "InvalidObjectState"))
        with pytest.raises(ObjectArchived, match="s3://.*/there is in cold storage: restore it"):
            store.read("there")

    def test_what_is_forbidden_is_no_fault_of_the_store(
        self, store: S3Storage, faults: FaultProxy
    ) -> None:
        faults.rule = always(Refusal(403, "AccessDenied"))
        faults.seen.clear()
        for call in CALLS.values():
            with pytest.raises(StorageError) as caught:
                call(store)
            assert not isinstance(caught.value, StoreUnavailable)
        assert len(faults.seen) == len(CALLS)  # and nothing is asked twice

    def test_two_conditional_writes_that_meet_are_settled_by_another_try(
        self, store: S3Storage, faults: FaultProxy
    ) -> None:
        faults.rule = first("PUT", CONFLICT, CONFLICT, CONFLICT)
        assert store.write_if_absent("new", b"ours")
        assert store.read("new") == b"ours"
        faults.rule = first("PUT", CONFLICT)
        assert not store.write_if_absent("new", b"other")
        faults.rule = always(CONFLICT)
        with pytest.raises(StoreUnavailable, match="ConditionalRequestConflict"):
            store.write_if_absent("newer", b"ours")

    def test_a_lost_answer_makes_our_own_write_look_like_anothers(
        self, store: S3Storage, faults: FaultProxy
    ) -> None:
        faults.seen.clear()
        faults.rule = first("PUT", Broken.RESET_AFTER)
        assert not store.write_if_absent("new", b"ours")
        assert store.read("new") == b"ours"
        assert faults.requests("PUT") == 2

    @pytest.mark.parametrize("fault", [Broken.TRUNCATED, Broken.WRONG_BYTES], ids=str)
    def test_a_damaged_body_is_read_again_and_never_returned(
        self, store: S3Storage, faults: FaultProxy, fault: Fault
    ) -> None:
        faults.seen.clear()
        faults.rule = first("GET", fault, fault)
        assert store.read("there") == bytes(range(256))
        assert faults.requests("GET") == 3
        faults.rule = always(fault)
        with pytest.raises(StoreUnavailable, match="cannot read s3://.*/there") as caught:
            store.read("there")
        assert faults.requests("GET") == 6
        assert "\n" not in str(caught.value)

    def test_a_damaged_listing_is_asked_for_again(
        self, store: S3Storage, faults: FaultProxy
    ) -> None:
        faults.rule = first("GET", Broken.TRUNCATED, Broken.TRUNCATED)
        assert paths(store) == ["there"]

    def test_a_body_that_stops_coming_is_read_again(
        self, bucket: str, faults: FaultProxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("pipeline.storage.s3.READ_TIMEOUT", 0.5)
        store = S3Storage(bucket)
        store.write("there", b"slow and steady")
        faults.rule = first("GET", Broken.SLOW)
        assert store.read("there") == b"slow and steady"
        assert faults.requests("GET") > 1
        faults.rule = always(Broken.SLOW)
        with pytest.raises(StoreUnavailable, match="[Tt]imed out|timeout"):
            store.read("there")

    def test_an_upload_in_parts_has_no_md5_and_is_taken_as_it_comes(
        self, store: S3Storage, faults: FaultProxy
    ) -> None:
        where = {"Bucket": store.bucket, "Key": "parts"}
        upload = where | {"UploadId": store._client.create_multipart_upload(**where)["UploadId"]}
        part = store._client.upload_part(**upload, PartNumber=1, Body=b"in parts")
        parts = [{"ETag": part["ETag"], "PartNumber": 1}]
        store._client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
        assert store.read("parts") == b"in parts"
        faults.rule = first("GET", Broken.WRONG_BYTES)
        assert store.read("parts") != b"in parts"  # nobody can know

    @pytest.mark.parametrize(
        ("bucket_name", "answer", "compared"),
        [
            ("b", {}, True),
            ("b", {"ServerSideEncryption": "AES256"}, True),
            ("b", {"ServerSideEncryption": "aws:kms"}, False),
            ("b", {"ServerSideEncryption": "aws:kms:dsse"}, False),
            ("b", {"SSECustomerAlgorithm": "AES256"}, False),
            ("b", {"ETag": '"0123456789abcdef0123456789abcdef-2"'}, False),
            ("b", {"ETag": '"opaque"'}, False),
            ("b", {"ETag": None}, False),
            ("b--use1-az4--x-s3", {}, False),
        ],
    )
    def test_an_etag_is_compared_only_where_it_is_an_md5(
        self, bucket_name: str, answer: dict[str, Any], compared: bool
    ) -> None:
        plain = "0123456789abcdef0123456789abcdef"
        found = S3Storage(bucket_name)._md5({"ETag": f'"{plain}"'} | answer)
        assert found == (plain if compared else None)
