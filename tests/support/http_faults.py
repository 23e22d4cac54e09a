"""An HTTP server on the loopback that answers as it is told, or fails in a way that has a name.

    with FaultyServer(lambda request: Answer(body=b"{}")) as server:
        ...  # server.url, server.ca_file, server.requests
        server.fault = "drip-body"  # from the next connection on; None: well again
        server.stop()  # gone; server.start(): back, on the same port

A fault that stands alone answers with a small document: `FaultyServer("drip-head")`.
"""

from __future__ import annotations

import socket
import ssl
import struct
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeAlias

from tls_kit import Tls, make_tls

__all__ = ["FAULTS", "HUGE", "Answer", "FaultyServer", "Received", "Wire"]

HUGE: Final = 30 * 1024 * 1024
"""The length of a huge body."""

PAUSE: Final = 0.05
"""Between two bytes of what drips."""


@dataclass(frozen=True)
class Received:
    """A request; header names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """What a handler answers; its length is added."""

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)

    def head(self, *more: tuple[str, str], version: str = "1.1") -> bytes:
        """The head, with these fields beside its own."""
        lines = [f"HTTP/{version} {self.status} Said"]
        lines += (f"{name}: {value}" for name, value in (*self.headers, *more))
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def whole(self) -> bytes:
        return self.head(("Content-Length", str(len(self.body)))) + self.body


Handler: TypeAlias = Callable[[Received], Answer]

_SMALL: Final = Answer(body=b'{"keys": []}')


class Wire:
    """One connection, as a fault sees it."""

    def __init__(self, connection: socket.socket, stopped: threading.Event) -> None:
        self.socket = connection
        self.stopped = stopped
        self.sent = 0
        self._heard = bytearray()

    def secure(self, context: ssl.SSLContext) -> None:
        """Shake hands."""
        with self.socket as plain:
            self.socket = context.wrap_socket(
                plain, server_side=True, do_handshake_on_connect=False
            )
        assert isinstance(self.socket, ssl.SSLSocket)
        self.socket.do_handshake()

    def receive(self) -> Received | None:
        """The next request; None when the peer has gone."""
        while (end := self._heard.find(b"\r\n\r\n")) < 0:
            if not self._hear():
                return None
        first, *fields = self._heard[:end].decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        headers = {
            name.lower(): value.strip() for name, _, value in (f.partition(":") for f in fields)
        }
        del self._heard[: end + 4]
        length = int(headers.get("content-length", "0"))
        while len(self._heard) < length:
            if not self._hear():
                return None
        body = bytes(self._heard[:length])
        del self._heard[:length]
        return Received(method, target, headers, body)

    def send(self, data: bytes) -> None:
        for start in range(0, len(data), 16384):
            self.sent += self.socket.send(data[start : start + 16384])

    def drip(self, data: bytes) -> None:
        """A byte at a time."""
        for byte in data:
            self.send(bytes([byte]))
            if self.stopped.wait(PAUSE):
                return

    def hang(self) -> None:
        """Say no more, until the server stops."""
        self.stopped.wait(60)

    def end(self) -> None:
        """End it as TLS wants it, or plain TCP."""
        with suppress(OSError):
            if isinstance(self.socket, ssl.SSLSocket):
                self.socket.settimeout(0.2)
                self.socket = self.socket.unwrap()
            self.socket.shutdown(socket.SHUT_RDWR)

    def reset(self) -> None:
        """End it with a RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def _hear(self) -> bool:
        heard = self.socket.recv(65536)
        self._heard += heard
        return bool(heard)


# --- faults before a word was said --------------------------------------------------------------

Accepting: TypeAlias = Callable[["FaultyServer", Wire], None]


def _slow_tls(server: FaultyServer, wire: Wire) -> None:
    """The server's part of the handshake drips."""
    heard, said = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = server.context("good").wrap_bio(heard, said, server_side=True)
    while not wire.stopped.is_set():
        with suppress(ssl.SSLWantReadError):
            tls.do_handshake()
        wire.drip(said.read())
        data = wire.socket.recv(65536)
        if not data:
            return
        heard.write(data)


def _garbage_at_once(server: FaultyServer, wire: Wire) -> None:
    wire.send(b"220 mail.example.com ESMTP\r\n" * 3)
    wire.hang()


_AT_ONCE: Final[Mapping[str, Accepting]] = {
    "hang-at-once": lambda server, wire: wire.hang(),
    "close-at-once": lambda server, wire: None,
    "reset-at-once": lambda server, wire: wire.reset(),
    "garbage-at-once": _garbage_at_once,
    "slow-tls": _slow_tls,
}

# --- faults of the answer -----------------------------------------------------------------------

Answering: TypeAlias = Callable[[Wire, Answer], None]


def _drip_head(wire: Wire, answer: Answer) -> None:
    wire.drip(answer.whole())
    wire.hang()


def _drip_body(wire: Wire, answer: Answer) -> None:
    # Blanks, so that a document does not end before anybody's patience does.
    body = answer.body + b" " * 100_000
    wire.send(answer.head(("Content-Length", str(len(body)))))
    wire.drip(body)


