"""The SMTP clients, blocking and asyncio, against servers that do everything wrong."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any

import pytest

from sasl_core import AuthenticationError, BackendError, PeerError, SaslError, UsageError
from sasl_core import Client as BlockingClient
from sasl_core.aio import Client as AsyncClient
from sasl_core.plugin import TokenRequest
from sasl_credentials import CallbackTokens
from sasl_profiles.smtp import AsyncSmtpClient, SmtpClient, TraceEvent
from sasl_tls import ServerTls
from sasl_tokens import decode_document

EHLO = b"250-mail\r\n250-STARTTLS\r\n250 AUTH PLAIN SCRAM-SHA-256\r\n"
TOKEN_EHLO = b"250-mail\r\n250 AUTH MONGODB-OIDC\r\n"
CONFIG = {"allow_cleartext": True}
PASSWORD = "hunter2hunter2"

IN_TIME = 9.0
"""Far more than the timeouts of these tests, and far less than what would have to be waited."""

BadServer = Callable[..., Any]


def blocking_login(
    address: tuple[str, int], mechanism: str, tls: ssl.SSLContext | None, **options: Any
) -> None:
    """Connect, perhaps STARTTLS, and log in."""
    with (
        BlockingClient("smtp", "mail", config=CONFIG) as client,
        SmtpClient(*address, **options) as smtp,
    ):
        if tls is not None:
            smtp.starttls(tls)
        with client.session(authid="tim", password=PASSWORD, **smtp.facts()) as session:
            smtp.authenticate(session, [mechanism])


def asyncio_login(
    address: tuple[str, int], mechanism: str, tls: ssl.SSLContext | None, **options: Any
) -> None:
    """The same with asyncio; no task is left."""

    async def login() -> None:
        async with (
            AsyncClient("smtp", "mail", config=CONFIG) as client,
            AsyncSmtpClient(*address, **options) as smtp,
        ):
            if tls is not None:
                await smtp.starttls(tls)
            async with client.session(authid="tim", password=PASSWORD, **smtp.facts()) as session:
                await smtp.authenticate(session, [mechanism])

    asyncio.run(login())


@pytest.fixture(params=[blocking_login, asyncio_login], ids=["blocking", "asyncio"])
def login(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Log in by hand of one client or the other."""

    def run(
        address: tuple[str, int],
        mechanism: str = "PLAIN",
        tls: ssl.SSLContext | None = None,
        **options: Any,
    ) -> None:
        request.param(address, mechanism, tls, **{"timeout": 5.0, **options})

    return run


def drip(connection: socket.socket) -> None:
    """An octet now and then, for longer than anybody waits."""
    for _ in range(1000):
        connection.sendall(b"2")
        time.sleep(0.02)


def silence(connection: socket.socket) -> None:
    """Nothing, until the client goes."""
    while connection.recv(4096):
        pass


def b64(data: bytes) -> bytes:
    """Base64."""
    return b64encode(data)


# --- nonsense ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "nonsense",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"220 caf\xc3\xa9\r\n",
        b"\xff\xfe\x00\x01\r\n",
        b"220 ok\n",
        b"220 o\rk\r\n",
        b"220-a\r\n221 b\r\n",
        b"A" * 20_000,
        b"220-x\r\n" * 200,
        b"",
        b"22",
    ],
    ids=["http", "utf8", "binary", "lf", "cr", "codes", "long", "lines", "eof", "half"],
)
@pytest.mark.parametrize("step", ["greeting", "ehlo", "auth", "response", "cancel"])
def test_nonsense_at_each_step(
    bad_server: BadServer, login: Callable[..., None], nonsense: bytes, step: str
) -> None:
    """A PeerError, whatever it is and whenever it comes; the end of the stream too."""

    def challenge(connection: socket.socket) -> None:
        nonce = b64decode(server.heard[-1].split()[2]).partition(b"r=")[2]
        first = b"r=" + nonce + b"x,s=c2FsdHNhbHQ=,i=4096"
        connection.sendall(b"334 " + b64(first) + b"\r\n")

    scripts: dict[str, list[Any]] = {
        "greeting": [],
        "ehlo": [b"220 mail\r\n"],
        "auth": [b"220 mail\r\n", EHLO],
        "response": [b"220 mail\r\n", EHLO, challenge],
        "cancel": [b"220 mail\r\n", EHLO, b"334 !\r\n"],
    }
    server = bad_server(*scripts[step], nonsense)
    with pytest.raises(PeerError) as caught:
        login(server.address, "SCRAM-SHA-256")
    assert PASSWORD not in repr(caught.value)
    server.close()
    last = b"*" if step == "cancel" else b64(b"c=biws")[:8]
    wanted = [b"EHLO", b"AUTH", last][: len(scripts[step])]
    assert [line[: len(start)] for line, start in zip(server.heard, wanted, strict=True)] == wanted


