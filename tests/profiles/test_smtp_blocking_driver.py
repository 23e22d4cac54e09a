"""The SMTP server's machine driven by a blocking SASL server: no loop, no socket."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sasl_auxprop.memory import MemoryStore
from sasl_core import SaslError, Server, ServerSession
from sasl_profiles.smtp import Limits, SmtpConnection
from sasl_profiles.smtp.events import AuthEnded, AuthResponse, AuthStarted, Closed

CONFIG = {
    "allow_cleartext": True,
    "allow_anonymous": True,
    "client_mech_list": ["SCRAM-SHA-256", "PLAIN", "ANONYMOUS"],
}
PASSWORD = "correct horse"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A SASL server with one user."""
    with Server(
        "smtp", "mail.example", config=CONFIG, stores=[MemoryStore({"tim": PASSWORD})]
    ) as one:
        yield one


class Driver:
    """All that an application has to write."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._session: ServerSession | None = None
        self.authid: str | None = None
        self.machine = SmtpConnection(
            "mail.example",
            lambda: server.session(remote="127.0.0.1;1").mechanisms(),
            limits=Limits(auth_failures=1000, errors=1000),
        )

    def say(self, data: bytes) -> bytes:
        """Octets in, octets out."""
        machine = self.machine
        machine.receive(data)
        while (event := machine.next_event()) is not None:
            match event:
                case AuthStarted() | AuthResponse():
                    self._step(event)
                case AuthEnded():
                    self._end()
                case Closed():
                    break
                case _:
                    raise AssertionError(event)
        return machine.data_to_send()

    def _step(self, event: AuthStarted | AuthResponse) -> None:
        try:
            if isinstance(event, AuthStarted):
                self._session = self._server.session(remote="127.0.0.1;1")
                reply = self._session.start(event.mechanism, event.initial)
            else:
                assert self._session is not None
                reply = self._session.step(event.data)
            if reply.done:
                assert self._session is not None
                self.authid = self._session.authid
        except SaslError as error:
            self.machine.auth_failed(error)
            self._end()
        else:
            if reply.done:
                self.machine.auth_succeeded()
                self._end()
            else:
                self.machine.challenge(reply.data or b"")

    def _end(self) -> None:
        assert self._session is not None
        self._session.close()
        self._session = None


def test_a_login_without_asyncio(server: Server) -> None:
    """The same machine, the same lines."""
    driver = Driver(server)
    assert b"220 mail.example ESMTP\r\n250-mail.example\r\n" in driver.say(b"EHLO me\r\n")
    message = b64encode(b"\0tim\0" + PASSWORD.encode())
    assert driver.say(b"AUTH PLAIN\r\n" + message + b"\r\n").endswith(
        b"235 2.7.0 Authentication successful\r\n"
    )
    assert driver.authid == "tim"


LINES = st.lists(
    st.sampled_from(
        [
            *(b"AUTH PLAIN", b"AUTH SCRAM-SHA-256", b"AUTH PLAIN =", b"AUTH SCRAM-SHA-256 ="),
            *(b"AUTH SCRAM-SHA-256-PLUS", b"*", b"", b"EHLO me", b"NOOP", b"!"),
            b"AUTH SCRAM-SHA-256 " + b64encode(b"n,,n=tim,r=fyko+d2lbbFgONRv9qkxdawL"),
            b"AUTH PLAIN " + b64encode(b"tim\0nobody\0" + PASSWORD.encode()),
            b64encode(b"\0tim\0wrong"),
            b64encode(b"n,a=bob,n=tim,r=abc"),
            b64encode(b"c=biws,r=fyko,p=AAAA"),
            b64encode(b"y,,n=tim,r=\xff"),
        ]
    )
    | st.binary(max_size=40).map(b64encode),
    max_size=12,
)


@given(LINES)
def test_nothing_but_the_password_logs_in(server: Server, lines: list[bytes]) -> None:
    """Messages of any kind in any order: replies, no exception, no login."""
    driver = Driver(server)
    driver.say(b"EHLO me\r\n")
    for line in lines:
        answer = driver.say(line + b"\r\n")
        assert answer.endswith(b"\r\n")
        assert not answer.startswith(b"235")
    assert driver.authid is None
