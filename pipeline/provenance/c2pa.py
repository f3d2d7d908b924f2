"""Content credentials (C2PA), written and read: the only file that knows the library.

A signed picture names its master as its parent, says that a trained model adjusted its color, and
is signed with the user's certificate. The signature covers the whole file, including the XMP packet
of pipeline.metadata.xmp. It holds a time if an authority gave a time stamp (RFC 3161).

The library puts random salts into a manifest, so signing a picture twice gives two different valid
files. Both name the unsigned picture's digest as the instance that is signed.
"""

import hashlib
import io
import json
import uuid
from typing import Any, NamedTuple

from pipeline.errors import PhotoError, missing_extra
from pipeline.images.formats import MIME_OF_FORMAT
from pipeline.metadata.xmp import SOURCE_TYPES, Provenance
from pipeline.provenance.certificates import Certificate


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


def require_library(purpose: str) -> None:
    """Raises UsageError where it is not installed. purpose: for people, as "signing pictures"."""
    try:
        import c2pa  # noqa: F401
    except ImportError as error:
        raise missing_extra(f"{purpose} needs c2pa-python", "provenance") from error


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
    require_library("checking them")
    from c2pa import C2paError

    try:
        return read_credentials(file, format)
    except PhotoError as error:
        if isinstance(error.__cause__, C2paError.ManifestNotFound):
            return None
        raise


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
