"""One contract for all storages, S3 on real servers of its protocol; then what folders add."""

import errno
import io
import os
import pickle
import random
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from pipeline.errors import (
    DestinationGone,
    ObjectMissing,
    StorageError,
    StoreUnavailable,
    UsageError,
)
from pipeline.storage import file_names, mounts
from pipeline.storage.anchored import AnchoredStorage
from pipeline.storage.base import Storage, StoredObject
from pipeline.storage.file_errors import as_storage_error
from pipeline.storage.local import LocalStorage
from pipeline.storage.memory import MemoryStorage
from pipeline.storage.open_storage import open_storage, overlap
from pipeline.storage.s3 import S3Storage
from support import s3_servers
from support.fault_proxy import FaultProxy, sprinkle
from support.forbidden import forbid

ODD_NAMES = ("a b.jpg", "100%.jpg", "#1?.jpg", "käse 猫.jpg", "a+b&c=d.jpg", "'\".jpg", "%41.jpg")


@pytest.fixture(params=["folder", "memory", "moto", "ministack", "faults"])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Storage:
    if request.param == "folder":
        (tmp_path / "root").mkdir()
        return LocalStorage(str(tmp_path / "root"))
    if request.param == "memory":
        return MemoryStorage()
    if request.param == "ministack":
        server: str = request.getfixturevalue("ministack_endpoint")
        return S3Storage(s3_servers.new_bucket(server, monkeypatch), "some/prefix")
    bucket: str = request.getfixturevalue("bucket")
    if request.param == "faults":
        proxy: FaultProxy = request.getfixturevalue("faults")
        proxy.rule = sprinkle()
    return S3Storage(bucket, "some/prefix")


def paths(store: Storage, folder: str = "") -> list[str]:
    return [found.path for found in store.list(folder)]


def test_what_is_written_can_be_read_listed_and_replaced(store: Storage) -> None:
    store.write("deep/er/a.bin", b"one")
    assert store.read("deep/er/a.bin") == b"one"
    assert store.exists("deep/er/a.bin")
    assert list(store.list()) == [StoredObject("deep/er/a.bin", 3)]
    store.write("deep/er/a.bin", b"")
    assert store.read("deep/er/a.bin") == b""


def test_what_is_written_together_is_there_at_once(store: Storage) -> None:
    with store.together() as together:
        together.write("a/1.bin", b"one")
        assert together.write_if_absent("a/2.bin", b"two")
        assert not together.write_if_absent("a/1.bin", b"other")
        assert store.read("a/1.bin") == together.read("a/1.bin") == b"one"
    assert paths(store) == ["a/1.bin", "a/2.bin"]


def test_a_file_of_any_size_is_written_whole(store: Storage) -> None:
    content = random.Random(0).randbytes(9 * 2**20)  # more than S3's parts have
    for size in (3, len(content)):
        file = io.BytesIO(b"head" + content[:size])
        file.seek(4)
        store.write_file("deep/a.bin", file)
        assert store.read("deep/a.bin") == content[:size]


def test_what_is_not_there_is_missing(store: Storage) -> None:
    assert not store.exists("nothing/here")
    with pytest.raises(ObjectMissing, match="nothing/here does not exist"):
        store.read("nothing/here")
    assert paths(store) == paths(store, "nothing") == []


def test_write_if_absent_never_changes_what_is_there(store: Storage) -> None:
    assert store.write_if_absent("results/one", b"first")
    assert not store.write_if_absent("results/one", b"second")
    assert not store.write_if_absent("results/one", b"first")
    assert store.read("results/one") == b"first"
    assert paths(store) == ["results/one"]


