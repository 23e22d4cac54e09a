"""An SMTP submission server for asyncio, whose AUTH is a `sasl_core.aio.Server`'s.

Invariants: one SASL session for each AUTH, closed however it ends; a client that drips,
floods, errs or vanishes costs one task until its limits end it, and the others nothing;
`close` leaves no task, no session and no socket behind.

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
from sasl_profiles.smtp.envelope import Message
from sasl_profiles.smtp.events import (
    AuthResponse,
    AuthStarted,
    Closed,
    Event,
    Limits,
    MessageReceived,
    TlsRequested,
)
from sasl_profiles.smtp.stream import ByteStream
from sasl_tls import ServerTls

if TYPE_CHECKING:
    import ssl
    from types import TracebackType
    from typing import Self

    from sasl_core import ConnectionFacts
    from sasl_core.aio import Server

__all__ = ["MessageHandler", "SmtpServer"]

MessageHandler: TypeAlias = Callable[[Message], Awaitable[None]]
"""Takes a message on; the client hears of success only when it returns."""

LINGER_SECONDS: Final = 1.0
"""How long a closed connection may take to hear the last reply."""

HANDSHAKE_SECONDS: Final = 30.0

NOTED_REASONS: Final = 64

_log = logging.getLogger(__name__)


class SmtpServer:
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
        self.server = server
        self.host_name = host_name
        self.tls = tls if tls is None or isinstance(tls, ServerTls) else ServerTls(tls)
        self.binding = binding
        self.on_message = on_message
        self.limits = limits or Limits()
        self.max_connections = max_connections
        self._listener: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._unbound: set[str] = set()

    @property
    def address(self) -> tuple[str, int]:
        """The first address that it listens at.

        Raises:
            UsageError: it does not listen.
        """
        if self._listener is None or not self._listener.sockets:
            raise UsageError("the server does not listen")
        name = self._listener.sockets[0].getsockname()
        return str(name[0]), int(name[1])

    @property
    def connections(self) -> int:
        """Clients connected now."""
        return len(self._tasks)

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen at `host`, at any free port for 0.

        Raises:
            UsageError: it listens already.
            OSError: the address cannot be had.
            SaslError: the SASL server cannot say what it offers.
        """
        if self._listener is not None:
            raise UsageError("the server listens already")
        # Whatever is wrong with the configuration comes out here, and the plugins are loaded.
        _ = self.mechanisms(connection_facts(None, None, None))
        self._listener = await asyncio.get_running_loop().create_server(
            lambda: ByteStream(self._accept), host, port
        )

    async def close(self) -> None:
        """Stop listening and send every client away. Idempotent."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        listener.close()
        tasks = list(self._tasks)
        for task in tasks:
            _ = task.cancel()
        _ = await asyncio.gather(*tasks, return_exceptions=True)
        await listener.wait_closed()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def mechanisms(self, facts: ConnectionFacts) -> tuple[str, ...]:
        """What EHLO offers on a connection of which these facts are known."""
        session = self.server.session(**facts)
        try:
            return session.mechanisms()
        finally:
            session.close()

    def note_unbound(self, bindings: ChannelBindings) -> None:
        """Log why -PLUS is not offered: once for each reason, not for each client."""
        why = bindings.why_none()
        if self.binding is not BindingPolicy.OFF and why not in self._unbound:
            if len(self._unbound) < NOTED_REASONS:
                self._unbound.add(why)
            _log.info("no mechanism with channel binding (-PLUS) is offered over TLS: %s", why)

    def _accept(self, stream: ByteStream) -> None:
        client = _Client(self, stream)
        if len(self._tasks) >= self.max_connections or self._listener is None:
            client.turn_away("Too many connections")
            return

        def done(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            # A task that is cancelled before its first step runs no line of `run`, not even
            # what closes the connection.
            if not stream.transport.is_closing():
                client.turn_away("Shutting down")

        task = asyncio.get_running_loop().create_task(client.run())
        self._tasks.add(task)
        task.add_done_callback(done)


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
        self._clock = asyncio.get_running_loop().time
        self._born = self._clock()
        self._idle_since = self._born
        self._progress = -1
        self._who = ("", "")
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
            self._machine.give_up("Shutting down")
            linger = LINGER_SECONDS / 2
            raise
        except Exception as error:  # noqa: BLE001 - the other clients must not suffer.
            _log.error("a client's connection failed: %s", type(error).__name__)
            self._machine.give_up("Internal error")
        finally:
            self._flush()
            await self._stream.close(linger)

    async def _serve(self) -> None:
        while True:
            match await self._next():
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
        try:
            async with self._owner.server.session(**self._facts()) as session:
                reply = await session.start(mechanism, initial)
                while not reply.done:
                    machine.challenge(reply.data or b"")
                    event = await self._next()
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
            machine.auth_succeeded()

    async def _upgrade(self) -> None:
        stream, machine, tls = self._stream, self._machine, self._owner.tls
        stream.hold()
        if stream.unread:
            machine.receive(await stream.read())
        if tls is None or not machine.accept_tls():
            return
        self._flush()
        await stream.accept_tls(tls, timeout=min(HANDSHAKE_SECONDS, self._limits.idle_seconds))
        self._bindings = tls.bindings(stream.transport, self._owner.binding)
        if not self._bindings:
            self._owner.note_unbound(self._bindings)
        machine.tls_started()
        self._idle_since = self._clock()

    async def _deliver(self, event: MessageReceived) -> None:
        accepted = True
        if self._owner.on_message is not None:
            message = Message(event.envelope, event.data, *self._who, self._facts().get("remote"))
            try:
                await self._owner.on_message(message)
            except Exception as error:  # noqa: BLE001 - whatever it is, the client keeps its mail.
                _log.error("a message could not be taken on: %s", type(error).__name__)
                accepted = False
        self._machine.message_done(accepted=accepted)

    # --- the stream -------------------------------------------------------------------------

    async def _next(self) -> Event:
        machine = self._machine
        while (event := machine.next_event()) is None:
            self._flush()
            if machine.progress != self._progress:
                self._progress = machine.progress
                self._idle_since = self._clock()
            deadline = self._idle_since + self._limits.idle_seconds
            if not machine.authenticated:
                deadline = min(deadline, self._born + self._limits.login_seconds)
            async with asyncio.timeout_at(deadline):
                await self._stream.drain()
                machine.receive(await self._stream.read())
        return event

    def _flush(self) -> None:
        self._stream.write(self._machine.data_to_send())

    def _facts(self) -> ConnectionFacts:
        extra = self._stream.transport.get_extra_info
        facts = connection_facts(
            extra("peername"), extra("sockname"), self._stream.cipher, self._bindings
        )
        facts["binding_policy"] = self._owner.binding
        return facts
