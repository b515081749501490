"""A certificate authority and a server's certificate for 127.0.0.1, made for one test run."""

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ops.servers import Tls, free_port

Key = ec.EllipticCurvePrivateKey


def make_tls(folder: Path) -> Tls:
    """Write authority, certificate and key as PEM files; the port is a free one."""
    authority_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = _authority(authority_key)
    certificate = _certificate(server_key, authority, authority_key)
    files = {
        "authority.pem": authority.public_bytes(serialization.Encoding.PEM),
        "certificate.pem": certificate.public_bytes(serialization.Encoding.PEM),
        "key.pem": _private_pem(server_key),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    paths = {name.removesuffix(".pem"): folder / name for name in files}
    return Tls(port=free_port(), **paths)


def _authority(key: Key) -> x509.Certificate:
    name = _name("Bellwether test authority")
    return (
        _builder(name, key)
        .issuer_name(name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )


def _certificate(key: Key, authority: x509.Certificate, authority_key: Key) -> x509.Certificate:
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    return (
        _builder(_name("localhost"), key)
        .issuer_name(authority.subject)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(authority_key, hashes.SHA256())
    )


def _builder(subject: x509.Name, key: Key) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=2))
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _private_pem(key: Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
