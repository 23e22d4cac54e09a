"""The authentication part of MongoDB's wire protocol: a server that its drivers log in to.

It stores no data. It is a place to embed: in front of a database, in a gateway, as a double in
tests. `MongodbServer` is the server for asyncio; `MongodbConnection`, with its events, is one
connection without I/O. `PyMongoTokens` is a callback of PyMongo's that gets its tokens from any of
our sources. What needs sockets or asyncio is loaded when it is first named.

`PORT` and `make_server` are what `sasl serve` asks of a profile (docs/cli.md). There is no client's
side: MongoDB has drivers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sasl_profiles.mongodb.connection import MongodbConnection
from sasl_profiles.mongodb.events import Command, Limits, Login
from sasl_profiles.mongodb.options import MongodbOptions

if TYPE_CHECKING:
    from sasl_core.aio import Server
    from sasl_core.plugin import BindingPolicy
    from sasl_profiles.mongodb.driver import PyMongoTokens
    from sasl_profiles.mongodb.server import MongodbServer
    from sasl_tls import ServerTls

__all__ = [
    "OPTIONS",
    "PORT",
    "Command",
    "Limits",
    "Login",
    "MongodbConnection",
    "MongodbServer",
    "PyMongoTokens",
    "make_server",
]

PORT = 27017
"""Where MongoDB listens."""

OPTIONS = MongodbOptions
"""The schema of `[profiles.mongodb]`."""


_HOME = {"MongodbServer": "server", "PyMongoTokens": "driver"}


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


def __getattr__(name: str) -> object:
    module = _HOME.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{module}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
