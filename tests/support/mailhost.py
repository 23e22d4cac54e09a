"""Our SMTP server as strangers meet it: on the loopback, with a user database of its own."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import ssl
import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sasl_core import (
    AuditEvent,
    BindingPolicy,
    HttpRequest,
    HttpResponse,
    Result,
    SetpassFlag,
)
from sasl_core.aio import Server
from sasl_profiles.smtp import Message, SmtpServer
from sasl_tls import ServerTls

__all__ = ["CLEAR", "PASSWORD", "USER", "Authority", "MailHost", "make_authority"]

T = TypeVar("T")

USER = "user"
PASSWORD = "pencil"

CLEAR: Mapping[str, object] = {"allow_cleartext": True}
"""What a server without TLS must say for PLAIN; with TLS the defaults do."""


@dataclass(frozen=True)
class Authority:
    """Files of a certificate authority, and of a certificate for this machine's loopback."""

    authority: Path
    certificate: Path
    key: Path

    def server_context(self) -> ssl.SSLContext:
        """A server's TLS with the certificate."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.certificate, self.key)
        return context

    def client_context(self) -> ssl.SSLContext:
        """A client's TLS that trusts the authority alone."""
        return ssl.create_default_context(cafile=str(self.authority))


def make_authority(folder: Path) -> Authority:
    """Make both, good for a day."""
    made = Authority(*(folder / name for name in ("ca.pem", "server.pem", "server.key")))
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    addresses = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    name = "the tests' authority"
    # From Python 3.13 on the library takes RFC 5280 at its word: it wants the use of an authority's
    # key, and both keys' names.
    own = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    usage = dict.fromkeys(
        (
            "digital_signature",
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    root = (
        _certificate(name, name, ca_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(key_cert_sign=True, crl_sign=True, **usage), critical=True)
        .add_extension(own, critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    leaf = (
        _certificate("localhost", name, key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(addresses), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )
    made.authority.write_bytes(root.public_bytes(serialization.Encoding.PEM))
    made.certificate.write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
    made.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return made


class MailHost:
    """An SMTP server in a thread, with a fresh sasldb in `folder`.

    `config` is laid over what every host has. `logins` are the audit events of exchanges,
    `messages` the mail that came. With an `authority` it offers STARTTLS, with `tls` if that
    is given. `http` reaches identity providers. `on_message`, once it is set, sees each message
    before it is kept, and may refuse it.
    """

    on_message: Callable[[Message], Awaitable[None]] | None = None

    def __init__(
        self,
        folder: Path,
        config: Mapping[str, object],
        users: Mapping[str, str],
        authority: Authority | None = None,
        tls: ServerTls | None = None,
        binding: BindingPolicy = BindingPolicy.WANT,
        http: Callable[[HttpRequest], HttpResponse] | None = None,
    ) -> None:
        self.authority = authority
        self._tls = tls
        self._binding = binding
        self.database = folder / "users.sqlite"
        self.logins: list[AuditEvent] = []
        self.messages: list[Message] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        settings = {
            "auxprop_plugin": ["sasldb"],
            "auxprop": {"sasldb": {"path": str(self.database)}},
            "scram_iteration_counter": 4096,
            **config,
        }
        try:
            self._server = Server(
                "smtp", "localhost", config=settings, audit=[self._audit], http=http
            )
            self._run(self._start(users))
        except BaseException:
            self._end()
            raise

    @property
    def port(self) -> int:
        """Where it listens on 127.0.0.1."""
        return self._smtp.address[1]

    def results(self) -> list[tuple[str, Result]]:
        """Mechanism and result of each exchange, once every client has gone."""
        self._run(self._idle())
        return [(event.mechanism, event.result) for event in self.logins]

    def close(self) -> None:
        """Stop it."""
        try:
            self._run(self._smtp.close())
            self._run(self._server.close())
        finally:
            self._end()

    async def _start(self, users: Mapping[str, str]) -> None:
        for name, password in users.items():
            report = await self._server.setpass(name, password, SetpassFlag.CREATE)
            assert report.ok
        tls = None if self.authority is None else self.authority.server_context()
        self._smtp = SmtpServer(
            self._server,
            host_name="localhost",
            tls=self._tls or tls,
            binding=self._binding,
            on_message=self._keep,
        )
        await self._smtp.start()

    async def _keep(self, message: Message) -> None:
        if self.on_message is not None:
            await self.on_message(message)
        self.messages.append(message)

    def _audit(self, event: AuditEvent) -> None:
        if event.kind == "login":
            self.logins.append(event)

    async def _idle(self) -> None:
        async with asyncio.timeout(10):
            while self._smtp.connections:  # noqa: ASYNC110 - a counter, not an event.
                await asyncio.sleep(0.005)

    def _run(self, body: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(body, self._loop).result(30)

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


def _certificate(
    subject: str, issuer: str, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    names = [
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in (subject, issuer)
    ]
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(names[0])
        .issuer_name(names[1])
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
    )
