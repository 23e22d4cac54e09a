"""What moves octets between a machine without I/O and a stream, as long as they take to come."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from sasl_tls.stream import ByteStream

__all__ = ["Driver", "Machine"]

E_co = TypeVar("E_co", covariant=True)
E = TypeVar("E")


class Machine(Protocol[E_co]):
    """One side of a connection without I/O: octets in, events and octets out."""

    @property
    def progress(self) -> int:
        """Counts what the peer completed; octets of something unfinished are none."""
        ...

    def receive(self, data: bytes) -> None:
        """Take octets from the peer; `b""` when it has closed its side."""
        ...

    def data_to_send(self) -> bytes:
        """The octets that wait to be sent; each is handed out once."""
        ...

    def next_event(self) -> E_co | None:
        """The next event, or None until more octets arrive."""
        ...


class Driver(Generic[E]):
    """Asks `machine` for events, and feeds it from `stream` meanwhile.

    `deadline`: until when, by the loop's clock, the peer may complete what comes next; asked
    anew whenever octets are waited for. `waiting_since`: when the peer completed something
    last, or came.
    """

    def __init__(
        self, machine: Machine[E], stream: ByteStream, deadline: Callable[[], float]
    ) -> None:
        self._machine = machine
        self._stream = stream
        self._deadline = deadline
        self._progress = machine.progress
        self.waiting_since = asyncio.get_running_loop().time()

    async def next_event(self) -> E:
        """The next event; what the machine has to say until then is sent.

        Raises:
            TimeoutError: the peer did not come that far in time, or does not take what is sent.
        """
        machine, stream = self._machine, self._stream
        while (event := machine.next_event()) is None:
            self.flush()
            if machine.progress != self._progress:
                self._progress = machine.progress
                self.note_progress()
            async with asyncio.timeout_at(self._deadline()):
                await stream.drain()
                machine.receive(await stream.read())
        return event

    def flush(self) -> None:
        """Queue what the machine has to say."""
        self._stream.write(self._machine.data_to_send())

    def note_progress(self) -> None:
        """The peer has completed something: it is waited for from now on."""
        self.waiting_since = asyncio.get_running_loop().time()
