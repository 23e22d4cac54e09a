"""An SMTP submission server for asyncio, whose AUTH is a `sasl_core.aio.Server`'s.

Invariants: one SASL session for each AUTH, closed when it fails or with the connection, and nobody
hands in mail after a login that has lapsed; a client that drips, floods, errs or vanishes costs
one task until its limits end it, and the others nothing; `close` leaves no task, no session and
no socket behind.

Sources: RFC 5321, RFC 4954, RFC 3207, RFC 6409.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from sasl_core.plugin import (
    BindingPolicy,
    ChannelBindings,
    SaslError,
    UsageError,
    printable,
)
from sasl_profiles.smtp.connection import SmtpConnection
from sasl_profiles.smtp.endpoint import NO_TLS, connection_facts, no_layer
from sasl_profiles.smtp.envelope import Message, MessageRefusedError
from sasl_profiles.smtp.events import (
    AuthResponse,
    AuthStarted,
    Closed,
    Event,
    Limits,
    MessageReceived,
    TlsRequested,
)
from sasl_tls import ServerTls
from sasl_tls.driver import Driver
from sasl_tls.facts import TransportFacts
from sasl_tls.listener import Refusal, StreamServer

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from sasl_core import ConnectionFacts
    from sasl_core.aio import Server, ServerSession
    from sasl_tls.stream import ByteStream

__all__ = ["MessageHandler", "SmtpServer"]

MessageHandler: TypeAlias = Callable[[Message], Awaitable[None]]
"""Takes a message on; the client hears of success only when it returns.

