"""Octets over asyncio, with TLS from the first of them if there is any.

Invariants: what is kept unread is `HIGH_WATER` and one segment at most; nothing that came in
clear is read where TLS was due.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from collections.abc import Callable

    from sasl_tls import ServerTls

__all__ = ["ByteStream"]

HIGH_WATER: Final = 64 * 1024
"""Octets kept unread before the peer is made to wait."""

CHUNK: Final = 16 * 1024
"""Most octets that are read at once."""


class ByteStream(asyncio.Protocol):
    """One connection; `connected` is called with it when it stands, and nothing is read yet.

    `accept_tls` or `begin` comes first. They, `read`, `drain` and `close` are for one task at
    a time.
    """

    def __init__(self, connected: Callable[[ByteStream], None]) -> None:
        self._connected = connected
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._eof = False
        self._lost = asyncio.Event()
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._begun = False

    # --- asyncio calls these ------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.pause_reading()
        self._connected(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._readable.set()
        self._throttle()

    def eof_received(self) -> bool:
        self._eof = True
        self._readable.set()
        # A client may close its side and still read our last answer; TLS cannot do so.
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
    def transport(self) -> asyncio.Transport:
        """The transport of the moment."""
        if self._transport is None:
            raise ConnectionResetError("no connection")
        return self._transport

    def begin(self) -> None:
        """Start to read."""
        self._begun = True
        self._throttle()

    async def accept_tls(
        self,
        tls: ServerTls,
        *,
        timeout: float,  # noqa: ASYNC109 - the handshake's own limit is the loop's to keep.
    ) -> None:
        """Be the server of a TLS handshake, and start to read.

        Raises:
            OSError: it failed, or the peer went.
        """
        try:
            self._transport = await tls.accept(self.transport, self, timeout=timeout)
        except BaseException:
            # After a failed handshake nobody tells us of the end.
            self.transport.abort()
            self.connection_lost(None)
            raise
        self.begin()

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

    async def close(self, linger: float) -> None:
        """Send what is queued and close, within `linger` seconds; then cut it off.

        What the peer still sends is read and dropped meanwhile: a socket closed over unread
        octets is reset, and the peer would lose our last answer.
        """
        transport = self.transport
        try:
            async with asyncio.timeout(linger):
                if self._begun and transport.can_write_eof() and not transport.is_closing():
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
        if transport is None or not self._begun or transport.is_closing():
            return
        if len(self._buffer) > HIGH_WATER:
            transport.pause_reading()
        else:
            transport.resume_reading()
