"""SMTP with AUTH, both sides (RFC 4954).

`SmtpServer` is a submission server for asyncio; `SmtpClient`, and `AsyncSmtpClient` for
asyncio, log in to any server. Beneath them stand the two sides without I/O:
`SmtpConnection` with its events, and `Dialogue` with what it asks for. What needs sockets,
ssl or asyncio is loaded when it is first named.

`PORT`, `make_server` and `make_client` are what the command line asks of every profile
(docs/cli.md).
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
    from sasl_core.aio import Server
    from sasl_core.plugin import BindingPolicy
    from sasl_profiles.smtp.aio_client import AsyncSmtpClient
    from sasl_profiles.smtp.client import SmtpClient
    from sasl_profiles.smtp.dialogue import Trace
    from sasl_profiles.smtp.server import SmtpServer
    from sasl_tls import ServerTls

__all__ = [
    "PORT",
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
    "make_client",
    "make_server",
]

PORT = 587
"""Where submission listens (RFC 6409)."""


_HOME = {"AsyncSmtpClient": "aio_client", "SmtpClient": "client", "SmtpServer": "server"}


def make_server(
    server: Server, *, host_name: str, tls: ServerTls | None, binding: BindingPolicy
) -> SmtpServer:
    """A server that has yet to start: mail is taken on and dropped.

    Raises:
        UsageError: `host_name` is no host's name.
    """
    from sasl_profiles.smtp.server import SmtpServer

    return SmtpServer(server, host_name=host_name, tls=tls, binding=binding)


def make_client(
    host: str, port: int, *, timeout: float = 30.0, trace: Trace | None = None
) -> SmtpClient:
    """A client that has yet to connect, which `with` does."""
    from sasl_profiles.smtp.client import SmtpClient

    return SmtpClient(host, port, timeout=timeout, trace=trace)


def __getattr__(name: str) -> object:
    module = _HOME.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{module}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
