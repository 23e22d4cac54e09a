"""The SMTP clients over TLS from the first octet on (RFC 8314 section 3.3)."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sasl_core import BackendError, Client, PeerError, UsageError
from sasl_core.aio import Client as AsyncClient
from sasl_profiles.smtp import AsyncSmtpClient, SmtpClient, TraceEvent

BadServer = Callable[..., Any]
Login = Callable[..., None]

PASSWORD = "hunter2hunter2"
EHLO = b"250-mail\r\n250-STARTTLS\r\n250 AUTH PLAIN\r\n"


def blocking_login(address: tuple[str, int], tls: ssl.SSLContext, **options: Any) -> None:
    """Connect, log in, and ask for TLS once more."""
    # No allow_cleartext: TLS is what lets a password go.
    with (
        Client("smtp", "mail", config={}) as client,
        SmtpClient(*address, tls=tls, **options) as smtp,
        client.session(authid="tim", password=PASSWORD, **smtp.facts()) as session,
    ):
        smtp.authenticate(session)
        with pytest.raises(UsageError, match="TLS is in use already"):
            smtp.starttls(tls)


def asyncio_login(address: tuple[str, int], tls: ssl.SSLContext, **options: Any) -> None:
    """The same with asyncio."""

    async def login() -> None:
        async with (
            AsyncClient("smtp", "mail", config={}) as client,
            AsyncSmtpClient(*address, tls=tls, **options) as smtp,
            client.session(authid="tim", password=PASSWORD, **smtp.facts()) as session,
        ):
            await smtp.authenticate(session)
            with pytest.raises(UsageError, match="TLS is in use already"):
                await smtp.starttls(tls)

    asyncio.run(login())


@pytest.fixture(params=[blocking_login, asyncio_login], ids=["blocking", "asyncio"])
def login(request: pytest.FixtureRequest) -> Login:
    """Log in by hand of one client or the other."""

    def run(address: tuple[str, int], tls: ssl.SSLContext, **options: Any) -> None:
        request.param(("localhost", address[1]), tls, **{"timeout": 5.0, **options})

    return run


def over_tls(certificate: Path, heard: list[bytes]) -> Callable[[socket.socket], None]:
    """Serves one client: TLS before the greeting, and then whatever it says."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    replies = {b"EHLO": EHLO, b"AUTH": b"235 in\r\n", b"QUIT": b"221 bye\r\n"}

    def serve(connection: socket.socket) -> None:
        with (
            context.wrap_socket(connection, server_side=True) as secured,
            secured.makefile("rb") as lines,
        ):
            secured.sendall(b"220 mail\r\n")
            while line := lines.readline():
                heard.append(line.strip())
                secured.sendall(replies[line.split()[0]])

    return serve


def test_a_login(
    bad_server: BadServer, login: Login, certificate: Path, client_tls: ssl.SSLContext
) -> None:
    """Greeting, EHLO and AUTH are all within; nobody asks for STARTTLS."""
    heard: list[bytes] = []
    seen: list[TraceEvent] = []
    server = bad_server(over_tls(certificate, heard))
    login(server.address, client_tls, trace=seen.append)
    assert [line.split()[0] for line in heard] == [b"EHLO", b"AUTH", b"QUIT"]
    assert seen[0] == TraceEvent("-", "TLS from the first octet on")


def test_a_certificate_that_is_not_trusted(
    bad_server: BadServer, login: Login, certificate: Path
) -> None:
    """Not a word is said."""
    heard: list[bytes] = []
    server = bad_server(over_tls(certificate, heard))
    with pytest.raises(PeerError) as caught:
        login(server.address, ssl.create_default_context())
    assert caught.value.code == "tls"
    assert not heard


@pytest.mark.parametrize("greeting", [b"220 mail\r\n", b"", b"\x15\x03\x01\x00\x02\x02\x28"])
def test_a_server_without_tls(
    bad_server: BadServer, login: Login, client_tls: ssl.SSLContext, greeting: bytes
) -> None:
    """One that greets in clear, hangs up or refuses: a PeerError, and nothing goes in clear."""
    server = bad_server(greeting)
    with pytest.raises(PeerError) as caught:
        login(server.address, client_tls)
    assert caught.value.code == "tls"


def test_a_server_that_says_nothing(
    bad_server: BadServer, login: Login, client_tls: ssl.SSLContext
) -> None:
    """The handshake has the time of the call, and no more."""

    def silent(connection: socket.socket) -> None:
        while connection.recv(4096):
            pass

    server = bad_server(silent)
    with pytest.raises((BackendError, PeerError)) as caught:
        login(server.address, client_tls, timeout=0.3)
    assert caught.value.code in {"timeout", "tls"}
