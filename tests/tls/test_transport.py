"""TLS by pyOpenSSL beneath an asyncio protocol: what asyncio's own TLS does, this does too."""

from __future__ import annotations

import asyncio
import gc
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from sasl_tls import ServerTls
from tls_kit import Tls

LIBRARIES = pytest.mark.parametrize("library", ["ssl", "pyopenssl"])


class Recording(asyncio.Protocol):
    """A server's protocol that keeps all that it is told."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.received = bytearray()
        self.told: list[str] = []
        self.changed = asyncio.Event()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._note("made")

    def data_received(self, data: bytes) -> None:
        assert data
        assert "lost" not in self.told
        assert "eof" not in self.told
        self.received += data
        self.changed.set()

    def eof_received(self) -> bool:
        self._note("eof")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._note("lost")

    def pause_writing(self) -> None:
        self._note("pause")

    def resume_writing(self) -> None:
        self._note("resume")

    def _note(self, what: str) -> None:
        self.told.append(what)
        self.changed.set()

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for it, ten seconds at most."""
        async with asyncio.timeout(10):
            while not condition():
                self.changed.clear()
                _ = await self.changed.wait()


Script = Callable[[Recording, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def play(
    tls: Tls,
    library: Any,
    script: Script,
    *,
    client: ssl.SSLContext | None = None,
    version: Any = None,
) -> Recording:
    """A server and a client of the standard library on the loopback, and then the script."""
    loaded = tls.server(library, version)
    protocols: list[Recording] = []
    complaints: list[dict[str, Any]] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(context))

        def make() -> Recording:
            protocols.append(Recording())
            return protocols[-1]

        listener = await loop.create_server(make, "127.0.0.1", 0)
        address = listener.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(*address[:2])
        while not protocols or protocols[0].transport is None:  # noqa: ASYNC110 - see below.
            await asyncio.sleep(0)  # the two ends are made in whatever order
        (server,) = protocols
        try:
            accepting = asyncio.ensure_future(loaded.accept(server.transport, server, timeout=10))
            await writer.start_tls(client or tls.client(), server_hostname="localhost")
            server.transport = await accepting
            async with asyncio.timeout(20):
                await script(server, reader, writer)
        finally:
            writer.transport.abort()
            server.transport.abort()
            listener.close()
            await listener.wait_closed()
            await server.until(lambda: "lost" in server.told)

    asyncio.run(main())
    gc.collect()
    assert complaints == []
    assert protocols[0].told.count("lost") == 1
    return protocols[0]


@LIBRARIES
@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_octets_go_both_ways_in_order(tls: Tls, library: str, version: Any) -> None:
    """Three megabytes in either direction at once, whole and unchanged."""
    there = bytes(range(256)) * 12_000
    back = there[::-1]

    async def script(server: Recording, reader: Any, writer: Any) -> None:
        server.transport.write(back)
        writer.write(there)
        got, _ = await asyncio.gather(reader.readexactly(len(back)), writer.drain())
        assert got == back
        await server.until(lambda: len(server.received) >= len(there))
        assert server.received == there

    play(tls, library, script, version=version)


@LIBRARIES
def test_a_protocol_that_does_not_read_gets_nothing(tls: Tls, library: str) -> None:
    """What came meanwhile is there when it reads on, and nothing is lost."""
    sent = b"x" * 300_000

    async def script(server: Recording, reader: Any, writer: Any) -> None:
        server.transport.pause_reading()
        before = len(server.received)
        writer.write(sent)
        await asyncio.sleep(0.1)
        assert len(server.received) == before
        server.transport.resume_reading()
        await server.until(lambda: len(server.received) == len(sent))

    play(tls, library, script)


@LIBRARIES
def test_reading_may_stop_in_the_middle_of_what_came(tls: Tls, library: str) -> None:
    """A protocol that takes one piece at a time gets all of them."""
    sent = bytes(range(256)) * 2000

    async def script(server: Recording, reader: Any, writer: Any) -> None:
        take = server.data_received

        def one(data: bytes) -> None:
            assert library == "ssl" or server.transport.is_reading()
            server.transport.pause_reading()
            asyncio.get_running_loop().call_later(0.001, server.transport.resume_reading)
            take(data)

        server.data_received = one  # type: ignore[method-assign]
        writer.write(sent)
        await server.until(lambda: len(server.received) == len(sent))
        assert server.received == sent

    play(tls, library, script)


@LIBRARIES
def test_a_slow_reader_stops_the_writer(tls: Tls, library: str) -> None:
    """The protocol is told to wait, and then to go on."""

    async def script(server: Recording, reader: Any, writer: Any) -> None:
        writer.transport.pause_reading()
        while "pause" not in server.told:
            server.transport.write(b"y" * 65536)
            await asyncio.sleep(0)
        assert server.transport.get_write_buffer_size() > 0
        writer.transport.resume_reading()
        received = 0
        while "resume" not in server.told:
            received += len(await reader.read(65536))
        assert received

    play(tls, library, script)


@LIBRARIES
def test_close_sends_what_is_queued_and_says_so(tls: Tls, library: str) -> None:
    """The client hears all of it, and then the end."""
    last = b"bye" * 100_000

    async def script(server: Recording, reader: Any, writer: Any) -> None:
        server.transport.write(last)
        server.transport.close()
        assert server.transport.is_closing()
        server.transport.write(b"too late")
        assert await reader.read() == last
        writer.close()
        await server.until(lambda: "lost" in server.told)

    assert play(tls, library, script).received == b""


def test_close_over_unread_octets_loses_nothing_of_ours(tls: Tls) -> None:
    """A socket that is closed over what the peer still sends would be reset."""
    last = b"bye" * 100_000

    async def script(server: Recording, reader: Any, writer: Any) -> None:
        server.transport.pause_reading()
        writer.write(b"z" * 500_000)
        await asyncio.sleep(0.1)
        server.transport.write(last)
        server.transport.close()
        await asyncio.sleep(0.1)
        assert await reader.read() == last
        writer.close()
        await server.until(lambda: "lost" in server.told)

    assert play(tls, "pyopenssl", script).received == b""


@LIBRARIES
def test_the_peers_end_is_heard_once(tls: Tls, library: str) -> None:
    """Its closure alert comes after its data, and ends the connection."""

    async def script(server: Recording, reader: Any, writer: Any) -> None:
        writer.write(b"last words")
        writer.close()
        await server.until(lambda: "lost" in server.told)
        assert server.received == b"last words"

    told = play(tls, library, script).told
    assert told.count("eof") == 1
    assert told.index("eof") < told.index("lost")


@LIBRARIES
def test_a_connection_that_breaks_off_is_lost(tls: Tls, library: str) -> None:
    """Without an alert: no data are made up, and the protocol hears of the end."""

    async def script(server: Recording, reader: Any, writer: Any) -> None:
        writer.transport.abort()
        await server.until(lambda: "lost" in server.told)

    assert play(tls, library, script).received == b""


@LIBRARIES
def test_what_is_no_record_ends_the_connection(tls: Tls, library: str) -> None:
    """Octets that were not encrypted are refused, and nothing of them is delivered."""

    async def script(server: Recording, reader: Any, writer: Any) -> None:
        raw = writer.transport._ssl_protocol._transport
        raw.write(b"MAIL FROM:<a@x.example>\r\n" * 10)
        await server.until(lambda: "lost" in server.told)

    assert play(tls, library, script).received == b""


def test_abort_cuts_it_off_at_once(tls: Tls) -> None:
    """Nothing is sent any more."""

    async def script(server: Recording, reader: Any, writer: Any) -> None:
        server.transport.abort()
        assert server.transport.is_closing()
        server.transport.close()
        server.transport.pause_reading()
        server.transport.resume_reading()
        await server.until(lambda: "lost" in server.told)

    play(tls, "pyopenssl", script)


def test_what_the_transport_tells(tls: Tls) -> None:
    """The cipher as `ssl` has it, the addresses of the socket, and no half-closing."""

    async def script(server: Recording, reader: Any, writer: Any) -> None:
        transport = server.transport
        name, version, bits = transport.get_extra_info("cipher")
        assert (name, bits) == (writer.get_extra_info("cipher")[0], 256)
        assert version == "TLSv1.3"
        assert transport.get_extra_info("peername") == writer.get_extra_info("sockname")
        assert transport.get_extra_info("nothing", "default") == "default"
        assert not transport.can_write_eof()
        assert transport.is_reading()
        transport.set_write_buffer_limits(high=1000)

    play(tls, "pyopenssl", script)


# --- handshakes that fail ------------------------------------------------------------------------


def accept_badly(
    loaded: ServerTls,
    talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]],
    timeout: float = 10,
) -> OSError | None:
    """What `accept` raises when the client does this."""
    complaints: list[Any] = []

    async def main() -> OSError | None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        made: asyncio.Future[Recording] = loop.create_future()

        def make() -> Recording:
            protocol = Recording()
            loop.call_soon(made.set_result, protocol)
            return protocol

        listener = await loop.create_server(make, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname()[:2])
        server = await made
        talking = asyncio.ensure_future(talk(reader, writer))
        error: OSError | None = None
        lower = server.transport
        try:
            _ = await loaded.accept(lower, server, timeout=timeout)
        except OSError as caught:
            error = caught
        lower.abort()
        writer.transport.abort()
        _ = await asyncio.gather(talking, return_exceptions=True)
        listener.close()
        await listener.wait_closed()
        await asyncio.sleep(0)
        # No protocol is told of the end of what never began: whoever called `accept` knows.
        assert server.told == ["made"]
        return error

    raised = asyncio.run(main())
    gc.collect()
    assert complaints == []
    return raised


