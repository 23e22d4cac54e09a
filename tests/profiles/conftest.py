"""A driver without I/O for the SMTP server's machine; servers, real and bad ones, to talk to."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeAlias, TypeVar

import pytest

from sasl_auxprop.memory import MemoryStore
from sasl_core.aio import Server
from sasl_core.plugin import SaslError
from sasl_profiles.smtp import Message, SmtpServer
from sasl_profiles.smtp.connection import SmtpConnection
from sasl_profiles.smtp.events import (
    AuthEnded,
    AuthResponse,
    AuthStarted,
    Closed,
    Event,
    Limits,
    MessageReceived,
    TlsRequested,
)
from sasl_tls import ServerTls
from tls_kit import make_tls

Answer: TypeAlias = "bytes | SaslError | None"


class Wire:
    """One connection, its events, and what the script answers to each AUTH event.

    An answer is a challenge, an error, or None for success.
    """

    def __init__(
        self,
        answers: Sequence[Answer] = (),
        *,
        mechanisms: Callable[[], Sequence[str]] = lambda: ("SCRAM-SHA-256", "PLAIN"),
        starttls: bool = True,
        limits: Limits | None = None,
        accept: bool = True,
    ) -> None:
        self.connection = SmtpConnection(
            "mail.example", mechanisms, starttls=starttls, limits=limits
        )
        self.answers = list(answers)
        self.accept = accept
        self.events: list[Event] = []
        self.greeting = self.connection.data_to_send()

    @property
    def closed(self) -> bool:
        """The last event ended the connection."""
        return bool(self.events) and isinstance(self.events[-1], Closed)

    def say(self, data: bytes) -> bytes:
        """Send octets and read what comes back."""
        self.connection.receive(data)
        while (event := self.connection.next_event()) is not None:
            self.events.append(event)
            self._answer(event)
            if isinstance(event, Closed):
                break
        return self.connection.data_to_send()

    def line(self, line: str) -> str:
        """Send a line and read what comes back."""
        return self.say(line.encode() + b"\r\n").decode("ascii")

    def login(self) -> Wire:
        """Say EHLO and log in."""
        self.answers.insert(0, None)
        assert self.line("EHLO me").startswith("250-")
        assert self.line("AUTH PLAIN =").startswith("235 ")
        return self

    def _answer(self, event: Event) -> None:
        match event:
            case AuthStarted() | AuthResponse():
                answer = self.answers.pop(0)
                if answer is None:
                    self.connection.auth_succeeded()
                elif isinstance(answer, SaslError):
                    self.connection.auth_failed(answer)
                else:
                    self.connection.challenge(answer)
            case TlsRequested():
                if self.connection.accept_tls():
                    assert self.connection.data_to_send().startswith(b"220 2.0.0 ")
                    self.connection.tls_started()
            case MessageReceived():
                self.connection.message_done(accepted=self.accept)
            case AuthEnded() | Closed():
                pass


@pytest.fixture(scope="session")
def wire() -> type[Wire]:
    """The driver's class."""
    return Wire


# --- real servers --------------------------------------------------------------------------------

T = TypeVar("T")

USERS = {"tim": "tanstaaftanstaaf", "b\u00f6b": "p\u00e4ssword"}
OPEN: Mapping[str, object] = {
    "allow_anonymous": True,
    "allow_cleartext": True,
    # Tests name a user to every mechanism, to ANONYMOUS as well.
    "client_mech_list": ["SCRAM-SHA-256", "PLAIN", "ANONYMOUS"],
}
"""The configuration of a server that lets anybody try anything on loopback."""


class Recorder:
    """Keeps every session that a server makes, so that a test can see them closed."""

    def __init__(self, server: Server) -> None:
        self.made: list[Any] = []
        self.closed = 0
        self._server = server

    def session(self, **facts: Any) -> Any:
        """The server's own session, its close counted once."""
        session = self._server.session(**facts)
        self.made.append(session)
        return _Counted(session, self)

    @property
    def server(self) -> Any:
        """To be passed as the SASL server."""
        return self


class _Counted:
    def __init__(self, session: Any, recorder: Recorder) -> None:
        self._session = session
        self._recorder = recorder
        self._open = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    async def __aenter__(self) -> Any:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._session.close()
        self._recorder.closed += self._open
        self._open = False


