"""Stores that answer what no store should: each answer is an error of one line, or one photo's."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from pipeline.errors import StorageError, StoreUnavailable
from pipeline.ledger import planning
from pipeline.ledger.names import folded
from pipeline.ledger.plan import Photo, Schedule
from pipeline.ledger.planning import prepare_run
from pipeline.storage import s3
from pipeline.storage.base import Skip, Storage, StoredObject, enter_all
from pipeline.storage.memory import MemoryStorage
from pipeline.storage.s3 import S3Storage
from support.answering_store import Answer, answering
from support.simulated_runs import RECIPE

Store = Callable[[Answer], S3Storage]
LISTED = "<Key>a.jpg</Key><Size>1</Size><LastModified>2026-01-01T00:00:00Z</LastModified>"


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr(s3, "RETRIES", 1)  # boto3 asks again, with pauses
    opened = []

    @contextmanager
    def server(answer: Answer) -> Iterator[None]:
        with answering(answer) as address:
            monkeypatch.setenv("AWS_ENDPOINT_URL_S3", address)
            yield

    def begin(answer: Answer) -> S3Storage:
        opened.append(server(answer))
        opened[-1].__enter__()
        return S3Storage("bucket")

    yield begin
    for each in opened:
        each.__exit__(None, None, None)


def listing(inside: str, truncated: str = "false") -> Answer:
    page = f"<ListBucketResult><IsTruncated>{truncated}</IsTruncated>{inside}</ListBucketResult>"
    return lambda target: (200, {"Content-Type": "application/xml"}, page.encode())


@pytest.mark.parametrize(
    ("inside", "truncated"),
    [
        (f"<Contents>{LISTED}</Contents>", "true"),  # and no word of the rest
        (f"<Contents>{LISTED.replace('<Size>1', '<Size>many')}</Contents>", "false"),
        (f"<Contents>{LISTED.replace('2026-01', 'soon')}</Contents>", "false"),
        ("<Contents><Key>a.jpg</Key></Contents>", "false"),
        ("<Contents><Size>1</Size></Contents>", "false"),
        ("<CommonPrefixes/>", "false"),
    ],
)
def test_a_listing_that_is_none_ends_in_one_line(store: Store, inside: str, truncated: str) -> None:
    with pytest.raises(StoreUnavailable, match="^cannot list s3://bucket") as caught:
        list(store(listing(inside, truncated)).list())
    assert "\n" not in str(caught.value)
    sound = store(listing(f"<Contents>{LISTED}</Contents>"))
    assert [each.path for each in sound.list()] == ["a.jpg"]


@pytest.mark.parametrize("most", [None, 1000])
def test_a_body_that_is_shorter_than_announced_is_not_taken(store: Store, most: int | None) -> None:
    etag = {"ETag": '"0123-2"'}  # of an upload in parts, so no digest
    cut = store(lambda target: (200, etag | {"Content-Length": "9"}, b"12345"))
    with pytest.raises(StoreUnavailable, match="^cannot read s3://bucket/a.jpg"):
        cut.read("a.jpg", most)
    assert store(lambda target: (200, etag, b"12345")).read("a.jpg", most) == b"12345"


@pytest.mark.parametrize(
    "code",
    ["InvalidRequest", "KMS.DisabledException", "KMS.NotFoundException", "MethodNotAllowed"],
)
def test_an_object_whose_key_is_gone_is_one_photos_failure(store: Store, code: str) -> None:
    body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
    locked = store(lambda target: (400, {}, body))
    with pytest.raises(StorageError) as caught:
        locked.read("a.jpg")
    assert not isinstance(caught.value, StoreUnavailable)
    with pytest.raises(StoreUnavailable):  # of a store that takes nothing, no photo is at fault
        locked.write("a.jpg", b"x")


class Unordered(MemoryStorage):
    """A store that lists in the order of this list."""

    def __init__(self, *paths: str) -> None:
        super().__init__("source")
        self.paths = paths

    def list(self, folder: str = "", skip: Skip = enter_all) -> Iterator[StoredObject]:
        yield from (StoredObject(path, 1) for path in self.paths)


def planned(source: Storage, shard_size: int = 8) -> list[Photo]:
    destination = MemoryStorage("out")
    run = prepare_run(source, destination, RECIPE, shard_size)
    return [photo for shard in Schedule(destination, run).open() for photo in shard.photos]


def test_what_a_listing_repeats_is_planned_once() -> None:
    assert [photo.path for photo in planned(Unordered("a.jpg", "a.jpg", "b.jpg"))] == [
        "a.jpg",
        "b.jpg",
    ]


def test_names_are_unique_where_a_store_lists_out_of_order() -> None:
    """As S3 Express does, and stores that sort by UTF-16."""
    paths = ["a/x.bmp", "\U0001f4f7.jpg", "b.jpg", "a/X.bmp", "\uff21.jpg", "b.jpg", "B.jpg"]
    photos = planned(Unordered(*paths))
    assert [photo.path for photo in photos] == list(dict.fromkeys(paths))
    assert len({folded(str(photo.name)) for photo in photos}) == len(photos) == 6


def test_parts_that_were_written_before_a_listing_got_out_of_order_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(planning, "PHOTOS_PER_PART", 4)
    inside = [f"a/{name}" for name in ("X.bmp", "x.bmp", "x.bmp.png", "y.bmp")]
    photos = planned(Unordered(*inside, "b/1.jpg", "a/x.jpg"), shard_size=2)
    assert [photo.path for photo in photos] == [*inside, "b/1.jpg", "a/x.jpg"]
    assert len({folded(str(photo.name)) for photo in photos}) == 6


def test_a_key_that_stands_for_a_folder_is_no_photo_whatever_bytes_it_holds() -> None:
    photos = planned(Unordered("box/", "box/a.jpg", "box/b.tif/"))
    assert [photo.path for photo in photos] == ["box/a.jpg", "box/b.tif/"]
