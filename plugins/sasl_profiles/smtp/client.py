"""A blocking SMTP client that logs in.

Invariants: no call takes longer than `timeout` in all, however slowly the server drips; a
time that ran out is a `BackendError`, nonsense is a `PeerError`, and after either the socket
is closed. What the server sent before the TLS handshake is never read after it.

Sources: RFC 5321 section 4.5.3.2, RFC 4954, RFC 3207.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeVar, cast

from sasl_core import ConnectionFacts
from sasl_core.plugin import AuthenticationError, BackendError, PeerError, SaslError, UsageError
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
from sasl_tls.facts import transport_facts

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from sasl_core import ClientSession

__all__ = ["SmtpClient"]

T = TypeVar("T")


class SmtpClient:
    """A connection to an SMTP server; `with` connects it, says EHLO, and ends with QUIT.

    `timeout`: seconds that any one call may take in all; looking the host's name up is the
    system's affair and is not counted. `local_name`: what EHLO says, by default the address
    literal of our end. `trace` gets every line, secrets masked.
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
        self._socket: socket.socket | None = None
        self._deadline = 0.0

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

        With TLS that includes what the connection can be bound by.

        Raises:
            UsageError: not connected. BackendError: the server has gone.
        """
        connected = self._connected()
        cipher, bindings = None, NO_TLS
        if isinstance(connected, ssl.SSLSocket):
            cipher, bindings = connected.cipher(), client_bindings(connected)
        try:
            remote = connected.getpeername()
        except OSError as error:
            raise unreachable(error) from None
        return connection_facts(transport_facts(remote, connected.getsockname(), cipher), bindings)

    def connect(self) -> None:
        """Connect and hear the greeting.

        Raises:
            BackendError: nobody answers, in time or at all.
            PeerError: what answers is no SMTP server.
        """
        if self._socket is not None:
            raise UsageError("connected already")
        self._deadline = time.monotonic() + self.timeout
        try:
            addresses = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except (OSError, ValueError, OverflowError) as error:
            raise unreachable(error) from None
        failure = BackendError("the host has no address", code="connection")
        for family, kind, protocol, _, address in addresses:
            fresh = socket.socket(family, kind, protocol)
            try:
                fresh.settimeout(self._left())
                fresh.connect(address)
            except (OSError, OverflowError) as error:
                fresh.close()
                failure = unreachable(error)
            else:
                self._dialogue = Dialogue(self._trace)
                self._reader.clear()
                self._socket = fresh
                return self._talk(self._dialogue.greet())
        raise failure

    def ehlo(self) -> Capabilities:
        """Say who we are and learn what the server offers."""
        return self._run(self._dialogue.ehlo(self._name()))

    def starttls(self, context: ssl.SSLContext) -> Capabilities:
        """Go over to TLS, forget what was said, and say EHLO again.

        The context decides whether the server's certificate and name are checked;
        `ssl.create_default_context()` does.

        Raises:
            PeerError: the server does not offer TLS (`no-starttls`), sent on before the
                handshake, or the handshake or the certificate failed (`tls`).
        """
        return self._run(self._dialogue.starttls(self._name()), context=context)

    def authenticate(self, session: ClientSession, mechanisms: Iterable[str] | None = None) -> None:
        """Log in with this session, by the best of `mechanisms` (default: those offered).

        A name stands for its -PLUS variant too, if the server offers that.

        Make the session with `client.session(..., **smtp.facts())`, so that it knows
        whether TLS protects the connection. When it is refused, `session.refused()` says
        whether another session may do better, with a new access token.

        Raises:
            AuthenticationError: refused, or the server did not prove itself.
            MechanismError: no mechanism fits, or the server wants another.
            PeerError: the server broke the protocol. BackendError: it cannot now, or not
                in time.
        """
        try:
            self._run(self._dialogue.login(mechanisms), session=session)
        except AuthenticationError:
            # A token that was kept from an earlier login is not sent a second time.
            _ = session.refused()
            raise

    def quit(self) -> None:
        """Say goodbye if the connection still stands, and close it. Never raises a SaslError."""
        try:
            if self._socket is not None:
                self._run(self._dialogue.quit())
        except SaslError:
            pass
        finally:
            self.close()

    def close(self) -> None:
        """Close the socket. Idempotent."""
        connected, self._socket = self._socket, None
        self._dialogue.capabilities = Capabilities()
        if connected is not None:
            connected.close()

    def __enter__(self) -> Self:
        self.connect()
        try:
            _ = self.ehlo()
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
        self.quit()

    # --- supplying what the dialogue asks for -------------------------------------------------

    def _run(
        self,
        talk: Talk[T],
        session: ClientSession | None = None,
        context: ssl.SSLContext | None = None,
    ) -> T:
        self._deadline = time.monotonic() + self.timeout
        return self._talk(talk, session, context)

    def _talk(
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
                    answer = self._supply(ask, session, context)
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
                self.close()

    def _supply(
        self, ask: Ask[object], session: ClientSession | None, context: ssl.SSLContext | None
    ) -> object:
        answer: object = None
        match ask:
            case Say(line):
                answer = self._exchange(line + b"\r\n")
            case Hear():
                answer = self._exchange(b"")
            case Secure() if context is not None:
                self._secure(context)
            case Begin(offered) if session is not None:
                reply = session.start(offered)
                answer = session.mechanism or "", reply
            case Step(challenge) if session is not None:
                answer = session.step(challenge)
            case Finish() if session is not None:
                session.finish()
                no_layer(session.layer)
            case _:
                raise UsageError(f"nobody answers {type(ask).__name__}")
        return answer

    def _exchange(self, data: bytes) -> SmtpReply:
        """Send, and hear the next reply; whatever fails here leaves the connection in doubt."""
        connected = self._connected()
        self._dialogue.broken = True
        try:
            while data:
                connected.settimeout(self._left())
                data = data[connected.send(data) :]
            while (reply := self._reader.next_reply()) is None:
                connected.settimeout(self._left())
                received = connected.recv(16384)
                if not received:
                    raise PeerError("the server closed the connection", code="closed")
                self._reader.feed(received)
        except OSError as error:
            raise unreachable(error) from None
        self._dialogue.broken = False
        return reply

    def _secure(self, context: ssl.SSLContext) -> None:
        connected = self._connected()
        self._dialogue.broken = True
        if len(self._reader):
            raise PeerError("the server sent data before the TLS handshake", code="tls")
        try:
            connected.settimeout(self._left())
            self._socket = context.wrap_socket(connected, server_hostname=self.host)
        except TimeoutError as error:
            raise unreachable(error) from None
        except (OSError, ValueError) as error:
            raise tls_failure(error) from None
        self._dialogue.broken = False

    def _connected(self) -> socket.socket:
        if self._socket is None:
            raise UsageError("not connected")
        return self._socket

    def _name(self) -> str:
        return self._local_name or literal(self._connected().getsockname())

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left
