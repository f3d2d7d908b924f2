"""A proxy between a client of S3 and its server that fails as networks and stores fail.

It is asked before every request which fault to commit, by a rule that may be replaced at any
time; `first` and `sprinkle` make rules.
"""

import http.client
import socket
import struct
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any


class Broken(Enum):
    """What becomes of a request, or of the answer to it."""

    RESET_BEFORE = auto()  # the server never hears of the request
    RESET_AFTER = auto()  # the server has done what it was asked; nobody learns of it
    TRUNCATED = auto()  # half of the body, and the connection ends
    SLOW = auto()  # half of the body, and then nothing more
    WRONG_BYTES = auto()  # as many as announced, one of them another


@dataclass(frozen=True)
class Refusal:
    """An error that the proxy answers with in the server's place."""

    status: int
    code: str


SLOW_DOWN = Refusal(503, "SlowDown")
CONFLICT = Refusal(409, "ConditionalRequestConflict")

Fault = Broken | Refusal


@dataclass(frozen=True)
class Request:
    method: str
    target: str  # path and query
    conditional: bool  # it has If-None-Match


Rule = Callable[[Request], Fault | None]


def harmless(request: Request) -> Fault | None:
    return None


def first(method: str, *faults: Fault, path: str = "") -> Rule:
    """The first requests with this method ("" for any), and this in their target, suffer these."""
    left = deque(faults)

    def rule(request: Request) -> Fault | None:
        fits = method in ("", request.method) and path in request.target
        return left.popleft() if fits and left else None

    return rule


def sprinkle() -> Rule:
    """Faults that a storage must hide: every request suffers two of them, and then none."""
    suffered: Counter[Request] = Counter()
    turn = count()

    def rule(request: Request) -> Fault | None:
        suffered[request] += 1
        if suffered[request] > 2:
            return None
        faults: list[Fault] = [SLOW_DOWN, Broken.RESET_BEFORE]
        # That an answer was lost cannot be hidden here, nor can a wrong byte of a listing.
        faults += [CONFLICT] if request.conditional else [Broken.RESET_AFTER]
        if request.method == "GET":
            faults += [Broken.TRUNCATED]
            faults += [] if "list-type" in request.target else [Broken.WRONG_BYTES]
        return faults[next(turn) % len(faults)]

    return rule


class FaultProxy(ThreadingHTTPServer):
    """endpoint: where it listens. seen: the requests so far, those that suffered included."""

    daemon_threads = True

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = upstream.removeprefix("http://")
        self.endpoint = f"http://127.0.0.1:{self.server_address[1]}"
        self.rule: Rule = harmless
        self.seen: list[Request] = []
        self.closing = threading.Event()
        self._lock = threading.Lock()

    def choose(self, request: Request) -> Fault | None:
        with self._lock:
            self.seen.append(request)
            return self.rule(request)

    def requests(self, method: str) -> int:
        return sum(request.method == method for request in self.seen)

    def shutdown_request(self, request: Any) -> None:
        self.close_request(request)  # without the polite goodbye that would hide a reset

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that went away, which is what many tests are about


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps connections, and answers Expect: 100-continue
    server: FaultProxy

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.server.choose(
            Request(self.command, self.path, "If-None-Match" in self.headers)
        )
        if isinstance(fault, Refusal):
            self._refuse(fault)
        elif fault is Broken.RESET_BEFORE:
            self._reset()
        else:
            self._answer(body, fault)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _pass_on

    def _refuse(self, refusal: Refusal) -> None:
        text = f"<Error><Code>{refusal.code}</Code><Message>injected</Message></Error>".encode()
        self.send_response(refusal.status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def _reset(self) -> None:
        linger = struct.pack("ii", 1, 0)  # on, no seconds: closing sends RST
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = True

    def _answer(self, body: bytes, fault: Fault | None) -> None:
        server = http.client.HTTPConnection(self.server.upstream)
        try:
            server.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in ("connection", "expect"):
                    server.putheader(name, value)
            server.endheaders(body or None)
            answer = server.getresponse()
            data = answer.read()
        finally:
            server.close()
        if fault is Broken.RESET_AFTER:
            self._reset()
            return
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "content-length", "transfer-encoding"):
                self.send_header(name, value)
        length = answer.headers.get("Content-Length", "0") if self.command == "HEAD" else len(data)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self._send(data, fault)

    def _send(self, data: bytes, fault: Fault | None) -> None:
        half = len(data) // 2
        if fault is Broken.WRONG_BYTES and data:
            data = data[:half] + bytes([data[half] ^ 1]) + data[half + 1 :]
        if fault in (Broken.TRUNCATED, Broken.SLOW):
            self.wfile.write(data[:half])
            self.wfile.flush()
            if fault is Broken.SLOW:
                self.server.closing.wait(60)
            self.close_connection = True
            return
        self.wfile.write(data)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@contextmanager
def fault_proxy(upstream: str) -> Iterator[FaultProxy]:
    """In front of a server, on a free port, for as long as the block lasts."""
    with FaultProxy(upstream) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.closing.set()
            proxy.shutdown()
            thread.join()
