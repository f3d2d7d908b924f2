"""A time-stamp authority (RFC 3161) on this machine: `openssl ts` behind a small HTTP server."""

import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

_SETTINGS = """
[req]
distinguished_name = name
prompt = no
x509_extensions = root
[name]
O = An Authority
CN = Root of the clock
[root]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[clock]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = critical, timeStamping
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[tsa]
default_tsa = own
[own]
serial = serial
crypto_device = builtin
signer_cert = clock.pem
certs = root.pem
signer_key = clock.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha384, sha512
tsa_name = no
ess_cert_id_alg = sha256
"""
_KEY = ("-newkey", "rsa:2048", "-nodes", "-config", "tsa.cnf")


@dataclass
class Authority:
    """failures: how many of the next requests are answered by an error. asked: requests so far."""

    url: str
    root: str
    failures: int = 0
    asked: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


@contextmanager
def time_stamp_authority(folder: Path) -> Iterator[Authority]:
    """One whose root nobody knows; skips where there is no openssl."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl")
    (folder / "tsa.cnf").write_text(_SETTINGS)
    (folder / "serial").write_text("01\n")

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], check=True, cwd=folder, capture_output=True)

    openssl("req", "-x509", *_KEY, "-keyout", "root.key", "-out", "root.pem", "-days", "30")
    openssl("req", "-new", *_KEY, "-keyout", "clock.key", "-out", "clock.csr", "-subj", "/CN=Clock")
    above = ("-CA", "root.pem", "-CAkey", "root.key", "-CAcreateserial")
    extensions = ("-extfile", "tsa.cnf", "-extensions", "clock")
    openssl("x509", "-req", "-in", "clock.csr", *above, *extensions, "-out", "clock.pem")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = self.rfile.read(int(self.headers["Content-Length"]))
            with there.lock:
                there.asked += 1
                if there.failures:
                    there.failures -= 1
                    self.send_error(503)
                    return
                (folder / "query").write_bytes(query)
                openssl(
                    *("ts", "-reply", "-config", "tsa.cnf"), "-queryfile", "query", "-out", "reply"
                )
                reply = (folder / "reply").read_bytes()
            self.send_response(200)
            self.send_header("Content-Type", "application/timestamp-reply")
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    there = Authority(f"http://127.0.0.1:{server.server_port}/", (folder / "root.pem").read_text())
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield there
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
