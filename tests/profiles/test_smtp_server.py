"""The SMTP server over TCP: logins, limits, bad clients, and nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import smtplib
import socket
import ssl
import struct
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import pytest

from certificate_kit import Authority
from sasl_auxprop.memory import MemoryStore
from sasl_core import BindingPolicy, Client, Reply
from sasl_core.aio import Client as AsyncClient
from sasl_core.plugin import BackendError, ConfigError, Layer, UsageError, UserName
from sasl_profiles.smtp import (
    AsyncSmtpClient,
    Limits,
    MessageRefusedError,
    SmtpClient,
    SmtpServer,
)
from sasl_tls import ServerTls
from tls_kit import make_tls

PASSWORD = "tanstaaftanstaaf"
GOOD = b64encode(b"\0tim\0" + PASSWORD.encode()).decode()
WRONG = b64encode(b"\0tim\0hunter2").decode()
UNKNOWN = b64encode(b"\0nobody\0hunter2").decode()
FAILED = "535 5.7.8 Authentication failed"

Serve = Callable[..., Any]


# --- logins by hand ---------------------------------------------------------------------------


def test_plain_with_and_without_an_initial_response(serve: Serve) -> None:
    """Both forms of RFC 4954 log in; a second AUTH is 503."""
    service = serve()
    with service.connect() as peer:
        assert peer.say("EHLO me").startswith("250 AUTH ")
        assert peer.say(f"AUTH PLAIN {GOOD}").startswith("235 2.7.0 ")
        assert peer.say(f"AUTH PLAIN {GOOD}").startswith("503 5.5.1 ")
    with service.connect() as peer:
        peer.say("EHLO me")
        assert peer.say("auth plain") == "334 "
        assert peer.say(GOOD).startswith("235 2.7.0 ")


def test_every_refusal_is_the_same(serve: Serve) -> None:
    """Wrong password and unknown user hear one line; after the third, 421."""
    service = serve()
    with service.connect() as peer:
        peer.say("EHLO me")
        assert peer.say(f"AUTH PLAIN {WRONG}") == FAILED
        assert peer.say(f"AUTH PLAIN {UNKNOWN}") == FAILED
        assert peer.say(f"AUTH PLAIN {WRONG}") == FAILED
        assert peer.line().startswith("421 4.3.2 ")
        assert peer.line() == ""


def test_anonymous_with_an_empty_initial_response(serve: Serve) -> None:
    """`=` is a trace of no characters (RFC 4505)."""
    service = serve()
    with service.connect() as peer:
        peer.say("EHLO me")
        assert peer.say("AUTH ANONYMOUS =").startswith("235 ")


def test_unknown_and_unavailable_mechanisms(serve: Serve) -> None:
    """504 for what is not there or is switched off, 538 for what needs TLS."""
    service = serve(config={})
    with service.connect() as peer:
        assert peer.say("EHLO me") == "250 AUTH SCRAM-SHA-256"
        assert peer.say("AUTH NOPE").startswith("504 5.5.4 ")
        assert peer.say("AUTH ANONYMOUS =").startswith("504 5.5.4 ")
        assert peer.say(f"AUTH PLAIN {GOOD}").startswith("538 5.7.11 ")


class Scram:
    """A SCRAM client of the library's, for a peer that speaks by hand."""

    def __init__(self, password: str = PASSWORD) -> None:
        self._client = Client("smtp", "mail.example", config={})
        self.session = self._client.session(authid="tim", password=password)
        self.first = self.session.start(["SCRAM-SHA-256"]).data

    def answer(self, line: str) -> str:
        """The response to a 334."""
        assert line.startswith("334 "), line
        return b64encode(self.session.step(b64decode(line[4:])).data or b"").decode()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.session.close()
        self._client.close()


