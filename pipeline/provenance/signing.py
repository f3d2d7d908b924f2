"""How a run signs its pictures: whether it can, with a time stamp, and only once.

The certificate is tried before any work. Where a time-stamp authority does not answer, pictures are
signed without its time, and their rows say so. Of two workers that sign one picture (which gives
two different files, see provenance.c2pa), the first one's stays: where the destination holds an
undamaged picture of the same instance, signed with the same certificate, it is not replaced.
"""

import time
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import NamedTuple
from urllib.parse import urlsplit

import numpy as np

from pipeline.errors import PhotoError, UsageError
from pipeline.images.encoding import encode
from pipeline.images.formats import FORMAT_OF_SUFFIX, SIGNABLE, format_by_option
from pipeline.metadata.xmp import Provenance
from pipeline.provenance.c2pa import (
    Signer,
    Unsigned,
    read_credentials,
    require_library,
    sign_picture,
)
from pipeline.provenance.certificates import read_certificate
from pipeline.storage.base import Storage
from pipeline.storage.secrets import without_secrets


class Signed(NamedTuple):
    """A signed picture. unstamped: why it lacks a time stamp that was asked for; else empty."""

    file: bytes
    unstamped: str = ""


# file, its format, the master's file, its format, how it was made -> the signed file
Sign = Callable[[bytes, str, bytes, str, Provenance], Signed]

# Seconds before each further try at a time stamp. The library itself waits 30 seconds for an answer
# and no more; what took longer than _HANGING is not tried again, as a photo's time is bounded.
WAITS = (0.5, 2.0)
_HANGING = 5.0
PAUSE = 60.0  # seconds in which an authority that has failed is not asked again, in this process
_paused: dict[str, tuple[float, str]] = {}  # until when, by its clock, and why; by URL


def read_signer(
    certificate: str | None, key: str | None, authority: str | None = None
) -> Signer | None:
    """The signer that these files make, tried on a picture; None where no files are given.

    authority: URL of a time-stamp authority, asked once here. Where it does not answer, the run
    goes on, and the signer's `silent` says why.

    Raises UsageError: a file is missing or cannot be used, or the library is not installed.
    """
    if certificate is None and key is None:
        if authority is not None:
            raise UsageError("--c2pa-timestamp needs --c2pa-certificate")
        return None
    if certificate is None or key is None:
        raise UsageError("--c2pa-certificate and --c2pa-key belong together")
    _check_authority(authority)
    require_library("signing pictures")
    signer = Signer(read_certificate(certificate, key), authority)
    gray = encode(np.zeros((8, 8), np.uint8), "PNG")
    made = Provenance("trainedAlgorithmicMedia", "0", {}, 0, "")
    try:
        trial = sign_stamped(signer, "trial", gray, "PNG", gray, "PNG", made)
        there = read_credentials(trial.file, "PNG")
    except PhotoError as error:
        raise UsageError(f"{certificate}: {error}") from error
    failures = there["validation_results"]["activeManifest"]["failure"]
    wrong = [each["code"] for each in failures if each["code"] != "signingCredential.untrusted"]
    if wrong:  # everything but trust, which each reader decides
        raise UsageError(f"{certificate} signs what readers refuse: {', '.join(wrong)}")
    signer.silent = trial.unstamped
    return signer


def refuse_unsigned(format: str) -> None:
    """Raises UsageError for a format of --format that cannot hold content credentials."""
    if format != "auto" and format_by_option(format) not in SIGNABLE:
        raise UsageError(
            f"--format {format} cannot hold content credentials: leave out --c2pa-certificate, or"
            f" take one of {', '.join(sorted(name.lower() for name in SIGNABLE))}"
        )


def sign_stamped(
    signer: Signer,
    photo: str,
    file: bytes,
    format: str,
    master: bytes,
    master_format: str,
    made: Provenance,
) -> Signed:
    """Sign a picture, with a time stamp if the authority gives one soon. Parameters as in Unsigned.

    Raises PhotoError (write_error).
    """
    picture = Unsigned(photo, file, format, master, master_format, made)
    url = signer.authority
    if url is None:
        return Signed(sign_picture(signer, picture))
    until, why = _paused.get(url, (0.0, ""))
    for wait in (None, *WAITS) if time.monotonic() >= until else ():
        time.sleep(wait or 0.0)
        started = time.monotonic()
        try:
            file = sign_picture(signer, picture, stamped=True)
        except PhotoError as error:
            why = f"no time stamp: {_cause(error)}"
            _paused[url] = (time.monotonic() + PAUSE, why)
            if time.monotonic() - started > _HANGING:
                break
        else:
            _paused.pop(url, None)
            return Signed(file)
    return Signed(sign_picture(signer, picture), why)


def write_signed(destination: Storage, path: str, file: bytes) -> bytes:
    """Write a signed picture unless the same is there already; returns the file that is there then.

    Raises StorageError.
    """
    if destination.write_if_absent(path, file):
        return file
    there = destination.read(path)
    if _is_same(there, file, FORMAT_OF_SUFFIX[PurePosixPath(path).suffix.lower()]):
        return there
    destination.write(path, file)
    return file


def _is_same(there: bytes, file: bytes, format: str) -> bool:
    """Whether both are one picture, signed with one certificate, and `there` is undamaged."""
    try:
        reports = [read_credentials(data, format) for data in (there, file)]
    except PhotoError:
        return False
    other, own = (report["manifests"][report["active_manifest"]] for report in reports)
    signatures = [
        {**each["signature_info"], "time": None} if "signature_info" in each else None
        for each in (other, own)
    ]
    same = own["instance_id"] == other.get("instance_id") and signatures[0] == signatures[1]
    return same and reports[0]["validation_state"] != "Invalid"


def _check_authority(url: str | None) -> None:
    """Raises UsageError."""
    if url is None:
        return
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and url.isascii()
    except ValueError:
        sound = False
    if not sound or not url.isprintable() or " " in url:
        told = without_secrets(url)
        raise UsageError(f"--c2pa-timestamp {told!r} is not an http:// or https:// address")


def _cause(error: PhotoError) -> str:
    """Why an authority gave no time stamp, in the library's words, at most one line."""
    words = str(error).removeprefix("the picture cannot be signed: ")
    return without_secrets(words.removeprefix("Signature: "))[:200]