@pytest.mark.parametrize(
    "challenge", [b"334 PLAIN supported\r\n", b"334 AAA\r\n", b"334-\r\n334 \r\n"]
)
def test_a_broken_challenge_is_cancelled_on_the_wire(
    bad_server: BadServer, login: Callable[..., None], challenge: bytes
) -> None:
    """`*` goes out, and then QUIT: the connection is still in order."""
    server = bad_server(b"220 mail\r\n", EHLO, challenge, b"501 ok\r\n", b"221 bye\r\n")
    with pytest.raises(PeerError):
        login(server.address, "SCRAM-SHA-256")
    server.close()
    assert server.heard[2:] == [b"*\r\n", b"QUIT\r\n"]


# --- time -------------------------------------------------------------------------------------


@pytest.mark.parametrize("act", [silence, drip], ids=["silence", "drip"])
@pytest.mark.parametrize("step", range(3))
def test_the_time_is_a_total(
    bad_server: BadServer,
    login: Callable[..., None],
    act: Callable[[socket.socket], None],
    step: int,
) -> None:
    """A server that is silent or drips costs the timeout once, and is a BackendError."""
    acts = [b"220 mail\r\n", EHLO][:step]
    server = bad_server(*acts, act)
    started = time.monotonic()
    with pytest.raises(BackendError) as caught:
        login(server.address, timeout=0.3)
    assert caught.value.code == "timeout"
    assert caught.value.temporary
    assert time.monotonic() - started < IN_TIME


def test_a_silent_handshake(
    bad_server: BadServer, login: Callable[..., None], client_tls: ssl.SSLContext
) -> None:
    """TLS that never comes is the same."""
    server = bad_server(b"220 mail\r\n", EHLO, b"220 go\r\n", silence)
    started = time.monotonic()
    with pytest.raises(SaslError) as caught:
        login(server.address, tls=client_tls, timeout=0.3)
    assert caught.value.code in {"timeout", "closed", "tls"}
    assert time.monotonic() - started < IN_TIME


def test_nobody_listens(login: Callable[..., None]) -> None:
    """A refused connection is a BackendError."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = taken.getsockname()
    with pytest.raises(BackendError) as caught:
        login(address)
    assert caught.value.code == "connection"


@pytest.mark.parametrize("address", [("127.0.0.1", 99999), ("a\0b", 25), ("a" * 300, 25), ("", -1)])
def test_an_impossible_address(login: Callable[..., None], address: tuple[str, int]) -> None:
    """Never a foreign exception."""
    with pytest.raises(BackendError):
        login(address)


# --- trust ------------------------------------------------------------------------------------


def test_an_early_success_is_not_believed(
    bad_server: BadServer, login: Callable[..., None]
) -> None:
    """235 in the place of the server's proof: refused, and the connection is cut."""
    server = bad_server(b"220 mail\r\n", EHLO, b"235 welcome\r\n", b"221 bye\r\n")
    with pytest.raises(AuthenticationError):
        login(server.address, "SCRAM-SHA-256")
    server.close()
    assert len(server.heard) == 2


