"""The SMTP client for asyncio: `client.SmtpClient` with coroutines.

Invariants: those of `client`; a cancelled call closes the connection, for nobody knows how
far it came.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, TypeVar, cast

from sasl_core.plugin import AuthenticationError, PeerError, SaslError, UsageError
from sasl_profiles.smtp.auth import Capabilities
from sasl_profiles.smtp.dialogue import (
    Ask,
    Begin,
    Dialogue,
    Finish,
    Hear,
    Say,
    Secure,
    Step,
    Talk,
    Trace,
)
from sasl_profiles.smtp.endpoint import (
    NO_TLS,
    connection_facts,
    literal,
    no_layer,
    tls_failure,
    unreachable,
)
from sasl_profiles.smtp.replies import ReplyReader, SmtpReply
from sasl_tls import client_bindings
from sasl_tls.stream import ByteStream, UnreadBytesError

if TYPE_CHECKING:
    import ssl
    from types import TracebackType
    from typing import Self

    from sasl_core import ConnectionFacts
    from sasl_core.aio import ClientSession

__all__ = ["AsyncSmtpClient"]

T = TypeVar("T")

LINGER_SECONDS: Final = 1.0


class AsyncSmtpClient:
    """A connection to an SMTP server; `async with` connects it, says EHLO, and ends with QUIT.

    Arguments and methods are those of `SmtpClient`, the methods coroutines.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        timeout: float = 30.0,
        local_name: str | None = None,
        trace: Trace | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self.timeout = timeout
        self._local_name = local_name
        self._trace = trace
        self._dialogue = Dialogue(trace)
        self._reader = ReplyReader()
        self._stream: ByteStream | None = None

    @property
    def capabilities(self) -> Capabilities:
        """What the last EHLO was answered; empty before, and after the connection is gone."""
        return self._dialogue.capabilities

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """The mechanisms that the server offered last."""
        return self.capabilities.mechanisms

    def facts(self) -> ConnectionFacts:
        """What a SASL session has to know of this connection: pass it to `session(...)`.

        Raises:
            UsageError: not connected.
        """
        stream = self._connected()
        tls = stream.transport.get_extra_info("ssl_object")
        bindings = NO_TLS if tls is None else client_bindings(tls)
        return connection_facts(stream.facts(), bindings)

    async def connect(self) -> None:
        """Connect and hear the greeting.

        Raises:
            BackendError: nobody answers, in time or at all.
            PeerError: what answers is no SMTP server.
        """
        if self._stream is not None:
            raise UsageError("connected already")
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self.timeout):
                _, self._stream = await loop.create_connection(ByteStream, self.host, self.port)
                self._dialogue = Dialogue(self._trace)
                self._reader.clear()
                await self._talk(self._dialogue.greet())
        except (OSError, ValueError, OverflowError) as error:
            raise unreachable(error) from None

    async def ehlo(self) -> Capabilities:
        """Say who we are and learn what the server offers."""
        return await self._run(self._dialogue.ehlo(self._name()))

    async def starttls(self, context: ssl.SSLContext) -> Capabilities:
        """Go over to TLS, forget what was said, and say EHLO again. Raises as `SmtpClient`."""
        return await self._run(self._dialogue.starttls(self._name()), context=context)

    async def authenticate(
        self, session: ClientSession, mechanisms: Iterable[str] | None = None
    ) -> None:
        """Log in with this session. Raises as `SmtpClient.authenticate`."""
        try:
            await self._run(self._dialogue.login(mechanisms), session=session)
        except AuthenticationError:
            # A token that was kept from an earlier login is not sent a second time.
            _ = session.refused()
            raise

    async def quit(self) -> None:
        """Say goodbye if the connection still stands, and close it. Never raises a SaslError."""
        try:
            if self._stream is not None:
                await self._run(self._dialogue.quit())
        except SaslError:
            pass
        finally:
            await self.close()

    async def close(self) -> None:
        """Close the connection. Idempotent."""
        stream, self._stream = self._stream, None
        self._dialogue.capabilities = Capabilities()
        if stream is not None:
            await stream.close(LINGER_SECONDS)

    async def __aenter__(self) -> Self:
        await self.connect()
        try:
            _ = await self.ehlo()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.quit()

    # --- supplying what the dialogue asks for -------------------------------------------------

    async def _run(
        self,
        talk: Talk[T],
        session: ClientSession | None = None,
        context: ssl.SSLContext | None = None,
    ) -> T:
        try:
            async with asyncio.timeout(self.timeout):
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
        except SaslError:
            done = not self._dialogue.broken
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
            case Say(line):
                answer = await self._exchange(line + b"\r\n")
            case Hear():
                answer = await self._exchange(b"")
            case Secure() if context is not None:
                await self._secure(context)
            case Begin(offered) if session is not None:
                reply = await session.start(offered)
                answer = session.mechanism or "", reply
            case Step(challenge) if session is not None:
                answer = await session.step(challenge)
            case Finish() if session is not None:
                await session.finish()
                no_layer(session.layer)
            case _:
                raise UsageError(f"nobody answers {type(ask).__name__}")
        return answer

    async def _exchange(self, data: bytes) -> SmtpReply:
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
        self._dialogue.capabilities = Capabilities()
        if stream is not None:
            stream.transport.abort()

    def _connected(self) -> ByteStream:
        if self._stream is None:
            raise UsageError("not connected")
        return self._stream

    def _name(self) -> str:
        extra = self._connected().transport.get_extra_info
        return self._local_name or literal(extra("sockname"))
