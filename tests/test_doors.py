"""Whatever is put before a door, the user sees one line: never a traceback, never hours."""

import csv
import http.server
import io
import json
import math
import resource
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.core import CoreConfig
from model.weights import HEADER, WeightsError, load_stage, read_config
from pipeline.cluster import submission
from pipeline.errors import StorageError, StoreUnavailable, UsageError
from pipeline.ledger.manifest import Manifest
from pipeline.ledger.selection import parse_selection
from pipeline.storage import s3
from pipeline.storage.lease import LEASE, Lease
from pipeline.storage.memory import MemoryStorage
from pipeline.storage.s3 import S3Storage

FEW = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)
CELLS = st.text(max_size=12) | st.sampled_from(["uri", "size", "s3://a/b", "../x", "\0", '"'])


def one_line(error: BaseException) -> bool:
    return bool(str(error)) and "\n" not in str(error)


@FEW
@given(st.binary(max_size=200) | st.lists(st.lists(CELLS, max_size=3), max_size=4), st.booleans())
def test_a_manifest(tmp_path: Path, content: bytes | list[list[str]], parquet: bool) -> None:
    path = tmp_path / ("list.parquet" if parquet else "list.csv")
    if isinstance(content, list):
        text = io.StringIO()
        csv.writer(text).writerows([["uri", "size"], *content])
        content = text.getvalue().encode("utf-8", "surrogatepass")
    path.write_bytes(content)
    try:
        manifest = Manifest(str(path))
        list(manifest.photos(MemoryStorage("source"), Counter()))
    except (UsageError, StorageError) as error:
        assert one_line(error)


@FEW
@given(st.sampled_from([pa.int64(), pa.binary(), pa.list_(pa.string()), pa.bool_(), pa.null()]))
def test_a_manifest_of_other_types(tmp_path: Path, kind: pa.DataType) -> None:
    path = tmp_path / "list.parquet"
    value = {"int64": 1, "binary": b"x", "bool": True, "null": None}.get(str(kind), ["x"])
    for names in (["uri"], ["bucket", "key", "size"], ["uri", "is_latest"]):
        pq.write_table(pa.table({name: pa.array([value], kind) for name in names}), path)
        try:
            list(Manifest(str(path)).photos(MemoryStorage("source"), Counter()))
        except (UsageError, StorageError) as error:
            assert one_line(error)


@FEW
@given(st.binary(max_size=200) | st.lists(st.lists(CELLS, max_size=5), max_size=4))
def test_a_selection(content: bytes | list[list[str]]) -> None:
    if isinstance(content, list):
        text = io.StringIO()
        csv.writer(text).writerows([["photo", "candidate", "decision", "seed"], *content])
        content = text.getvalue().encode("utf-8", "surrogatepass")
    try:
        parse_selection("selection.csv", content)
    except UsageError as error:
        assert one_line(error)


@pytest.mark.parametrize("name", ["=1+1.jpg", "+a.jpg", "-a.jpg", "@a.jpg", "'=a.jpg", "\ta.jpg"])
def test_a_cell_that_a_spreadsheet_could_run_is_told_from_the_name(name: str) -> None:
    text = f'photo,candidate,decision,seed\n"\'{name}",0,approve,\n'
    [choice] = parse_selection("a.csv", text.encode()).choices
    assert choice.photo == name
    [plain] = parse_selection("a.csv", text.replace(f"'{name}", "'tis.jpg").encode()).choices
    assert plain.photo == "'tis.jpg"


@FEW
@given(
    st.binary(max_size=60)
    | (
        JSON | st.fixed_dictionaries({name: JSON for name in ("id", "host", "process", "until")})
    ).map(lambda value: json.dumps(value).encode())
)
def test_a_lease(content: bytes) -> None:
    destination = MemoryStorage("destination")
    destination.write(LEASE, content)
    lease = Lease.__new__(Lease)
    lease._destination = destination
    holder = lease._read()
    if holder is not None:
        assert math.isfinite(holder["until"])
        assert "\n" not in lease._held_by(holder)


def weights_file(header: object, tensors: dict[str, list[int]]) -> bytes:
    entries: dict[str, object] = {"__metadata__": {HEADER: json.dumps(header)}}
    at = 0
    for name, shape in tensors.items():
        size = 4 * math.prod(shape)
        entries[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + b"\0" * at


@FEW
@given(
    st.dictionaries(
        st.sampled_from(["format", "stage", "hidden", "enc", "heads", "resolution", "x"]), JSON
    )
    | JSON,
    st.booleans(),
)
def test_a_weights_header(tmp_path: Path, header: object, ours: bool) -> None:
    if ours and isinstance(header, dict):
        header = header | {"format": 1, "stage": "core"}
    path = tmp_path / "core.safetensors"
    path.write_bytes(weights_file(header, {"a": [2]}))
    try:
        load_stage(path)
    except WeightsError as error:
        assert one_line(error)


@pytest.mark.parametrize("number", [4_000, 10**5, 10**9])
def test_a_few_bytes_of_weights_ask_for_no_memory(number: int, tmp_path: Path) -> None:
    path = tmp_path / "core.safetensors"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name in (field.name for field in fields(CoreConfig)):
        path.write_bytes(weights_file({"format": 1, "stage": "core", name: number}, {"a": [2]}))
        with pytest.raises(WeightsError) as caught:
            load_stage(path)
        assert one_line(caught.value)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after - before < 300_000  # KiB; with torch, which is imported meanwhile


@FEW
@given(st.binary(max_size=100))
def test_bytes_that_are_no_weights(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "core.safetensors"
    path.write_bytes(data)
    with pytest.raises(WeightsError) as caught:
        read_config(path)
    assert one_line(caught.value)


class Page(http.server.BaseHTTPRequestHandler):
    """Answers everything with a page, as a gateway or a login does."""

    body = b"<html><body>Please log in</body></html>"

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(self.body)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _answer

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture(params=[Page.body, b"<html><p>unclosed", b"no page at all"])
def no_store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    kind = type("Other", (Page,), {"body": request.param})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{server.server_port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setattr(s3, "RETRIES", 1)  # boto3 asks again, with pauses
    yield
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_a_page_of_html_is_no_answer_of_a_store(no_store: None) -> None:
    store = S3Storage("bucket", "p")
    for act in (
        lambda: store.read("a.jpg"),
        lambda: list(store.list()),
        lambda: store.exists("a.jpg"),
        lambda: store.write("a.jpg", b"x"),
        lambda: store.write_if_absent("results/shard-000000.parquet", b"x"),
    ):
        with pytest.raises(StoreUnavailable) as caught:
            act()
        assert one_line(caught.value)


def test_submit_waits_for_an_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    class Server:
        asked = 0

        def submit_job(self, **job: object) -> None:
            self.asked += 1
            if self.asked < 3:
                raise RuntimeError("No available agent to submit job, please try again later.")

    monkeypatch.setattr(submission.time, "sleep", lambda seconds: None)
    server = Server()
    submission._send(server, entrypoint="true")
    assert server.asked == 3
