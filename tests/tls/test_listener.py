"""A server of streams: who has a place, and nobody is forgotten when it closes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

import pytest

from sasl_core.plugin import UsageError
from sasl_tls.listener import Refusal, StreamServer
from sasl_tls.stream import ByteStream


class Echo:
    """A client that hears what it says."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream

    async def run(self) -> None:
        try:
            while data := await self._stream.read():
                self._stream.write(data)
        finally:
            await self._stream.close(0.5)


class EchoServer(StreamServer[Echo]):
    """Says why it turns somebody away."""

    wrong = False

    def __init__(self, max_connections: int = 10) -> None:
        super().__init__(max_connections=max_connections)
        self.refused: list[Refusal] = []

    def _check(self) -> None:
        if self.wrong:
            raise UsageError("wrong")

    def _client(self, stream: ByteStream) -> Echo:
        return Echo(stream)

    def _turn_away(self, stream: ByteStream, why: Refusal) -> None:
        self.refused.append(why)
        super()._turn_away(stream, why)


def come(address: tuple[str, int]) -> socket.socket:
    """A client that is connected, without a turn of the loop."""
    client = socket.create_connection(address, timeout=10)
    client.setblocking(False)
    return client


async def hear(client: socket.socket) -> bytes:
    """What comes next; nothing at the end, be it a reset."""
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionResetError):
            return await asyncio.get_running_loop().sock_recv(client, 100)
    return b""


def test_who_has_a_place_is_served() -> None:
    """The others are turned away, and told apart from those who come too late."""

    async def look() -> None:
        async with EchoServer(1) as server:
            await server.start()
            with come(server.address) as first, come(server.address) as second:
                assert await hear(second) == b""
                await asyncio.get_running_loop().sock_sendall(first, b"x")
                assert await hear(first) == b"x"
                assert (server.connections, server.refused) == (1, [Refusal.FULL])
                await server.close()
                assert await hear(first) == b""
                assert server.connections == 0

    asyncio.run(look())


@pytest.mark.parametrize("turns", range(5))
def test_whoever_was_accepted_is_not_forgotten(turns: int) -> None:
    """However far asyncio has come with it when the server closes."""

    async def look() -> set[Refusal]:
        server = EchoServer()
        await server.start()
        with come(server.address) as client:
            for _ in range(turns):
                await asyncio.sleep(0)
            await server.close()
            assert await hear(client) == b""
        assert server.connections == 0
        return set(server.refused)

    assert asyncio.run(look()) <= {Refusal.CLOSING}


def test_a_close_that_is_cancelled_has_closed_the_door() -> None:
    """Clients are on their way out, and the port is free."""

    async def look() -> None:
        server = EchoServer()
        await server.start()
        address = server.address
        with come(address) as client:
            while not server.connections:  # noqa: ASYNC110 - the very turn of the loop matters.
                await asyncio.sleep(0)
            closing = asyncio.ensure_future(server.close())
            await asyncio.sleep(0)
            _ = closing.cancel()
            _ = await asyncio.gather(closing, return_exceptions=True)
            assert closing.cancelled()
            assert await hear(client) == b""
            with pytest.raises(ConnectionRefusedError), come(address):
                pass
            await server.close()

    asyncio.run(look())


def test_what_is_wrong_is_told_before_it_listens() -> None:
    """Nothing listens then."""

    async def look() -> None:
        server: Any = EchoServer()
        server.wrong = True
        with pytest.raises(UsageError, match="wrong"):
            await server.start()
        with pytest.raises(UsageError, match="does not listen"):
            _ = server.address

    asyncio.run(look())
