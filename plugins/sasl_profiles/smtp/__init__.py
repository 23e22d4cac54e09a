"""SMTP with AUTH, both sides (RFC 4954).

`SmtpServer` is a submission server for asyncio; `SmtpClient`, and `AsyncSmtpClient` for
asyncio, log in to any server. Beneath them stand the two sides without I/O:
`SmtpConnection` with its events, and `Dialogue` with what it asks for. What needs sockets,
ssl or asyncio is loaded when it is first named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sasl_profiles.smtp.auth import Capabilities
from sasl_profiles.smtp.connection import SmtpConnection
from sasl_profiles.smtp.dialogue import Dialogue
from sasl_profiles.smtp.envelope import Envelope, Message
from sasl_profiles.smtp.events import Limits
from sasl_profiles.smtp.replies import SmtpReply
from sasl_profiles.smtp.trace import TraceEvent

if TYPE_CHECKING:
    from sasl_profiles.smtp.aio_client import AsyncSmtpClient
    from sasl_profiles.smtp.client import SmtpClient
    from sasl_profiles.smtp.server import SmtpServer

__all__ = [
    "AsyncSmtpClient",
    "Capabilities",
    "Dialogue",
    "Envelope",
    "Limits",
    "Message",
    "SmtpClient",
    "SmtpConnection",
    "SmtpReply",
    "SmtpServer",
    "TraceEvent",
]

_HOME = {"AsyncSmtpClient": "aio_client", "SmtpClient": "client", "SmtpServer": "server"}


def __getattr__(name: str) -> object:
    module = _HOME.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{module}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
