"""Bytes over asyncio, with TLS put beneath at the start or while the connection stands.

The standard library's StreamReader keeps what it read in clear across `start_tls`; that is
the fault that STARTTLS is attacked by (CVE-2011-0411), and why this is not built on it.
Invariants: a handshake fails rather than begin with unread bytes; no more is kept unread than
`HIGH_WATER` and one segment; a peer that sends without a pause costs the others no turn.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, cast

from sasl_core.plugin import printable
from sasl_tls.facts import transport_facts

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable

    from sasl_tls.facts import TransportFacts
    from sasl_tls.server import ServerTls
    from sasl_tls.subject import Subject

__all__ = ["ByteStream", "UnreadBytesError"]

HIGH_WATER: Final = 64 * 1024
"""Octets kept unread before the peer is made to wait."""

CHUNK: Final = 16 * 1024
"""Most octets that are read at once."""

TLS_SHUTDOWN_SECONDS: Final = 5.0

_log = logging.getLogger(__name__)


class UnreadBytesError(Exception):
    """Bytes came before the TLS handshake."""


class ByteStream(asyncio.Protocol):
    """One connection; `connected` is called with it when it stands.

    `held`: nothing is read from the socket before `release`, or the handshake of TLS.
    `read`, `drain`, `start_tls`, `accept_tls` and `close` are for one task at a time.
    """

    def __init__(
        self, connected: Callable[[ByteStream], None] | None = None, *, held: bool = False
    ) -> None:
        self._connected = connected
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._eof = False
        self._lost = asyncio.Event()
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._upgrading = False
        self._held = held
        # Whom TLS vouches for; asked once, for it does not change.
        self._client: Subject | None = None

    # --- asyncio calls these ------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._throttle()
        connected, self._connected = self._connected, None
        if connected is not None:
            connected(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._readable.set()
        self._throttle()

    def eof_received(self) -> bool:
        self._eof = True
        self._readable.set()
        # A client may close its side and still read our last reply; TLS cannot do so.
        return self._transport is not None and self._transport.can_write_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        self._eof = True
        self._lost.set()
        self._readable.set()
        self._writable.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # --- we call these ------------------------------------------------------------------------

    @property
    def unread(self) -> int:
        """Octets that arrived and were not read."""
        return len(self._buffer)

    @property
    def transport(self) -> asyncio.Transport:
        """The transport of the moment.

        Raises:
            ConnectionResetError: there was none yet.
        """
        if self._transport is None:
            raise ConnectionResetError("no connection")
        return self._transport

    def facts(self) -> TransportFacts:
        """What a SASL session has to know of the connection as it is now."""
        extra = self.transport.get_extra_info
        return transport_facts(extra("peername"), extra("sockname"), extra("cipher"), self._client)

    async def read(self) -> bytes:
        """Some of what arrived, at least one octet; `b""` when the peer sends no more."""
        if self._buffer:
            # Who sends without a pause lets the others have their turn all the same.
            await asyncio.sleep(0)
        while not self._buffer and not self._eof:
            self._readable.clear()
            _ = await self._readable.wait()
        data = bytes(self._buffer[:CHUNK])
        del self._buffer[:CHUNK]
        self._throttle()
        return data

    def write(self, data: bytes) -> None:
        """Queue octets to be sent; those for a peer that has gone are dropped."""
        if data and not self._lost.is_set():
            self.transport.write(data)

    async def drain(self) -> None:
        """Wait until the peer takes what was queued."""
        _ = await self._writable.wait()

    def hold(self) -> None:
        """Read nothing more from the socket; `start_tls` and `accept_tls` go on reading."""
        self._held = True
        self._throttle()

    def release(self) -> None:
        """Read from the socket again, or for the first time."""
        self._held = False
        self._throttle()

    async def start_tls(
        self,
        context: ssl.SSLContext,
        *,
        server_hostname: str,
        timeout: float,  # noqa: ASYNC109 - the handshake's own limit is the loop's to keep.
    ) -> None:
        """Put TLS beneath, as its client.

        Raises:
            UnreadBytesError: bytes came before it.
            OSError: the handshake failed (ssl.SSLError) or the peer went.
        """

        async def begin() -> asyncio.Transport:
            fresh = await asyncio.get_running_loop().start_tls(
                self.transport,
                self,
                context,
                server_side=False,
                server_hostname=server_hostname,
                ssl_handshake_timeout=max(timeout, 0.001),
                ssl_shutdown_timeout=TLS_SHUTDOWN_SECONDS,
            )
            if fresh is None:
                raise ConnectionResetError("the connection was lost in the handshake")
            return fresh

        await self._upgrade(begin)

    async def accept_tls(
        self,
        tls: ServerTls,
        *,
        timeout: float,  # noqa: ASYNC109 - as above.
    ) -> None:
        """Put TLS beneath, as its server. Raises as `start_tls`.

        A handshake that fails is logged: to the client TLS may say why, to the administrator
        nobody else does.
        """
        try:
            await self._upgrade(lambda: tls.accept(self.transport, self, timeout=timeout))
        except OSError as error:
            reason = printable(error, 200) or type(error).__name__
            _log.info("a client's TLS handshake failed: %s", reason)
            raise
        self._client = tls.client(self.transport)

    async def _upgrade(self, begin: Callable[[], Awaitable[asyncio.Transport]]) -> None:
        if self._buffer:
            raise UnreadBytesError
        if self._eof:
            raise ConnectionResetError("the peer has gone")
        self._upgrading = True
        try:
            fresh = await begin()
        except BaseException:
            # After a failed handshake nobody tells us of the end.
            self.transport.abort()
            self.connection_lost(None)
            raise
        finally:
            self._upgrading = False
        self._transport = fresh
        self.release()

    async def close(self, linger: float) -> None:
        """Send what is queued and close, within `linger` seconds; then cut it off.

        What the peer still sends is read and dropped meanwhile: a socket closed over unread
        bytes is reset, and the peer would lose our last reply.
        """
        transport = self._transport
        if transport is None:
            return
        self.release()
        try:
            async with asyncio.timeout(linger):
                if transport.can_write_eof() and not transport.is_closing():
                    transport.write_eof()
                    while not self._eof:
                        _ = await self.read()
                transport.close()
                _ = await self._lost.wait()
        except OSError:
            # Too late, or gone already.
            pass
        finally:
            transport.abort()

    def _throttle(self) -> None:
        """Read from the socket exactly while there is room."""
        transport = self._transport
        if transport is None or self._upgrading or transport.is_closing():
            return
        if self._held or len(self._buffer) > HIGH_WATER:
            transport.pause_reading()
        else:
            transport.resume_reading()
