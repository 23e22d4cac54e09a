"""SMTP with AUTH, both sides (RFC 4954).

`SmtpServer` is a submission server for asyncio; `SmtpClient`, and `AsyncSmtpClient` for
asyncio, log in to any server. Beneath them stand the two sides without I/O:
`SmtpConnection` with its events, and `Dialogue` with what it asks for. What needs sockets,
ssl or asyncio is loaded when it is first named.

`PORT`, `SERVICE`, `TLS`, `make_server` and `make_client` are what the command line asks of a
profile (docs/cli.md); `smtps` is the same protocol over TLS from the first octet on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sasl_profiles.smtp.auth import Capabilities
from sasl_profiles.smtp.connection import SmtpConnection
from sasl_profiles.smtp.dialogue import Dialogue
from sasl_profiles.smtp.envelope import Envelope, Message, MessageRefusedError
from sasl_profiles.smtp.events import Limits
from sasl_profiles.smtp.replies import SmtpReply
from sasl_profiles.smtp.trace import TraceEvent

if TYPE_CHECKING:
    from collections.abc import Mapping
    from ssl import SSLContext

    from sasl_core.aio import Server
    from sasl_core.plugin import BindingPolicy
    from sasl_profiles.smtp.aio_client import AsyncSmtpClient
    from sasl_profiles.smtp.client import SmtpClient
    from sasl_profiles.smtp.dialogue import Trace
    from sasl_profiles.smtp.server import SmtpServer
    from sasl_tls import ServerTls

__all__ = [
    "PORT",
    "SERVICE",
    "TLS",
    "AsyncSmtpClient",
    "Capabilities",
    "Dialogue",
    "Envelope",
    "Limits",
    "Message",
    "MessageRefusedError",
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

SERVICE: Final = "smtp"
"""The name of the service to SASL (RFC 4954 section 4)."""

TLS: Final = "starttls"
"""How TLS comes in: a command asks for it."""


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
    host: str,
    port: int,
    *,
    timeout: float = 30.0,
    trace: Trace | None = None,
    tls: SSLContext | None = None,
    user: str | None = None,
    mechanism: str | None = None,
    options: Mapping[str, str] | None = None,
) -> SmtpClient:
    """A client that has yet to connect, which `with` does. `tls`: TLS before the first word.

    SMTP's servers say what they offer before they are told who comes, so that the others go
    unused; there are no `options`.
    """
    del user, mechanism, options
    from sasl_profiles.smtp.client import SmtpClient

    return SmtpClient(host, port, timeout=timeout, trace=trace, tls=tls)


def __getattr__(name: str) -> object:
    module = _HOME.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{module}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
