"""What listens for a profile's server, and serves each client in a task of its own.

Invariants: whoever was accepted is served, or turned away and closed, also while the server
closes; `close` leaves no task and no socket behind.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from contextlib import suppress
from enum import Enum, auto
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from sasl_core.plugin import UsageError
from sasl_tls.stream import ByteStream

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

__all__ = ["Refusal", "ServedClient", "StreamServer"]


class ServedClient(Protocol):
    """One client of a server."""

    async def run(self) -> None:
        """Serve it, and close its stream at last, however it ends."""
        ...


C = TypeVar("C", bound=ServedClient)


class Refusal(Enum):
    """Why a connection is not served."""

    FULL = auto()
    CLOSING = auto()


class StreamServer(ABC, Generic[C]):
    """Listens, and runs what `_client` makes of each connection.

    `max_connections`: how many clients have a place. `held`: nothing is read of a client's
    octets before its own task says so, for TLS from the first of them.
    """

    def __init__(self, *, max_connections: int, held: bool = False) -> None:
        self.max_connections = max_connections
        self._held = held
        self._listener: asyncio.Server | None = None
        self._clients: dict[asyncio.Task[None], C] = {}

    # --- a subclass brings these --------------------------------------------------------------

    @abstractmethod
    def _check(self) -> None:
        """Find out before anybody comes what is wrong with the configuration.

        Raises:
            SaslError: the server cannot say what it offers.
        """

    @abstractmethod
    def _client(self, stream: ByteStream) -> C:
        """What serves a connection that has just been made."""

    def _makes_room(self) -> bool:
        """Whether one more client has a place, be it that another loses its own."""
        return len(self._clients) < self.max_connections

    def _turn_away(self, stream: ByteStream, why: Refusal) -> None:
        """Close a connection that is not served; a protocol that has a word for it says it."""
        stream.transport.abort()

    # --- what applications call ---------------------------------------------------------------

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
        return len(self._clients)

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
        self._check()
        self._listener = await asyncio.get_running_loop().create_server(
            lambda: ByteStream(self._accept, held=self._held), host, port
        )

    async def close(self) -> None:
        """Stop listening and send every client away. Idempotent."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        tasks = list(self._clients)
        for task in tasks:
            _ = task.cancel()
        await _hang_up(listener)
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

    def _accept(self, stream: ByteStream) -> None:
        if self._listener is None:
            self._turn_away(stream, Refusal.CLOSING)
            return
        if not self._makes_room():
            self._turn_away(stream, Refusal.FULL)
            return
        client = self._client(stream)

        def done(task: asyncio.Task[None]) -> None:
            del self._clients[task]
            # A task that is cancelled before its first step runs no line of `run`, not even
            # what closes the connection.
            if not stream.transport.is_closing():
                self._turn_away(stream, Refusal.CLOSING)

        task = asyncio.get_running_loop().create_task(client.run())
        self._clients[task] = client
        task.add_done_callback(done)


async def _hang_up(listener: asyncio.Server) -> None:
    """Close the listening sockets, and lose nobody who was accepted a moment ago.

    asyncio takes a connection on in a task of its own. When the listener closes before that
    task has run, the connection is neither served nor closed, and its client waits for ever.
    """
    loop = asyncio.get_running_loop()
    try:
        with suppress(NotImplementedError):  # of an event loop that accepts in another way
            for listening in listener.sockets:
                _ = loop.remove_reader(listening.fileno())
        # Those who were accepted before that are handed to us now, and are turned away.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    finally:
        listener.close()
