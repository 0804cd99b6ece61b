"""Certificates of a cluster: the master's own, and those that it issues to callers.

The master's certificate is self-signed, and callers trust exactly this one. With `--mutual-tls` its
key also signs a certificate for callers of each role, and masters admit nobody without one. A
separate authority would protect nothing: its key would lie beside this one.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

CERTIFICATE_NAME: Final = "mrcore-master"
"""The name in every master's certificate. What is trusted is the pin, whatever the host is."""
_CERTIFICATE_DAYS: Final = 3_650


class TlsKey(msgspec.Struct, frozen=True):
    """A private key and its certificate, both PEM."""

    key: str
    certificate: str


def make_certificate(wall_seconds: float) -> TlsKey:
    """Return a new key (P-256) with a self-signed certificate, good for ten years."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.fromtimestamp(wall_seconds, UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_name(CERTIFICATE_NAME))
        .issuer_name(_name(CERTIFICATE_NAME))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # clocks differ
        .not_valid_after(now + timedelta(days=_CERTIFICATE_DAYS))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(CERTIFICATE_NAME)]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    return _in_text(key, certificate)


def issue_certificate(issuer: TlsKey, name: str) -> TlsKey:
    """Return a new key with a certificate for callers, which ends with that of its issuer."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID

    authority = x509.load_pem_x509_certificate(issuer.certificate.encode())
    signs = serialization.load_pem_private_key(issuer.key.encode(), password=None)
    assert isinstance(signs, ec.EllipticCurvePrivateKey), "masters make no other keys"
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(authority.not_valid_before_utc)
        .not_valid_after(authority.not_valid_after_utc)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(signs, hashes.SHA256())
    )
    return _in_text(key, certificate)


def is_issued_by(one: TlsKey, issuer: TlsKey) -> bool:
    """Return whether this certificate was signed with the key of `issuer`."""
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature

    try:
        certificate = x509.load_pem_x509_certificate(one.certificate.encode())
        authority = x509.load_pem_x509_certificate(issuer.certificate.encode())
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _name(text: str) -> x509.Name:
    from cryptography import x509

    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _in_text(key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> TlsKey:
    """Return a key and its certificate as PEM."""
    from cryptography.hazmat.primitives import serialization

    return TlsKey(
        key=key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode(),
        certificate=certificate.public_bytes(serialization.Encoding.PEM).decode(),
    )
