"""`blocking.BlockingLink` for asyncio.

Invariants: those of `blocking`; a cancelled call closes the connection, for nobody knows how
far it came.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from traceback import clear_frames
from typing import TYPE_CHECKING, Final, Generic, TypeVar, cast

from sasl_core.plugin import PeerError, SaslError, UsageError
from sasl_profiles.clients.beneath import NO_TLS, no_layer, tls_failure, unreachable
from sasl_profiles.clients.talk import (
    NOTHING,
    Ask,
    Begin,
    Conversation,
    Finish,
    Reader,
    Secure,
    Step,
    Talk,
    Utterance,
)
from sasl_tls import client_bindings
from sasl_tls.stream import ByteStream, UnreadBytesError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable

    from sasl_core.aio import ClientSession
    from sasl_core.plugin import ChannelBindings
    from sasl_tls.facts import TransportFacts

__all__ = ["AsyncLink"]

D = TypeVar("D", bound=Conversation)
R = TypeVar("R")
T = TypeVar("T")

LINGER_SECONDS: Final = 1.0


class AsyncLink(ABC, Generic[D, R]):
    """A connection and its dialogue; a protocol's client derives from it.

    Arguments and methods are those of `BlockingLink`, the methods coroutines.
    """

    def __init__(
        self,
        host: str,
        port: int,
        reader: Reader[R],
        fresh: Callable[[], D],
        *,
        timeout: float,
        tls: ssl.SSLContext | None,
    ) -> None:
        self.host = host
        self.port = port
        self.timeout = timeout
        self._tls = tls
        self._reader = reader
        self._fresh = fresh
        self._dialogue = fresh()
        self._stream: ByteStream | None = None
        self._limit: asyncio.Timeout | None = None

    @abstractmethod
    def _opening(self) -> Talk[None]:
        """What `connect` runs on the connection: TLS if it comes first, and the first words."""

    async def connect(self) -> None:
        """Connect, put TLS beneath if it comes first, and hear a greeting if there is one.

        Raises:
            BackendError: nobody answers, in time or at all.
            PeerError: what answers speaks another protocol, or is not whom TLS has to prove it
                to be (code `tls`).
        """
        if self._stream is not None:
            raise UsageError("connected already")
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self.timeout) as self._limit:
                _, self._stream = await loop.create_connection(ByteStream, self.host, self.port)
                self._dialogue = self._fresh()
                self._reader.clear()
                await self._talk(self._opening(), context=self._tls)
        except (OSError, ValueError, OverflowError) as error:
            raise unreachable(error) from None

    async def close(self) -> None:
        """Close the connection. Idempotent."""
        stream, self._stream = self._stream, None
        self._dialogue.forget()
        if stream is not None:
            await stream.close(LINGER_SECONDS)

    def _beneath(self) -> tuple[TransportFacts, ChannelBindings]:
        """What is known of the connection, and what it can be bound by.

        Raises:
            UsageError: not connected.
        """
        stream = self._connected()
        tls = stream.transport.get_extra_info("ssl_object")
        return stream.facts(), NO_TLS if tls is None else client_bindings(tls)

    # --- supplying what the dialogue asks for -------------------------------------------------

    async def _run(
        self,
        talk: Talk[T],
        session: ClientSession | None = None,
        context: ssl.SSLContext | None = None,
    ) -> T:
        try:
            async with asyncio.timeout(self.timeout) as self._limit:
                return await self._talk(talk, session, context)
        except TimeoutError as error:
            raise unreachable(error) from None

    async def _talk(
        self,
        talk: Talk[T],
        session: ClientSession | None = None,
        context: ssl.SSLContext | None = None,
    ) -> T:
        done = False
        try:
            ask = next(talk)
            while True:
                try:
                    answer = await self._supply(ask, session, context)
                except SaslError as error:
                    ask = talk.throw(error)
                else:
                    ask = talk.send(answer)
        except StopIteration as stop:
            done = True
            return cast("T", stop.value)
        except SaslError as error:
            done = not self._dialogue.broken
            # What was said may be a secret, and stands in no frame of the traceback.
            clear_frames(error.__traceback__)
            ask = NOTHING
            raise
        finally:
            talk.close()
            if not done:
                self._cut()

    async def _supply(
        self, ask: Ask[object], session: ClientSession | None, context: ssl.SSLContext | None
    ) -> object:
        answer: object = None
        match ask:
            case Utterance():
                answer = await self._exchange(ask.octets)
            case Secure() if context is not None:
                await self._secure(context)
            case Begin(offered) if session is not None:
                reply = await self._untimed(session.start(offered))
                answer = session.mechanism or "", reply
            case Step(challenge) if session is not None:
                answer = await self._untimed(session.step(challenge))
            case Finish(data) if session is not None:
                await self._untimed(session.finish(data))
                no_layer(session.layer)
            case _:
                raise UsageError(f"nobody answers {type(ask).__name__}")
        return answer

    async def _untimed(self, step: Awaitable[T]) -> T:
        """Wait for what is not the server's to delay: a source of tokens has its own limits."""
        limit, loop = self._limit, asyncio.get_running_loop()
        until = None if limit is None else limit.when()
        if limit is None or until is None or limit.expired():
            return await step
        began = loop.time()
        limit.reschedule(None)
        try:
            return await step
        finally:
            limit.reschedule(until + loop.time() - began)

    async def _exchange(self, data: bytes) -> R:
        """Send, and hear the next reply; whatever fails here leaves the connection in doubt."""
        stream = self._connected()
        self._dialogue.broken = True
        stream.write(data)
        await stream.drain()
        while (reply := self._reader.next_reply()) is None:
            received = await stream.read()
            if not received:
                raise PeerError("the server closed the connection", code="closed")
            self._reader.feed(received)
        self._dialogue.broken = False
        return reply

    async def _secure(self, context: ssl.SSLContext) -> None:
        stream = self._connected()
        self._dialogue.broken = True
        try:
            if len(self._reader):
                raise UnreadBytesError
            await stream.start_tls(context, server_hostname=self.host, timeout=self.timeout)
        except UnreadBytesError:
            raise PeerError("the server sent data before the TLS handshake", code="tls") from None
        except (OSError, ValueError) as error:
            raise tls_failure(error) from None
        self._dialogue.broken = False

    def _cut(self) -> None:
        """Drop a connection that is in doubt."""
        stream, self._stream = self._stream, None
        self._dialogue.forget()
        if stream is not None:
            stream.transport.abort()

    def _connected(self) -> ByteStream:
        if self._stream is None:
            raise UsageError("not connected")
        return self._stream