class Service:
    """An SMTP server with its own event loop in a thread."""

    def __init__(self, **options: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.messages: list[Message] = []
        try:
            self.run(self._start(**options))
        except BaseException:
            self._end()
            raise

    async def _start(
        self,
        config: Mapping[str, object] = OPEN,
        stores: Sequence[Any] | None = None,
        deliver: bool = True,
        **options: Any,
    ) -> None:
        self.sasl = Server(
            "smtp",
            "mail.example",
            config=config,
            stores=[MemoryStore(USERS)] if stores is None else stores,
        )
        self.recorder = Recorder(self.sasl)
        if deliver:
            options.setdefault("on_message", self._keep)
        self.smtp = SmtpServer(self.recorder.server, host_name="mail.example", **options)
        await self.smtp.start()
        self.address = self.smtp.address

    async def _keep(self, message: Message) -> None:
        self.messages.append(message)

    def run(self, body: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the server's loop."""
        return asyncio.run_coroutine_threadsafe(body, self._loop).result(30)

    async def _idle(self) -> None:
        async with asyncio.timeout(10):
            while self.smtp.connections:  # noqa: ASYNC110 - a counter, not an event.
                await asyncio.sleep(0.005)

    def settle(self) -> None:
        """Wait until no client is connected; every session must have been closed."""
        self.run(self._idle())
        assert self.recorder.closed == len(self.recorder.made)

    def close(self) -> None:
        """Stop it; no task may be left."""
        self.run(self.smtp.close())
        self.run(self.sasl.close())
        assert self.recorder.closed == len(self.recorder.made)

        async def others() -> list[Any]:
            return [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]

        left = self.run(others())
        self._end()
        assert not left

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def connect(self, timeout: float = 10.0) -> Peer:
        """A bare client that has heard the greeting."""
        peer = Peer(socket.create_connection(self.address, timeout=timeout))
        assert peer.line().startswith("220 ")
        return peer


class Peer:
    """A bare client: lines out, replies in."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._file = connection.makefile("rb")

    def send(self, data: bytes) -> None:
        """Send octets."""
        self.socket.sendall(data)

    def line(self) -> str:
        """The next line without its CRLF, "" at the end of the stream."""
        with contextlib.suppress(ConnectionResetError):
            return self._file.readline().decode("ascii").removesuffix("\r\n")
        return ""

    def say(self, line: str) -> str:
        """Send a line, and read the last line of the reply."""
        self.send(line.encode() + b"\r\n")
        return self.reply()

    def reply(self) -> str:
        """The last line of the next reply."""
        while (line := self.line())[3:4] == "-":
            pass
        return line

    def close(self) -> None:
        """Hang up."""
        self._file.close()
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Service]]:
    """Starts SMTP servers; each is stopped, and must have left nothing behind."""
    started: list[Service] = []

    def start(**options: Any) -> Service:
        started.append(Service(**options))
        return started[-1]

    yield start
    for service in started:
        service.close()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for localhost and 127.0.0.1, with its key, in one file."""
    folder = tmp_path_factory.mktemp("tls")
    made = make_tls(folder)
    path = folder / "localhost.pem"
    path.write_bytes(made.certificate.read_bytes() + made.key.read_bytes())
    return path


@pytest.fixture(scope="session", params=["ssl", "pyopenssl"])
def server_tls(request: pytest.FixtureRequest, certificate: Path) -> ServerTls:
    """A server's TLS with that certificate, of each library."""
    return ServerTls.load(certificate, library=request.param)


@pytest.fixture(scope="session")
def client_tls(certificate: Path) -> ssl.SSLContext:
    """A client's TLS that trusts that certificate alone."""
    return ssl.create_default_context(cafile=str(certificate))


# --- bad servers ---------------------------------------------------------------------------------

Act: TypeAlias = "bytes | Callable[[socket.socket], None]"


class BadServer:
    """Serves one client: for each line that it says, the next act of the script.

    The first act is the greeting. An act is octets to send or a function of the socket; after
    the last the socket is closed.
    """

    def __init__(self, acts: Sequence[Act]) -> None:
        self._acts = acts
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._listener.getsockname()
        self.heard: list[bytes] = []
        self.over = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError), self._listener.accept()[0] as connection:
            connection.settimeout(10)
            for number, act in enumerate(self._acts):
                if number:
                    self.heard.append(_line(connection))
                if callable(act):
                    act(connection)
                else:
                    connection.sendall(act)

    def close(self) -> None:
        """Stop it."""
        self.over.set()
        self._listener.close()
        self._thread.join(10)
        assert not self._thread.is_alive()


def _line(connection: socket.socket) -> bytes:
    line = b""
    while not line.endswith(b"\r\n"):
        octet = connection.recv(1)
        if not octet:
            raise ConnectionResetError
        line += octet
    return line


@pytest.fixture
def bad_server() -> Iterator[Callable[..., BadServer]]:
    """Starts bad servers and stops them."""
    started: list[BadServer] = []

    def start(*acts: Act) -> BadServer:
        started.append(BadServer(acts))
        return started[-1]

    yield start
    for server in started:
        server.close()
