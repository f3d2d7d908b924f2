"""Certificates for tests, each with the one above it: a root that nobody else knows."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

KEYS: dict[str, Callable[[], CertificateIssuerPrivateKeyTypes]] = {
    "es256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "es384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "ps256": lambda: rsa.generate_private_key(65537, 2048),
    "none": lambda: ec.generate_private_key(ec.SECP256K1()),
}


@dataclass(frozen=True)
class Chain:
    """Files of the signer's certificate, the root after it, and of its key; the root in PEM."""

    certificate: str
    key: str
    root: str


def write_chain(
    folder: Path, kind: str = "es256", days: tuple[int, int] = (-1, 30), password: bytes = b""
) -> Chain:
    """A chain whose signer is valid between these days from now."""
    above, own = KEYS["es256"](), KEYS[kind]()
    root = _certificate("Root", "Root", above, above, (-100, 100))
    leaf = _certificate("Scanner", "Root", own, above, days)
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    certificate, key = folder / f"{kind}.pem", folder / f"{kind}.key"
    certificate.write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in (leaf, root)))
    key.write_bytes(own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    return Chain(str(certificate), str(key), root.public_bytes(Encoding.PEM).decode())


def _certificate(
    subject: str,
    issuer: str,
    own: CertificateIssuerPrivateKeyTypes,
    above: CertificateIssuerPrivateKeyTypes,
    days: tuple[int, int],
) -> x509.Certificate:
    of_root, now = subject == issuer, datetime.now(UTC)
    usage = dict.fromkeys(
        (
            *("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
            *("encipher_only", "decipher_only"),
        ),
        False,
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days[0]))
        .not_valid_after(now + timedelta(days[1]))
        .add_extension(x509.BasicConstraints(ca=of_root, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=not of_root, key_cert_sign=of_root, crl_sign=of_root, **usage
            ),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(own.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(above.public_key()), critical=False
        )
    )
    if not of_root:
        uses = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        certificate = certificate.add_extension(uses, critical=False)
    return certificate.sign(above, SHA256())


def _name(common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "An Archive"),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )
