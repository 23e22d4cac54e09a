"""TLS for tests: certificates of each kind, and two ends that shake hands without a socket."""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

from sasl_tls import ServerTls

__all__ = ["KINDS", "Kind", "PyOpenSslEnd", "SslEnd", "Tls", "make_tls", "shake_hands"]

Kind: TypeAlias = Literal["ecdsa", "rsa", "ed25519"]
KINDS: tuple[Kind, ...] = ("ecdsa", "rsa", "ed25519")
Version: TypeAlias = Literal["1.2", "1.3"]


@dataclass(frozen=True)
class Tls:
    """A certificate, of localhost and 127.0.0.1 unless others are named, and its key, in files."""

    certificate: Path
    key: Path
    der: bytes

    def server(self, library: Any = "ssl", version: Version | None = None) -> ServerTls:
        """A server's TLS, of one version only if that is named."""
        made = ServerTls.load(self.certificate, self.key, library)
        if made._ssl is not None and version is not None:
            made._ssl.minimum_version = made._ssl.maximum_version = SSL_VERSIONS[version]
        if made._pyopenssl is not None and version is not None:
            made._pyopenssl.set_min_proto_version(PYOPENSSL_VERSIONS[version])
            made._pyopenssl.set_max_proto_version(PYOPENSSL_VERSIONS[version])
        return made

    def client(self, version: Version | None = None) -> ssl.SSLContext:
        """A client's TLS of the standard library, that trusts this certificate alone."""
        context = ssl.create_default_context(cafile=str(self.certificate))
        if version is not None:
            context.minimum_version = context.maximum_version = SSL_VERSIONS[version]
        return context


SSL_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
PYOPENSSL_VERSIONS = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}


def make_tls(
    folder: Path,
    kind: Kind = "ecdsa",
    *,
    names: Sequence[str] = ("localhost", "127.0.0.1"),
    days: tuple[int, int] = (-1, 1),
    signed_by: Tls | None = None,
) -> Tls:
    """A certificate of this kind for these names and addresses, good from and until those days.

    `signed_by`: its authority's, for one that is not self-signed.
    """
    key: Any = {
        "ecdsa": lambda: ec.generate_private_key(ec.SECP256R1()),
        "rsa": lambda: rsa.generate_private_key(65537, 2048),
        "ed25519": ed25519.Ed25519PrivateKey.generate,
    }[kind]()
    name = issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    signing: Any = key
    if signed_by is not None:
        issuer = x509.load_der_x509_certificate(signed_by.der).subject
        signing = serialization.load_pem_private_key(signed_by.key.read_bytes(), None)
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + dt.timedelta(days=days[0]))
        .not_valid_after(now + dt.timedelta(days=days[1]))
        .add_extension(x509.SubjectAlternativeName([_general(n) for n in names]), critical=False)
        .add_extension(x509.BasicConstraints(signed_by is None, path_length=None), critical=True)
        .sign(signing, None if isinstance(signing, ed25519.Ed25519PrivateKey) else hashes.SHA384())
    )
    made = Tls(
        folder / f"{kind}.pem",
        folder / f"{kind}.key",
        signed.public_bytes(serialization.Encoding.DER),
    )
    made.certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    made.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return made


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


class SslEnd:
    """One end of the standard library's."""

    def __init__(
        self, context: ssl.SSLContext, *, server: bool, session: ssl.SSLSession | None = None
    ) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.connection = context.wrap_bio(
            self._in,
            self._out,
            server_side=server,
            server_hostname=None if server else "localhost",
            session=session,
        )

    def feed(self, data: bytes) -> None:
        self._in.write(data)

    def shake(self) -> bytes:
        """Go on with the handshake; what is to be sent."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.connection.do_handshake()
        return self._out.read()


class PyOpenSslEnd:
    """One end of pyOpenSSL's."""

    def __init__(
        self, context: SSL.Context, *, server: bool, session: SSL.Session | None = None
    ) -> None:
        self.connection = SSL.Connection(context, None)
        if server:
            self.connection.set_accept_state()
        else:
            self.connection.set_tlsext_host_name(b"localhost")
            self.connection.set_connect_state()

    def feed(self, data: bytes) -> None:
        if data:
            self.connection.bio_write(data)

    def shake(self) -> bytes:
        """Go on with the handshake; what is to be sent."""
        with contextlib.suppress(SSL.WantReadError):
            self.connection.do_handshake()
        try:
            return self.connection.bio_read(1 << 20)
        except SSL.WantReadError:
            return b""


def server_end(tls: ServerTls) -> SslEnd | PyOpenSslEnd:
    """A server's end with this TLS."""
    if tls._ssl is not None:
        return SslEnd(tls._ssl, server=True)
    assert tls._pyopenssl is not None
    return PyOpenSslEnd(tls._pyopenssl, server=True)


def pyopenssl_client(tls: Tls) -> SSL.Context:
    """A pyOpenSSL client's TLS that trusts this certificate alone."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.load_verify_locations(str(tls.certificate))
    context.set_verify(SSL.VERIFY_PEER)
    return context


def shake_hands(server: SslEnd | PyOpenSslEnd, client: SslEnd | PyOpenSslEnd) -> None:
    """Carry the octets of a handshake to and fro until none are left."""
    for _ in range(10):
        said = client.shake()
        server.feed(said)
        heard = server.shake()
        client.feed(heard)
        if not said and not heard:
            return
    raise AssertionError("the handshake does not end")
