"""-PLUS over STARTTLS: offered where the server can be bound, missing with a reason elsewhere."""

from __future__ import annotations

import asyncio
import logging
import socket
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from OpenSSL import SSL

from sasl_core import BindingPolicy, Client, MechanismError
from sasl_core.aio import Client as AsyncClient
from sasl_profiles.smtp import AsyncSmtpClient, SmtpClient
from sasl_tls import client_bindings
from tls_kit import KINDS, Kind, Tls, make_tls, pyopenssl_client

WANT, REQUIRE, OFF = BindingPolicy.WANT, BindingPolicy.REQUIRE, BindingPolicy.OFF
SCRAM, PLUS = "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"
PASSWORD = "tanstaaftanstaaf"

Serve = Callable[..., Any]


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Mapping[Kind, Tls]:
    """One certificate of each kind."""
    folder = tmp_path_factory.mktemp("certificates")
    return {kind: make_tls(folder, kind) for kind in KINDS}


@pytest.fixture(scope="session")
def tls(certificates: Mapping[Kind, Tls]) -> Tls:
    """A certificate that has a tls-server-end-point."""
    return certificates["ecdsa"]


def blocking(
    address: tuple[str, int], tls: Tls, policy: BindingPolicy = WANT
) -> tuple[str | None, str | None]:
    """Log in with the blocking client; the mechanism, and what it was bound by."""
    with (
        Client("smtp", "mail.example", config={}) as client,
        SmtpClient(*address) as smtp,
    ):
        smtp.starttls(tls.client())
        known = smtp.facts()
        known["binding_policy"] = policy
        with client.session(authid="tim", password=PASSWORD, **known) as session:
            smtp.authenticate(session)
            return session.mechanism, session.channel_binding


def asynchronous(
    address: tuple[str, int], tls: Tls, policy: BindingPolicy = WANT
) -> tuple[str | None, str | None]:
    """Log in with the client for asyncio."""

    async def login() -> tuple[str | None, str | None]:
        async with (
            AsyncClient("smtp", "mail.example", config={}) as client,
            AsyncSmtpClient(*address) as smtp,
        ):
            await smtp.starttls(tls.client())
            known = smtp.facts()
            known["binding_policy"] = policy
            async with client.session(authid="tim", password=PASSWORD, **known) as session:
                await smtp.authenticate(session)
                return session.mechanism, session.channel_binding

    return asyncio.run(login())


@pytest.mark.parametrize("policy", [WANT, OFF])
def test_a_name_stands_for_its_plus_variant_too(
    serve: Serve, tls: Tls, policy: BindingPolicy
) -> None:
    """Whoever asks for the plain one is bound, or says `n`; `y` would be a false alarm."""
    service = serve(tls=tls.server("pyopenssl"), config={})
    with (
        Client("smtp", "mail.example", config={}) as client,
        SmtpClient(*service.address) as smtp,
    ):
        smtp.starttls(tls.client())
        known = smtp.facts()
        known["binding_policy"] = policy
        with client.session(authid="tim", password=PASSWORD, **known) as session:
            smtp.authenticate(session, [SCRAM])
            assert session.mechanism == (PLUS if policy is WANT else SCRAM)


CLIENTS = pytest.mark.parametrize("login", [blocking, asynchronous])

# Library, TLS version and the server's policy: what our clients, of the standard library, bind by.
BOUND_BY = [
    ("ssl", "1.2", WANT, "tls-unique"),
    ("ssl", "1.2", REQUIRE, "tls-unique"),
    ("ssl", "1.2", OFF, None),
    ("ssl", "1.3", WANT, None),
    ("ssl", "1.3", REQUIRE, "tls-server-end-point"),
    ("pyopenssl", "1.2", WANT, "tls-unique"),
    ("pyopenssl", "1.3", WANT, "tls-server-end-point"),
    ("pyopenssl", "1.3", REQUIRE, "tls-server-end-point"),
    ("pyopenssl", "1.3", OFF, None),
]


