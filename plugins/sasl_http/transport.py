"""The transport that an application gives to its Server or Client.

What it does not do, on purpose: it follows no redirect (a 3xx is an answer), keeps no cookie,
takes no proxy from the environment (whoever sets a variable would stand between a server and its
keys), asks for no compression, and keeps no connection: what it fetches, keys above all, is
fetched rarely.

What it does heed of the environment: SSL_CERT_FILE and SSL_CERT_DIR, by which administrators say
whom OpenSSL is to trust where a request names no `ca_file` (see `trust`).
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Self

from sasl_http.errors import trouble

if TYPE_CHECKING:
    from types import TracebackType

    from sasl_core.plugin import HttpRequest, HttpResponse
    from sasl_http.carrier import Carrier

__all__ = ["HttpTransport"]


class HttpTransport:
    """Answers `NeedHttp` over HTTP/1.1 and TLS 1.2 or later; blocking, for any number of threads.

        with HttpTransport() as http:
            server = sasl_core.Server("imap", "mail.example.com", http=http)

    Certificates and host names are always verified. A request takes at most its `deadline`,
    whatever the peer does, and its answer's body at most its `limit`. In asyncio the runner calls
    it in a thread.
    """

    __slots__ = ("_carrier", "_closed", "_lock")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._carrier: Carrier | None = None
        self._closed = False

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """The response, whatever its status.

        Raises:
            BackendError: there is none, and `code` says why: `http-url`, `http-request` or
                `http-ca-file`: it was not sent; `http-connect`, `http-tls`, `http-timeout`,
                `http-protocol`, `http-too-large`; `http-closed`: this transport is closed.
        """
        return self._ready().carry(request)

    def close(self) -> None:
        """End the requests that are under way, and take no more. Again: nothing."""
        with self._lock:
            self._closed = True
            carrier, self._carrier = self._carrier, None
        if carrier is not None:
            carrier.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _ready(self) -> Carrier:
        carrier = self._carrier
        if carrier is not None:
            return carrier
        with self._lock:
            if self._closed:
                raise trouble("http-closed", "HTTP", "the transport is closed; make another")
            if self._carrier is None:
                # socket and ssl are loaded by the first request.
                from sasl_http.carrier import Carrier

                self._carrier = Carrier()
            return self._carrier