def test_a_forged_challenge_gets_no_proof(
    bad_server: BadServer, login: Callable[..., None]
) -> None:
    """A nonce that is not ours is answered with `*`."""
    server = bad_server(
        b"220 mail\r\n",
        EHLO,
        b"334 " + b64(b"r=stolen,s=c2FsdHNhbHQ=,i=4096") + b"\r\n",
        b"501 ok\r\n",
        b"221 bye\r\n",
    )
    with pytest.raises(SaslError):
        login(server.address, "SCRAM-SHA-256")
    server.close()
    assert server.heard[2:] == [b"*\r\n", b"QUIT\r\n"]


@pytest.mark.parametrize("extra", [b"250 injected\r\n", b"2"])
def test_what_follows_the_220_of_starttls_is_refused(
    bad_server: BadServer, login: Callable[..., None], client_tls: ssl.SSLContext, extra: bytes
) -> None:
    """Replies slipped in before the handshake are not heard after it."""
    server = bad_server(b"220 mail\r\n", EHLO, b"220 go\r\n" + extra, silence)
    with pytest.raises(PeerError) as caught:
        login(server.address, tls=client_tls)
    assert caught.value.code == "tls"


def test_a_stripped_starttls_stops_us(
    bad_server: BadServer, login: Callable[..., None], client_tls: ssl.SSLContext
) -> None:
    """A server that does not offer it is never logged in to in clear."""
    server = bad_server(b"220 mail\r\n", b"250-mail\r\n250 AUTH PLAIN\r\n", b"221 bye\r\n")
    with pytest.raises(PeerError) as caught:
        login(server.address, tls=client_tls)
    assert caught.value.code == "no-starttls"
    server.close()
    assert server.heard[-1] == b"QUIT\r\n"


def test_no_tls_behind_starttls(
    bad_server: BadServer, login: Callable[..., None], client_tls: ssl.SSLContext
) -> None:
    """What answers the ClientHello is no TLS."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(b"220 go\r\n")
        connection.recv(10)
        connection.sendall(b"250 no TLS here, I am afraid\r\n" * 10)
        silence(connection)

    server = bad_server(b"220 mail\r\n", EHLO, answer)
    with pytest.raises(PeerError) as caught:
        login(server.address, tls=client_tls)
    assert caught.value.code == "tls"


def test_a_certificate_that_nobody_vouches_for(
    serve: Callable[..., Any], login: Callable[..., None], server_tls: ServerTls
) -> None:
    """The client's context decides, and its no is a PeerError; the server lives on."""
    service = serve(tls=server_tls)
    with pytest.raises(PeerError) as caught:
        login(service.address, tls=ssl.create_default_context())
    assert caught.value.code == "tls"
    assert "certificate" in str(caught.value.detail)
    service.settle()


# --- use --------------------------------------------------------------------------------------


def test_out_of_order() -> None:
    """Before connecting, and twice, is a UsageError; quitting and closing never are."""
    smtp = SmtpClient("127.0.0.1", 1)
    for call in (smtp.ehlo, smtp.facts):
        with pytest.raises(UsageError):
            call()
    smtp.quit()
    smtp.close()

    async def the_same() -> None:
        smtp = AsyncSmtpClient("127.0.0.1", 1)
        with pytest.raises(UsageError):
            await smtp.ehlo()
        with pytest.raises(UsageError):
            smtp.facts()
        await smtp.quit()
        await smtp.close()

    asyncio.run(the_same())


def test_a_client_can_connect_again(serve: Callable[..., Any]) -> None:
    """After closing, all is forgotten and a new connection can be made; not before."""
    service = serve()
    smtp = SmtpClient(*service.address)
    for _ in range(2):
        smtp.connect()
        offered = [smtp.mechanisms]
        smtp.ehlo()
        offered.append(smtp.mechanisms)
        with pytest.raises(UsageError):
            smtp.connect()
        smtp.close()
        offered.append(smtp.mechanisms)
        assert [bool(names) for names in offered] == [False, True, False]


