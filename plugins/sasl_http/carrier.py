"""Carries requests out: names, connection, TLS, request, response, all by one deadline."""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from sasl_core.plugin import BackendError
from sasl_http.connection import connect, converse, shake_hands, wrap
from sasl_http.deadline import Deadline
from sasl_http.errors import trouble
from sasl_http.names import Lookups
from sasl_http.request import format_head, parse_address
from sasl_http.response import ResponseReader
from sasl_http.trust import Trust

if TYPE_CHECKING:
    from sasl_core.plugin import HttpRequest, HttpResponse
    from sasl_http.request import Address

__all__ = ["Carrier"]

# What is being done -> the code of its failure, and what to do about it.
NAME: Final = "looking up its name"
CONNECT: Final = "connecting"
SHAKE: Final = "shaking hands (TLS)"
EXCHANGE: Final = "waiting for the whole answer"
FAILURES: Final = {
    NAME: ("http-connect", "its name cannot be looked up", "check the host and the DNS"),
    CONNECT: (
        "http-connect",
        "it cannot be connected to",
        "check that it runs, and that this machine may reach it",
    ),
    SHAKE: (
        "http-tls",
        "the TLS handshake failed",
        "check that TLS 1.2 or later is spoken on that port",
    ),
    EXCHANGE: ("http-protocol", "the connection broke", "see the server's log"),
}

# X509_V_ERR_...: DEPTH_ZERO_SELF_SIGNED_CERT, SELF_SIGNED_CERT_IN_CHAIN,
# UNABLE_TO_GET_ISSUER_CERT_LOCALLY, UNABLE_TO_VERIFY_LEAF_SIGNATURE.
UNKNOWN: Final = frozenset({18, 19, 20, 21})
PRIVATE: Final = "if an authority of your own has signed it, name that authority's file"
RENEW: Final = "whoever runs that server must give it a valid one"


class Carrier:
    """One connection for each request; what they share is looked-up names and TLS contexts."""

    def __init__(self) -> None:
        self._lookups = Lookups()
        self._trust = Trust()
        self._open: set[socket.socket] = set()
        self._closed = False

    def carry(self, request: HttpRequest) -> HttpResponse:
        """The response to `request`.

        Raises:
            BackendError: there is none; see `errors.CODES`.
        """
        deadline = Deadline(request.deadline)
        address = parse_address(request.url, cleartext=request.cleartext)
        head = format_head(request, address)
        # Read before a connection is made: who has not said whom to trust talks to nobody.
        context = self._trust.context(request.ca_file) if address.scheme == "https" else None
        reader = ResponseReader(address.place, request.limit, bodiless=request.method == "HEAD")
        try:
            return self._exchange(address, context, head + request.body, reader, deadline)
        except (OSError, ValueError, BackendError) as error:
            failure = self._explained(error, address, deadline)
        # Raised out here, so that it has no foreign error for its context.
        raise failure

    def close(self) -> None:
        """Cut what is under way; its requests fail at once, unless they are still connecting."""
        self._closed = True
        for connection in tuple(self._open):
            with suppress(OSError):
                # The plain socket's: an SSLSocket's own forgets its TLS under the reader's hands.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def _exchange(
        self,
        address: Address,
        context: ssl.SSLContext | None,
        data: bytes,
        reader: ResponseReader,
        deadline: Deadline,
    ) -> HttpResponse:
        deadline.doing = NAME
        places = self._lookups.places(address.host, address.port, deadline)
        deadline.doing = CONNECT
        connection = connect(places, deadline)
        try:
            deadline.doing = SHAKE
            if context is not None:
                connection = wrap(connection, context, address.host)
            self._open.add(connection)
            if self._closed:  # By somebody who did not see this connection yet.
                raise OSError
            if isinstance(connection, ssl.SSLSocket):
                shake_hands(connection, deadline)
            deadline.doing = EXCHANGE
            return converse(connection, data, reader, deadline)
        finally:
            self._open.discard(connection)
            connection.close()

    def _explained(self, error: Exception, address: Address, deadline: Deadline) -> BackendError:
        if self._closed:
            return trouble("http-closed", address.place, "the transport was closed meanwhile")
        if isinstance(error, BackendError):
            return error
        # The system's own ETIMEDOUT has a number; the end of our patience has none.
        if isinstance(error, TimeoutError) and error.errno is None:
            return trouble(
                "http-timeout",
                address.place,
                f"no complete answer within {deadline.seconds:g} seconds; it ended while "
                f"{deadline.doing}: check that it runs and is not overloaded",
            )
        if isinstance(error, ssl.SSLCertVerificationError):
            said = error.verify_message.rstrip(".")
            advice = PRIVATE if error.verify_code in UNKNOWN else RENEW
            return trouble(
                "http-tls", address.place, f"its certificate is refused ({said}): {advice}"
            )
        code, what, advice = FAILURES[deadline.doing]
        if isinstance(error, ssl.SSLError):
            code, why = "http-tls", (error.reason or "it was cut off").replace("_", " ").lower()
        elif isinstance(error, OSError):
            why = error.strerror or str(error) or type(error).__name__
        else:
            why = type(error).__name__
        return trouble(code, address.place, f"{what} ({why}): {advice}")
