"""A connection whose every step ends by the request's deadline."""

from __future__ import annotations

import errno
import socket
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sasl_core.plugin import HttpResponse
    from sasl_http.deadline import Deadline
    from sasl_http.names import Place
    from sasl_http.response import ResponseReader

__all__ = ["connect", "converse", "shake_hands", "wrap"]

PIECE: Final = 16384
"""What one record of TLS holds at most (RFC 8446 section 5.1)."""


def connect(places: Sequence[Place], deadline: Deadline) -> socket.socket:
    """A connection to the first of the places that answers.

    None of them takes the time of those after it: with n more to try, it has 1/(n + 2) of what
    is left; the last one has all.

    Raises:
        OSError: none of them answers. TimeoutError: the deadline is over.
    """
    problems: list[str] = []
    for index, (family, where) in enumerate(places):
        others = len(places) - index - 1
        left = deadline.left()
        try:
            return _reach(family, where, left / (others + 2) if others else left)
        except OSError as error:
            # A machine without IPv6 says so here: the next may be of the other family.
            problems.append(f"{where[0]!s}: {error.strerror or 'no answer'}")
    _ = deadline.left()
    raise OSError("; ".join(problems))


def _reach(
    family: socket.AddressFamily, where: tuple[str | int | bytes, ...], seconds: float
) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        # What is sent is sent at once: nothing gains by waiting for more.
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.settimeout(seconds)
        opened.connect(where)
    except BaseException:
        opened.close()
        raise
    return opened


def wrap(plain: socket.socket, context: ssl.SSLContext, host: str) -> ssl.SSLSocket:
    """TLS on a connection, which is the result's from now on, without a handshake yet.

    Raises:
        OSError: the connection broke, and is closed.
    """
    with plain:  # What wrap_socket has taken over is no longer in there.
        return context.wrap_socket(
            plain,
            server_hostname=host,
            do_handshake_on_connect=False,
            # An end that TLS does not announce may be an attacker's: a body must not end by it.
            suppress_ragged_eofs=False,
        )


def shake_hands(tls: ssl.SSLSocket, deadline: Deadline) -> None:
    """The handshake, as a whole by the deadline, not each message of it.

    Raises:
        OSError: it failed; the peer is not who it should be. TimeoutError: not in time.
    """
    tls.settimeout(deadline.left())
    tls.do_handshake()


def converse(
    connection: socket.socket, data: bytes, reader: ResponseReader, deadline: Deadline
) -> HttpResponse:
    """Send the request, read the response.

    Raises:
        OSError: the connection broke. TimeoutError: not in time.
        BackendError: what the reader says.
    """
    with suppress(BrokenPipeError, ConnectionResetError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
        # A server may answer, and close, before it has read all (413, say): what it said counts.
        _send(connection, data, deadline)
    while True:
        connection.settimeout(deadline.left())
        try:
            heard = connection.recv(PIECE)
        except ssl.SSLEOFError:
            raise OSError(errno.ECONNABORTED, "it ended without TLS's closing alert") from None
        response = reader.feed(heard) if heard else reader.end()
        if response is not None:
            return response


def _send(connection: socket.socket, data: bytes, deadline: Deadline) -> None:
    # Not sendall: that of an SSLSocket gives every piece the whole time again.
    rest = memoryview(data)
    while rest:
        connection.settimeout(deadline.left())
        rest = rest[connection.send(rest[:PIECE]) :]
