"""A PostgreSQL of the tests' own, and the part of its protocol that carries SASL.

Of the protocol (PostgreSQL's manual, "Message Formats"): the request for TLS, the start, and the
messages of type R, which ask for authentication and carry it on.
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from daemons import Home, free_port, home_of
from mailhost import Authority
from peers import SECONDS, run
from sasl_core import ClientSession

__all__ = ["ADMIN", "Postgres", "PostgresClient", "RefusedError", "serving_postgres"]

ADMIN = "admin"

TLS_REQUEST = 80877103
PROTOCOL_3 = 196608
OK, SASL, SASL_CONTINUE, SASL_FINAL = 0, 10, 11, 12


@dataclass(frozen=True)
class Postgres:
    """One that runs. The administrator is trusted, everybody else proves itself by SCRAM."""

    folder: Path
    port: int
    need: Callable[[str], str]

    @property
    def options(self) -> list[str]:
        """What psql and pg_dumpall take to reach it as the administrator."""
        return ["-h", str(self.folder), "-p", str(self.port), "-U", ADMIN]

    def sql(self, statements: str, home: Path) -> None:
        """Have the administrator run them in the folder `home`.

        Raises:
            AssertionError: one failed.
        """
        command = [self.need("psql"), *self.options, "-q", "-v", "ON_ERROR_STOP=1", "postgres"]
        run(command, home, statements).expect(0)


def programs() -> Path | None:
    """Where Debian keeps the server's programs, of the newest version."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


@contextmanager
def serving_postgres(
    need: Callable[[str], str], authority: Authority | None = None
) -> Iterator[Postgres]:
    """A server on a socket in its folder; with an `authority` also on 127.0.0.1, with TLS."""
    folder = programs() or Path(need("initdb")).parent
    with home_of("postgres") as home:
        data = home.folder / "data"
        port = free_port()
        home.call(str(folder / "initdb"), "-D", str(data), "-U", ADMIN, "-A", "trust", "--no-sync")
        home.write(
            "data/pg_hba.conf",
            f"local all {ADMIN} trust\n"
            "local all all scram-sha-256\n"
            "host all all 127.0.0.1/32 scram-sha-256\n",
        )
        options = f"-F -k {home.folder} -p {port} " + _tcp(home, authority)
        control = [str(folder / "pg_ctl"), "-w", "-D", str(data)]
        home.call(*control, "-o", options, "-l", str(home.folder / "log"), "start")
        try:
            yield Postgres(home.folder, port, need)
        finally:
            home.call(*control, "-m", "immediate", "stop")


def _tcp(home: Home, authority: Authority | None) -> str:
    if authority is None:
        return "-c listen_addresses=''"
    certificate = home.write("server.pem", authority.certificate.read_bytes())
    key = home.write("server.key", authority.key.read_bytes())
    return f"-c listen_addresses=127.0.0.1 -l -c ssl_cert_file={certificate} -c ssl_key_file={key}"


class RefusedError(Exception):
    """The server's error message; `code` is its SQLSTATE."""

    def __init__(self, fields: bytes) -> None:
        texts = {field[:1]: field[1:].decode() for field in fields.split(b"\0") if field}
        super().__init__(texts[b"M"])
        self.code = texts[b"C"]


class PostgresClient:
    """A connection that is to be authenticated; `with` closes it."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=SECONDS)
        if tls is not None:
            self.socket.sendall(struct.pack("!ii", 8, TLS_REQUEST))
            assert self.socket.recv(1) == b"S"
            self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")

    def offer(self, user: str) -> list[str]:
        """Say who we are; the mechanisms that the server asks to choose from."""
        parameters = f"user\0{user}\0database\0postgres\0\0".encode()
        message = struct.pack("!i", PROTOCOL_3) + parameters
        self.socket.sendall(struct.pack("!i", 4 + len(message)) + message)
        kind, body = self._authentication()
        assert kind == SASL
        return body.rstrip(b"\0").decode("ascii").split("\0")

    def log_in(self, session: ClientSession, offered: list[str]) -> None:
        """Authenticate with one of them; the session is finished with the server's last data.

        Raises:
            RefusedError: the server refused. SaslError: we did.
        """
        reply = session.start(offered)
        name = (session.mechanism or "").encode()
        initial = reply.data or b""
        self._send(name + b"\0" + struct.pack("!i", len(initial)) + initial)
        kind, body = self._authentication()
        while kind == SASL_CONTINUE:
            self._send(session.step(body).data or b"")
            kind, body = self._authentication()
        assert kind == SASL_FINAL
        session.finish(body)
        assert self._authentication() == (OK, b"")

    def _send(self, body: bytes) -> None:
        self.socket.sendall(b"p" + struct.pack("!i", 4 + len(body)) + body)

    def _authentication(self) -> tuple[int, bytes]:
        """Number and data of the next message, which must be of type R."""
        kind, length = struct.unpack("!ci", self._receive(5))
        body = self._receive(length - 4)
        if kind == b"E":
            raise RefusedError(body)
        assert kind == b"R", kind
        return int.from_bytes(body[:4], "big"), body[4:]

    def _receive(self, size: int) -> bytes:
        received = b""
        while len(received) < size:
            part = self.socket.recv(size - len(received))
            assert part, "the server closed the connection"
            received += part
        return received

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()
