"""A MongoDB server for logins, built on pymongo's `bson` and on nothing of ours.

It frames, hashes and judges with its own few lines, one thread for each client, so that what our
client says is checked against another's reading of the protocol. `twist` makes it misbehave: it
is called with the name of the command and the answer that is due, and returns the answer to
send, or octets in place of the whole message.

Sources: MongoDB's manual, "MongoDB Wire Protocol"; RFC 5802; the driver specifications,
"Authentication".
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import os
import socket
import ssl
import stringprep
import struct
import threading
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

import bson

__all__ = ["BsonServer", "Twist", "hang", "serving"]

Twist = Callable[[str, dict[str, Any]], "dict[str, Any] | bytes"]

HASHES = {"SCRAM-SHA-256": ("sha256", 15000, 28), "SCRAM-SHA-1": ("sha1", 10000, 16)}


class RefusalError(Exception):
    """An error that a command is answered with."""

    def __init__(self, code: int, name: str, message: str = "Authentication failed.") -> None:
        super().__init__(message)
        self.document = {"ok": 0.0, "errmsg": message, "code": code, "codeName": name}


FAILED = (18, "AuthenticationFailed")


def hang(command: str, answer: dict[str, Any]) -> bytes:
    """A twist: no answer at all."""
    return b""


class BsonServer:
    """Serves logins of `users` (name -> password, of the database `admin`), and of `tokens`.

    `tokens`: what is good as an access token, and whose name it stands for. `idp`: what step 1 of
    MONGODB-OIDC is answered. `mechanisms`: what hello says of each user; None: nothing. `skip`:
    whether skipEmptyExchange is heeded. `logins` are the users that got in, as
    (mechanism, database, name); `commands` all that was asked.
    """

    def __init__(
        self,
        users: Mapping[str, str] | None = None,
        *,
        tokens: Mapping[str, str] | None = None,
        idp: Mapping[str, Any] | None = None,
        mechanisms: list[str] | None = None,
        database: str = "admin",
        skip: bool = True,
        tls: ssl.SSLContext | None = None,
        twist: Twist | None = None,
    ) -> None:
        self.users = dict(users or {})
        self.tokens = dict(tokens or {})
        self.idp = dict(idp or {"issuer": "https://id.example.com", "clientId": "sasl"})
        self.mechanisms = mechanisms
        self.database = database
        self.skip = skip
        self.twist = twist
        self.logins: list[tuple[str, str, str]] = []
        self.commands: list[tuple[str, dict[str, Any]]] = []
        self.connections = 0
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._listener.getsockname()
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []
        self._closing = threading.Event()
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    # --- connections ------------------------------------------------------------------------

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                if self._closing.is_set():
                    connection.close()
                    return
                connection.settimeout(20)
                self.connections += 1
                self._sockets.append(connection)
                thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError, EOFError):
            stack.enter_context(connection)
            if self._tls is not None:
                connection = stack.enter_context(
                    self._tls.wrap_socket(connection, server_side=True)
                )
                self._sockets.append(connection)
            client = _Client(self)
            number = 100
            while True:
                number += 1
                request, document = _receive(connection)
                command = next(iter(document))
                self.commands.append((command, document))
                try:
                    answer = {**client.answer(command, document), "ok": 1.0}
                except RefusalError as refusal:
                    answer = refusal.document
                twisted = answer if self.twist is None else self.twist(command, answer)
                if isinstance(twisted, bytes):
                    connection.sendall(twisted)
                else:
                    response_to = twisted.pop("responseTo", request)
                    body = bson.encode(twisted)
                    header = struct.pack("<iiii", 21 + len(body), number, response_to, 2013)
                    connection.sendall(header + struct.pack("<IB", 0, 0) + body)

    def close(self) -> None:
        """Send everybody away."""
        self._closing.set()
        # A listener that is closed wakes nobody who waits for the next client.
        with contextlib.suppress(OSError):
            socket.create_connection(self.address, timeout=5).close()
        self._acceptor.join(10)
        self._listener.close()
        for connection in self._sockets:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()
        for connection in self._sockets:
            connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def serving(*arguments: Any, **options: Any) -> Iterator[BsonServer]:
    """A server for as long as the block runs."""
    with BsonServer(*arguments, **options) as server:
        yield server


def _receive(connection: socket.socket) -> tuple[int, dict[str, Any]]:
    """The number of the next request, and its document."""
    length, number, response_to, code = struct.unpack("<iiii", _exactly(connection, 16))
    assert (response_to, code) == (0, 2013)
    rest = _exactly(connection, length - 16)
    assert rest[:5] == bytes(5)
    document = bson.decode(rest[5:])
    assert isinstance(document["$db"], str)
    return number, document


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


# --- the commands ---------------------------------------------------------------------------


class _Client:
    """What one client is doing."""

    def __init__(self, server: BsonServer) -> None:
        self.server = server
        self.conversation = 0
        self.exchange: Any = None
        self.database = self.mechanism = ""

    def answer(self, command: str, document: dict[str, Any]) -> dict[str, Any]:
        if command == "hello":
            hello: dict[str, Any] = {
                "isWritablePrimary": True,
                "minWireVersion": 0,
                "maxWireVersion": 25,
            }
            asked = document.get("saslSupportedMechs")
            if asked is not None and self.server.mechanisms is not None:
                database, _, _user = asked.partition(".")
                assert database == self.server.database
                hello["saslSupportedMechs"] = self.server.mechanisms
            return hello
        if command == "saslStart":
            self.conversation += 7
            self.database, self.mechanism = document["$db"], document["mechanism"]
            self.exchange = self._begin(document)
            return self._result(next(self.exchange))
        if command == "saslContinue":
            if self.exchange is None or document["conversationId"] != self.conversation:
                raise RefusalError(17, "ProtocolError", "No such exchange")
            assert document["$db"] == self.database
            return self._result(self.exchange.send(document["payload"]))
        raise RefusalError(59, "CommandNotFound", f"no such command: {command}")

    def _result(self, outcome: tuple[bool, bytes]) -> dict[str, Any]:
        done, payload = outcome
        if done:
            self.exchange = None
        return {"conversationId": self.conversation, "done": done, "payload": payload}

    def _begin(self, document: dict[str, Any]) -> Any:
        payload = document["payload"]
        assert isinstance(payload, bytes)
        if self.mechanism in HASHES:
            skip = self.server.skip and document.get("options", {}).get("skipEmptyExchange", False)
            return self._scram(payload, skip=skip)
        if self.mechanism == "PLAIN" and self.database == "$external":
            return self._plain(payload)
        if self.mechanism == "MONGODB-OIDC" and self.database == "$external":
            return self._oidc(payload)
        raise RefusalError(334, "MechanismUnavailable", "The mechanism is not available")

    def _plain(self, payload: bytes) -> Iterator[tuple[bool, bytes]]:
        authzid, user, password = payload.decode().split("\0")
        known = self.server.users.get(user, "nobody's")
        # A client may have prepared it, as SASLprep has it, or not.
        if authzid not in ("", user) or prepared(known) != prepared(password):
            raise RefusalError(*FAILED)
        self._let_in(user)
        yield True, b""

    def _oidc(self, payload: bytes) -> Any:
        step = bson.decode(payload)
        if "jwt" not in step:
            step = bson.decode((yield False, bson.encode(self.server.idp)))
        user = self.server.tokens.get(step["jwt"])
        if user is None:
            raise RefusalError(*FAILED)
        self._let_in(user)
        yield True, b""

    def _scram(self, first: bytes, *, skip: bool) -> Any:
        hash_name, rounds, salt_size = HASHES[self.mechanism]
        gs2, bare = first[:3].decode(), first[3:].decode()
        # No other header is known to MongoDB's servers.
        assert gs2 == "n,,"
        assert self.database == self.server.database
        fields = dict(part.split("=", 1) for part in bare.split(","))
        user = fields["n"].replace("=2C", ",").replace("=3D", "=")
        password = self.server.users.get(user, "nobody's")
        if self.mechanism == "SCRAM-SHA-1":
            text = f"{user}:mongo:{password}".encode()
            password = hashlib.md5(text, usedforsecurity=False).hexdigest()
        salt = hashlib.sha256(user.encode()).digest()[:salt_size]
        nonce = fields["r"] + base64.b64encode(os.urandom(18)).decode()
        server_first = f"r={nonce},s={base64.b64encode(salt).decode()},i={rounds}"
        final = (yield False, server_first.encode()).decode()
        without, _, proof = final.rpartition(",p=")
        assert without == f"c=biws,r={nonce}"
        salted = hashlib.pbkdf2_hmac(hash_name, prepared(password), salt, rounds)
        message = f"{bare},{server_first},{without}".encode()

        def mac(key: bytes, data: bytes) -> bytes:
            return hmac.new(key, data, hash_name).digest()

        stored = hashlib.new(hash_name, mac(salted, b"Client Key")).digest()
        signature = mac(stored, message)
        key = bytes(a ^ b for a, b in zip(base64.b64decode(proof), signature, strict=True))
        if user not in self.server.users or hashlib.new(hash_name, key).digest() != stored:
            raise RefusalError(*FAILED)
        signed = base64.b64encode(mac(mac(salted, b"Server Key"), message)).decode()
        if not skip:
            empty = yield False, f"v={signed}".encode()
            assert empty == b""
            signed = ""
        self._let_in(user)
        yield True, f"v={signed}".encode() if signed else b""

    def _let_in(self, user: str) -> None:
        self.server.logins.append((self.mechanism, self.database, user))


def prepared(password: str) -> bytes:
    """SASLprep, as far as the passwords of tests need it (RFC 4013 section 2)."""
    mapped = "".join(
        " " if stringprep.in_table_c12(each) else each
        for each in password
        if not stringprep.in_table_b1(each)
    )
    return unicodedata.ucd_3_2_0.normalize("NFKC", mapped).encode()