def test_facts_name_both_ends(serve: Callable[..., Any]) -> None:
    """The session learns both addresses and that there is no TLS."""
    service = serve()
    with SmtpClient(*service.address) as smtp:
        facts = smtp.facts()
    host, port = service.address
    assert facts.get("remote") == f"{host};{port}"
    assert str(facts.get("local")).startswith("127.0.0.1;")
    assert facts.get("external_ssf") == 0
    assert facts.get("success_data") is False
    assert facts.get("connected_to") == host


def test_a_persons_token_goes_to_allowed_hosts_only(bad_server: BadServer) -> None:
    """To the one that is connected to, whatever the Client was made for; nobody is asked."""
    asked: list[TokenRequest] = []

    def person(request: TokenRequest) -> str:
        asked.append(request)
        return "eyJ.eyJ.c2ln"

    source = CallbackTokens(person, human=True, allowed_hosts=["mail.example.com"])
    ehlo = b"250-mail\r\n250 AUTH OAUTHBEARER\r\n"
    server = bad_server(b"220 mail\r\n", ehlo, b"221 bye\r\n")
    with (
        BlockingClient("smtp", "mail.example.com", config=CONFIG, credentials=source) as client,
        SmtpClient(*server.address, timeout=5.0) as smtp,
        client.session(authid="tim", **smtp.facts()) as session,
        pytest.raises(UsageError) as caught,
    ):
        smtp.authenticate(session)
    assert caught.value.code == "host-not-allowed"
    assert not asked
    assert not [line for line in server.heard if line.startswith(b"AUTH")]


def test_a_trace_of_a_login_has_no_secret(serve: Callable[..., Any]) -> None:
    """PLAIN and SCRAM, right and wrong: neither password nor proof in any event."""
    service = serve()
    events: list[TraceEvent] = []
    password = "tanstaaftanstaaf"
    with (
        BlockingClient("smtp", "mail", config=CONFIG) as client,
        SmtpClient(*service.address, trace=events.append) as smtp,
    ):
        for mechanism, secret in [
            ("SCRAM-SHA-256", "wrong"),
            ("PLAIN", "wrong"),
            ("SCRAM-SHA-256", password),
        ]:
            with client.session(authid="tim", password=secret, **smtp.facts()) as session:
                try:
                    smtp.authenticate(session, [mechanism])
                except AuthenticationError:
                    assert secret == "wrong"
    shown = repr(events)
    assert password not in shown
    assert b64encode(b"\0tim\0wrong").decode() not in shown
    messages = [event.message for event in events if event.message]
    proofs = [message for message in messages if ",p=" in message or message.startswith("v=")]
    assert len(proofs) == 3
    assert all(message.endswith("=****") for message in proofs)
    assert [event.direction for event in events if event.line.startswith("535")] == ["S", "S"]


@pytest.mark.parametrize("moment", range(6))
def test_cancelled_at_each_await(serve: Callable[..., Any], moment: int) -> None:
    """A cancelled login leaves no task, closes its connection, and the next one is served."""
    service = serve()

    async def login(cancel_at: int | None) -> str:
        lines: list[TraceEvent] = []

        def trace(event: TraceEvent) -> None:
            task = asyncio.current_task()
            if event.line[:4] not in {"EHLO", "QUIT", "220 ", "221 "} and event.line[:3] != "250":
                lines.append(event)
                if len(lines) - 1 == cancel_at and task is not None:
                    task.cancel()

        async with AsyncClient("smtp", "mail", config=CONFIG) as client:
            smtp = AsyncSmtpClient(*service.address, trace=trace)
            await smtp.connect()
            await smtp.ehlo()
            async with client.session(
                authid="tim", password="tanstaaftanstaaf", **smtp.facts()
            ) as session:
                try:
                    await smtp.authenticate(session, ["SCRAM-SHA-256"])
                    await asyncio.sleep(0)
                except asyncio.CancelledError:
                    return "cancelled"
                finally:
                    await smtp.close()
        return "done"

    assert asyncio.run(login(moment)) == "cancelled"
    assert asyncio.run(login(None)) == "done"
    service.settle()


