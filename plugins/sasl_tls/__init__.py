"""TLS for applications and profiles: channel bindings, and a server's TLS that can export.

`client_bindings` and `server_bindings` look at a connection of the standard library's `ssl`
or of pyOpenSSL (extra `tls`) and return what `channel_bindings=` takes, with the reason for
each type that is missing. `server_end_point` is the one that needs a certificate alone.
`ServerTls` is what a profile's server is given: a context of either library, its own
certificate, asyncio transports over it, and whom the certificates of clients name. That name is
`parse_subject(read_certificate("client.pem")).name`.

What profiles for asyncio have in common is here too, for it carries TLS: `listener` (a server and
its clients' tasks), `stream` (a connection's octets), `driver` (between a stream and a machine
without I/O) and `facts` (what a session is told of the connection).

Nothing here loads `ssl`, asyncio or pyOpenSSL before it is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sasl_tls.bindings import client_bindings, server_bindings
from sasl_tls.certificate import read_certificate, server_end_point
from sasl_tls.subject import Subject, parse_subject

if TYPE_CHECKING:
    from sasl_tls.server import ServerTls

__all__ = [
    "ServerTls",
    "Subject",
    "client_bindings",
    "parse_subject",
    "read_certificate",
    "server_bindings",
    "server_end_point",
]


def __getattr__(name: str) -> object:
    if name != "ServerTls":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from sasl_tls.server import ServerTls

    return ServerTls


def __dir__() -> list[str]:
    return sorted({*globals(), "ServerTls"})
