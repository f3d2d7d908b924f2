"""Content credentials (C2PA): pictures that are signed. The only file that knows the library.

A signed picture names its master as what it was made from, says that its color was adjusted by a
trained model, and is signed with the user's certificate. The signature covers the whole file, the
XMP packet of pipeline.metadata.xmp with it. A time stands in it where an authority is asked for a
time stamp (RFC 3161) and gives one.

The library puts random salts into a manifest: signing a picture twice gives two files, both good.
So that a picture is written by one of two workers only, each names the unsigned picture's digest as
the instance that it signs, and takes what is there already where that is the same instance, signed
with the same certificate, and unharmed.
"""

import hashlib
import io
import json
import time
import uuid
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np

from pipeline.errors import PhotoError, UsageError, missing_extra
from pipeline.images.encoding import encode
from pipeline.images.formats import FORMAT_OF_SUFFIX, MIME_OF_FORMAT, SIGNABLE
from pipeline.metadata.xmp import SOURCE_TYPES, Provenance
from pipeline.storage.base import Storage


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
    """A certificate, those above it, and its key, as PEM.

    authority: the URL of a time-stamp authority, or None. silent: why it gave no time stamp when it
    was tried; empty where it did, or was not asked. No dataclass, as Ray turns those into text for
    its own records.
    """

    def __init__(
        self, certificates: str, key: str, algorithm: str, authority: str | None = None
    ) -> None:
        """algorithm: C2PA's name of it, as es256."""
        self.certificates, self.algorithm, self.authority = certificates, algorithm, authority
        self.silent = ""
        self._key = key

    def __repr__(self) -> str:
        return f"Signer({self.algorithm})"

    def context(self, stamped: bool) -> Any:
        """What the library signs with; stamped: with a time stamp, if there is an authority."""
        from c2pa import C2paSignerInfo, Context, Settings
        from c2pa import Signer as NativeSigner

        certificates, key = self.certificates.encode(), self._key.encode()
        authority = self.authority.encode() if self.authority and stamped else None
        info = C2paSignerInfo(self.algorithm, certificates, key, authority)
        return Context(Settings.from_dict(_QUIET), NativeSigner.from_info(info))


def read_signer(
    certificate: str | None, key: str | None, authority: str | None = None
) -> Signer | None:
    """What these files sign with, tried on a picture; None where there are none.

    authority: URL of a time-stamp authority, asked once here. Where it does not answer, the signer
    says so: that ends no run.
    Raises UsageError: one of them is missing or cannot be used, or the library is not installed.
    """
    if certificate is None and key is None:
        if authority is not None:
            raise UsageError("--c2pa-timestamp is of signatures: give --c2pa-certificate, too")
        return None
    if certificate is None or key is None:
        raise UsageError("--c2pa-certificate and --c2pa-key belong together")
    _check_authority(authority)
    try:
        import c2pa  # noqa: F401
    except ImportError as error:
        raise missing_extra("signing pictures needs c2pa-python", "provenance") from error
    signer = _load(certificate, key)
    signer.authority = authority
    gray = encode(np.zeros((8, 8), np.uint8), "PNG")
    made = Provenance("trainedAlgorithmicMedia", "0", {}, 0, "")
    try:
        trial = sign_stamped(signer, "trial", gray, "PNG", gray, "PNG", made)
        there = read_credentials(trial.file, "PNG")
    except PhotoError as error:
        raise UsageError(f"{certificate}: {error}") from error
    failures = there["validation_results"]["activeManifest"]["failure"]
    wrong = [each["code"] for each in failures if each["code"] != "signingCredential.untrusted"]
    if wrong:  # whom a reader trusts is the reader's choice; all else has to be right
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


def sign_picture(
    signer: Signer,
    photo: str,
    file: bytes,
    format: str,
    master: bytes,
    master_format: str,
    made: Provenance,
    stamped: bool = False,
) -> bytes:
    """A picture, signed. photo: the master's path. stamped: with a time stamp of the authority.

    Raises PhotoError (write_error).
    """
    from c2pa import Builder, C2paError

    signed = io.BytesIO()
    try:
        with (
            signer.context(stamped) as context,
            Builder(_manifest(file, format, made), context) as builder,
        ):
            _open_master(builder, photo, master, master_format)
            builder.sign(MIME_OF_FORMAT[format], io.BytesIO(file), signed)
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
    """A picture, signed as by sign_picture, with a time stamp if the authority gives one soon.

    Raises PhotoError as sign_picture does.
    """
    url, picture = signer.authority, (photo, file, format, master, master_format, made)
    if url is None:
        return Signed(sign_picture(signer, *picture))
    until, why = _paused.get(url, (0.0, ""))
    for wait in (None, *WAITS) if time.monotonic() >= until else ():
        time.sleep(wait or 0.0)
        started = time.monotonic()
        try:
            file = sign_picture(signer, *picture, True)
        except PhotoError as error:
            why = f"no time stamp: {_cause(error)}"
            _paused[url] = (time.monotonic() + PAUSE, why)
            if time.monotonic() - started > _HANGING:
                break
        else:
            _paused.pop(url, None)
            return Signed(file)
    return Signed(sign_picture(signer, *picture), why)