# --- access tokens ----------------------------------------------------------------------------


class Tokens:
    """A source that gives another token each time; how often it was asked is `count`."""

    def __init__(self) -> None:
        self.count = 0
        self.plug = CallbackTokens(self.ask)

    def ask(self, request: TokenRequest) -> str:
        self.count += 1
        return f"token-{self.count}"


def blocking_tokens(
    address: tuple[str, int], source: CallbackTokens, logins: int, *, ask: bool = False
) -> list[bool]:
    """Log in that often on one connection; to whom asks, whether after a refusal another may do."""
    again: list[bool] = []
    with (
        BlockingClient("smtp", "mail", config=CONFIG, credentials=source) as client,
        SmtpClient(*address, timeout=5.0) as smtp,
    ):
        for _ in range(logins):
            with client.session(**smtp.facts()) as session:
                try:
                    smtp.authenticate(session)
                except AuthenticationError:
                    again += [session.refused()] if ask else []
                except BackendError:
                    pass
    return again


def asyncio_tokens(
    address: tuple[str, int], source: CallbackTokens, logins: int, *, ask: bool = False
) -> list[bool]:
    """The same with asyncio."""

    async def run() -> list[bool]:
        again: list[bool] = []
        async with (
            AsyncClient("smtp", "mail", config=CONFIG, credentials=source) as client,
            AsyncSmtpClient(*address, timeout=5.0) as smtp,
        ):
            for _ in range(logins):
                async with client.session(**smtp.facts()) as session:
                    try:
                        await smtp.authenticate(session)
                    except AuthenticationError:
                        again += [session.refused()] if ask else []
                    except BackendError:
                        pass
        return again

    return asyncio.run(run())


def sent_tokens(heard: list[bytes]) -> list[object]:
    """The token of each AUTH that a server heard."""
    sent = [line.split() for line in heard if line.startswith(b"AUTH ")]
    return [decode_document(b64decode(words[2]))["jwt"] for words in sent]


@pytest.mark.parametrize("ask", [False, True])
@pytest.mark.parametrize("run", [blocking_tokens, asyncio_tokens])
def test_a_refused_token_is_not_sent_again(
    bad_server: BadServer, run: Callable[..., list[bool]], ask: bool
) -> None:
    """The client drops one that was kept; whoever asks hears that another may be better."""
    source = Tokens()
    replies = (b"235 ok\r\n", b"535 no\r\n", b"235 ok\r\n", b"235 ok\r\n")
    server = bad_server(b"220 mail\r\n", TOKEN_EHLO, *replies, b"221 bye\r\n")
    assert run(server.address, source.plug, 4, ask=ask) == ([True] if ask else [])
    server.close()
    assert sent_tokens(server.heard) == ["token-1", "token-1", "token-2", "token-2"]
    assert source.count == 2


@pytest.mark.parametrize("run", [blocking_tokens, asyncio_tokens])
def test_a_new_token_that_is_refused_is_not_tried_again(
    bad_server: BadServer, run: Callable[..., list[bool]]
) -> None:
    """Fetched for this very login: the next one would fare no better."""
    server = bad_server(b"220 mail\r\n", TOKEN_EHLO, b"535 no\r\n", b"221 bye\r\n")
    assert run(server.address, Tokens().plug, 1, ask=True) == [False]
    server.close()


@pytest.mark.parametrize("run", [blocking_tokens, asyncio_tokens])
def test_an_outage_drops_no_token(bad_server: BadServer, run: Callable[..., list[bool]]) -> None:
    """A temporary failure says nothing of the token, which is sent again."""
    source = Tokens()
    replies = (b"235 ok\r\n", b"454 later\r\n", b"235 ok\r\n")
    server = bad_server(b"220 mail\r\n", TOKEN_EHLO, *replies, b"221 bye\r\n")
    assert run(server.address, source.plug, 3) == []
    server.close()
    assert sent_tokens(server.heard) == ["token-1"] * 3