@CLIENTS
@pytest.mark.parametrize(("library", "version", "policy", "bound"), BOUND_BY)
def test_our_clients_are_bound_by_what_both_ends_have(
    serve: Serve,
    tls: Tls,
    login: Callable[..., Any],
    library: str,
    version: Any,
    policy: BindingPolicy,
    bound: str | None,
) -> None:
    """Over a real handshake; server and client agree, or neither is bound."""
    service = serve(tls=tls.server(library, version), config={}, binding=policy)
    mechanism, by = login(service.address, tls)
    assert (mechanism, by) == (SCRAM if bound is None else PLUS, bound)
    service.settle()
    (session,) = [made for made in service.recorder.made if made.mechanism]
    assert session.raw()._current().bound == bound


@CLIENTS
def test_a_client_that_insists_begins_nothing_where_the_server_cannot(
    serve: Serve, tls: Tls, login: Callable[..., Any]
) -> None:
    """The server offers no -PLUS on TLS 1.3 of the standard library: no AUTH is sent."""
    service = serve(tls=tls.server("ssl", "1.3"), config={})
    with pytest.raises(MechanismError, match="none was offered"):
        login(service.address, tls, policy=REQUIRE)
    service.settle()
    assert not any(session.mechanism for session in service.recorder.made)


@CLIENTS
@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_an_ed25519_certificate_and_a_client_that_insists(
    serve: Serve,
    certificates: Mapping[Kind, Tls],
    login: Callable[..., Any],
    version: Any,
) -> None:
    """On TLS 1.3 nothing is left, the client says why, and no AUTH is sent; 1.2 has tls-unique."""
    tls = certificates["ed25519"]
    service = serve(tls=tls.server("pyopenssl", version), config={})
    if version == "1.2":
        assert login(service.address, tls, policy=REQUIRE) == (PLUS, "tls-unique")
        return
    with pytest.raises(MechanismError) as caught:
        login(service.address, tls, policy=REQUIRE)
    assert "signed with Ed25519" in caught.value.reasons[PLUS]
    service.settle()
    assert not any(session.mechanism for session in service.recorder.made)


def test_an_ed25519_certificate_and_a_server_that_insists(
    serve: Serve, certificates: Mapping[Kind, Tls]
) -> None:
    """Nothing is offered, and what is asked for nevertheless is refused at once."""
    tls = certificates["ed25519"]
    service = serve(tls=tls.server("ssl", "1.3"), config={}, binding=REQUIRE)
    with SmtpClient(*service.address) as smtp:
        smtp.starttls(tls.client())
        assert smtp.mechanisms == ()
        with (
            Client("smtp", "mail.example", config={}) as client,
            client.session(authid="tim", password=PASSWORD, **smtp.facts()) as session,
            pytest.raises(MechanismError),
        ):
            smtp.authenticate(session, [SCRAM])


def test_before_tls_a_server_that_insists_offers_nothing(serve: Serve, tls: Tls) -> None:
    """There is nothing to be bound to."""
    service = serve(tls=tls.server("pyopenssl"), config={"allow_cleartext": True}, binding=REQUIRE)
    with SmtpClient(*service.address) as smtp:
        assert smtp.mechanisms == ()
        assert "TLS is not in use" in service.recorder.made[-1].rejected[PLUS]


def test_plain_scram_goes_with_the_reason_why_plus_is_missing(
    serve: Serve, tls: Tls, caplog: pytest.LogCaptureFixture
) -> None:
    """In `rejected` of every session, and in the log, once."""
    caplog.set_level(logging.INFO, "sasl_profiles")
    service = serve(tls=tls.server("ssl", "1.3"), config={})
    for _ in range(2):
        assert blocking(service.address, tls) == (SCRAM, None)
    service.settle()
    reason = service.recorder.made[-1].rejected[PLUS]
    assert "Python's ssl cannot export it" in reason
    assert "tls-exporter too" in reason
    lines = [line for line in caplog.messages if "-PLUS" in line]
    assert len(lines) == 1
    assert lines[0] == (
        "no -PLUS (channel binding) is offered over TLS: tls-exporter: "
        "Python's ssl cannot export it; pyOpenSSL can (sasl-core[tls])"
    )