When it raises `MessageRefusedError`, the client hears 550 and its reason; after any other
exception 451, and it tries again later. Both are logged, with who logged in.
"""

LINGER_SECONDS: Final = 1.0
"""How long a closed connection may take to hear the last reply."""

HANDSHAKE_SECONDS: Final = 30.0

NOTED_REASONS: Final = 64

FAREWELLS: Final[Mapping[Refusal, str]] = {
    Refusal.FULL: "Too many connections",
    Refusal.CLOSING: "Shutting down",
}

_log = logging.getLogger(__name__)


class SmtpServer(StreamServer["_Client"]):
    """Listens, and lets clients log in and hand in mail.

    `server`: whose users they are; it stays open when this is closed. `host_name`: what the
    greeting says. `tls`: offer STARTTLS with this; a bare context of `ssl` does not tell its
    certificate, so that there is no tls-server-end-point. `binding`: what is demanded of
    channel binding; REQUIRE leaves nothing to offer before STARTTLS. `on_message`: takes
    messages on; without it they are accepted and dropped. `limits`: of each client.
    `max_connections`: clients beyond it hear 421.
    """

    def __init__(
        self,
        server: Server,
        *,
        host_name: str,
        tls: ServerTls | ssl.SSLContext | None = None,
        binding: BindingPolicy = BindingPolicy.WANT,
        on_message: MessageHandler | None = None,
        limits: Limits | None = None,
        max_connections: int = 1000,
    ) -> None:
        if not (host_name.isascii() and host_name.isprintable()) or " " in host_name:
            raise UsageError("host_name is a host's name")
        super().__init__(max_connections=max_connections)
        self.server = server
        self.host_name = host_name
        self.tls = tls if tls is None or isinstance(tls, ServerTls) else ServerTls(tls)
        self.binding = binding
        self.on_message = on_message
        self.limits = limits or Limits()
        self._unbound: set[str] = set()

    def mechanisms(self, facts: ConnectionFacts) -> tuple[str, ...]:
        """What EHLO offers on a connection of which these facts are known."""
        session = self.server.session(**facts)
        try:
            return session.mechanisms()
        finally:
            session.close()

    def note_unbound(self, bindings: ChannelBindings) -> None:
        """Log why -PLUS is not offered: once for each reason, not for each client.

        In one line what comes first and can be changed; `rejected` of a session has all reasons.
        """
        why = bindings.why_none()
        if self.binding is not BindingPolicy.OFF and why not in self._unbound:
            if len(self._unbound) < NOTED_REASONS:
                self._unbound.add(why)
            reasons = (
                f"{name}: {why_not}"
                for name, why_not in bindings.missing.items()
                if "not defined" not in why_not  # for the version of TLS: that stays so
            )
            first = printable(next(reasons, why), 300)
            _log.info("no -PLUS (channel binding) is offered over TLS: %s", first)

    def _check(self) -> None:
        _ = self.mechanisms(connection_facts(TransportFacts()))

    def _client(self, stream: ByteStream) -> _Client:
        return _Client(self, stream)

    def _turn_away(self, stream: ByteStream, why: Refusal) -> None:
        _Client(self, stream).turn_away(FAREWELLS[why])


class _Client:
    """One client's task."""

    def __init__(self, owner: SmtpServer, stream: ByteStream) -> None:
        self._owner = owner
        self._stream = stream
        self._limits = owner.limits
        self._machine = SmtpConnection(
            owner.host_name,
            lambda: owner.mechanisms(self._facts()),
            starttls=owner.tls is not None,
            limits=owner.limits,
        )
        self._driver: Driver[Event] = Driver(self._machine, stream, self._deadline)
        self._born = self._driver.waiting_since
        self._who = ("", "")
        self._login_session: ServerSession | None = None
        self._bindings = NO_TLS

    def turn_away(self, text: str) -> None:
        """Say 421 and this text in the place of a greeting, and close."""
        _ = self._machine.data_to_send()
        self._machine.give_up(text)
        self._stream.write(self._machine.data_to_send())
        self._stream.transport.close()

    async def run(self) -> None:
        linger = LINGER_SECONDS
        try:
            async with asyncio.timeout(self._limits.total_seconds):
                await self._serve()
        except TimeoutError:
            self._machine.give_up("Timeout")
        except OSError:
            # The client has gone, or its TLS handshake failed; there is nobody to tell.
            linger = 0.0
        except asyncio.CancelledError:
            self._machine.give_up(FAREWELLS[Refusal.CLOSING])
            linger = LINGER_SECONDS / 2
            raise
        except Exception as error:  # noqa: BLE001 - the other clients must not suffer.
            _log.error("a client's connection failed: %s", type(error).__name__)
            self._machine.give_up("Internal error")
        finally:
            if self._login_session is not None:
                self._login_session.close()
            self._driver.flush()
            await self._stream.close(linger)

    async def _serve(self) -> None:
        while True:
            match await self._driver.next_event():
                case AuthStarted(mechanism, initial):
                    await self._login(mechanism, initial)
                case TlsRequested():
                    await self._upgrade()
                case MessageReceived() as event:
                    await self._deliver(event)
                case Closed():
                    return
                case event:
                    raise UsageError(f"{type(event).__name__} outside of an exchange")

    async def _login(self, mechanism: str, initial: bytes | None) -> None:
        machine = self._machine
        session: ServerSession | None = None
        try:
            session = self._owner.server.session(**self._facts())
            reply = await session.start(mechanism, initial)
            while not reply.done:
                machine.challenge(reply.data or b"")
                event = await self._driver.next_event()
                if not isinstance(event, AuthResponse):
                    return
                reply = await session.step(event.data)
            no_layer(session.layer)
            self._who = (session.authid, session.authzid)
            if session.channel_binding is not None:
                _log.info(
                    "%s is bound to its TLS connection by %s",
                    printable(session.authid),
                    session.channel_binding,
                )
        except SaslError as error:
            machine.auth_failed(error)
        else:
            # It says whether the login stands, as long as the connection does.
            self._login_session = session
            machine.auth_succeeded(session.valid)
        finally:
            if session is not None and session is not self._login_session:
                session.close()

    async def _upgrade(self) -> None:
        stream, machine, tls = self._stream, self._machine, self._owner.tls
        stream.hold()
        if stream.unread:
            machine.receive(await stream.read())
        if tls is None or not machine.accept_tls():
            return
        self._driver.flush()
        await stream.accept_tls(tls, timeout=min(HANDSHAKE_SECONDS, self._limits.idle_seconds))
        self._bindings = tls.bindings(stream.transport, self._owner.binding)
        if not self._bindings:
            self._owner.note_unbound(self._bindings)
        machine.tls_started()
        self._driver.note_progress()

    async def _deliver(self, event: MessageReceived) -> None:
        accepted, refusal = True, None
        if self._owner.on_message is not None:
            message = Message(event.envelope, event.data, *self._who, self._facts().get("remote"))
            who = printable(message.authid)
            try:
                await self._owner.on_message(message)
            except MessageRefusedError as error:
                _log.warning("a message of %s is refused: %s", who, error.reason)
                accepted, refusal = False, error
            except Exception as error:  # noqa: BLE001 - whatever it is, the client keeps its mail.
                kind = type(error).__name__
                _log.error("a message of %s could not be taken on: %s", who, kind)
                accepted = False
        self._machine.message_done(accepted=accepted, refusal=refusal)

    # --- the stream -------------------------------------------------------------------------

    def _deadline(self) -> float:
        """Until when the client may complete what it says next."""
        idle = self._driver.waiting_since + self._limits.idle_seconds
        if self._machine.authenticated:
            return idle
        return min(idle, self._born + self._limits.login_seconds)

    def _facts(self) -> ConnectionFacts:
        facts = connection_facts(self._stream.facts(), self._bindings)
        facts["binding_policy"] = self._owner.binding
        return facts
