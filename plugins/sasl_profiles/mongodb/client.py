"""A blocking client that logs in to a MongoDB server.

Invariants: those of `sasl_profiles.clients.blocking`.

Source: MongoDB's driver specifications, "Authentication".
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from sasl_core.plugin import AuthenticationError
from sasl_profiles.clients.blocking import BlockingLink
from sasl_profiles.mongodb.client_dialogue import Dialogue, Trace
from sasl_profiles.mongodb.client_login import LOGINS, connection_facts, password_for
from sasl_profiles.mongodb.client_wire import MongodbReply, ReplyReader

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable
    from types import TracebackType
    from typing import Self

    from sasl_core import Client, ClientSession, ConnectionFacts
    from sasl_core.plugin import Prompt
    from sasl_profiles.clients.talk import Talk

__all__ = ["MongodbClient"]


class MongodbClient(BlockingLink[Dialogue, MongodbReply]):
    """A connection to a MongoDB server; `with` connects it and says hello.

    `user`: who will log in; the server is asked by what, unless `mechanism` names one.
    `database`: where that user is (`authSource`), by default `admin` for SCRAM and `$external`
    for all else. `tls`: what checks the server's certificate and name, as
    `ssl.create_default_context()` does; None: no TLS. `timeout`: seconds that any one call may
    take in all; looking the host's name up is not counted, nor is what the SASL session does by
    itself, as asking a person. `trace` gets every command and reply, secrets masked.

    Raises:
        UsageError: `database` is no name of one, or there is no such login at it.
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
            UsageError: not connected. BackendError: the server has gone.
        """
        return connection_facts(self._beneath()[0], self.host)

    def password(self, user: str, text: str) -> Callable[[Prompt], str]:
        """The password of `user` for `session(password=...)`, in the form that MongoDB wants.

        With SCRAM-SHA-1 that is a digest of it. It is for sessions of this connection.
        """
        return password_for(user, text, lambda: self._session)

    def hello(self) -> None:
        """Say hello, and learn by what the user can log in.

        Raises:
            PeerError: what answers is no MongoDB server, or does not want us.
            BackendError: not in time.
        """
        self._run(self._dialogue.hello())

    def authenticate(self, session: ClientSession, mechanisms: Iterable[str] | None = None) -> None:
        """Log in with this session, by the best of `mechanisms` (default: our own).

        Make the session with `client.session(..., **mongodb.facts())`, its password with
        `mongodb.password(user, text)`. When it is refused, `session.refused()` says whether
        another session may do better, with a new access token.

        Raises:
            AuthenticationError: refused, or the server did not prove itself.
            MechanismError: no mechanism fits, or the server has not this one.
            PeerError: the server broke the protocol. BackendError: it cannot now, or not
                in time.
        """
        self._session = session
        try:
            self._run(self._dialogue.login(mechanisms), session=session)
        except AuthenticationError:
            # A token that was kept from an earlier login is not sent a second time.
            _ = session.refused()
            raise
        finally:
            self._session = None

    def login(
        self,
        client: Client,
        *,
        authid: str | None = None,
        password: str | None = None,
        token: str | None = None,
    ) -> ClientSession:
        """Log in with a session of `client`'s, which is returned; close it.

        When a token is refused that was kept from an earlier login, another is fetched, and
        the login is tried once more; twice for a person, whose refresh token goes first.

        Raises:
            SaslError: as `authenticate`.
        """
        given = None if password is None else self.password(authid or "", password)
        for left in reversed(range(LOGINS)):
            session = client.session(authid=authid, password=given, token=token, **self.facts())
            try:
                self.authenticate(session)
                return session
            except BaseException as error:
                again = left > 0 and isinstance(error, AuthenticationError) and session.refused()
                session.close()
                if not again:
                    # They stand in no frame of the traceback.
                    password = token = given = None
                    raise
        raise AuthenticationError  # pragma: no cover - the last attempt has returned or raised.

    def __enter__(self) -> Self:
        self.connect()
        try:
            self.hello()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