def test_the_log_says_by_what_a_login_is_bound_and_shows_no_data(
    serve: Serve, tls: Tls, caplog: pytest.LogCaptureFixture
) -> None:
    """The type; neither the data nor a secret."""
    caplog.set_level(logging.DEBUG)
    service = serve(tls=tls.server("pyopenssl", "1.3"), config={})
    assert blocking(service.address, tls) == (PLUS, "tls-server-end-point")
    service.settle()
    assert "tim is bound to its TLS connection by tls-server-end-point" in caplog.messages
    facts = service.recorder.made[-1].raw().facts
    for data in facts.channel_bindings.values():
        for form in (data.hex(), b64encode(data).decode(), repr(data)[2:-1]):
            assert form not in caplog.text
    assert PASSWORD not in caplog.text


class Exporting:
    """A client of pyOpenSSL, by hand: lines out, replies in."""

    def __init__(self, address: tuple[str, int], tls: Tls) -> None:
        self._plain = socket.create_connection(address, timeout=10)
        self._reply_in_clear()
        self._plain.sendall(b"STARTTLS\r\n")
        self._reply_in_clear()
        self._plain.settimeout(None)
        self.tls = SSL.Connection(pyopenssl_client(tls), self._plain)
        self.tls.set_connect_state()
        self.tls.do_handshake()
        self._unread = b""

    def _reply_in_clear(self) -> None:
        line = b""
        while not line.endswith(b"\r\n"):
            line += self._plain.recv(1)
        assert line.startswith(b"220 ")

    def say(self, line: str) -> str:
        """Send a line; the last line of the reply."""
        self.tls.sendall(line.encode() + b"\r\n")
        while True:
            while b"\r\n" not in self._unread:
                self._unread += self.tls.recv(65536)
            got, _, self._unread = self._unread.partition(b"\r\n")
            if got[3:4] != b"-":
                return got.decode()

    def close(self) -> None:
        self.tls.shutdown()
        self._plain.close()


@pytest.mark.parametrize("kind", ["ecdsa", "ed25519"])
@pytest.mark.parametrize("spoil", [False, True])
def test_a_client_that_can_export_is_bound_by_tls_exporter(
    serve: Serve, certificates: Mapping[Kind, Tls], kind: Kind, spoil: bool
) -> None:
    """Both ends checked equal on TLS 1.3; a bit of difference, and nobody is let in."""
    tls = certificates[kind]
    service = serve(tls=tls.server("pyopenssl", "1.3"), config={}, binding=REQUIRE)
    peer = Exporting(service.address, tls)
    bindings = client_bindings(peer.tls)
    data = bindings["tls-exporter"]
    assert isinstance(data, bytes)
    given = {"tls-exporter": bytes([data[0] ^ spoil, *data[1:]])}
    with (
        Client("smtp", "mail.example", config={}) as client,
        client.session(
            authid="tim",
            password=PASSWORD,
            channel_bindings=given,
            binding_policy=REQUIRE,
            external_ssf=256,
        ) as session,
    ):
        assert peer.say("EHLO me") == f"250 AUTH {PLUS}"
        reply = session.start([PLUS])
        line = peer.say(f"AUTH {PLUS} {b64encode(reply.data or b'').decode()}")
        reply = session.step(b64decode(line.removeprefix("334 ")))
        line = peer.say(b64encode(reply.data or b"").decode())
        if spoil:
            assert b64decode(line.removeprefix("334 ")) == b"e=channel-bindings-dont-match"
            assert peer.say("").startswith("535 ")
        else:
            reply = session.step(b64decode(line.removeprefix("334 ")))
            assert peer.say(b64encode(reply.data or b"").decode()).startswith("235 ")
            session.finish()
            assert session.channel_binding == "tls-exporter"
    peer.close()
    service.settle()


def test_a_bare_context_of_ssl_still_serves(serve: Serve, tls: Tls) -> None:
    """Its certificate is not known; tls-unique is there without it."""
    loaded = tls.server("ssl", "1.2")
    service = serve(tls=loaded._ssl, config={})
    assert blocking(service.address, tls) == (PLUS, "tls-unique")
    service.settle()
    assert set(service.recorder.made[-1].raw().facts.channel_bindings) == {"tls-unique"}
