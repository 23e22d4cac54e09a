"""A driver without I/O for the SMTP server's machine, and a SASL session made of a script."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import pytest

from sasl_core.plugin import SaslError
from sasl_profiles.smtp.connection import SmtpConnection
from sasl_profiles.smtp.events import (
    AuthEnded,
    AuthResponse,
    AuthStarted,
    Closed,
    Event,
    Limits,
    MessageReceived,
    TlsRequested,
)

Answer: TypeAlias = "bytes | SaslError | None"


class Wire:
    """One connection, its events, and what the script answers to each AUTH event.

    An answer is a challenge, an error, or None for success.
    """

    def __init__(
        self,
        answers: Sequence[Answer] = (),
        *,
        mechanisms: Callable[[], Sequence[str]] = lambda: ("SCRAM-SHA-256", "PLAIN"),
        starttls: bool = True,
        limits: Limits | None = None,
        accept: bool = True,
    ) -> None:
        self.connection = SmtpConnection(
            "mail.example", mechanisms, starttls=starttls, limits=limits
        )
        self.answers = list(answers)
        self.accept = accept
        self.events: list[Event] = []
        self.greeting = self.connection.data_to_send()

    @property
    def closed(self) -> bool:
        """The last event ended the connection."""
        return bool(self.events) and isinstance(self.events[-1], Closed)

    def say(self, data: bytes) -> bytes:
        """Send octets and read what comes back."""
        self.connection.receive(data)
        while (event := self.connection.next_event()) is not None:
            self.events.append(event)
            self._answer(event)
            if isinstance(event, Closed):
                break
        return self.connection.data_to_send()

    def line(self, line: str) -> str:
        """Send a line and read what comes back."""
        return self.say(line.encode() + b"\r\n").decode("ascii")

    def login(self) -> Wire:
        """Say EHLO and log in."""
        self.answers.insert(0, None)
        assert self.line("EHLO me").startswith("250-")
        assert self.line("AUTH PLAIN =").startswith("235 ")
        return self

    def _answer(self, event: Event) -> None:
        match event:
            case AuthStarted() | AuthResponse():
                answer = self.answers.pop(0)
                if answer is None:
                    self.connection.auth_succeeded()
                elif isinstance(answer, SaslError):
                    self.connection.auth_failed(answer)
                else:
                    self.connection.challenge(answer)
            case TlsRequested():
                if self.connection.accept_tls():
                    assert self.connection.data_to_send().startswith(b"220 2.0.0 ")
                    self.connection.tls_started()
            case MessageReceived():
                self.connection.message_done(accepted=self.accept)
            case AuthEnded() | Closed():
                pass


@pytest.fixture(scope="session")
def wire() -> type[Wire]:
    """The driver's class."""
    return Wire
