"""Waits on the loopback until the browser comes back with the answer of the login.

Invariants:
- Only what `accept` takes ends the wait. Everything else gets an error page, and the wait goes
  on: any program of this machine, and any page in the browser, can send requests here.
- One thread does all of it and never waits for one visitor: sockets do not block, each visitor
  has a time, a longest request and a place, which the oldest loses when all are taken.
- The answer is taken once. The browser is sent on to an address without it at once, and gets its
  page there when it is known what came of the login.
- `close` may be called at any time, from any thread, and again: it ends the wait, and when it
  returns the port is free.

Source: RFC 8252 section 7.3.
"""

from __future__ import annotations

import secrets
import selectors
import socket
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from sasl_credentials.redirect.pages import FAILED, WORKED, redirect, refusal
from sasl_credentials.redirect.request import HEAD_LIMIT, RequestProblem, parse_head
from sasl_credentials.redirect.uri import bind

if TYPE_CHECKING:
    from collections.abc import Callable

    from sasl_credentials.redirect.uri import RedirectUri

__all__ = ["RedirectListener"]

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


class RedirectListener(Generic[T]):
    """Listens from the moment it is made until it is closed.

    `accept`: given the query of a request for the address, what it brings, or None if that
    is not what we wait for.

    Raises:
        BackendError: nobody can listen there.
    """

    def __init__(self, address: RedirectUri, accept: Callable[[str], T | None]) -> None:
        self._accept = accept
        self._sockets = bind(address)
        port: int = self._sockets[0].getsockname()[1]
        self.uri: Final = address.at(port)
        """The address that the browser has to come to, with its port."""
        self._authority = address.authority(port)
        self._path = address.path or "/"
        # Nobody else can ask for it, and so no one takes the place of the browser.
        self._last = f"/{secrets.token_urlsafe(18)}"
        self._visitors: dict[int, _Visitor] = {}
        self._held: list[_Visitor] = []
        self._got: list[T] = []
        self._lock = threading.Lock()
        self._closing = False
        self._idle = threading.Event()
        self._idle.set()
        self._wake, self._waker = socket.socketpair()
        self._wake.setblocking(False)
        self._waker.setblocking(False)

    # --- for whoever waits -------------------------------------------------------------

    def wait(self, seconds: float) -> T | None:
        """What `accept` took, None when the time is over or the listener is closed."""
        with self._lock:
            if self._closing:
                return None
            self._idle.clear()
        try:
            return self._serve(time.monotonic() + seconds)
        finally:
            self._idle.set()

    async def wait_async(self, seconds: float) -> T | None:
        """The same in asyncio; cancelled, it closes the listener."""
        import asyncio

        future: Future[T | None] = Future()
        # A thread of its own: a person's five minutes take nobody else's place in a pool.
        thread = threading.Thread(
            target=partial(self._wait_for, future, seconds), name="sasl-redirect", daemon=True
        )
        thread.start()
        done = False
        try:
            got = await asyncio.wrap_future(future)
            done = True
        finally:
            if not done:
                self.close()
        return got

    def _wait_for(self, future: Future[T | None], seconds: float) -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            got = self.wait(seconds)
        except Exception as error:  # noqa: BLE001 - raised where it is waited for.
            future.set_exception(error)
        else:
            future.set_result(got)

    def finish(self, *, worked: bool) -> None:
        """Show the browser its last page, and close."""
        for visitor in self._held:
            with suppress(OSError):
                # A page is less than what a connection takes at once.
                _ = visitor.socket.send(WORKED if worked else FAILED)
                visitor.socket.shutdown(socket.SHUT_WR)
        self.close()

    def close(self) -> None:
        """End the wait and give everything back; who waits for a page hears that it failed."""
        with self._lock:
            if self._closing:
                return
            self._closing = True
        with suppress(OSError):
            _ = self._waker.send(b"x")
        # It does nothing that blocks, so this takes no time.
        _ = self._idle.wait(PATIENCE)
        held, self._held = self._held, []
        for visitor in held:
            with suppress(OSError):
                _ = visitor.socket.send(FAILED)
            visitor.socket.close()
        for visitor in self._visitors.values():
            visitor.socket.close()
        self._visitors.clear()
        self._got.clear()
        for each in (*self._sockets, self._wake, self._waker):
            each.close()

    # --- serving -------------------------------------------------------------------------

    def _serve(self, end: float) -> T | None:
        with selectors.DefaultSelector() as selector:
            for listener in (*self._sockets, self._wake):
                _ = selector.register(listener, selectors.EVENT_READ)
            while not self._closing:
                now = time.monotonic()
                if self._got and (self._held or now >= end):
                    break
                if now >= end:
                    return None
                ends = [visitor.end for visitor in self._visitors.values()]
                ready = selector.select(max(0.0, min((end, *ends)) - now))
                had = bool(self._got)
                for key, _ in ready:
                    self._turn(selector, key.fileobj)
                self._drop_late(selector)
                if self._got and not had:
                    end = time.monotonic() + GRACE
            for visitor in list(self._visitors.values()):
                self._drop(selector, visitor)
        return self._got[0] if self._got and not self._closing else None

    def _turn(self, selector: selectors.BaseSelector, which: object) -> None:
        """One socket has something to do."""
        if which is self._wake:
            return
        for listener in self._sockets:
            if which is listener:
                self._welcome(selector, listener)
                return
        if isinstance(which, socket.socket):
            # It may have been dropped by an earlier turn of the same round.
            visitor = self._visitors.get(which.fileno())
            if visitor is not None and visitor.socket is which:
                self._attend(selector, visitor)

    def _welcome(self, selector: selectors.BaseSelector, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            return
        except OSError:
            # The program is out of descriptors: who came first gives theirs.
            self._drop_oldest(selector)
            time.sleep(0.02)
            return
        if len(self._visitors) >= VISITORS:
            self._drop_oldest(selector)
        connection.setblocking(False)
        visitor = _Visitor(connection, time.monotonic() + PATIENCE)
        self._visitors[connection.fileno()] = visitor
        _ = selector.register(connection, selectors.EVENT_READ)

    def _attend(self, selector: selectors.BaseSelector, visitor: _Visitor) -> None:
        try:
            if visitor.out:
                self._send(selector, visitor)
                return
            data = visitor.socket.recv(16 * 1024)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(selector, visitor)
        elif not visitor.answered:
            # What was looked at before is not looked at again, however small the pieces are.
            begin = max(0, len(visitor.heard) - 3)
            visitor.heard += data
            self._hear(selector, visitor, visitor.heard.find(b"\r\n\r\n", begin))

    def _hear(self, selector: selectors.BaseSelector, visitor: _Visitor, end: int) -> None:
        if max(end, len(visitor.heard) if end < 0 else 0) > HEAD_LIMIT:
            self._answer(selector, visitor, refusal(431))
            return
        if end < 0:
            return
        head = bytes(visitor.heard[:end])
        visitor.heard.clear()
        try:
            path, query = parse_head(head, self._authority)
        except RequestProblem as problem:
            self._answer(selector, visitor, refusal(problem.status))
            return
        if path == self._last and self._got and not query and len(self._held) < VISITORS:
            self._hold(selector, visitor)
        elif path != self._path:
            self._answer(selector, visitor, refusal(404))
        else:
            # A second answer, however right it looks, is not what we wait for.
            got = None if self._got else self._accept(query)
            if got is not None:
                self._got.append(got)
            self._answer(selector, visitor, refusal(400) if got is None else redirect(self._last))

    def _hold(self, selector: selectors.BaseSelector, visitor: _Visitor) -> None:
        """Let it wait until it is known what came of the login."""
        _ = selector.unregister(visitor.socket)
        del self._visitors[visitor.socket.fileno()]
        self._held.append(visitor)

    def _answer(self, selector: selectors.BaseSelector, visitor: _Visitor, answer: bytes) -> None:
        visitor.answered = True
        visitor.out = answer
        self._send(selector, visitor)

    def _send(self, selector: selectors.BaseSelector, visitor: _Visitor) -> None:
        try:
            sent = visitor.socket.send(visitor.out)
            visitor.out = visitor.out[sent:]
            if not visitor.out:
                visitor.socket.shutdown(socket.SHUT_WR)
                visitor.end = min(visitor.end, time.monotonic() + LINGER)
        except BlockingIOError:
            pass
        except OSError:
            self._drop(selector, visitor)
            return
        events = selectors.EVENT_WRITE if visitor.out else selectors.EVENT_READ
        _ = selector.modify(visitor.socket, events)

    def _drop_late(self, selector: selectors.BaseSelector) -> None:
        now = time.monotonic()
        for visitor in [each for each in self._visitors.values() if now >= each.end]:
            if visitor.answered or not visitor.heard:
                self._drop(selector, visitor)
            else:
                visitor.end = now + LINGER
                self._answer(selector, visitor, refusal(408))

    def _drop_oldest(self, selector: selectors.BaseSelector) -> None:
        oldest = next(iter(self._visitors.values()), None)
        if oldest is not None:
            self._drop(selector, oldest)

    def _drop(self, selector: selectors.BaseSelector, visitor: _Visitor) -> None:
        _ = selector.unregister(visitor.socket)
        del self._visitors[visitor.socket.fileno()]
        visitor.socket.close()