def test_a_client_that_speaks_no_tls_fails_the_handshake(tls: Tls) -> None:
    """With OpenSSL's reason, as an OSError."""

    async def talk(reader: Any, writer: Any) -> None:
        writer.write(b"EHLO me\r\n" * 5)
        await writer.drain()
        await reader.read()

    error = accept_badly(tls.server("pyopenssl"), talk)
    assert isinstance(error, OSError)
    assert "TLS: " in str(error)


def test_a_client_that_distrusts_us_fails_the_handshake(tls: Tls) -> None:
    """It goes, with an alert or without."""

    async def talk(reader: Any, writer: Any) -> None:
        with pytest.raises(ssl.SSLError):
            await writer.start_tls(ssl.create_default_context(), server_hostname="localhost")

    assert isinstance(accept_badly(tls.server("pyopenssl"), talk), ConnectionError)


@pytest.mark.parametrize("end", ["eof", "abort"])
def test_a_client_that_goes_fails_the_handshake(tls: Tls, end: str) -> None:
    """In the middle of its first message."""

    async def talk(reader: Any, writer: Any) -> None:
        writer.write(b"\x16\x03\x01\x02\x00")
        await writer.drain()
        if end == "eof":
            writer.write_eof()
        else:
            writer.transport.abort()

    assert isinstance(accept_badly(tls.server("pyopenssl"), talk), ConnectionError)


def test_a_handshake_takes_no_longer_than_it_may(tls: Tls) -> None:
    """A client that says nothing."""

    async def talk(reader: Any, writer: Any) -> None:
        await reader.read()

    assert isinstance(accept_badly(tls.server("pyopenssl"), talk, 0.05), TimeoutError)
