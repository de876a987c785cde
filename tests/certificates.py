"""Certificates of 127.0.0.1, for servers that speak TLS."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Key = ec.EllipticCurvePrivateKey


def new_key() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


def private_pem(key: Key) -> bytes:
    """Not encrypted."""
    form, no_password = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, form, no_password)


def certificate(name: str, key: Key, authority: Key, *, hosts: Sequence[str] = ()) -> bytes:
    """Of 127.0.0.1 and of `hosts`, signed by an authority, or the authority's own."""
    now = datetime.now(UTC)
    addresses = x509.SubjectAlternativeName(
        [x509.IPAddress(ip_address("127.0.0.1")), *map(x509.DNSName, hosts)]
    )
    is_authority = x509.BasicConstraints(ca=key is authority, path_length=None)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(addresses, critical=False)
        .add_extension(is_authority, critical=True)
        .sign(authority, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)