def test_of_many_writers_at_once_exactly_one_wins(store: Storage) -> None:
    won: list[int] = []
    start = threading.Barrier(5)

    def attempt(number: int) -> None:
        own = pickle.loads(pickle.dumps(store)) if isinstance(store, S3Storage) else store
        start.wait()
        if own.write_if_absent("mark", b"%d" % number):
            won.append(number)

    threads = [threading.Thread(target=attempt, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.read("mark") == b"%d" % won[0]
    assert len(won) == 1


def test_a_folder_that_is_skipped_is_one_entry(store: Storage) -> None:
    for name in ("a.jpg", "private/b.jpg", "private/deep/c.jpg", "private.jpg", "z/d.jpg"):
        store.write(name, b"x")
    listed = list(store.list(skip=lambda folder: "excluded" if folder == "private/" else ""))
    assert [(each.path, each.skipped) for each in listed] == [
        ("a.jpg", ""),
        ("private.jpg", ""),
        ("private/", "excluded"),
        ("z/d.jpg", ""),
    ]
    assert [each.path for each in store.list("z", lambda _: "all")] == ["z/d.jpg"]
    assert [each.path for each in store.list("private", lambda _: "all")][:1] == ["private/b.jpg"]
    store.delete("a.jpg")
    store.delete("private.jpg")
    assert [each.path for each in store.list(skip=lambda _: "all")] == ["private/", "z/"]


def test_listing_is_in_the_bytewise_order_of_paths_and_keeps_to_its_folder(store: Storage) -> None:
    names = ["a/b", "a.jpg", "a-b", "a/b.c", "Z", "ä", "猫/x", "ab/c", "a/b-c/d", *ODD_NAMES]
    for name in names:
        store.write(name, name.encode())
    assert paths(store) == sorted(names, key=str.encode)
    assert paths(store, "a") == paths(store, "a/") == ["a/b", "a/b-c/d", "a/b.c"]
    assert all(store.read(name) == name.encode() for name in names)


def test_a_listing_tells_when_an_object_was_written(store: Storage) -> None:
    store.write("a", b"x")
    store.write_if_absent("b", b"x")
    for found in store.list():
        assert found.modified is not None
        assert abs(found.modified - time.time()) < 60


@pytest.mark.parametrize(("vanishes", "kind"), [(True, DestinationGone), (False, StorageError)])
def test_a_write_fails_as_the_destination_vanishes(
    vanishes: bool, kind: type[StorageError]
) -> None:
    class Failing(MemoryStorage):
        def write(self, path: str, data: bytes) -> None:
            if vanishes:
                self.delete("run.json")
            raise StorageError("no such folder")

    place = Failing("colored")
    assert place.write_if_absent("run.json", b"{}")
    with pytest.raises(StorageError) as caught:
        AnchoredStorage(place, "run.json").write("images/1.jpg", b"")
    assert type(caught.value) is kind
    assert "no such folder" in str(caught.value.__cause__ or caught.value)


def test_what_is_deleted_is_gone_and_nothing_else(store: Storage) -> None:
    for path in ("a", "a/b", "ab") if not isinstance(store, LocalStorage) else ("a", "ab"):
        store.write(path, b"x")
    store.delete("a")
    store.delete("a")
    assert not store.exists("a")
    assert "ab" in paths(store) and "a" not in paths(store)
    assert store.write_if_absent("a", b"again")


def test_storages_travel_to_workers(store: Storage) -> None:
    store.write("a", b"x")
    copy = pickle.loads(pickle.dumps(store))
    assert copy.read("a") == b"x"
    assert copy.uri == store.uri
    assert copy.uri_of("a/b") == f"{store.uri}/a/b"


def test_open_storage_tells_folders_from_buckets(tmp_path: Path) -> None:
    assert open_storage(str(tmp_path / "x")).uri == str(tmp_path.resolve() / "x")
    assert open_storage("s3://bucket").uri == "s3://bucket"
    assert open_storage("s3://bucket/a/b/").uri == "s3://bucket/a/b"
    for wrong in ("", "s3://", "s3:///a", "ftp://host/a"):
        with pytest.raises(UsageError, match="neither a folder nor s3://bucket/prefix"):
            open_storage(wrong)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("s3://b/photos", "s3://b/photos/out", True),
        ("s3://b/photos", "s3://b/photos2", False),
        ("s3://b", "s3://b/out", True),
        ("s3://b/a/", "s3://b/a", True),
        ("s3://b", "s3://c", False),
        ("here", "here/out", True),
        ("here", "here2", False),
        ("here", "link/out", True),
        ("link", "here", True),
        ("here", "s3://b", False),
        ("/", "here", True),
    ],
)
def test_overlap_sees_through_links_and_prefixes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one: str, other: str, expected: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    (tmp_path / "link").symlink_to("here")
    assert overlap(open_storage(one), open_storage(other)) is expected
    assert overlap(open_storage(other), open_storage(one)) is expected


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        *(("scans", "bound", True), ("scans/sub", "bound", True), ("scans", "elsewhere", False)),
        ("scans", "bound/not/there/yet", True),
    ],
)
def test_overlap_sees_through_mounts(
    tmp_path: Path, repository: Path, one: str, other: str, expected: bool
) -> None:
    for name in ("scans/sub/deep", "bound", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
    look = (
        "from pipeline.storage.open_storage import open_storage, overlap\n"
        f"one, other = open_storage({one!r}), open_storage({other!r})\n"
        "print(overlap(one, other), overlap(other, one))"
    )
    script = 'mount --bind scans/sub bound && exec "$0" -c "$1"'
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, sys.executable, look]
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    try:
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        pytest.skip("no unshare on this system")
    if done.stderr.startswith(("unshare", "mount")):
        pytest.skip(f"folders cannot be mounted here: {done.stderr}")
    assert done.stdout.split() == [str(expected)] * 2, done.stderr


