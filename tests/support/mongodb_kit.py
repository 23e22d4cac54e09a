"""A MongoDB server of ours in a thread, and a bare client for it that speaks by hand.

The client reads and writes BSON with pymongo's `bson`, and frames with its own few lines: what
the server understands and says is checked against another's codec.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Any, Self, TypeVar

import bson

from sasl_auxprop.memory import MemoryStore
from sasl_core import Client, SetpassFlag
from sasl_core.aio import Server
from sasl_core.negotiation.base import CLOSED
from sasl_profiles.mongodb import MongodbServer
from sasl_tokens.manager import idp_manager
from token_kit import FakeIssuer

__all__ = [
    "CLEAR",
    "MECHANISMS",
    "PASSWORD",
    "USERS",
    "MongoPeer",
    "MongoService",
    "Scram",
    "Serve",
    "digest",
    "message",
    "provider",
    "query",
    "scram_login",
    "services",
    "who",
]

T = TypeVar("T")

PASSWORD = "tanstaaftanstaaf"
USERS = {"tim": PASSWORD, "a,b=c": PASSWORD, "b\u00f6b": "p\u00e4ss\u00adword\u2168"}

MECHANISMS = ["SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "MONGODB-OIDC"]
CLEAR: Mapping[str, object] = {"allow_cleartext": True, "mech_list": MECHANISMS}


def digest(user: str, password: str) -> str:
    """What MongoDB's clients take for the password with SCRAM-SHA-1."""
    return hashlib.md5(f"{user}:mongo:{password}".encode(), usedforsecurity=False).hexdigest()


def provider(issuer: FakeIssuer, **more: object) -> dict[str, object]:
    """An identity provider, as it is configured; None removes a field."""
    made: dict[str, object] = {
        "issuer": issuer.url,
        "audience": issuer.audience,
        "authNamePrefix": "okta",
        "clientId": "sasl-client",
        "authorizationClaim": "groups",
        **more,
    }
    return {name: value for name, value in made.items() if value is not None}


class CountedServer(Server):
    """Keeps every session that it makes, so that a test can see them closed."""

    made: list[Any]

    def session(self, **facts: Any) -> Any:
        session = super().session(**facts)
        self.made.append(session)
        return session


class SkewedLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock is `skew` seconds fast."""

    skew = 0.0

    def time(self) -> float:
        return super().time() + self.skew


class MongoService:
    """A MongoDB server with its own event loop in a thread."""

    def __init__(self, **options: Any) -> None:
        self._loop = SkewedLoop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        try:
            self.run(self._start(**options))
        except BaseException:
            self._end()
            raise

    async def _start(
        self,
        config: Mapping[str, object] = CLEAR,
        stores: Sequence[Any] | None = None,
        issuer: FakeIssuer | None = None,
        make: Callable[[Server], MongodbServer] | None = None,
        core: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        self.issuer = issuer
        settings = dict(config)
        if issuer is not None:
            settings.setdefault("identity_providers", [provider(issuer)])
        self.sasl = CountedServer(
            "mongodb",
            "localhost",
            config=settings,
            stores=[MemoryStore(USERS)] if stores is None else stores,
            **{"http": None if issuer is None else issuer.http, **(core or {})},
        )
        self.sasl.made = []
        self.mongo = MongodbServer(self.sasl, **options) if make is None else make(self.sasl)
        await self.mongo.start()
        self.address = self.mongo.address

    def run(self, body: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the server's loop."""
        return asyncio.run_coroutine_threadsafe(body, self._loop).result(30)

    def pass_time(self, seconds: float) -> None:
        """Let the server believe that so much time has passed."""

        async def skew() -> None:
            self._loop.skew += seconds

        self.run(skew())

    def give_digest(self, user: str = "tim", password: str = PASSWORD) -> None:
        """Set the verifier by which MongoDB's clients log in with SCRAM-SHA-1."""
        text = digest(user, password)
        report = self.run(
            self.sasl.setpass(user, text, SetpassFlag.CURMECH_ONLY, mechanism="SCRAM-SHA-1")
        )
        assert report.ok

    def expire_tokens(self) -> None:
        """Have every login by token lapse: the issuer's key is another from now on."""
        assert self.issuer is not None
        _ = self.issuer.rotate()
        assert self.run(self.sasl.run(idp_manager(self.sasl.utils).refresh_keys())) == ()

    async def _count(self, connections: int) -> None:
        async with asyncio.timeout(10):
            while self.mongo.connections != connections:  # noqa: ASYNC110 - a counter, no event.
                await asyncio.sleep(0.005)

    def await_connections(self, connections: int) -> None:
        """Wait until so many clients are there: a connection is made before it is accepted."""
        self.run(self._count(connections))

    @property
    def open_sessions(self) -> int:
        """Sessions that were not closed."""
        return sum(session.peek().phase is not CLOSED for session in self.sasl.made)

    def settle(self) -> None:
        """Wait until no client is connected; every session must have been closed."""
        self.await_connections(0)
        assert self.open_sessions == 0

    def close(self) -> None:
        """Stop it; no session and no task may be left."""
        self.run(self.mongo.close())
        self.run(self.sasl.close())
        assert self.open_sessions == 0

        async def others() -> list[Any]:
            return [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]

        left = self.run(others())
        self._end()
        assert not left

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def connect(self, tls: ssl.SSLContext | None = None) -> MongoPeer:
        """A bare client."""
        return MongoPeer(self.address, tls)


