"""A connection's octets: when they are read, how many at once, and what TLS may begin over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from sasl_tls.stream import CHUNK, HIGH_WATER, ByteStream, UnreadBytesError


class Transport(asyncio.Transport):
    """Knows whether it is being read and whether it was cut off, and nothing else."""

    reading = True
    aborted = False

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def can_write_eof(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True


def run(body: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run it in a loop of its own."""
    asyncio.run(body())


def test_nothing_is_read_before_it_is_released() -> None:
    """So that nothing in clear is there when TLS comes; then no more is kept than there is room."""

    async def look() -> None:
        transport, met, reading = Transport(), list[ByteStream](), list[bool]()
        stream = ByteStream(met.append, held=True)
        stream.connection_made(transport)
        reading.append(transport.reading)
        stream.release()
        reading.append(transport.reading)
        stream.data_received(bytes(HIGH_WATER + 1))
        reading.append(transport.reading)
        assert len(await stream.read()) == CHUNK
        reading.append(transport.reading)
        stream.hold()
        reading.append(transport.reading)
        assert (met, reading) == ([stream], [False, True, False, True, False])

    run(look)


def test_whoever_sends_without_a_pause_lets_others_have_their_turn() -> None:
    """Between any two pieces that are read."""

    async def look() -> None:
        stream = ByteStream()
        stream.connection_made(Transport())
        stream.data_received(bytes(3 * CHUNK))
        turns: list[int] = []

        async def take_turns() -> None:
            while True:
                turns.append(len(turns))
                await asyncio.sleep(0)

        other = asyncio.ensure_future(take_turns())
        seen: list[int] = []
        for _ in range(3):
            assert len(await stream.read()) == CHUNK
            seen.append(len(turns))
        other.cancel()
        assert seen == [1, 2, 3]

    run(look)


class Tls:
    """Counts handshakes, and has none succeed."""

    begun = 0

    async def accept(self, transport: Any, protocol: Any, *, timeout: float) -> Any:  # noqa: ASYNC109 - as the real one's.
        self.begun += 1
        raise ConnectionAbortedError


Before = Callable[[ByteStream], object]


@pytest.mark.parametrize(
    ("before", "error", "begun"),
    [
        (lambda stream: stream.data_received(b"x"), UnreadBytesError, 0),
        (lambda stream: (stream.data_received(b"x"), stream.eof_received()), UnreadBytesError, 0),
        (lambda stream: stream.eof_received(), ConnectionResetError, 0),
        (lambda stream: stream.connection_lost(None), ConnectionResetError, 0),
        (lambda stream: None, ConnectionAbortedError, 1),
    ],
)
@pytest.mark.parametrize("held", [False, True])
def test_no_handshake_begins_over_what_was_said_before(
    before: Before, error: type[Exception], begun: int, held: bool
) -> None:
    """Octets in clear are told from a peer that has gone; a handshake that failed is the end."""

    async def look() -> None:
        tls: Any = Tls()
        transport = Transport()
        stream = ByteStream(held=held)
        stream.connection_made(transport)
        _ = before(stream)
        with pytest.raises(error) as caught:
            await stream.accept_tls(tls, timeout=1.0)
        assert caught.type is error
        assert tls.begun == begun
        if begun:
            assert transport.aborted
            assert await stream.read() == b""

    run(look)


def test_a_stream_without_a_connection() -> None:
    """It can be closed, and says of everything else that there is none."""

    async def look() -> None:
        stream = ByteStream()
        await stream.close(1.0)
        with pytest.raises(ConnectionResetError):
            stream.facts()

    run(look)
