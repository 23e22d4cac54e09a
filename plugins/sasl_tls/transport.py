"""TLS by pyOpenSSL over an asyncio transport: `loop.start_tls` for a server, with an export.

The standard library's TLS gives no exporter, so that nothing can be bound on TLS 1.3. Here the
same place in the stack, between a transport and a protocol, is taken by pyOpenSSL and two
buffers in memory.

Invariants: the protocol hears of the end exactly once, and of nothing after it; plaintext is
delivered only while the protocol reads; what was queued before `close` is sent before the
closure alert. An alert that the peer sends is the end of its data, and so is a lost connection:
protocols whose data end by themselves, as those of SASL, need no more (RFC 8446 section 6.1).
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from OpenSSL import SSL

from sasl_tls.contexts import describe

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["TlsTransport", "accept"]

T = TypeVar("T")

CHUNK: Final = 65536


async def accept(
    transport: asyncio.Transport,
    protocol: asyncio.Protocol,
    context: SSL.Context,
    *,
    handshake_seconds: float,
    shutdown_seconds: float,
) -> TlsTransport:
    """Be the server of a TLS handshake on `transport`.

    Raises:
        OSError: it failed, the peer went, or it took too long (TimeoutError).
    """
    tls = TlsTransport(transport, protocol, context, shutdown_seconds)
    transport.pause_reading()
    transport.set_protocol(tls)
    transport.resume_reading()
    async with asyncio.timeout(handshake_seconds):
        await tls.handshake
    return tls


class TlsTransport(asyncio.Transport, asyncio.Protocol):
    """A transport to the protocol above it, a protocol to the transport below."""

    def __init__(
        self,
        lower: asyncio.Transport,
        upper: asyncio.Protocol,
        context: SSL.Context,
        shutdown_seconds: float,
    ) -> None:
        super().__init__()
        self._lower = lower
        self._upper = upper
        self._shutdown_seconds = shutdown_seconds
        self._loop = asyncio.get_running_loop()
        self._tls = SSL.Connection(context, None)
        self._tls.set_accept_state()
        self.handshake: asyncio.Future[None] = self._loop.create_future()
        self._unsent = bytearray()
        self._reading = True
        self._ended = False  # The peer sends no more.
        self._closing = False
        self._timer: asyncio.TimerHandle | None = None

    # --- the transport below calls these --------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._ended or not data:
            return
        rest = memoryview(data)
        while rest:
            rest = rest[self._tls.bio_write(rest) :]
        self._advance()

    def eof_received(self) -> bool:
        self._peer_ended()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._ended = self._closing = True
        self._unsent.clear()
        if self._established:
            self._upper.connection_lost(exc)
        else:
            _ = self._fail(exc or ConnectionResetError("the connection was lost in the handshake"))

    def pause_writing(self) -> None:
        if self._established:
            self._upper.pause_writing()

    def resume_writing(self) -> None:
        if self._established:
            self._upper.resume_writing()

    # --- the protocol above calls these ---------------------------------------------------------

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """As the transport below, but `cipher`, as `ssl` has it, and `pyopenssl_connection`."""
        if name == "pyopenssl_connection":
            return self._tls
        if name == "cipher":
            tls = self._tls
            return tls.get_cipher_name(), tls.get_protocol_version_name(), tls.get_cipher_bits()
        return self._lower.get_extra_info(name, default)

    def is_closing(self) -> bool:
        return self._closing

    def is_reading(self) -> bool:
        return self._reading and not self._closing

    def pause_reading(self) -> None:
        self._reading = False
        if not self._closing:
            self._lower.pause_reading()

    def resume_reading(self) -> None:
        if self._reading or self._closing:
            return
        self._reading = True
        self._lower.resume_reading()
        # Octets that are decrypted, or could be, wait for nothing from below.
        _ = self._loop.call_soon(self._advance)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._closing and data:
            self._unsent += data
            self._advance_writing()

    def can_write_eof(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return self._lower.get_write_buffer_size() + len(self._unsent)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._lower.set_write_buffer_limits(high, low)

    def close(self) -> None:
        """Send what is queued and the closure alert, and wait for the peer's end, for a while.

        A socket closed over unread octets is reset, and the peer would lose what was sent last.
        """
        if self._closing:
            return
        self._closing = True
        _ = self._guarded(self._tls.shutdown)
        self._flush()
        if self._ended:
            self._lower.close()
            return
        # What still comes is read, and dropped.
        self._lower.resume_reading()
        self._timer = self._loop.call_later(self._shutdown_seconds, self._lower.abort)

    def abort(self) -> None:
        self._closing = True
        self._lower.abort()

    # --- inside ---------------------------------------------------------------------------------

    @property
    def _established(self) -> bool:
        return self.handshake.done() and not (
            self.handshake.cancelled() or self.handshake.exception()
        )

    def _advance(self) -> None:
        """Do all that the octets which are there allow."""
        if not self.handshake.done() and self._guarded(self._shake_hands):
            self.handshake.set_result(None)
        if self._established:
            self._advance_writing()
            while (self._reading or self._closing) and not self._ended:
                data = self._guarded(lambda: self._tls.recv(CHUNK))
                if data is None:
                    break
                if not self._closing:
                    self._upper.data_received(data)
        self._flush()

    def _shake_hands(self) -> bool:
        self._tls.do_handshake()
        return True

    def _advance_writing(self) -> None:
        while self._unsent:
            chunk = bytes(self._unsent[:CHUNK])
            sent = self._guarded(partial(self._tls.send, chunk))
            if sent is None:
                break
            del self._unsent[:sent]
        self._flush()

    def _guarded(self, call: Callable[[], T]) -> T | None:
        """What the TLS library says; None when it waits for octets, heard the end, or failed."""
        try:
            return call()
        except SSL.WantReadError:
            return None
        except SSL.ZeroReturnError:
            self._peer_ended()
            return None
        except SSL.Error as error:
            # An alert says why.
            self._flush()
            failure = ConnectionAbortedError(f"TLS: {describe(error)}")
        self._ended = True
        if not self._fail(failure):
            self._lower.abort()
        return None

    def _flush(self) -> None:
        """Hand what the TLS library wrote to the transport below."""
        while True:
            try:
                data = self._tls.bio_read(CHUNK)
            except SSL.Error:
                # Nothing is there.
                return
            self._lower.write(data)

    def _peer_ended(self) -> None:
        if self._ended:
            return
        self._ended = True
        if not self._established:
            _ = self._fail(ConnectionResetError("the peer ended the connection in the handshake"))
        elif self._closing:
            self._lower.close()
        else:
            _ = self._upper.eof_received()
            # The other direction does not outlive it, as with asyncio's own TLS.
            self.close()

    def _fail(self, error: Exception) -> bool:
        """Fail the handshake, if it is under way."""
        if self.handshake.done():
            return False
        self.handshake.set_exception(error)
        # Whoever waited may have been cancelled meanwhile; asyncio would complain of it.
        _ = self.handshake.exception()
        return True