def test_scram_octet_by_octet(serve: Serve) -> None:
    """A login is the same however TCP cuts it (invariant 9); `v=` comes as a last challenge."""
    service = serve()
    with service.connect() as peer, Scram() as scram:
        peer.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def say(line: str) -> str:
            for octet in line.encode() + b"\r\n":
                peer.send(bytes([octet]))
            return str(peer.reply())

        say("EHLO me")
        assert say("AUTH SCRAM-SHA-256") == "334 "
        final = scram.answer(say(b64encode(scram.first or b"").decode()))
        last = say(final)
        assert b64decode(last[4:]).startswith(b"v=")
        assert scram.answer(last) == ""
        assert say("").startswith("235 ")
        scram.session.finish()


@pytest.mark.parametrize("answer", ["", "*", "garbage!", "AAAA"])
def test_scram_with_a_wrong_password(serve: Serve, answer: str) -> None:
    """`e=` comes as a challenge; whatever is answered, then comes 535."""
    service = serve()
    with service.connect() as peer, Scram("hunter2") as scram:
        peer.say("EHLO me")
        final = scram.answer(
            peer.say(f"AUTH SCRAM-SHA-256 {b64encode(scram.first or b'').decode()}")
        )
        last = peer.say(final)
        assert b64decode(last[4:]) == b"e=invalid-proof"
        assert peer.say(answer) == FAILED
        assert peer.say(f"AUTH PLAIN {GOOD}").startswith("235 ")


@pytest.mark.parametrize("step", [0, 1, 2])
@pytest.mark.parametrize(
    ("spoil", "code"), [("*", "501 5.7.0 "), ("!", "501 5.5.2 "), ("A" * 12292, "500 5.5.6 ")]
)
def test_scram_spoiled_at_each_step(serve: Serve, step: int, spoil: str, code: str) -> None:
    """The exchange ends, its session is closed, and the next AUTH starts afresh."""
    service = serve()
    with service.connect() as peer, Scram() as scram:
        peer.say("EHLO me")
        line = peer.say("AUTH SCRAM-SHA-256")
        if step > 0:
            line = peer.say(b64encode(scram.first or b"").decode())
        if step > 1:
            line = peer.say(scram.answer(line))
        assert line.startswith("334")
        assert peer.say(spoil).startswith(code)
        assert peer.say(f"AUTH PLAIN {GOOD}").startswith("235 ")
    service.settle()


@pytest.mark.parametrize("step", [0, 1, 2])
def test_scram_with_a_message_of_the_wrong_kind(serve: Serve, step: int) -> None:
    """A decodable message that is none of SCRAM's is refused, and never with a reason."""
    service = serve()
    with service.connect() as peer, Scram() as scram:
        peer.say("EHLO me")
        line = peer.say("AUTH SCRAM-SHA-256")
        if step > 0:
            line = peer.say(b64encode(scram.first or b"").decode())
        if step > 1:
            line = peer.say(scram.answer(line))
        reply = peer.say(b64encode(b"hunter2").decode())
        if reply.startswith("334 "):
            assert b64decode(reply[4:]).startswith(b"e=")
            reply = peer.say("")
        assert reply[:3] in {"501", "535"}
        assert "hunter2" not in reply


# --- the library's own clients ----------------------------------------------------------------