def test_folders_that_the_system_says_to_be_one_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of any folder of NFS that is mounted, Linux says that it was the uppermost of its device."""
    for name in ("scans", "colored"):
        (tmp_path / name).mkdir()
    lines = [
        f"{number} 1 0:52 / {tmp_path}/{name} rw - nfs4 server:/{name} rw"
        for number, name in enumerate(("scans", "colored"), start=2)
    ]
    table = tmp_path / "mountinfo"
    table.write_text("\n".join(lines))
    monkeypatch.setattr(mounts, "MOUNTS", table)
    assert mounts.path_below(f"{tmp_path}/colored", f"{tmp_path}/scans") == ""
    scans, colored = open_storage(f"{tmp_path}/scans"), open_storage(f"{tmp_path}/colored")
    assert not overlap(scans, colored) and overlap(scans, scans)


@pytest.mark.parametrize("name", ["a\0b", "half \ud800"])
def test_a_name_that_no_folder_can_have_is_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be the name of a folder"):
        open_storage(str(tmp_path / name))
    store = open_storage(str(tmp_path))
    for act in (store.read, store.find, store.delete, lambda path: store.write(path, b"x")):
        with pytest.raises(StorageError, match="cannot be the name of a file"):
            act(name)


def refusing(number: int) -> Callable[[str, str], None]:
    """An os.link that a file system refuses."""

    def link(source: str, target: str) -> None:
        raise OSError(number, os.strerror(number))

    return link


def _path_of(descriptor: int) -> str:
    """The name that a file has now, if it has got another since it was opened."""
    path = os.readlink(f"/proc/self/fd/{descriptor}").removesuffix(" (deleted)")
    with os.scandir(os.path.dirname(path)) as entries:
        same = [entry.path for entry in entries if entry.inode() == os.fstat(descriptor).st_ino]
    return next((name for name in same if not name.endswith(".partial")), path)


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Files and folders by their names as they are synced, in this order."""
    names: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: names.append(_path_of(descriptor)))
    return names


