"""Answers whoever comes to the address of a redirect, until one brings what is waited for.

One thread does all of it and never waits for one visitor: sockets do not block, each visitor has
a time, a longest request and a place, which the oldest loses when all are taken.
"""

from __future__ import annotations

import secrets
import selectors
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from sasl_core.plugin import AuthenticationError, BackendError
from sasl_credentials.redirect.pages import FAILED, WORKED, away, refusal
from sasl_credentials.redirect.request import HEAD_LIMIT, RequestProblem, parse_head

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["GRACE", "LINGER", "PATIENCE", "VISITORS", "Desk"]

T = TypeVar("T")

VISITORS: Final = 64
"""Most connections at once; browsers open some before they need them."""

PATIENCE: Final = 10.0
"""Seconds that a visitor has for its request, and for taking the answer."""

GRACE: Final = 5.0
"""Seconds that the browser has to come for its last page."""

LINGER: Final = 1.0
"""Seconds for which a connection is read that has its answer: what is unread would take the
answer away from its reader."""


class _Visitor:
    """One connection. `out`: what it is still to be sent; `answered`: there will be no more."""

    __slots__ = ("answered", "end", "heard", "out", "socket")

    def __init__(self, connection: socket.socket, end: float) -> None:
        self.socket: Final = connection
        self.end = end
        self.heard = bytearray()
        self.out = b""
        self.answered = False


