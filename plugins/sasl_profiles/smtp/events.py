"""What an SMTP server's connection tells whoever drives it, and what one client may use up."""

from __future__ import annotations

from typing import Final, TypeAlias

from sasl_core.plugin import record
from sasl_profiles.smtp.envelope import Envelope

__all__ = [
    "AUTH_ENDED",
    "CLOSED",
    "TLS_REQUESTED",
    "AuthEnded",
    "AuthResponse",
    "AuthStarted",
    "Closed",
    "Event",
    "Limits",
    "MessageReceived",
    "TlsRequested",
]


@record
class Limits:
    """What one client may use up; what passes a limit ends its connection with 421.

    `auth_failures`: failed exchanges (RFC 4954 section 9 wants at least 3). `errors`: other
    commands refused for the client's fault, and exchanges that it cancelled. `commands`:
    commands of any kind. `recipients` of one message, `message_size` in octets: what passes
    these is refused alone.
    `idle_seconds`: from one line to the end of the next, so that a slow drip does not
    extend it (RFC 5321 section 4.5.3.2 wants 300). `login_seconds`: from the greeting to a
    successful login. `total_seconds`: of the whole connection.
    """

    auth_failures: int = 3
    errors: int = 20
    commands: int = 10_000
    recipients: int = 100
    message_size: int = 10 * 1024 * 1024
    idle_seconds: float = 300.0
    login_seconds: float = 300.0
    total_seconds: float = 3600.0


@record
class AuthStarted:
    """The client asks for `mechanism`; `initial` is None when it sent no initial response."""

    mechanism: str
    initial: bytes | None


@record
class AuthResponse:
    """The client answers a challenge."""

    data: bytes


class AuthEnded:
    """The client gave the exchange up, or spoiled it; its session can be closed."""


class TlsRequested:
    """The client wants TLS from here on."""


@record
class MessageReceived:
    """The client handed in a message, CRLF line ends and all."""

    envelope: Envelope
    data: bytes


class Closed:
    """The connection ends when what is left has been sent."""


Event: TypeAlias = (
    "AuthStarted | AuthResponse | AuthEnded | TlsRequested | MessageReceived | Closed"
)

AUTH_ENDED: Final = AuthEnded()
TLS_REQUESTED: Final = TlsRequested()
CLOSED: Final = Closed()