def _half(wire: Wire, answer: Answer) -> None:
    wire.send(answer.whole()[: -(len(answer.body) // 2 + 1)])


def _close_half_way(wire: Wire, answer: Answer) -> None:
    _half(wire, answer)
    wire.end()


def _hang_half_way(wire: Wire, answer: Answer) -> None:
    _half(wire, answer)
    wire.hang()


def _huge(wire: Wire, answer: Answer) -> None:
    wire.send(answer.head(("Content-Length", str(HUGE))))
    _pour(wire, lambda piece: piece)


def _huge_chunked(wire: Wire, answer: Answer) -> None:
    wire.send(answer.head(("Transfer-Encoding", "chunked")))
    _pour(wire, lambda piece: b"%x\r\n%s\r\n" % (len(piece), piece))
    wire.send(b"0\r\n\r\n")


def _huge_until_close(wire: Wire, answer: Answer) -> None:
    wire.send(answer.head())
    _pour(wire, lambda piece: piece)
    wire.end()


def _pour(wire: Wire, framed: Callable[[bytes], bytes]) -> None:
    piece = b"x" * 65536
    for _ in range(HUGE // len(piece)):
        wire.send(framed(piece))


def _endless_head(wire: Wire, answer: Answer) -> None:
    wire.send(answer.head()[:-2])
    while not wire.stopped.is_set():
        wire.send(b"X-More: " + b"x" * 1000 + b"\r\n")


def _endless_interim(wire: Wire, answer: Answer) -> None:
    while not wire.stopped.is_set():
        wire.send(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n")


def _until_cut_off(wire: Wire, answer: Answer) -> None:
    """The body ends where the connection does, and that without an alert of TLS."""
    wire.send(answer.head(version="1.0") + answer.body)


def _until_close(wire: Wire, answer: Answer) -> None:
    _until_cut_off(wire, answer)
    wire.end()


def _redirect(wire: Wire, answer: Answer) -> None:
    host, port = wire.socket.getsockname()[:2]
    wire.send(Answer(302, headers=(("Location", f"https://{host}:{port}/elsewhere"),)).whole())


def _gzip(wire: Wire, answer: Answer) -> None:
    fields = ("Content-Encoding", "gzip"), ("Content-Length", str(len(answer.body)))
    wire.send(answer.head(*fields) + answer.body)


def _two_lengths(wire: Wire, answer: Answer) -> None:
    length = len(answer.body)
    fields = ("Content-Length", str(length)), ("Content-Length", str(length - 1))
    wire.send(answer.head(*fields) + answer.body)


def _both_lengths(wire: Wire, answer: Answer) -> None:
    fields = ("Content-Length", "5"), ("Transfer-Encoding", "chunked")
    wire.send(answer.head(*fields) + b"%x\r\n%s\r\n0\r\n\r\n" % (len(answer.body), answer.body))


def _garbage(wire: Wire, answer: Answer) -> None:
    wire.send(b"\x15\x03\x01\x00\x02\x02\x16 this is no answer\r\n\r\n")


_ANSWERS: Final[Mapping[str, Answering]] = {
    "hang": lambda wire, answer: wire.hang(),
    "close": lambda wire, answer: wire.end(),
    "reset": lambda wire, answer: wire.reset(),
    "drip-head": _drip_head,
    "drip-body": _drip_body,
    "hang-half-way": _hang_half_way,
    "close-half-way": _close_half_way,
    "redirect": _redirect,
    "huge": _huge,
    "huge-chunked": _huge_chunked,
    "huge-until-close": _huge_until_close,
    "endless-head": _endless_head,
    "endless-interim": _endless_interim,
    "until-close": _until_close,
    "until-cut-off": _until_cut_off,
    "garbage": _garbage,
    "gzip": _gzip,
    "two-lengths": _two_lengths,
    "both-lengths": _both_lengths,
}

# --- the server ---------------------------------------------------------------------------------

_CERTIFICATES: Final[Mapping[str, tuple[str, tuple[str, ...], tuple[int, int]]]] = {
    # Name -> whose authority signs it, for what names, good from and until which day.
    "good": ("ours", ("localhost", "127.0.0.1", "::1"), (-1, 1)),
    "wrong-name": ("ours", ("elsewhere.example", "127.0.0.2"), (-1, 1)),
    "expired": ("ours", ("localhost", "127.0.0.1", "::1"), (-3, -2)),
    "untrusted": ("theirs", ("localhost", "127.0.0.1", "::1"), (-1, 1)),
}

_UNTRUSTED: Final = tuple(name for name in _CERTIFICATES if name != "good")

FAULTS: Final = (*_AT_ONCE, "answer-early", *_ANSWERS, *_UNTRUSTED)
"""The name of every fault."""


@dataclass
class FaultyServer:
    """A server on 127.0.0.1 that has `handler`'s answers, and the fault that `fault` names.

    `handler`: a function, or the name of a fault. `tls`: with a certificate of an authority
    whose file is `ca_file`; without it, `ca_file` is None. What a handler raises is raised again
    where the server is left.
    """

    handler: Handler | str = field(default=lambda request: _SMALL)
    fault: str | None = None
    tls: bool = True
    host: str = "127.0.0.1"
    port: int = 0
    requests: list[Received] = field(default_factory=list)
    connections: int = 0
    sent: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.handler, str):
            self.fault, self.handler = self.handler, lambda request: _SMALL
        assert self.fault is None or self.fault in FAULTS, self.fault
        self._lock = threading.RLock()  # Certificates are made when they are first asked for.
        self._folder = tempfile.TemporaryDirectory(prefix="http-faults-")
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._authorities: dict[str, Tls] = {}
        self._failures: list[BaseException] = []
        self._wires: dict[Wire, threading.Thread] = {}
        self._stopped = threading.Event()
        self._listener: socket.socket | None = None
        self._acceptor: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The server's root, without a slash."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http{'s' if self.tls else ''}://{host}:{self.port}"

    @property
    def ca_file(self) -> str | None:
        """The file of the authority to trust."""
        return str(self._authority("ours").certificate) if self.tls else None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        self._folder.cleanup()
        if error is None and self._failures:
            raise self._failures[0]

    def start(self) -> None:
        """Listen, on the port of the last time if there was one."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1" if self.host == "localhost" else self.host, self.port))
        listener.listen(64)
        listener.settimeout(0.5)  # Where a shutdown does not wake accept up.
        self.port = listener.getsockname()[1]
        self._stopped = threading.Event()
        self._listener = listener
        self._acceptor = threading.Thread(target=self._accept, args=(listener, self._stopped))
        self._acceptor.start()

    def stop(self) -> None:
        """Vanish: every connection is closed, and the port refuses new ones."""
        self._stopped.set()
        if self._listener is not None and self._acceptor is not None:
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._acceptor.join(10)
            self._listener.close()
            self._listener = None
        for wire, thread in list(self._wires.items()):
            for _ in range(100):  # Again, for while TLS takes a socket over it is neither's.
                with suppress(OSError):
                    # The plain socket's: TLS is left as it is under the other thread's hands.
                    socket.socket.shutdown(wire.socket, socket.SHUT_RDWR)
                thread.join(0.1)
                if not thread.is_alive():
                    break
            assert not thread.is_alive()

    def context(self, certificate: str) -> ssl.SSLContext:
        """The server's TLS with one of the certificates."""
        with self._lock:
            if certificate not in self._contexts:
                whose, names, days = _CERTIFICATES[certificate]
                folder, authority = self._new_folder(certificate), self._authority(whose)
                made = make_tls(folder, names=names, days=days, signed_by=authority)
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(made.certificate, made.key)
                self._contexts[certificate] = context
            return self._contexts[certificate]

    def _authority(self, whose: str) -> Tls:
        with self._lock:
            if whose not in self._authorities:
                # Each its own, for OpenSSL takes one authority for another of the same name.
                names = (f"{whose}.{Path(self._folder.name).name}.example",)
                self._authorities[whose] = make_tls(self._new_folder(whose), names=names)
            return self._authorities[whose]

    def _new_folder(self, name: str) -> Path:
        folder = Path(self._folder.name) / name
        folder.mkdir()
        return folder

    def _accept(self, listener: socket.socket, stopped: threading.Event) -> None:
        while not stopped.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                continue
            connection.settimeout(None)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            context = self._context_of(self.fault) if self.tls else None
            wire = Wire(connection, stopped)
            thread = threading.Thread(target=self._serve, args=(wire, self.fault, context))
            self._wires[wire] = thread
            thread.start()

    def _context_of(self, fault: str | None) -> ssl.SSLContext:
        return self.context(fault if fault is not None and fault in _CERTIFICATES else "good")

    def _serve(self, wire: Wire, fault: str | None, context: ssl.SSLContext | None) -> None:
        try:
            if fault is not None and fault in _AT_ONCE:
                _AT_ONCE[fault](self, wire)
                return
            if context is not None:
                wire.secure(context)
            self._converse(wire, fault)
        except OSError:
            pass  # The peer has had enough.
        except BaseException as error:  # noqa: BLE001 - raised where the server is left
            self._failures.append(error)
        finally:
            self.sent += wire.sent
            wire.socket.close()
            del self._wires[wire]

    def _converse(self, wire: Wire, fault: str | None) -> None:
        if fault == "answer-early":
            wire.socket.recv(1)
            wire.send(Answer(413).whole())
            return
        request = wire.receive()
        if request is None:
            return
        self.requests.append(request)
        assert not isinstance(self.handler, str)
        answer = self.handler(request)
        if fault is not None and fault in _ANSWERS:
            _ANSWERS[fault](wire, answer)
        else:
            whole = answer.whole()
            wire.send(whole[: -len(answer.body)] if request.method == "HEAD" else whole)
            wire.end()
