"""One client of a MongoDB server: its connection, its exchanges, its login."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from sasl_core.plugin import (
    ChannelBindings,
    MechanismError,
    SaslError,
    UsageError,
    printable,
    raised,
)
from sasl_profiles.mongodb.connection import MongodbConnection
from sasl_profiles.mongodb.events import (
    AuthContinued,
    AuthEnded,
    AuthStarted,
    Closed,
    Command,
    CommandReceived,
    Event,
    LoggedOut,
    ProvidersGiven,
)
from sasl_profiles.mongodb.exchange import SASL_NAMES, X509
from sasl_profiles.mongodb.server_login import ROLES, login_of
from sasl_tls.driver import Driver
from sasl_tokens.bson import encode_document

if TYPE_CHECKING:
    from sasl_core import ConnectionFacts, Reply
    from sasl_core.aio import Server, ServerSession
    from sasl_profiles.mongodb.server import MongodbServer
    from sasl_tls.facts import TransportFacts
    from sasl_tls.stream import ByteStream

__all__ = ["ClientTask", "connection_facts"]

LINGER_SECONDS: Final = 0.5
"""How long a closed connection may take to hear the last answer."""

HANDSHAKE_SECONDS: Final = 30.0

STANDS_SECONDS: Final = 5.0
"""How long it is good for a full server that a login has stood."""

_NO_BINDING: Final = ChannelBindings({}, {"every type": "no driver of MongoDB's binds a login"})

_log = logging.getLogger(__name__)


class ClientTask:
    """What one client's task does, from the connection to its end.

    `born`, `first_exchange`: when the client came, and first began to log in since it came, or
    since it was logged in. `lapsed_since`: when it was told that its login has lapsed.
    `dismissed`: it makes room for another.
    """

    def __init__(self, owner: MongodbServer, stream: ByteStream, number: int) -> None:
        self._owner = owner
        self._stream = stream
        self._limits = owner.limits
        self._machine = MongodbConnection(
            lambda: owner.mechanisms(self._facts()),
            limits=owner.limits,
            number=number,
            embedded=owner.on_command is not None,
        )
        self._clock = asyncio.get_running_loop().time
        self._driver: Driver[Event] = Driver(self._machine, stream, self._deadline)
        self.born = self._exchange_since = self._driver.waiting_since
        self.first_exchange: float | None = None
        self.lapsed_since: float | None = None
        self._stood, self._ask_again = False, self.born
        self._exchange: tuple[Server, ServerSession] | None = None
        self._database = ""
        self._named = b""
        self._login: ServerSession | None = None
        self.dismissed = False

    def stands(self, now: float) -> bool:
        """Whether somebody is logged in, and the login stands.

        A full server asks this of everybody whenever somebody comes: what was found out lasts
        for `STANDS_SECONDS`.
        """
        if not self._machine.authenticated or self._machine.lapsed:
            return False
        if now >= self._ask_again:
            self._stood, self._ask_again = self._machine.stands(), now + STANDS_SECONDS
        return self._stood

    @property
    def spoken(self) -> bool:
        """Whether the client has completed a message."""
        return self._machine.progress > 0

    @property
    def exchanging(self) -> bool:
        """Whether the client is in the middle of a login."""
        return self._machine.exchanging

    @property
    def waiting_since(self) -> float:
        """When the client completed its last message."""
        return self._driver.waiting_since

    async def run(self) -> None:
        linger = LINGER_SECONDS
        try:
            tls = self._owner.tls
            if tls is None:
                self._stream.release()
            else:
                seconds = min(HANDSHAKE_SECONDS, self._limits.login_seconds)
                await self._stream.accept_tls(tls, timeout=seconds)
            await self._serve()
        except OSError:
            # Too late (TimeoutError), gone, or its TLS handshake failed: there is nobody to tell.
            linger = 0.0
        except asyncio.CancelledError:
            linger = 0.0 if self.dismissed else LINGER_SECONDS
            raise
        except Exception as error:  # noqa: BLE001 - the other clients must not suffer.
            _log.error("a client's connection failed: %s", type(error).__name__)
        finally:
            self._machine.give_up()
            self._drop_exchange()
            self._replace_login(None)
            self._driver.flush()
            await self._stream.close(linger)

    async def _serve(self) -> None:
        while True:
            match await self._driver.next_event():
                case AuthStarted() as event:
                    await self._start(event)
                case AuthContinued(payload):
                    await self._continue(payload)
                case AuthEnded():
                    self._drop_exchange()
                case LoggedOut():
                    self._replace_login(None)
                case CommandReceived(command):
                    self._machine.command_done(await self._answer(command))
                case ProvidersGiven(providers):
                    self._reload(providers)
                case Closed():
                    return

    # --- logins -------------------------------------------------------------------------------

    async def _start(self, event: AuthStarted) -> None:
        self._drop_exchange()
        self._database = event.database
        # Of the other mechanisms it has secrets.
        self._named = event.payload if event.mechanism == X509 else b""
        self._exchange_since = self._clock()
        if self.first_exchange is None:
            self.first_exchange = self._exchange_since
        try:
            server = self._owner.server_for(event.mechanism, event.database)
            facts = self._facts()
            facts["success_data"] = event.success_data
            facts["properties"] = (ROLES,)
            if event.mechanism == X509:
                self._owner.check_certificate(facts)
                # MongoDB knows the owners of certificates by name; its authority vouches for more.
                facts["need_account"] = True
            session = server.session(**facts)
            self._exchange = server, session
            name = SASL_NAMES.get(event.mechanism, event.mechanism)
            self._go_on(server, session, await session.start(name, event.payload))
        except SaslError as error:
            self._fail(error)

    async def _continue(self, payload: bytes) -> None:
        if self._exchange is None:  # pragma: no cover - the machine knows when there is one.
            raise UsageError("no exchange is under way")
        server, session = self._exchange
        try:
            self._go_on(server, session, await session.step(payload))
        except SaslError as error:
            self._fail(error)

    def _go_on(self, server: Server, session: ServerSession, reply: Reply) -> None:
        if not reply.done:
            if session.mechanism == SASL_NAMES[X509]:
                raise MechanismError("EXTERNAL has one message here, and a plugin's has more")
            self._machine.challenge(reply.data or b"")
            return
        try:
            login = login_of(self._owner, server, session, self._database, self._named)
        except SaslError as error:
            # The core has told of a login.
            server.core.audit(
                "login",
                error.result,
                session.mechanism or "",
                session.authid,
                session.authzid,
                remote=self._stream.facts().remote or "",
                detail=error.detail or str(error),
            )
            raise
        self._exchange = None
        self._machine.auth_succeeded(login, reply.data)
        self._replace_login(session)
        self._ask_again = self._clock()
        self.first_exchange = self.lapsed_since = None

    def _fail(self, error: SaslError) -> None:
        self._drop_exchange()
        self._machine.auth_failed(error)

    def _drop_exchange(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange[1].close()

    def _replace_login(self, session: ServerSession | None) -> None:
        former, self._login = self._login, session
        if former is not None:
            former.close()

    # --- commands -----------------------------------------------------------------------------

    async def _answer(self, command: Command) -> bytes | None:
        """What whoever embeds this answers, None where that failed."""
        handler = self._owner.on_command
        if handler is None:  # pragma: no cover - the machine was told.
            return None
        try:
            answer = await handler(command)
            return encode_document(answer) if isinstance(answer, Mapping) else _checked(answer)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client hears of a failure.
            # A foreign error's text may hold a secret, so that its place has to do.
            if isinstance(error, SaslError):
                why = error.detail or str(error)
            else:
                why = raised(error, __file__)
            name = printable(command.name, 64)
            _log.error("the command %s could not be answered: %s", name, printable(why, 500))
            return None

    def _reload(self, providers: list[object] | str) -> None:
        try:
            self._owner.reload_providers(providers)
        except SaslError as error:
            self._machine.providers_taken(error)
        else:
            self._machine.providers_taken()

    # --- the stream -----------------------------------------------------------------------------

    def _deadline(self) -> float:
        """Until when the client may complete its next message."""
        machine, limits = self._machine, self._limits
        if machine.lapsed and self.lapsed_since is None:
            self.lapsed_since = self._clock()
        known = machine.authenticated and not machine.lapsed
        seconds = limits.idle_seconds if known else limits.login_seconds
        deadline = self.waiting_since + seconds
        if machine.exchanging:
            deadline = min(deadline, self._exchange_since + limits.login_seconds)
        return deadline

    def _facts(self) -> ConnectionFacts:
        return connection_facts(self._stream.facts())


def connection_facts(beneath: TransportFacts) -> ConnectionFacts:
    """The facts of a MongoDB client's connection over one of which these are known."""
    return {
        "success_data": False,
        "initial_response": True,
        "channel_bindings": _NO_BINDING,
        "external_ssf": beneath.external_ssf,
        "external_id": beneath.external_id,
        "external_until": beneath.external_until,
        "remote": beneath.remote,
        "local": beneath.local,
    }


def _checked(answer: object) -> bytes:
    """BSON that an application gives, as far as a client could not tell where it ends.

    Raises:
        UsageError: it is no document.
    """
    if (
        not isinstance(answer, bytes)
        or len(answer) < 5
        or int.from_bytes(answer[:4], "little") != len(answer)
        or answer[-1]
    ):
        raise UsageError("a command is answered with a mapping, or a document of BSON")
    return answer
