"""The SMTP client for asyncio: `client.SmtpClient` with coroutines.

Invariants: those of `sasl_profiles.clients.asyncio_link`.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from sasl_core.plugin import AuthenticationError, SaslError
from sasl_profiles.clients.asyncio_link import AsyncLink
from sasl_profiles.smtp.auth import Capabilities
from sasl_profiles.smtp.dialogue import Dialogue, Talk, Trace
from sasl_profiles.smtp.endpoint import connection_facts, literal
from sasl_profiles.smtp.replies import ReplyReader, SmtpReply

if TYPE_CHECKING:
    import ssl
    from types import TracebackType
    from typing import Self

    from sasl_core import ConnectionFacts
    from sasl_core.aio import ClientSession

__all__ = ["AsyncSmtpClient"]


class AsyncSmtpClient(AsyncLink[Dialogue, SmtpReply]):
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
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._local_name = local_name
        fresh = partial(Dialogue, trace)
        super().__init__(host, port, ReplyReader(), fresh, timeout=timeout, tls=tls)

    def _opening(self) -> Talk[None]:
        return self._dialogue.greet(tls_first=self._tls is not None)

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
        return connection_facts(*self._beneath(), self.host)

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

    def _name(self) -> str:
        extra = self._connected().transport.get_extra_info
        return self._local_name or literal(extra("sockname"))