Serve = Callable[..., MongoService]


@contextlib.contextmanager
def services() -> Iterator[Serve]:
    """Starts MongoDB servers; each is stopped, and must have left nothing behind."""
    started: list[MongoService] = []

    def start(**options: Any) -> MongoService:
        started.append(MongoService(**options))
        return started[-1]

    yield start
    for service in started:
        service.close()


# --- the client -----------------------------------------------------------------------------


def message(
    document: Mapping[str, Any] | bytes, *, number: int = 1, flags: int = 0, more: bytes = b""
) -> bytes:
    """An OP_MSG with this body; `more`: other sections, and a checksum."""
    body = document if isinstance(document, bytes) else bson.encode(document)
    rest = struct.pack("<I", flags) + b"\0" + body + more
    return struct.pack("<iiii", 16 + len(rest), number, 0, 2013) + rest


def query(
    document: Mapping[str, Any] | bytes,
    *,
    number: int = 1,
    collection: bytes = b"admin.$cmd",
    more: bytes = b"",
) -> bytes:
    """An OP_QUERY."""
    body = document if isinstance(document, bytes) else bson.encode(document)
    rest = struct.pack("<I", 4) + collection + b"\0" + struct.pack("<ii", 0, -1) + body + more
    return struct.pack("<iiii", 16 + len(rest), number, 0, 2004) + rest


class MongoPeer:
    """A bare client: documents out, documents in."""

    def __init__(self, address: tuple[str, int], tls: ssl.SSLContext | None = None) -> None:
        self.socket: socket.socket = socket.create_connection(address, timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
        self._number = 0

    def send(self, data: bytes) -> None:
        """Send octets."""
        self.socket.sendall(data)

    def receive(self) -> tuple[int, dict[str, Any]] | None:
        """To which message the next one answers, and its document; None at the end."""
        header = self._exactly(16)
        if not header:
            return None
        length, _, answers, code = struct.unpack("<iiii", header)
        rest = self._exactly(length - 16)
        if code == 1:
            flags, cursor, start, count = struct.unpack("<iqii", rest[:20])
            assert (flags, cursor, start, count) == (8, 0, 0, 1)
            return answers, bson.decode(rest[20:])
        assert code == 2013
        assert rest[:5] == bytes(5)
        return answers, bson.decode(rest[5:])

    def ask(self, document: Mapping[str, Any], database: str = "admin") -> dict[str, Any]:
        """Send a command and read its answer."""
        self._number += 1
        self.send(message({**document, "$db": database}, number=self._number))
        received = self.receive()
        assert received is not None, "the server has hung up"
        number, answer = received
        assert number == self._number
        return answer

    def start(
        self,
        mechanism: str,
        payload: bytes | str,
        database: str = "admin",
        **options: Any,
    ) -> dict[str, Any]:
        """A saslStart."""
        more = {"options": options} if options else {}
        return self.ask(
            {"saslStart": 1, "mechanism": mechanism, "payload": payload, **more}, database
        )

    def go_on(
        self, payload: bytes | str, conversation: Any = 1, database: str = "admin"
    ) -> dict[str, Any]:
        """A saslContinue."""
        return self.ask(
            {"saslContinue": 1, "conversationId": conversation, "payload": payload}, database
        )

    def plain(self, user: str = "tim", password: str = PASSWORD) -> dict[str, Any]:
        """Log in by PLAIN."""
        return self.start("PLAIN", f"\0{user}\0{password}".encode(), "$external")

    def hung_up(self) -> bool:
        """Whether the server ends the connection without another word."""
        with contextlib.suppress(ConnectionError):
            return self.socket.recv(1) == b""
        return True

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            try:
                piece = self.socket.recv(size - len(data))
            except ConnectionError:
                piece = b""
            if not piece:
                assert not data, "the server hung up within a message"
                return b""
            data += piece
        return data

    def close(self) -> None:
        """Hang up."""
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Scram:
    """A SCRAM client of the library's, for a peer that speaks by hand."""

    def __init__(
        self, user: str = "tim", password: str = PASSWORD, name: str = "SCRAM-SHA-256"
    ) -> None:
        self._client = Client("mongodb", "localhost", config={"client_mech_list": [name]})
        self.session = self._client.session(authid=user, password=password, success_data=True)
        self.first = self.session.start([name]).data or b""

    def answer(self, challenge: bytes) -> bytes:
        """The response to a challenge."""
        return self.session.step(challenge).data or b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.session.close()
        self._client.close()


def who(peer: MongoPeer) -> Any:
    """The users that the server sees."""
    return peer.ask({"connectionStatus": 1})["authInfo"]["authenticatedUsers"]


def scram_login(peer: MongoPeer, user: str, database: str, password: str = PASSWORD) -> Any:
    """Log in by SCRAM-SHA-256 at this database; the last answer."""
    with Scram(user, password) as scram:
        first = peer.start("SCRAM-SHA-256", scram.first, database, skipEmptyExchange=True)
        if "payload" not in first:
            return first
        return peer.go_on(scram.answer(first["payload"]), database=database)