def is_stamped(file: bytes, format: str) -> bool:
    """Whether a signed picture has a time stamp. Raises PhotoError (unsupported)."""
    report = read_credentials(file, format)
    return "time" in report["manifests"][report["active_manifest"]]["signature_info"]


def read_credentials(file: bytes, format: str) -> dict[str, Any]:
    """What a picture's content credentials say, checked, as the library's report of them.

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
    """Write a signed picture, unless the same is there already; returns what is there.

    Raises StorageError.
    """
    if destination.write_if_absent(path, file):
        return file
    there = destination.read(path)
    if _is_same(there, file, FORMAT_OF_SUFFIX[PurePosixPath(path).suffix.lower()]):
        return there
    destination.write(path, file)
    return file


def _manifest(file: bytes, format: str, made: Provenance) -> dict[str, Any]:
    program = {"name": "Autochrome", "version": made.version}
    actions = [
        {"action": "c2pa.opened", "parameters": {"ingredientIds": ["master"]}},
        {
            "action": "c2pa.color_adjustments",
            "description": "colorized by a trained model",
            "softwareAgent": program,
            "digitalSourceType": SOURCE_TYPES + made.source_type,
        },
    ]
    return {
        "claim_generator_info": [program],
        "format": MIME_OF_FORMAT[format],
        "instance_id": _instance(hashlib.sha256(file).hexdigest()),
        "assertions": [{"label": "c2pa.actions.v2", "created": True, "data": {"actions": actions}}],
    }


def _open_master(builder: Any, photo: str, master: bytes, format: str) -> None:
    """Name the master as what the picture was made from, with its own credentials if it has any."""
    from c2pa import C2paError

    digest = hashlib.sha256(master).hexdigest()
    ingredient = {
        "title": photo,
        "format": MIME_OF_FORMAT[format],
        "relationship": "parentOf",
        "label": "master",
        "instance_id": _instance(digest),
        "description": f"SHA-256 {digest}",
    }
    try:
        builder.add_ingredient(ingredient, MIME_OF_FORMAT[format], io.BytesIO(master))
    except C2paError:  # decoders bear more than this library does: take it as mere bytes
        builder.add_ingredient(ingredient, "application/octet-stream", io.BytesIO(master))


def _instance(digest: str) -> str:
    return f"xmp:iid:{uuid.uuid5(uuid.NAMESPACE_URL, f'urn:sha256:{digest}')}"


def _is_same(there: bytes, file: bytes, format: str) -> bool:
    """Whether both are one picture, signed with one certificate, and what is there is unharmed."""
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
        raise UsageError(f"--c2pa-timestamp {url!r} is not an http:// or https:// address")


def _cause(error: PhotoError) -> str:
    """What the library says of an authority, in a line."""
    words = str(error).removeprefix("the picture cannot be signed: ")
    return words.removeprefix("Signature: ")[:200]


def _load(certificate: str, key: str) -> Signer:
    """Raises UsageError where the files do not hold a certificate and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        load_pem_private_key,
    )

    try:
        chain = x509.load_pem_x509_certificates(Path(certificate).read_bytes())
    except (OSError, ValueError) as error:
        raise UsageError(f"--c2pa-certificate {certificate}: {_first_line(error)}") from error
    try:
        private = load_pem_private_key(Path(key).read_bytes(), None)
    except TypeError as error:
        raise UsageError(f"--c2pa-key {key} is encrypted; give it without a password") from error
    except (OSError, ValueError) as error:
        raise UsageError(f"--c2pa-key {key}: {_first_line(error)}") from error
    public = chain[0].public_key()
    if private.public_key() != public:
        raise UsageError(f"the key of {key} is not that of the first certificate of {certificate}")
    curves = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
    algorithm = None
    if isinstance(public, ed25519.Ed25519PublicKey):
        algorithm = "ed25519"
    elif isinstance(public, rsa.RSAPublicKey):
        algorithm = "ps256"
    elif isinstance(public, ec.EllipticCurvePublicKey):
        algorithm = curves.get(public.curve.name)
    if algorithm is None:
        raise UsageError(f"{certificate}: C2PA knows RSA, Ed25519, and EC keys of P-256 to P-521")
    plain = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    pem = b"".join(each.public_bytes(Encoding.PEM) for each in chain)
    return Signer(pem.decode(), plain.decode(), algorithm)


def _first_line(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text.splitlines()[0] if text else type(error).__name__
