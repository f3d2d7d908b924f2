"""Content credentials (C2PA): pictures that are signed. The only file that knows the library.

A signed picture names its master as its parent, says that a trained model adjusted its color, and
is signed with the user's certificate. The signature covers the whole file, including the XMP packet
of pipeline.metadata.xmp. It holds a time if an authority was asked for a time stamp (RFC 3161) and
gave one.

The library puts random salts into a manifest, so signing a picture twice gives two different valid
files. To have only one of two workers write a picture, each names the unsigned picture's digest as
the instance that it signs. Where the destination holds an undamaged picture of the same instance,
signed with the same certificate, that one stays.
"""

import hashlib
import io
import json
import time
import uuid
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np

from pipeline.errors import PhotoError, UsageError, missing_extra
from pipeline.images.encoding import encode
from pipeline.images.formats import FORMAT_OF_SUFFIX, MIME_OF_FORMAT, SIGNABLE
from pipeline.metadata.xmp import SOURCE_TYPES, Provenance
from pipeline.provenance.certificates import Certificate, read_certificate
from pipeline.storage.base import Storage
from pipeline.storage.secrets import without_secrets


class Unsigned(NamedTuple):
    """A picture to be signed, and what its credentials say of it.

    photo: the master's path. file, format: the picture. master, master_format: the master's file.
    """

    photo: str
    file: bytes
    format: str
    master: bytes
    master_format: str
    made: Provenance


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

_QUIET = {  # nothing is fetched, and pictures get no thumbnail of themselves
    "builder": {"thumbnail": {"enabled": False}},
    "verify": {"verify_after_sign": False, "ocsp_fetch": False, "remote_manifest_fetch": False},
}


class Signer:
    """A certificate, and a time-stamp authority.

    authority: the URL of the authority, or None. silent: why it gave no time stamp when it was
    tried; empty where it did, or was not asked. Not a dataclass, because Ray writes the fields of
    those into its own records, and this one holds a private key.
    """

    def __init__(self, certificate: Certificate, authority: str | None = None) -> None:
        self.authority, self.silent = authority, ""
        self.algorithm, self._certificate = certificate.algorithm, certificate

    def __repr__(self) -> str:
        return f"Signer({self.algorithm})"

    def context(self, stamped: bool) -> Any:
        """The library's context for signing; stamped: with a time stamp, if it can."""
        from c2pa import C2paSignerInfo, Context, Settings
        from c2pa import Signer as NativeSigner

        own = self._certificate
        authority = self.authority.encode() if self.authority and stamped else None
        info = C2paSignerInfo(own.algorithm, own.chain.encode(), own.key.encode(), authority)
        return Context(Settings.from_dict(_QUIET), NativeSigner.from_info(info))


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
    try:
        import c2pa  # noqa: F401
    except ImportError as error:
        raise missing_extra("signing pictures needs c2pa-python", "provenance") from error
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
    if format != "auto" and {"jp2": "JPEG2000"}.get(format, format.upper()) not in SIGNABLE:
        raise UsageError(
            f"--format {format} cannot hold content credentials: leave out --c2pa-certificate, or"
            f" take one of {', '.join(sorted(name.lower() for name in SIGNABLE))}"
        )


def sign_picture(signer: Signer, picture: Unsigned, stamped: bool = False) -> bytes:
    """The signed file; stamped: with a time stamp. Raises PhotoError (write_error)."""
    from c2pa import Builder, C2paError

    signed = io.BytesIO()
    try:
        with (
            signer.context(stamped) as context,
            Builder(_manifest(picture), context) as builder,
        ):
            _open_master(builder, picture)
            builder.sign(MIME_OF_FORMAT[picture.format], io.BytesIO(picture.file), signed)
    except C2paError as error:
        raise PhotoError("write_error", f"the picture cannot be signed: {error}") from error
    return signed.getvalue()


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


def is_stamped(file: bytes, format: str) -> bool:
    """Whether a signed picture has a time stamp. Raises PhotoError (unsupported)."""
    report = read_credentials(file, format)
    return "time" in report["manifests"][report["active_manifest"]]["signature_info"]


def read_credentials(file: bytes, format: str) -> dict[str, Any]:
    """The library's report on a picture's content credentials, which it checks.

    Raises PhotoError (unsupported): it has none, or they cannot be read.
    """
    from c2pa import C2paError, Context, Reader, Settings

    try:
        with (
            Context(Settings.from_dict(_QUIET)) as context,
            Reader(MIME_OF_FORMAT[format], io.BytesIO(file), context=context) as reader,
        ):
            report: dict[str, Any] = json.loads(reader.json())
            return report
    except C2paError as error:
        raise PhotoError("unsupported", f"no content credentials can be read: {error}") from error


def find_credentials(file: bytes, format: str) -> dict[str, Any] | None:
    """As read_credentials; None where a picture has none. Raises UsageError without the library."""
    try:
        from c2pa import C2paError
    except ImportError as error:
        raise missing_extra("checking them needs c2pa-python", "provenance") from error
    try:
        return read_credentials(file, format)
    except PhotoError as error:
        if isinstance(error.__cause__, C2paError.ManifestNotFound):
            return None
        raise


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


def _manifest(picture: Unsigned) -> dict[str, Any]:
    program = {"name": "Autochrome", "version": picture.made.version}
    actions = [
        {"action": "c2pa.opened", "parameters": {"ingredientIds": ["master"]}},
        {
            "action": "c2pa.color_adjustments",
            "description": "colorized by a trained model",
            "softwareAgent": program,
            "digitalSourceType": SOURCE_TYPES + picture.made.source_type,
        },
    ]
    return {
        "claim_generator_info": [program],
        "format": MIME_OF_FORMAT[picture.format],
        "instance_id": _instance(hashlib.sha256(picture.file).hexdigest()),
        "assertions": [{"label": "c2pa.actions.v2", "created": True, "data": {"actions": actions}}],
    }


def _open_master(builder: Any, picture: Unsigned) -> None:
    """Name the master as the picture's parent, with the master's own credentials if it has any."""
    from c2pa import C2paError

    master, kind = picture.master, MIME_OF_FORMAT[picture.master_format]
    digest = hashlib.sha256(master).hexdigest()
    ingredient = {
        "title": picture.photo,
        "format": kind,
        "relationship": "parentOf",
        "label": "master",
        "instance_id": _instance(digest),
        "description": f"SHA-256 {digest}",
    }
    try:
        builder.add_ingredient(ingredient, kind, io.BytesIO(master))
    except C2paError:  # our decoders read files that this library refuses: pass mere bytes
        builder.add_ingredient(ingredient, "application/octet-stream", io.BytesIO(master))


def _instance(digest: str) -> str:
    return f"xmp:iid:{uuid.uuid5(uuid.NAMESPACE_URL, f'urn:sha256:{digest}')}"


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
