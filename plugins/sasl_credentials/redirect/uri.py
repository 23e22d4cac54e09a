"""The address that a browser comes back to, and the sockets that it finds there.

It is of this machine's loopback, or it is refused: what comes there is a code that is worth a
login.

Source: RFC 8252 sections 7.3 (loopback, any port) and 8.3 (`localhost`).
"""

from __future__ import annotations

import errno
import re
import socket
import sys
from contextlib import suppress
from typing import Final

from sasl_core.plugin import BackendError, ConfigError, record

__all__ = ["RedirectUri", "bind", "parse_redirect_uri"]

_URI: Final = re.compile(
    r"http://(?P<host>127\.0\.0\.1|\[::1\]|localhost)"
    r"(?::(?P<port>[1-9][0-9]{0,4}))?"
    r"(?P<path>/[A-Za-z0-9._~!$&'()*+,;=:@/-]{0,200})?"
)
_FAMILIES: Final = {
    "127.0.0.1": ((socket.AF_INET, "127.0.0.1"),),
    "[::1]": ((socket.AF_INET6, "::1"),),
    # Which of the two a browser tries first nobody knows.
    "localhost": ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")),
}
_ABSENT: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
_TRIES: Final = 16
_BACKLOG: Final = 128


@record
class RedirectUri:
    """A loopback address. `port`: None for any that is free. `path`: as written, or ""."""

    host: str
    port: int | None
    path: str

    def at(self, port: int) -> str:
        """The address as the provider is told it."""
        return f"http://{self.host}:{port}{self.path}"

    def authority(self, port: int) -> str:
        """What a browser names as the host."""
        # Browsers leave a scheme's own port out.
        return self.host if port == 80 else f"{self.host}:{port}"


def parse_redirect_uri(text: str, key: str) -> RedirectUri:
    """Read the option `key`.

    Raises:
        ConfigError: it is no http address of 127.0.0.1, [::1] or localhost, or has a query, a
            fragment, an escape, or a segment that is `.` or `..`.
    """
    found = _URI.fullmatch(text)
    port = None if found is None or found["port"] is None else int(found["port"])
    if found is None or (port is not None and port > 65_535):
        raise ConfigError(
            "expected http://127.0.0.1, http://[::1] or http://localhost, with or without a "
            "port and a path, and nothing else",
            key=key,
        )
    path = found["path"] or ""
    if not {".", ".."}.isdisjoint(path.split("/")):
        # A browser takes them out (RFC 3986 section 5.2.4), and would come elsewhere.
        raise ConfigError("expected a path without . and .. between its slashes", key=key)
    return RedirectUri(found["host"], port, path)


def bind(redirect: RedirectUri) -> tuple[socket.socket, ...]:
    """Sockets that listen there, and nowhere but on the loopback; all of the same port.

    Raises:
        BackendError: the port is taken, or there is no loopback; code "redirect-port".
    """
    problem = "no port is free"
    for _ in range(1 if redirect.port is not None else _TRIES):
        try:
            return _listen(_FAMILIES[redirect.host], redirect.port or 0)
        except OSError as error:
            problem = error.strerror or type(error).__name__
    where = "any port" if redirect.port is None else f"port {redirect.port}"
    raise BackendError(
        code="redirect-port",
        detail=f"the browser cannot come back to {redirect.host}, {where}: {problem}",
    )


def _listen(
    families: tuple[tuple[socket.AddressFamily, str], ...], port: int
) -> tuple[socket.socket, ...]:
    made: list[socket.socket] = []
    done = False
    try:
        for family, address in families:
            listener = _open(family, address, port)
            if listener is None and len(families) > 1:
                continue  # A machine without IPv6, or without IPv4, has a localhost all the same.
            if listener is None:
                raise OSError(errno.EADDRNOTAVAIL, f"this machine has no {address}")
            made.append(listener)
            port = listener.getsockname()[1]
        if not made:
            raise OSError(errno.EADDRNOTAVAIL, "this machine has no loopback")
        done = True
    finally:
        if not done:
            for listener in made:
                listener.close()
    return tuple(made)


def _open(family: socket.AddressFamily, address: str, port: int) -> socket.socket | None:
    """A socket that listens there; None where the machine has no such address."""
    try:
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise
    done = False
    try:
        if sys.platform == "win32":
            # There SO_REUSEADDR would let others listen beside us.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            with suppress(OSError):
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            listener.bind((address, port))
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise
        listener.listen(_BACKLOG)
        listener.setblocking(False)
        done = True
    finally:
        if not done:
            listener.close()
    return listener