@pytest.mark.parametrize("mechanism", ["ANONYMOUS", "PLAIN", "SCRAM-SHA-256"])
@pytest.mark.parametrize("user", ["tim", "b\u00f6b"])
def test_our_blocking_client_logs_in(serve: Serve, mechanism: str, user: str) -> None:
    """Each mechanism, and names beyond ASCII."""
    service = serve()
    password = PASSWORD if user == "tim" else "p\u00e4ssword"
    config: dict[str, object] = {
        "allow_anonymous": True,
        "allow_cleartext": True,
        # A user is named to every mechanism here, to ANONYMOUS as well.
        "client_mech_list": ["SCRAM-SHA-256", "PLAIN", "ANONYMOUS"],
    }
    with (
        Client("smtp", "mail.example", config=config) as client,
        SmtpClient(*service.address) as smtp,
        client.session(authid=user, password=password, **smtp.facts()) as session,
    ):
        assert set(smtp.mechanisms) == {"SCRAM-SHA-256", "PLAIN", "ANONYMOUS"}
        smtp.authenticate(session, [mechanism])
        assert session.mechanism == mechanism
    service.settle()


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
def test_our_clients_are_refused_with_a_wrong_password(serve: Serve, mechanism: str) -> None:
    """AuthenticationError, and the connection can be used for a better try."""
    service = serve()
    config = {"allow_cleartext": True}

    async def login() -> list[str]:
        found = []
        async with (
            AsyncClient("smtp", "mail.example", config=config) as client,
            AsyncSmtpClient(*service.address) as smtp,
        ):
            for password in ("hunter2", PASSWORD):
                session = client.session(authid="tim", password=password, **smtp.facts())
                async with session:
                    try:
                        await smtp.authenticate(session, [mechanism])
                    except Exception as error:  # noqa: BLE001 - its type is what is tested.
                        found.append(type(error).__name__)
                    else:
                        found.append("done")
        return found

    assert asyncio.run(login()) == ["AuthenticationError", "done"]
    service.settle()


@pytest.mark.slow
def test_a_hundred_clients_at_once(serve: Serve) -> None:
    """Good, bad and vanishing clients side by side; nobody is lost or crossed."""
    service = serve()
    config: dict[str, object] = {
        "allow_anonymous": True,
        "allow_cleartext": True,
        # A user is named to every mechanism here, to ANONYMOUS as well.
        "client_mech_list": ["SCRAM-SHA-256", "PLAIN", "ANONYMOUS"],
    }
    mechanisms = ["ANONYMOUS", "PLAIN", "SCRAM-SHA-256"]

    async def one(client: AsyncClient, number: int) -> str:
        password = PASSWORD if number % 4 else "wrong"
        mechanism = mechanisms[number % 3]
        async with (
            AsyncSmtpClient(*service.address) as smtp,
            client.session(authid="tim", password=password, **smtp.facts()) as session,
        ):
            if number % 10 == 7:
                raise ConnectionAbortedError
            await smtp.authenticate(session, [mechanism])
            return "done"

    async def all_of_them() -> list[Any]:
        async with AsyncClient("smtp", "mail.example", config=config) as client:
            return await asyncio.gather(
                *(one(client, number) for number in range(100)), return_exceptions=True
            )

    found = [
        answer if isinstance(answer, str) else type(answer).__name__
        for answer in asyncio.run(all_of_them())
    ]
    wanted = [
        "ConnectionAbortedError"
        if number % 10 == 7
        else "done"
        if number % 4 or number % 3 == 0
        else "AuthenticationError"
        for number in range(100)
    ]
    assert found == wanted
    service.settle()


# --- the standard library's client ------------------------------------------------------------


@pytest.mark.parametrize("tls", [False, True])
def test_smtplib_logs_in_and_hands_in_mail(
    serve: Serve, tls: bool, server_tls: ServerTls, client_tls: ssl.SSLContext
) -> None:
    """PLAIN, in clear and over STARTTLS; the message arrives as it was, with its sender's name."""
    service = serve(tls=server_tls, config={} if tls else {"allow_cleartext": True})
    host, port = service.address
    text = "Subject: x\r\n\r\n.dot\r\n..two\r\nend\r\n"
    with smtplib.SMTP(host, port, local_hostname="me", timeout=10) as smtp:
        if tls:
            smtp.starttls(context=client_tls)
        smtp.login("tim", PASSWORD)
        smtp.sendmail("tim@example.com", ["a@example.com", "b@example.com"], text)
    (message,) = service.messages
    assert message.data == text.encode()
    assert message.envelope.sender == "tim@example.com"
    assert message.envelope.recipients == ("a@example.com", "b@example.com")
    assert (message.authid, message.authzid) == ("tim", "tim")
    assert str(message.remote).startswith("127.0.0.1;")


