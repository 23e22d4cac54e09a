"""Waits on the loopback until the browser comes back with the answer of the login.

Invariants:
- Only what `accept` takes ends the wait. Everything else gets an error page, and the wait goes
  on: any program of this machine, and any page in the browser, can send requests here.
- The answer is taken once. The browser is sent on to an address without it at once, and gets its
  page there when it is known what came of the login.
- Whoever is sent to the provider from here is the first, and the only one.
- `close` may be called at any time, from any thread, and again: it ends the wait, and when it
  returns the port is free.

Source: RFC 8252 section 7.3.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Final, Generic, TypeVar
from urllib.parse import urlsplit

from sasl_core.plugin import BackendError, UsageError
from sasl_credentials.redirect.desk import Desk
from sasl_credentials.redirect.uri import bind

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from sasl_credentials.redirect.uri import RedirectUri

__all__ = ["RedirectListener"]

T = TypeVar("T")

ENDING: Final = 10.0
"""Seconds that a wait may take to end; it does nothing that blocks, and needs none."""


class RedirectListener(Generic[T]):
    """Listens at `address` from `open` until `close`.

    `accept`: given the query of a request for the address, what it brings, or None if that
    is not what we wait for. `uri`: the address that the browser has to come to, with its port.
    """

    def __init__(self, address: RedirectUri, accept: Callable[[str], T | None]) -> None:
        self._address = address
        self._accept = accept
        self.uri = ""
        self._sockets: tuple[socket.socket, ...] = ()
        self._desk: Desk[T] | None = None
        self._lock = threading.Lock()
        self._closing = False
        self._future: Future[T | None] | None = None
        self._idle = threading.Event()
        self._idle.set()

    def open(self) -> None:
        """Begin to listen. Browsers that come from now on are heard by `wait`.

        Raises:
            BackendError: nobody can listen there; code "redirect-port".
        """
        self._sockets = bind(self._address)
        port: int = self._sockets[0].getsockname()[1]
        self.uri = self._address.at(port)
        self._desk = Desk(
            self._sockets, self._address.authority(port), self._address.path or "/", self._accept
        )

    def lead(self, url: str) -> str:
        """An address of this listener that sends its first visitor on to `url`.

        For the command line of a browser, which every user of the machine can read: a second
        visitor ends the wait with an error, and is sent nowhere.

        Raises:
            UsageError: nothing is open.
        """
        if self._desk is None:
            raise UsageError("the listener is not open")
        parts = urlsplit(self.uri)
        return f"{parts.scheme}://{parts.netloc}{self._desk.lead(url)}"

    def begin(self, seconds: float) -> None:
        """Answer visitors from now on, for `seconds`; `wait` says what came of it.

        Raises:
            BackendError: no thread can be started; code "redirect-port".
        """
        self._future = self._begin(seconds)

    def wait(self, seconds: float) -> T | None:
        """What `accept` took; None: the time is over, or `close` was called.

        `seconds`: for which visitors are answered, unless `begin` has said it.

        Raises:
            AuthenticationError: two have been where `lead` leads from; code "opened-twice".
            BackendError: no thread can be started; code "redirect-port".
        """
        return self._begun(seconds).result()

    async def wait_async(self, seconds: float) -> T | None:
        """The same in asyncio; cancelled, it closes the listener."""
        import asyncio

        done = False
        try:
            got = await asyncio.wrap_future(self._begun(seconds))
            done = True
        finally:
            if not done:
                self.close()
        return got

    def _begun(self, seconds: float) -> Future[T | None]:
        future, self._future = self._future, None
        return self._begin(seconds) if future is None else future

    def _begin(self, seconds: float) -> Future[T | None]:
        future: Future[T | None] = Future()
        # A thread of its own: it serves while a browser is opened, and a person's five minutes
        # take nobody else's place in a pool.
        thread = threading.Thread(
            target=partial(self._serve, future, seconds), name="sasl-redirect", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:
            problem = "no thread can be started"
        else:
            return future
        raise BackendError(code="redirect-port", detail=problem)

    def _serve(self, future: Future[T | None], seconds: float) -> None:
        if not future.set_running_or_notify_cancel():
            return
        with self._lock:
            desk = None if self._closing else self._desk
            if desk is not None:
                self._idle.clear()
        try:
            got = None if desk is None else desk.serve(seconds)
        except Exception as error:  # noqa: BLE001 - raised where it is waited for.
            self._idle.set()
            future.set_exception(error)
        else:
            self._idle.set()
            future.set_result(got)

    def finish(self, *, worked: bool) -> None:
        """Show the browser its last page, and close; when `wait` has returned."""
        if self._desk is not None:
            self._desk.finish(worked=worked)
        self.close()

    def close(self) -> None:
        """End the wait and give everything back; who waits for a page hears that it failed."""
        with self._lock:
            if self._closing:
                return
            self._closing = True
            desk = self._desk
        if desk is not None:
            desk.wake()
            _ = self._idle.wait(ENDING)
            desk.close()
        for each in self._sockets:
            each.close()