class TestFolder:
    def test_what_is_written_together_is_made_to_last_before_the_block_ends(
        self, tmp_path: Path, synced: list[str]
    ) -> None:
        store = LocalStorage(str(tmp_path))
        with store.together() as together:
            for path in ("a/1", "b/1", "a/2"):
                together.write(path, b"")
            assert synced == []
        # Contents before names: a name that lasts is that of a whole file.
        assert sorted(synced[:3]) == [f"{tmp_path}/{path}" for path in ("a/1", "a/2", "b/1")]
        assert synced[3:] == [str(tmp_path), f"{tmp_path}/a", f"{tmp_path}/b"]
        store.write("a/3", b"")
        assert synced[6].endswith(".partial") and synced[7:] == [f"{tmp_path}/a"]

    def test_no_more_than_some_files_wait_to_be_made_to_last(
        self, tmp_path: Path, synced: list[str]
    ) -> None:
        opened = len(os.listdir("/proc/self/fd"))
        with LocalStorage(str(tmp_path)).together() as together:
            for number in range(100):
                together.write(str(number), b"")
                assert len(os.listdir("/proc/self/fd")) < opened + 40
        files = sorted(os.path.basename(path) for path in synced if path != str(tmp_path))
        assert files == sorted(map(str, range(100)))
        with pytest.raises(KeyError), LocalStorage(str(tmp_path)).together() as together:
            together.write("new", b"")
            raise KeyError
        assert len(os.listdir("/proc/self/fd")) == opened

    @pytest.mark.parametrize("conditional", [True, False])
    def test_what_others_may_count_on_is_replaced_by_what_lasts(
        self, tmp_path: Path, synced: list[str], conditional: bool
    ) -> None:
        (tmp_path / "1").write_bytes(b"of another worker")
        with LocalStorage(str(tmp_path), conditional).together() as together:
            together.write("1", b"one")
            assert together.write_if_absent("2", b"two")
            # A second writer leaves such a file as it is, so it has to be whole whatever happens.
            assert [path.endswith(".partial") for path in synced] == [True, True]
        assert (tmp_path / "1").read_bytes() == b"one"

    @pytest.mark.parametrize("number", [errno.EPERM, errno.EACCES, errno.EINVAL])
    def test_a_disk_without_hard_links_takes_what_is_written_together(
        self, tmp_path: Path, synced: list[str], monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        monkeypatch.setattr(os, "link", refusing(number))
        with LocalStorage(str(tmp_path), conditional=False).together() as together:
            together.write("1", b"one")
            assert [path.endswith(".partial") for path in synced] == [True]
        assert [entry.name for entry in tmp_path.iterdir()] == ["1"]

    @pytest.mark.parametrize("count", [1, 60])
    def test_a_file_that_cannot_be_made_to_last_is_an_error_of_all(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
    ) -> None:
        def fsync(descriptor: int) -> None:
            if _path_of(descriptor).endswith("/0"):
                raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(os, "fsync", fsync)
        written = []
        with (
            pytest.raises(StoreUnavailable, match=f"cannot write {tmp_path}/0: Input/output error"),
            LocalStorage(str(tmp_path)).together() as together,
        ):
            for number in range(count):
                together.write(str(number), b"x")
                written.append(number)
        assert len(written) == count  # the failure is blamed on no other file

    @pytest.mark.parametrize("conditional", [True, False])
    def test_names_that_somebody_else_wrote_are_made_to_last_too(
        self, tmp_path: Path, synced: list[str], conditional: bool
    ) -> None:
        (tmp_path / "deep/er").mkdir(parents=True)
        (tmp_path / "deep/er/1").write_bytes(b"of a worker that was killed")
        with LocalStorage(str(tmp_path), conditional).together() as together:
            assert not together.write_if_absent("deep/er/1", b"x")
        own = [path for path in synced if not path.endswith(".partial")]
        assert own == [str(tmp_path), f"{tmp_path}/deep", f"{tmp_path}/deep/er"]

    def test_names_that_cannot_be_made_to_last_are_an_error(self, tmp_path: Path) -> None:
        store, (soft, hard) = (
            LocalStorage(str(tmp_path)),
            resource.getrlimit(resource.RLIMIT_NOFILE),
        )
        try:
            with (
                pytest.raises(StoreUnavailable, match="Too many open files"),
                store.together() as one,
            ):
                one.write("a", b"")
                resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    def test_a_missing_root_and_a_file_as_root_are_errors(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(StorageError, match="nowhere does not exist"):
            list(LocalStorage(str(tmp_path / "nowhere")).list())
        with pytest.raises(StorageError, match="file is not a folder"):
            list(LocalStorage(str(tmp_path / "file")).list())
        assert list(LocalStorage(str(tmp_path / "nowhere")).list("results")) == []

    def test_what_may_not_be_looked_into_is_not_taken_for_empty(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = LocalStorage(str(tmp_path))
        for path in ("results/1", "images/a/1"):
            store.write(path, b"x")
        with monkeypatch.context() as patch:
            forbid(patch, tmp_path / "results")
            with pytest.raises(StorageError, match="cannot list .*/results: Permission denied"):
                paths(store, "results")
            assert paths(store) == ["images/a/1", "results/"]
        looked = os.stat

        def refuse(place: str) -> os.stat_result:
            if place == str(tmp_path / "images/a/1"):
                raise PermissionError(13, "Permission denied")
            if ":" in place:
                raise OSError(22, "Invalid argument")  # on a disk of Windows
            return looked(place)

        with monkeypatch.context() as patch:
            patch.setattr(os, "stat", refuse)
            for look in (store.exists, store.find):
                with pytest.raises(StorageError, match="cannot read .*/1: Permission denied"):
                    look("images/a/1")
            assert not store.exists("a:b") and store.find("a:b") is None
        assert not store.exists("x" * 300) and store.find("results/1/2") is None

    def test_the_names_of_new_folders_are_made_to_last(
        self, tmp_path: Path, synced: list[str]
    ) -> None:
        LocalStorage(str(tmp_path / "new/out")).write_if_absent("results/1", b"")
        folders = [path for path in synced if not path.endswith(".partial")]
        expected = ["", "/new", "/new/out", "/new/out/results"]
        assert folders == [f"{tmp_path}{folder}" for folder in expected]
        synced.clear()
        with LocalStorage(str(tmp_path / "later")).together() as together:
            together.write("a/1", b"")
        assert synced[0] == f"{tmp_path}/later/a/1"
        assert synced[1:] == [f"{tmp_path}{folder}" for folder in ("", "/later", "/later/a")]

    def test_links_are_followed_but_never_round_in_circles(self, tmp_path: Path) -> None:
        root = tmp_path / "root"
        (root / "sub").mkdir(parents=True)
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere" / "far.jpg").write_bytes(b"far")
        (root / "sub" / "up").symlink_to(root)
        (root / "itself").symlink_to("itself")
        (root / "far").symlink_to(tmp_path / "elsewhere")
        (root / "broken.jpg").symlink_to("nothing")
        store = LocalStorage(str(root))
        assert paths(store) == ["broken.jpg", "far/far.jpg", "itself"]
        assert store.read("far/far.jpg") == b"far"
        with pytest.raises(ObjectMissing):
            store.read("broken.jpg")
        with pytest.raises(StorageError, match=r"itself: .*symbolic links"):
            store.read("itself")

    def test_a_pipe_is_refused_instead_of_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe.jpg")
        store = LocalStorage(str(tmp_path))
        assert paths(store) == ["pipe.jpg"]
        with pytest.raises(StorageError, match="not a regular file"):
            store.read("pipe.jpg")

    def test_unreadable_files_are_errors_of_that_file(self, tmp_path: Path) -> None:
        if os.geteuid() == 0:
            pytest.skip("nothing is unreadable for root")
        (tmp_path / "a.jpg").write_bytes(b"x")
        (tmp_path / "a.jpg").chmod(0)
        with pytest.raises(StorageError, match="Permission denied") as caught:
            LocalStorage(str(tmp_path)).read("a.jpg")
        assert not isinstance(caught.value, StoreUnavailable | ObjectMissing)

    @pytest.mark.parametrize(
        "name",
        [b"caf\xe9.jpg", b"\xff\xfe", "\uf780\uf7ff.jpg".encode(), b"a\xef\x9e", b"new\nline"],
    )
    def test_names_that_are_not_text_make_the_round_trip(self, tmp_path: Path, name: bytes) -> None:
        source, copy = LocalStorage(str(tmp_path / "a")), LocalStorage(str(tmp_path / "b"))
        (tmp_path / "a").mkdir()
        Path(os.fsdecode(os.fsencode(tmp_path / "a") + b"/" + name)).write_bytes(b"x")
        [path] = paths(source)
        path.encode()  # must not raise: Parquet, JSON and S3 take it
        assert source.read(path) == b"x"
        copy.write(path, b"y")
        assert os.listdir(os.fsencode(tmp_path / "b")) == [name]

    @given(some.binary(max_size=20))
    def test_any_bytes_as_text_and_back(self, name: bytes) -> None:
        text = file_names.to_text(os.fsdecode(name))
        assert os.fsencode(file_names.to_name(text)) == name
        text.encode()

    @pytest.mark.parametrize("path", ["../a", "a/../b", "a//b", "/a", "a/.", "a\0b", "a/"])
    def test_names_that_would_lead_elsewhere_are_refused(self, tmp_path: Path, path: str) -> None:
        with pytest.raises(StorageError, match="cannot be the name of a file"):
            LocalStorage(str(tmp_path)).write(path, b"x")

    def test_what_cannot_be_written_says_why(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        (tmp_path / "folder" / "a.jpg").mkdir(parents=True)
        store = LocalStorage(str(tmp_path))
        for path, why in (
            ("file/a", f"{tmp_path}/file is not a folder"),
            ("file/a/b", f"{tmp_path}/file is not a folder"),
            ("folder/a.jpg", "Is a directory"),
            ("x" * 300, "name too long"),
        ):
            with pytest.raises(StorageError, match=f"cannot write .*{why}"):
                store.write(path, b"x")
        assert not store.write_if_absent("folder/a.jpg", b"x")
        assert not [name for name in os.listdir(tmp_path / "folder") if name.endswith("partial")]

    @pytest.mark.parametrize("way", ["link", "replace"])
    def test_a_write_that_is_taken_for_left_behind_is_repeated(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
    ) -> None:
        store, removed, move = LocalStorage(str(tmp_path)), list[str](), getattr(os, way)

        def tidy_up_first(start: str, end: str) -> None:
            if not removed:
                removed.append(start)
                os.unlink(start)
            move(start, end)

        monkeypatch.setattr(os, way, tidy_up_first)
        if way == "link":
            assert store.write_if_absent("a/b", b"whole")
        else:
            store.write_file("a/b", io.BytesIO(b"whole"))
        assert removed and store.read("a/b") == b"whole" and paths(store) == ["a/b"]

    @pytest.mark.parametrize(("applied", "expected"), [(True, True), (False, False)])
    def test_a_link_whose_answer_was_lost_is_known_as_our_own(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, applied: bool, expected: bool
    ) -> None:
        link = os.link

        def asked_twice(source: str, target: str) -> None:  # as a network file system may
            if applied:
                link(source, target)
            else:
                Path(target).write_bytes(b"another's")
            link(source, target)

        monkeypatch.setattr(os, "link", asked_twice)
        store = LocalStorage(str(tmp_path))
        assert store.write_if_absent("a", b"ours") is expected
        assert store.read("a") == (b"ours" if applied else b"another's")
        assert paths(store) == ["a"]

    def test_a_single_writer_needs_no_links(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "link", refusing(errno.EPERM))
        store = pickle.loads(pickle.dumps(open_storage(str(tmp_path), conditional=False)))
        assert store.write_if_absent("a/b", b"first")
        assert not store.write_if_absent("a/b", b"second")
        assert store.read("a/b") == b"first"
        assert paths(store) == ["a/b"]

    @pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EXDEV])
    def test_a_file_system_without_links_is_no_place_for_commits(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        monkeypatch.setattr(os, "link", refusing(number))
        store = LocalStorage(str(tmp_path))
        with pytest.raises(UsageError, match="makes no hard links .*--single-writer"):
            store.write_if_absent("a", b"x")
        assert paths(store) == []

    def test_a_full_disk_at_the_link_is_not_that(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "link", refusing(errno.ENOSPC))
        with pytest.raises(StoreUnavailable, match="No space left"):
            LocalStorage(str(tmp_path)).write_if_absent("a", b"x")

    def test_a_full_disk_is_the_stores_fault(self) -> None:
        if not os.path.exists("/dev/full"):
            pytest.skip("no /dev/full on this system")
        error = as_storage_error("write", "a", OSError(28, "No space left on device"))
        assert isinstance(error, StoreUnavailable)
        assert str(error) == "cannot write a: No space left on device"
