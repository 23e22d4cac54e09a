"""A blocking connection that a client's dialogues run on.

Invariants: no call takes longer than `timeout` in all, however slowly the server drips, the time
apart that the SASL session takes, which may ask a person; a time that ran out is a
`BackendError`, nonsense is a `PeerError`, and after either the socket is closed. What the
server sent before a TLS handshake is never read after it.
"""

from __future__ import annotations

import socket
import ssl
import time
from abc import ABC, abstractmethod
from traceback import clear_frames
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from sasl_core.plugin import BackendError, PeerError, SaslError, UsageError
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
from sasl_tls.facts import transport_facts

if TYPE_CHECKING:
    from collections.abc import Callable

    from sasl_core import ClientSession
    from sasl_core.plugin import ChannelBindings
    from sasl_tls.facts import TransportFacts

__all__ = ["BlockingLink"]

D = TypeVar("D", bound=Conversation)
R = TypeVar("R")
T = TypeVar("T")


class BlockingLink(ABC, Generic[D, R]):
    """A connection and its dialogue; a protocol's client derives from it.

    `fresh` makes the dialogue of a connection, `reader` replies of its octets. `timeout`: seconds
    that any one call may take in all; looking the host's name up is the system's affair and is
    not counted, nor is what the SASL session does by itself. `tls`: what checks the server where
    TLS comes before the first word; the context decides whether certificate and name are
    checked, `ssl.create_default_context()` does.
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
        self._socket: socket.socket | None = None
        self._deadline = 0.0

    @abstractmethod
    def _opening(self) -> Talk[None]:
        """What `connect` runs on the connection: TLS if it comes first, and the first words."""

    def connect(self) -> None:
        """Connect, put TLS beneath if it comes first, and hear a greeting if there is one.

        Raises:
            BackendError: nobody answers, in time or at all.
            PeerError: what answers speaks another protocol, or is not whom TLS has to prove it
                to be (code `tls`).
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
            fresh = None
            try:
                # A machine may have no sockets left, or none of this family.
                fresh = socket.socket(family, kind, protocol)
                fresh.settimeout(self._left())
                fresh.connect(address)
            except (OSError, OverflowError) as error:
                if fresh is not None:
                    fresh.close()
                failure = unreachable(error)
            else:
                self._dialogue = self._fresh()
                self._reader.clear()
                self._socket = fresh
                return self._talk(self._opening(), context=self._tls)
        raise failure

    def close(self) -> None:
        """Close the socket. Idempotent."""
        connected, self._socket = self._socket, None
        self._dialogue.forget()
        if connected is not None:
            connected.close()

    def _beneath(self) -> tuple[TransportFacts, ChannelBindings]:
        """What is known of the connection, and what it can be bound by.

        Raises:
            UsageError: not connected. BackendError: the server has gone.
        """
        connected = self._connected()
        cipher, bindings = None, NO_TLS
        if isinstance(connected, ssl.SSLSocket):
            cipher, bindings = connected.cipher(), client_bindings(connected)
        try:
            remote, local = connected.getpeername(), connected.getsockname()
        except OSError as error:
            raise unreachable(error) from None
        return transport_facts(remote, local, cipher), bindings

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
        except SaslError as error:
            done = not self._dialogue.broken
            # What was said may be a secret, and stands in no frame of the traceback.
            clear_frames(error.__traceback__)
            ask = NOTHING
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
            case Utterance():
                answer = self._exchange(ask.octets)
            case Secure() if context is not None:
                self._secure(context)
            case Begin(offered) if session is not None:
                reply = self._untimed(lambda: session.start(offered))
                answer = session.mechanism or "", reply
            case Step(challenge) if session is not None:
                answer = self._untimed(lambda: session.step(challenge))
            case Finish(data) if session is not None:
                self._untimed(lambda: session.finish(data))
                no_layer(session.layer)
            case _:
                raise UsageError(f"nobody answers {type(ask).__name__}")
        return answer

    def _untimed(self, step: Callable[[], T]) -> T:
        """Run what is not the server's to delay: a source of tokens has its own limits."""
        began = time.monotonic()
        try:
            return step()
        finally:
            self._deadline += time.monotonic() - began

    def _exchange(self, data: bytes) -> R:
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

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left
