"""The user's certificate and its private key, read from PEM files."""

from dataclasses import dataclass, field
from pathlib import Path

from pipeline.errors import UsageError, first_line


@dataclass(frozen=True)
class Certificate:
    """chain: the certificate and those above it, key: its private key, both PEM.

    algorithm: C2PA's name for what the key signs with, as es256.
    """

    chain: str
    key: str = field(repr=False)
    algorithm: str


def read_certificate(certificate: str, key: str) -> Certificate:
    """Both files. Raises UsageError where they do not hold a certificate and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        load_pem_private_key,
    )

    try:
        chain = x509.load_pem_x509_certificates(Path(certificate).read_bytes())
    except (OSError, ValueError) as error:
        raise UsageError(f"--c2pa-certificate {certificate}: {_cause(error)}") from error
    try:
        private = load_pem_private_key(Path(key).read_bytes(), None)
    except TypeError as error:
        raise UsageError(f"--c2pa-key {key} is encrypted; give it without a password") from error
    except (OSError, ValueError) as error:
        raise UsageError(f"--c2pa-key {key}: {_cause(error)}") from error
    public = chain[0].public_key()
    if private.public_key() != public:
        raise UsageError(f"the key of {key} is not that of the first certificate of {certificate}")
    algorithm = _algorithm_of(public)
    if algorithm is None:
        raise UsageError(f"{certificate}: C2PA knows RSA, Ed25519, and EC keys of P-256 to P-521")
    plain = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    pem = b"".join(each.public_bytes(Encoding.PEM) for each in chain)
    return Certificate(pem.decode(), plain.decode(), algorithm)


def _algorithm_of(public: object) -> str | None:
    """C2PA's name for what such a key signs with; None where it has none."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    curves = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
    if isinstance(public, ed25519.Ed25519PublicKey):
        return "ed25519"
    if isinstance(public, rsa.RSAPublicKey):
        return "ps256"
    if isinstance(public, ec.EllipticCurvePublicKey):
        return curves.get(public.curve.name)
    return None


def _cause(error: Exception) -> str:
    return getattr(error, "strerror", None) or first_line(error)
