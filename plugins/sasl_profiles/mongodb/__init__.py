"""The authentication part of MongoDB's wire protocol, both sides.

The server stores no data. It is a place to embed: in front of a database, in a gateway, as a double
in tests. `MongodbServer` is the server for asyncio; `MongodbConnection`, with its events, is one
connection without I/O. `MongodbClient`, and `AsyncMongodbClient` for asyncio, log in to any
server, and that is all: for what comes then MongoDB has drivers. Beneath them stands
`client_dialogue`, without I/O. `PyMongoTokens` is a callback of PyMongo's that gets its tokens from
any of our sources. What needs sockets or asyncio is loaded when it is first named.

`PORT`, `SERVICE`, `TLS`, `URL_OPTIONS`, `ALIASES`, `BEARER_MECHANISM`, `NEEDS_ACCOUNT`,
`make_server` and `make_client` are what the command line asks of a profile (docs/cli.md).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from sasl_profiles.mongodb.connection import MongodbConnection
from sasl_profiles.mongodb.events import Command, Limits, Login
from sasl_profiles.mongodb.options import MongodbOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from ssl import SSLContext

    from sasl_core.aio import Server
    from sasl_core.plugin import BindingPolicy
    from sasl_profiles.clients.trace import TraceEvent
    from sasl_profiles.mongodb.aio_client import AsyncMongodbClient
    from sasl_profiles.mongodb.client import MongodbClient
    from sasl_profiles.mongodb.driver import PyMongoTokens
    from sasl_profiles.mongodb.server import MongodbServer
    from sasl_tls import ServerTls

__all__ = [
    "ALIASES",
    "OPTIONS",
    "PORT",
    "SERVICE",
    "TLS",
    "BEARER_MECHANISM",
    "NEEDS_ACCOUNT",
    "URL_OPTIONS",
    "AsyncMongodbClient",
    "Command",
    "Limits",
    "Login",
    "MongodbClient",
    "MongodbConnection",
    "MongodbServer",
    "PyMongoTokens",
    "make_client",
    "make_server",
]

PORT = 27017
"""Where MongoDB listens."""

OPTIONS = MongodbOptions
"""The schema of `[profiles.mongodb]`."""

SERVICE: Final = "mongodb"
"""The name of the service to SASL."""

TLS: Final = "option"
"""How TLS comes in: who connects has to know that the server wants it."""

URL_OPTIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "authMechanism": "mechanism",
        "authSource": "",
        "tls": "tls",
        "tlsCAFile": "cafile",
        "tlsCertificateKeyFile": "cert",
    }
)
"""Options of a URL, as MongoDB names them, and for which of the command line's each stands;
"": it is `make_client`'s."""

ALIASES: Final[Mapping[str, str]] = MappingProxyType({"MONGODB-X509": "EXTERNAL"})
"""Mechanisms that MongoDB has another name for, and what SASL calls them."""

BEARER_MECHANISM: Final = "MONGODB-OIDC"
"""The mechanism that takes an access token where none is named."""

NEEDS_ACCOUNT: Final = True
"""Whoever comes by a certificate has to be a user, whatever is configured."""

_HOME = {
    "AsyncMongodbClient": "aio_client",
    "MongodbClient": "client",
    "MongodbServer": "server",
    "PyMongoTokens": "driver",
}


def make_server(
    server: Server, *, host_name: str, tls: ServerTls | None, binding: BindingPolicy
) -> MongodbServer:
    """A server that has yet to start, as the table `[profiles.mongodb]` of its configuration says.

    MongoDB's clients are told no name, so that `host_name` goes unused.

    Raises:
        ConfigError: what the table says is wrong.
        UsageError: `binding` demands what no driver can do.
    """
    del host_name
    from sasl_profiles.mongodb.server import MongodbServer

    return MongodbServer.configured(server, tls=tls, binding=binding)


def make_client(
    host: str,
    port: int,
    *,
    timeout: float = 30.0,
    trace: Callable[[TraceEvent], None] | None = None,
    tls: SSLContext | None = None,
    user: str | None = None,
    mechanism: str | None = None,
    options: Mapping[str, str] | None = None,
) -> MongodbClient:
    """A client that has yet to connect, which `with` does; `options`: those of a URL.

    Raises:
        UsageError: `authSource` is no database, or none at which this mechanism logs in.
    """
    from sasl_profiles.mongodb.client import MongodbClient

    return MongodbClient(
        host,
        port,
        user=user,
        mechanism=mechanism,
        database=(options or {}).get("authSource"),
        timeout=timeout,
        tls=tls,
        trace=trace,
    )


def __getattr__(name: str) -> object:
    module = _HOME.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{module}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