class Desk(Generic[T]):
    """Serves `listeners`, which are called `authority`, at `path`, by one thread at a time.

    `accept`: given the query of a request for the path, what it brings, or None if that is not
    what we wait for.

    Raises:
        BackendError: the machine has no more descriptors; code "redirect-port".
    """

    def __init__(
        self,
        listeners: tuple[socket.socket, ...],
        authority: str,
        path: str,
        accept: Callable[[str], T | None],
    ) -> None:
        self._listeners = listeners
        self._authority = authority
        self._path = path
        self._accept = accept
        # Nobody else can ask for it, and so no one takes the place of the browser.
        self._last = f"/{secrets.token_urlsafe(18)}"
        self._first = f"/{secrets.token_urlsafe(32)}"
        self._leads_to = ""
        self._led = 0
        self._visitors: dict[int, _Visitor] = {}
        self._held: list[_Visitor] = []
        self._got: list[T] = []
        self._closing = False
        # Whoever ends the wait writes to the one, so that it wakes up at the other.
        self._pair: tuple[socket.socket, ...] = ()
        self._selector: selectors.BaseSelector = selectors.SelectSelector()
        try:
            self._pair = socket.socketpair()
            for each in self._pair:
                each.setblocking(False)
            self._selector = selectors.DefaultSelector()
            for each in (*listeners, self._pair[0]):
                _ = self._selector.register(each, selectors.EVENT_READ)
        except OSError as error:
            problem = error.strerror or type(error).__name__
        else:
            return
        self.close()
        raise BackendError(code="redirect-port", detail=f"nobody can wait there: {problem}")

    def lead(self, url: str) -> str:
        """A path: who comes there first is sent on to `url`, and nobody ever after."""
        self._leads_to = url
        return self._first

    def serve(self, seconds: float) -> T | None:
        """What `accept` took, None when the time is over or `wake` was called.

        Raises:
            AuthenticationError: two have been where `lead` leads from; code "opened-twice".
        """
        return self._serve(time.monotonic() + seconds)

    def wake(self) -> None:
        """End the wait, from any thread."""
        self._closing = True
        with suppress(OSError):
            _ = self._pair[1].send(b"x")

    def finish(self, *, worked: bool) -> None:
        """Show whoever waits for it the last page; when nobody serves any more."""
        held, self._held = self._held, []
        for visitor in held:
            with suppress(OSError):
                # A page is less than what a connection takes at once.
                _ = visitor.socket.send(WORKED if worked else FAILED)
                visitor.socket.shutdown(socket.SHUT_WR)
            visitor.socket.close()

    def close(self) -> None:
        """Give everything back but the listeners; who waits for a page hears that it failed."""
        self.finish(worked=False)
        for visitor in self._visitors.values():
            visitor.socket.close()
        self._visitors.clear()
        self._got.clear()
        self._selector.close()
        for each in self._pair:
            each.close()

    # --- serving -------------------------------------------------------------------------

    def _serve(self, end: float) -> T | None:
        while not self._closing:
            now = time.monotonic()
            if now >= end or self._led > 1 or (self._got and self._held):
                break
            ends = [visitor.end for visitor in self._visitors.values()]
            ready = self._selector.select(max(0.0, min((end, *ends)) - now))
            had = bool(self._got)
            for key, _ in ready:
                self._turn(key.fileobj)
            self._drop_late()
            if self._got and not had:
                end = time.monotonic() + GRACE
        for visitor in list(self._visitors.values()):
            self._drop(visitor)
        if self._led > 1:
            # Whose answer it would be nobody can say.
            raise AuthenticationError(
                code="opened-twice",
                detail="the address that the browser was started with has been opened twice, "
                "perhaps by another user of this machine, who may have begun a login of "
                "their own; log in anew",
            )
        return self._got[0] if self._got and not self._closing else None

    def _turn(self, which: object) -> None:
        """One socket has something to do."""
        if not isinstance(which, socket.socket):
            return
        if which in self._listeners:
            self._welcome(which)
        else:
            # It may have been dropped by an earlier turn of the same round.
            visitor = self._visitors.get(which.fileno())
            if visitor is not None and visitor.socket is which:
                self._attend(visitor)

    def _welcome(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            return
        except OSError:
            # The program is out of descriptors: who came first gives theirs.
            self._drop_oldest()
            time.sleep(0.02)
            return
        if len(self._visitors) >= VISITORS:
            self._drop_oldest()
        connection.setblocking(False)
        try:
            _ = self._selector.register(connection, selectors.EVENT_READ)
        except (OSError, ValueError):
            # One that cannot be waited for is not let in.
            connection.close()
            return
        self._visitors[connection.fileno()] = _Visitor(connection, time.monotonic() + PATIENCE)

    def _attend(self, visitor: _Visitor) -> None:
        try:
            if visitor.out:
                self._send(visitor)
                return
            data = visitor.socket.recv(16 * 1024)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(visitor)
        elif not visitor.answered:
            # What was looked at before is not looked at again, however small the pieces are.
            begin = max(0, len(visitor.heard) - 3)
            visitor.heard += data
            self._hear(visitor, visitor.heard.find(b"\r\n\r\n", begin))

    def _hear(self, visitor: _Visitor, end: int) -> None:
        if max(end, len(visitor.heard) if end < 0 else 0) > HEAD_LIMIT:
            self._answer(visitor, refusal(431))
            return
        if end < 0:
            return
        head = bytes(visitor.heard[:end])
        visitor.heard.clear()
        try:
            path, query = parse_head(head, self._authority)
        except RequestProblem as problem:
            self._answer(visitor, refusal(problem.status))
            return
        if path == self._first and self._leads_to and not query:
            self._led += 1
            self._answer(visitor, away(self._leads_to) if self._led == 1 else refusal(409))
        elif path == self._last and self._got and not query and len(self._held) < VISITORS:
            self._hold(visitor)
        elif path != self._path:
            self._answer(visitor, refusal(404))
        else:
            # A second answer, however right it looks, is not what we wait for.
            got = None if self._got else self._accept(query)
            if got is not None:
                self._got.append(got)
            self._answer(visitor, refusal(400) if got is None else away(self._last))

    def _hold(self, visitor: _Visitor) -> None:
        """Let it wait until it is known what came of the login."""
        _ = self._selector.unregister(visitor.socket)
        del self._visitors[visitor.socket.fileno()]
        self._held.append(visitor)

    def _answer(self, visitor: _Visitor, answer: bytes) -> None:
        visitor.answered = True
        visitor.out = answer
        self._send(visitor)

    def _send(self, visitor: _Visitor) -> None:
        try:
            sent = visitor.socket.send(visitor.out)
            visitor.out = visitor.out[sent:]
            if not visitor.out:
                visitor.socket.shutdown(socket.SHUT_WR)
                visitor.end = min(visitor.end, time.monotonic() + LINGER)
        except BlockingIOError:
            pass
        except OSError:
            self._drop(visitor)
            return
        events = selectors.EVENT_WRITE if visitor.out else selectors.EVENT_READ
        _ = self._selector.modify(visitor.socket, events)

    def _drop_late(self) -> None:
        now = time.monotonic()
        for visitor in [each for each in self._visitors.values() if now >= each.end]:
            if visitor.answered or not visitor.heard:
                self._drop(visitor)
            else:
                visitor.end = now + LINGER
                self._answer(visitor, refusal(408))

    def _drop_oldest(self) -> None:
        oldest = next(iter(self._visitors.values()), None)
        if oldest is not None:
            self._drop(oldest)

    def _drop(self, visitor: _Visitor) -> None:
        _ = self._selector.unregister(visitor.socket)
        del self._visitors[visitor.socket.fileno()]
        visitor.socket.close()