def test_smtplib_is_refused(serve: Serve) -> None:
    """A wrong password is smtplib's own authentication error, 535."""
    service = serve()
    host, port = service.address
    with smtplib.SMTP(host, port, local_hostname="me", timeout=10) as smtp:
        with pytest.raises(smtplib.SMTPAuthenticationError) as caught:
            smtp.login("tim", "hunter2")
        assert caught.value.smtp_code == 535


# --- mail -------------------------------------------------------------------------------------


def hand_in(peer: Any) -> str:
    """Log in and hand in a message."""
    peer.say("EHLO me")
    peer.say(f"AUTH PLAIN {GOOD}")
    for line in ("MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA"):
        assert peer.say(line)[0] in "23"
    return str(peer.say("Subject: x\r\n\r\ntext\r\n."))


def test_a_message_without_a_handler_is_dropped(serve: Serve) -> None:
    """Accepted, as the documentation says."""
    service = serve(deliver=False)
    with service.connect() as peer:
        assert hand_in(peer).startswith("250 2.0.0 ")


def test_a_handler_that_fails_keeps_the_mail_at_the_client(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    """451, the kind of error in the log and nothing of its text, and the connection goes on."""

    async def broken(message: object) -> None:
        raise RuntimeError("hunter2")

    service = serve(on_message=broken)
    with service.connect() as peer:
        assert hand_in(peer).startswith("451 4.3.0 ")
        assert peer.say("NOOP").startswith("250 ")
    assert "a message of tim could not be taken on: RuntimeError" in caplog.text
    assert "hunter2" not in caplog.text


def test_a_handler_refuses_a_message_for_good(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    """550 with the handler's reason, who and why in the log; the next message has its chance."""
    reasons = [MessageRefusedError("x" * 256), MessageRefusedError("not yours")]

    async def choosy(message: object) -> None:
        if reasons:
            raise reasons.pop()

    service = serve(on_message=choosy)
    with service.connect() as peer:
        assert hand_in(peer) == "550 5.7.1 not yours"
        for answer in ("550 5.7.1 " + "x" * 256, "250 2.0.0 Message accepted"):
            for line in ("MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA"):
                assert peer.say(line)[0] in "23"
            assert peer.say("text\r\n.") == answer
    assert "a message of tim is refused: not yours" in caplog.text


@pytest.mark.parametrize("reason", ["", "x" * 257, "a\r\n250 b", "\u00e9", "\x7f"])
def test_the_reason_of_a_refusal_fits_a_reply(reason: str) -> None:
    """Nothing in it can end the line, or make it longer than a line is."""
    with pytest.raises(UsageError, match="printable ASCII"):
        raise MessageRefusedError(reason)


# --- STARTTLS ---------------------------------------------------------------------------------


def test_starttls_changes_what_is_offered(
    serve: Serve, server_tls: ServerTls, client_tls: ssl.SSLContext
) -> None:
    """PLAIN is offered under TLS only; both of our clients get there, and log in."""
    service = serve(tls=server_tls, config={}, binding=BindingPolicy.OFF)
    with (
        Client("smtp", "mail.example", config={}) as client,
        SmtpClient(*service.address) as smtp,
    ):
        before = smtp.mechanisms
        assert before == ("SCRAM-SHA-256",)
        assert smtp.facts().get("external_ssf") == 0
        smtp.starttls(client_tls)
        assert smtp.mechanisms == ("SCRAM-SHA-256", "PLAIN")
        assert "STARTTLS" not in smtp.capabilities.keywords
        assert smtp.facts().get("external_ssf", 0) >= 128
        with client.session(authid="tim", password=PASSWORD, **smtp.facts()) as session:
            smtp.authenticate(session, ["PLAIN"])

    async def the_same() -> None:
        async with (
            AsyncClient("smtp", "mail.example", config={}) as client,
            AsyncSmtpClient(*service.address) as smtp,
        ):
            await smtp.starttls(client_tls)
            assert smtp.mechanisms == ("SCRAM-SHA-256", "PLAIN")
            async with client.session(authid="tim", password=PASSWORD, **smtp.facts()) as session:
                await smtp.authenticate(session, ["PLAIN"])

    asyncio.run(the_same())
    service.settle()


@pytest.mark.parametrize("pipelined", ["EHLO you\r\n", f"AUTH PLAIN {GOOD}\r\n", "x"])
def test_commands_slipped_in_behind_starttls_are_refused(
    serve: Serve, server_tls: ServerTls, pipelined: str
) -> None:
    """In one segment with STARTTLS they end the connection (CVE-2011-0411)."""
    service = serve(tls=server_tls)
    with service.connect() as peer:
        peer.say("EHLO me")
        peer.send(b"STARTTLS\r\n" + pipelined.encode())
        assert peer.line().startswith("554 5.5.1 ")
        assert peer.line() == ""
    service.settle()


def test_commands_sent_instead_of_a_handshake_are_not_obeyed(
    serve: Serve, server_tls: ServerTls
) -> None:
    """After 220 plaintext is no TLS: nothing is answered."""
    service = serve(tls=server_tls)
    with service.connect() as peer:
        peer.say("EHLO me")
        assert peer.say("STARTTLS").startswith("220 ")
        peer.send(b"EHLO you\r\n")
        with contextlib.suppress(ConnectionError):
            assert b"250" not in peer.socket.recv(1000)
    service.settle()


def test_bytes_slipped_in_before_the_handshake_do_not_survive_it(
    serve: Serve, server_tls: ServerTls, client_tls: ssl.SSLContext
) -> None:
    """Half a command before, the other half inside TLS: they never meet."""
    service = serve(tls=server_tls)
    with service.connect() as peer:
        peer.say("EHLO me")
        peer.send(b"STARTTLS\r\nNOO")
        assert peer.line().startswith("554 ")
    with service.connect() as peer:
        peer.say("EHLO me")
        assert peer.say("STARTTLS").startswith("220 ")
        with client_tls.wrap_socket(peer.socket, server_hostname="127.0.0.1") as secured:
            secured.sendall(b"AUTH PLAIN =\r\n")
            assert secured.recv(1000).startswith(b"503 5.5.1 ")
    service.settle()


@pytest.mark.parametrize("moment", ["before", "middle"])
def test_a_client_that_leaves_the_handshake(
    serve: Serve, server_tls: ServerTls, moment: str
) -> None:
    """The next client is served."""
    service = serve(tls=server_tls)
    with service.connect() as peer:
        peer.say("EHLO me")
        peer.say("STARTTLS")
        if moment == "middle":
            peer.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
    service.settle()
    with service.connect() as peer:
        peer.say("EHLO me")
        assert peer.say(f"AUTH PLAIN {GOOD}").startswith("235 ")


def test_a_handshake_that_never_comes_is_given_up(serve: Serve, server_tls: ServerTls) -> None:
    """A client that is silent after STARTTLS is dropped in time."""
    service = serve(tls=server_tls, limits=Limits(idle_seconds=1.0))
    with service.connect() as peer:
        peer.say("EHLO me")
        assert peer.say("STARTTLS").startswith("220 ")
        started = time.monotonic()
        assert peer.line() == ""
        assert time.monotonic() - started < 9
    service.settle()


# --- bad clients ------------------------------------------------------------------------------

STEPS: dict[str, list[str]] = {
    "greeting": [],
    "ehlo": ["EHLO me"],
    "auth": ["EHLO me", "AUTH PLAIN"],
    "scram": ["EHLO me", "AUTH SCRAM-SHA-256", b64encode(b"n,,n=tim,r=abcdefgh").decode()],
    "login": ["EHLO me", f"AUTH PLAIN {GOOD}"],
    "mail": ["EHLO me", f"AUTH PLAIN {GOOD}", "MAIL FROM:<a@b>", "RCPT TO:<c@d>"],
    "data": ["EHLO me", f"AUTH PLAIN {GOOD}", "MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA"],
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("how", ["close", "reset", "half", "garbage", "flood", "newline"])
def test_a_bad_client_at_each_step(serve: Serve, step: str, how: str) -> None:
    """Whatever it does, its task ends, its sessions are closed, and the next one is served."""
    service = serve(limits=Limits(idle_seconds=5.0, message_size=1000))
    with service.connect() as peer:
        for line in STEPS[step]:
            assert peer.say(line)[:1] in "23"
        with contextlib.suppress(ConnectionError):
            match how:
                case "reset":
                    linger = struct.pack("ii", 1, 0)
                    peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                case "half":
                    peer.send(b"AUTH PL")
                case "garbage":
                    peer.send(bytes(range(256)) * 10)
                case "flood":
                    for _ in range(40):
                        peer.send(b"A" * 65536)
                case "newline":
                    peer.send(b"NOOP\nNOOP\n")
                    assert peer.line().startswith("500 5.5.2 ")
                case _:
                    pass
    service.settle()
    with service.connect() as peer:
        peer.say("EHLO me")
        assert peer.say(f"AUTH PLAIN {GOOD}").startswith("235 ")


@pytest.mark.parametrize("step", STEPS)
def test_a_silent_client_is_sent_away(serve: Serve, step: str) -> None:
    """421 after the idle time, in whatever state."""
    for idle in (0.1, 1.0, 10.0):
        service = serve(limits=Limits(idle_seconds=idle))
        with service.connect() as peer:
            # On a busy machine the steps themselves may take too long: then with more time.
            if all(peer.say(line)[:1] in tuple("23") for line in STEPS[step]):
                assert peer.line() == "421 4.3.2 mail.example Timeout"
                assert peer.line() == ""
                break
    else:
        pytest.fail("the steps take more than ten seconds")
    service.settle()


@pytest.mark.parametrize(
    "limits", [Limits(idle_seconds=0.3), Limits(login_seconds=0.3), Limits(total_seconds=0.3)]
)
def test_a_slow_drip_does_not_extend_the_time(serve: Serve, limits: Limits) -> None:
    """An octet now and then is no progress; neither is a NOOP towards a login."""
    service = serve(limits=limits)
    drip = b"x" if limits.idle_seconds < 1 else b"NOOP\r\n"
    started = time.monotonic()
    with service.connect() as peer, contextlib.suppress(ConnectionError):
        while time.monotonic() - started < 30:
            peer.send(drip)
            time.sleep(0.02)
    assert time.monotonic() - started < 20
    service.settle()


def test_a_client_that_never_reads_does_not_hold_others_up(serve: Serve) -> None:
    """A flood of commands whose replies nobody takes ends in time; others are served meanwhile."""
    service = serve(limits=Limits(idle_seconds=3.0, commands=1_000_000))
    with service.connect() as flooder:
        flooder.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        flooder.socket.settimeout(0.2)
        with contextlib.suppress(OSError):
            while True:
                flooder.send(b"HELP\r\n" * 10_000)
        with service.connect() as peer:
            peer.say("EHLO me")
            assert peer.say(f"AUTH PLAIN {GOOD}").startswith("235 ")
        service.settle()


def test_connections_are_limited(serve: Serve) -> None:
    """One too many hears 421; when another leaves there is room again."""
    service = serve(max_connections=1)
    with service.connect(), socket.create_connection(service.address, timeout=10) as extra:
        assert extra.makefile("rb").read() == b"421 4.3.2 mail.example Too many connections\r\n"
    service.settle()
    with service.connect() as peer:
        assert peer.say("NOOP").startswith("250 ")


# --- outages ----------------------------------------------------------------------------------


class BrokenStore(MemoryStore):
    """A store whose look-ups fail."""

    def lookup(self, user: UserName, names: Sequence[str]) -> Any:
        raise BackendError(detail="hunter2 is gone")


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
def test_an_outage_is_never_a_wrong_password(serve: Serve, mechanism: str) -> None:
    """454, so that the client keeps its password; nothing of the detail is sent."""
    service = serve(stores=[BrokenStore({"tim": PASSWORD})])
    initial = GOOD if mechanism == "PLAIN" else b64encode(b"n,,n=tim,r=abcdefgh").decode()
    with service.connect() as peer:
        peer.say("EHLO me")
        assert peer.say(f"AUTH {mechanism} {initial}") == (
            "454 4.7.0 Temporary authentication failure"
        )
        assert peer.say("NOOP").startswith("250 ")


class StubServer:
    """A SASL server whose sessions do as they are told."""

    def __init__(self, layer: Layer | None = None, failure: Exception | None = None) -> None:
        self._layer = layer
        self._failure = failure

    def session(self, **facts: object) -> Any:
        return _StubSession(self._layer, self._failure)


class _StubSession:
    authid = authzid = "tim"

    def __init__(self, layer: Layer | None, failure: Exception | None) -> None:
        self.layer = layer
        self._failure = failure

    def mechanisms(self) -> tuple[str, ...]:
        return ("PLAIN",)

    async def start(self, mechanism: str, initial: bytes | None) -> Any:
        if self._failure is not None:
            raise self._failure
        return Reply(None, done=True)

    async def __aenter__(self) -> Any:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def close(self) -> None:
        pass


class NullLayer(Layer):
    """A security layer of no strength."""

    def encode(self, *buffers: bytes) -> bytes:
        return b"".join(buffers)

    def decode(self, data: bytes) -> bytes:
        return data

    def close(self) -> None:
        pass


async def say(address: tuple[str, int], *lines: str) -> list[str]:
    """Say these lines to the server and hear the last line of each reply."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        heard = []
        for line in ("", *lines):
            if line:
                writer.write(line.encode() + b"\r\n")
            while (answer := (await reader.readline()).decode())[3:4] == "-":
                pass
            heard.append(answer.strip())
        return heard[1:]
    finally:
        writer.close()
        await writer.wait_closed()


def test_a_security_layer_is_refused() -> None:
    """A mechanism that wants to protect what follows is not let in: nobody would unprotect it."""

    async def login() -> list[str]:
        stub: Any = StubServer(NullLayer())
        async with SmtpServer(stub, host_name="mail") as smtp:
            await smtp.start()
            return await say(smtp.address, "EHLO me", "AUTH PLAIN =", "MAIL FROM:<a@b>")

    replies = asyncio.run(login())
    assert replies[1].startswith("504 5.5.4 ")
    assert replies[2].startswith("530 ")


def test_a_fault_of_ours_ends_one_connection_only(caplog: pytest.LogCaptureFixture) -> None:
    """An exception that nobody foresaw is 421 for its client, and its text is nowhere."""

    async def login() -> list[list[str]]:
        stub: Any = StubServer(failure=RuntimeError("hunter2"))
        async with SmtpServer(stub, host_name="mail") as smtp:
            await smtp.start()
            return [await say(smtp.address, "EHLO me", "AUTH PLAIN =") for _ in range(2)]

    for replies in asyncio.run(login()):
        assert replies[1] == "421 4.3.2 mail Internal error"
    assert "RuntimeError" in caplog.text
    assert "hunter2" not in caplog.text


# --- life and death ---------------------------------------------------------------------------


def test_closing_sends_everybody_away(serve: Serve) -> None:
    """Clients in any state hear 421; nothing is left, and nobody can connect."""
    service = serve()
    peers = []
    for lines in STEPS.values():
        peer = service.connect()
        for line in lines:
            peer.say(line)
        peers.append(peer)
    address = service.address
    service.run(service.smtp.close())
    for peer in peers:
        assert peer.line() == "421 4.3.2 mail.example Shutting down"
        peer.close()
    with pytest.raises(OSError, match=r"refused"):
        socket.create_connection(address, timeout=1).close()
    assert service.recorder.closed == len(service.recorder.made)


def test_closing_tells_a_client_that_was_not_heard_yet() -> None:
    """One whose task never began hears 421 as well, and its connection ends."""

    async def close_early() -> bytes:
        stub: Any = StubServer()
        smtp = SmtpServer(stub, host_name="mail")
        await smtp.start()
        with socket.create_connection(smtp.address) as client:
            client.setblocking(False)
            while not smtp.connections:  # noqa: ASYNC110 - the very turn of the loop matters.
                await asyncio.sleep(0)
            await smtp.close()
            heard = b""
            async with asyncio.timeout(5):
                while data := await asyncio.get_running_loop().sock_recv(client, 1000):
                    heard += data
        return heard

    assert asyncio.run(close_early()) == b"421 4.3.2 mail Shutting down\r\n"


@pytest.mark.parametrize("turns", range(7))
def test_who_comes_while_it_closes_is_not_left_waiting(turns: int) -> None:
    """A connection that asyncio has taken on, and not handed to us yet, ends too; it hears 421."""

    async def hear(client: socket.socket) -> bytes:
        heard = b""
        with contextlib.suppress(ConnectionResetError):
            while data := await asyncio.get_running_loop().sock_recv(client, 1000):
                heard += data
        return heard

    async def come_and_close() -> None:
        stub: Any = StubServer()
        for _ in range(5):
            smtp = SmtpServer(stub, host_name="mail")
            await smtp.start()
            clients = [socket.socket() for _ in range(3)]
            for client in clients:
                client.setblocking(False)
                _ = client.connect_ex(smtp.address)
            for _ in range(turns):
                await asyncio.sleep(0)
            await smtp.close()
            async with asyncio.timeout(10):
                for client in clients:
                    heard = await hear(client)
                    # Whom the system alone took on, it sends away without a word.
                    if heard or turns == 6:
                        assert heard.endswith(b"421 4.3.2 mail Shutting down\r\n")
                    client.close()

    asyncio.run(come_and_close())


def test_a_server_listens_once() -> None:
    """Out of order is a UsageError; closing twice is nothing."""

    async def wrong() -> None:
        stub: Any = StubServer()
        smtp = SmtpServer(stub, host_name="mail")
        with pytest.raises(UsageError):
            smtp.address  # noqa: B018 - the property is what is tested.
        await smtp.start()
        with pytest.raises(UsageError):
            await smtp.start()
        await smtp.close()
        await smtp.close()
        with pytest.raises(UsageError):
            SmtpServer(stub, host_name="mail\r\n250 x")

    asyncio.run(wrong())


def test_a_wrong_configuration_is_told_at_the_start() -> None:
    """Not when the first client comes."""

    class Broken(StubServer):
        def session(self, **facts: object) -> Any:
            raise ConfigError("no")

    async def start() -> None:
        stub: Any = Broken()
        await SmtpServer(stub, host_name="mail").start()

    with pytest.raises(ConfigError):
        asyncio.run(start())


def test_after_the_end_of_a_certificate_no_mail_is_taken(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its owner was in, and would have stayed for an hour."""
    authority, own = Authority(tmp_path), make_tls(tmp_path)
    service = serve(tls=ServerTls.load(own.certificate, own.key, client_ca=authority.file))
    host, port = service.address
    with smtplib.SMTP(host, port, timeout=10) as client:
        _ = client.starttls(context=authority.sign().client(own.certificate))
        _ = client.ehlo()
        assert client.docmd("AUTH", "EXTERNAL =")[0] == 235
        _ = client.sendmail("a@example.org", ["b@example.org"], "Subject: in time")
        clock = service.sasl.utils.clock
        days = 86400.0 * 2
        monkeypatch.setattr(type(service.sasl.utils), "clock", lambda _: clock() + days)
        code, text = client.docmd("MAIL", "FROM:<a@example.org>")
        assert (code, text[:5]) == (421, b"4.7.0")
        with pytest.raises(smtplib.SMTPServerDisconnected):
            _ = client.noop()
    service.settle()
    assert len(service.messages) == 1
