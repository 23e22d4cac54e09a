"""The MongoDB client for asyncio: `client.MongodbClient` with coroutines.

Invariants: those of `sasl_profiles.clients.asyncio_link`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from sasl_core.plugin import AuthenticationError
from sasl_profiles.clients.asyncio_link import AsyncLink
from sasl_profiles.mongodb.client_dialogue import Dialogue, Trace
from sasl_profiles.mongodb.client_login import LOGINS, connection_facts, password_for
from sasl_profiles.mongodb.client_wire import MongodbReply, ReplyReader

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable
    from types import TracebackType
    from typing import Self

    from sasl_core import ConnectionFacts
    from sasl_core.aio import Client, ClientSession
    from sasl_core.plugin import Prompt
    from sasl_profiles.clients.talk import Talk

__all__ = ["AsyncMongodbClient"]


class AsyncMongodbClient(AsyncLink[Dialogue, MongodbReply]):
    """A connection to a MongoDB server; `async with` connects it and says hello.

    Arguments and methods are those of `MongodbClient`, the methods coroutines.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        user: str | None = None,
        mechanism: str | None = None,
        database: str | None = None,
        timeout: float = 30.0,
        tls: ssl.SSLContext | None = None,
        trace: Trace | None = None,
    ) -> None:
        fresh = partial(Dialogue, user=user, mechanism=mechanism, database=database, trace=trace)
        super().__init__(host, port, ReplyReader(), fresh, timeout=timeout, tls=tls)
        self._session: ClientSession | None = None

    def _opening(self) -> Talk[None]:
        return self._dialogue.open(tls=self._tls is not None)

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """What the user can log in by, as far as that is known; () before hello."""
        return self._dialogue.mechanisms

    def facts(self) -> ConnectionFacts:
        """What a SASL session has to know of this connection: pass it to `session(...)`.

        Raises:
            UsageError: not connected.
        """
        return connection_facts(self._beneath()[0], self.host)

    def password(self, user: str, text: str) -> Callable[[Prompt], str]:
        """The password of `user` for `session(password=...)`, in the form that MongoDB wants.

        With SCRAM-SHA-1 that is a digest of it. It is for sessions of this connection.
        """
        return password_for(user, text, lambda: self._session)

    async def hello(self) -> None:
        """Say hello, and learn by what the user can log in. Raises as `MongodbClient`."""
        await self._run(self._dialogue.hello())

    async def authenticate(
        self, session: ClientSession, mechanisms: Iterable[str] | None = None
    ) -> None:
        """Log in with this session. Raises as `MongodbClient.authenticate`."""
        self._session = session
        try:
            await self._run(self._dialogue.login(mechanisms), session=session)
        except AuthenticationError:
            # A token that was kept from an earlier login is not sent a second time.
            _ = session.refused()
            raise
        finally:
            self._session = None

    async def login(
        self,
        client: Client,
        *,
        authid: str | None = None,
        password: str | None = None,
        token: str | None = None,
    ) -> ClientSession:
        """Log in with a session of `client`'s. As `MongodbClient.login`."""
        given = None if password is None else self.password(authid or "", password)
        for left in reversed(range(LOGINS)):
            session = client.session(authid=authid, password=given, token=token, **self.facts())
            try:
                await self.authenticate(session)
                return session
            except BaseException as error:
                again = left > 0 and isinstance(error, AuthenticationError) and session.refused()
                session.close()
                if not again:
                    # They stand in no frame of the traceback.
                    password = token = given = None
                    raise
        raise AuthenticationError  # pragma: no cover - the last attempt has returned or raised.

    async def __aenter__(self) -> Self:
        await self.connect()
        try:
            await self.hello()
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
        await self.close()
